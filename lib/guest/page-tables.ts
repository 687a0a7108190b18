/**
 * Initial page tables: planned from mappings, written page by page when they are read.
 *
 * Source: Intel SDM vol. 3, chapter 4; xen/include/public/xen.h ("Start-of-day memory layout"); the order of the
 * tables' frames was confirmed against libxenguest, and for a dom0 against Xen.
 * Gotcha: entries hold machine frames (p2m[pfn]). Xen refuses a writable leaf that maps a page table.
 */
import { PT_ENTRIES, PT_LEVEL_BITS, PTE_ACCESSED, PTE_DIRTY, PTE_PRESENT, PTE_RW, PTE_USER } from '../abi/x86.js'
import { PTE_GUEST_KERNEL } from '../abi/xen-mmu.js'
import { DomainBuilderError } from '../errors.js'
import { logTables } from '../log.js'
import { hex, PAGE_SIZE, type Pfn, type Vaddr } from '../units.js'
import type { PageTableFrames } from './domain.js'
import { mfnOf, type P2m } from './p2m.js'
import { throughWords } from './words.js'

/** The flags of both builders for entries that name a table, PAE's L3 included. */
const TABLE_FLAGS = PTE_PRESENT | PTE_RW | PTE_USER | PTE_ACCESSED | PTE_DIRTY

/** libxenguest makes the tables of a domU, and Xen itself those of its dom0. */
type TableBuilder = 'libxenguest' | 'xen'

/** Returns the flags of a writable leaf, low and high word. */
function leafFlags(builder: TableBuilder, levels: number): { low: number; high: number } {
  const low = PTE_PRESENT | PTE_RW | PTE_ACCESSED
  if (builder === 'libxenguest' || levels === 3) return { low, high: 0 }
  return { low: low | PTE_USER, high: Number(PTE_GUEST_KERNEL >> 32n) }
}

/** The two kinds of tree of PV guests: the number of levels, and of the address bits they translate. */
export const PAGING = {
  x86_64: { levels: 4, vaddrBits: 48 },
  x86_32p: { levels: 3, vaddrBits: 32 },
} as const
type Paging = (typeof PAGING)[keyof typeof PAGING]

/** Virtual pages that translate to consecutive frames. `vpn`: virtual page number, masked to the address bits. */
export interface Mapping {
  readonly vpn: number
  readonly pages: number
  readonly pfn: Pfn
}

/** Tables of one level with consecutive indexes and frames. `index`: vpn / pages that such a table maps. */
interface TableRun {
  readonly level: number
  readonly index: number
  readonly count: number
  readonly pfn: Pfn
}

/** Pages of address space that one table of a level maps: L1 512, L2 512^2, ... */
const pagesOfTable = (level: number): number => 2 ** (PT_LEVEL_BITS * level)

/** The virtual page number of an address, as this kind of paging sees it. */
export function vpnOf(vaddr: Vaddr, paging: Paging): number {
  return Number(BigInt.asUintN(paging.vaddrBits, vaddr) / BigInt(PAGE_SIZE))
}

export class PageTables {
  readonly paging: Paging
  readonly runs: TableRun[] = []
  readonly mappings: Mapping[] = []
  readonly #builder: TableBuilder

  constructor(paging: Paging, builder: TableBuilder = 'libxenguest') {
    this.paging = paging
    this.#builder = builder
  }

  /** The number of tables so far. */
  get count(): number {
    return this.runs.reduce((sum, run) => sum + run.count, 0)
  }

  /** The frame of the top table. */
  get top(): Pfn {
    const run = this.runs.find(({ level }) => level === this.paging.levels)
    if (!run) throw new DomainBuilderError('wrong-layout', 'the page tables have no mapping')
    return run.pfn
  }

  /**
   * Returns the tables that a mapping of [vpn, vpn + pages) adds to the existing ones: runs with frames counted from 0,
   * in allocation order.
   */
  plan(vpn: number, pages: number): TableRun[] {
    const { levels, vaddrBits } = this.paging
    let runs: Omit<TableRun, 'pfn'>[] = []
    for (let level: number = levels; level >= 1; level--) {
      const span = pagesOfTable(level)
      const first = Math.floor(vpn / span)
      let last = Math.floor((vpn + pages - 1) / span)
      // Xen's own part of a PAE guest's address space is in the last slot, whose L2 must exist (xen-x86_32.h).
      if (levels === 3 && level === 2 && this.runs.length === 0) last = 2 ** (vaddrBits - 12) / span - 1
      for (const { index, count } of this.#missing(level, first, last)) runs.push({ level, index, count })
    }
    // Xen starts the tables of its first mapping at the lowest level, and those of the p2m at the highest.
    if (this.#builder === 'xen' && this.mappings.length === 0) runs = afterFirstChild(runs, vpn, levels)
    let pfn = 0
    return runs.map((run) => {
      pfn += run.count
      return { ...run, pfn: pfn - run.count }
    })
  }

  /** Yields the indexes in [first, last] without a table of that level, as runs. */
  *#missing(level: number, first: number, last: number): Iterable<{ index: number; count: number }> {
    let index = first
    const there = this.runs.filter((run) => run.level === level).sort((a, b) => a.index - b.index)
    for (const run of there) {
      if (run.index + run.count <= index) continue
      if (run.index > last) break
      if (run.index > index) yield { index, count: run.index - index }
      index = run.index + run.count
    }
    if (index <= last) yield { index, count: last - index + 1 }
  }

  /**
   * Adds a mapping and the tables it needs, with frames from `tablesPfn` on.
   * @throws DomainBuilderError `overlap` if those virtual pages are already mapped.
   */
  map(mapping: Mapping, tablesPfn: Pfn): void {
    for (const other of this.mappings) {
      if (mapping.vpn < other.vpn + other.pages && other.vpn < mapping.vpn + mapping.pages) {
        throw new DomainBuilderError('overlap', 'two initial mappings overlap', {
          expected: `none of [${hex(other.vpn * PAGE_SIZE)}, ${hex((other.vpn + other.pages) * PAGE_SIZE)})`,
          found: `[${hex(mapping.vpn * PAGE_SIZE)}, ${hex((mapping.vpn + mapping.pages) * PAGE_SIZE)})`,
        })
      }
    }
    for (const run of this.plan(mapping.vpn, mapping.pages)) {
      this.runs.push({ ...run, pfn: run.pfn + tablesPfn })
      logTables('L%d: %d table(s) from pfn %s', run.level, run.count, hex(run.pfn + tablesPfn))
    }
    this.mappings.push(mapping)
  }

  /** The tables' frames, for code that needs their types. */
  get frames(): PageTableFrames {
    const runs = this.runs.map(({ level, pfn, count }) => ({ level, pfn, pages: count }))
    return { top: this.top, pages: this.count, runs }
  }

  /** Overwrites `out` with the tables in the frames [pfn, pfn + out.length / 4096). */
  fill(p2m: P2m, pfn: Pfn, out: Uint8Array): void {
    out.fill(0)
    throughWords(out, (words) => {
      for (let done = 0; done * PAGE_SIZE < out.length; done++) {
        const run = this.runs.find((r) => pfn + done >= r.pfn && pfn + done < r.pfn + r.count)
        if (!run) continue
        const table = words.subarray((done * PAGE_SIZE) / 4, ((done + 1) * PAGE_SIZE) / 4)
        this.#fillTable(p2m, run.level, run.index + pfn + done - run.pfn, table)
      }
    })
  }

  #fillTable(p2m: P2m, level: number, index: number, table: Uint32Array): void {
    if (level > 1) {
      for (const child of this.runs) {
        if (child.level === level - 1) this.#link(p2m, child, index, table)
      }
      return
    }
    for (const mapping of this.mappings) this.#mapPages(p2m, mapping, index, table)
  }

  /** Sets the entries of the table at `index` that name tables of `child`. */
  #link(p2m: P2m, child: TableRun, index: number, table: Uint32Array): void {
    const first = Math.max(child.index, index * PT_ENTRIES)
    const last = Math.min(child.index + child.count, (index + 1) * PT_ENTRIES)
    for (let i = first; i < last; i++) {
      const mfn = mfnOf(p2m, child.pfn + i - child.index, 'page tables')
      setEntry(table, i - index * PT_ENTRIES, mfn, TABLE_FLAGS)
    }
  }

  /** Sets a mapping's entries in the L1 at `index`; page tables among its pages are read-only. */
  #mapPages(p2m: P2m, mapping: Mapping, index: number, table: Uint32Array): void {
    const base = index * PT_ENTRIES
    const first = Math.max(mapping.vpn, base)
    const last = Math.min(mapping.vpn + mapping.pages, base + PT_ENTRIES)
    const { low, high } = leafFlags(this.#builder, this.paging.levels)
    for (let vpn = first; vpn < last; vpn++) {
      const mfn = p2m.mfn(mapping.pfn + vpn - mapping.vpn)
      if (mfn !== undefined) setEntry(table, vpn - base, mfn, low, high)
    }
    for (const run of this.runs) {
      const from = Math.max(first, mapping.vpn + run.pfn - mapping.pfn)
      const to = Math.min(last, mapping.vpn + run.pfn + run.count - mapping.pfn)
      for (let vpn = from; vpn < to; vpn++) {
        const mfn = mfnOf(p2m, mapping.pfn + vpn - mapping.vpn, 'page tables')
        setEntry(table, vpn - base, mfn, low & ~PTE_RW, high)
      }
    }
  }
}

/**
 * Returns the same tables, the top one first, then the L1 tables in order. Each other table follows the first table
 * that it names. PAE's L2 tables without an L1 come last.
 */
function afterFirstChild(runs: readonly Omit<TableRun, 'pfn'>[], vpn: number, levels: number): Omit<TableRun, 'pfn'>[] {
  const firstPage = (level: number, index: number): number =>
    level === levels ? -1 : Math.max(index * pagesOfTable(level), vpn)
  const tables = runs
    .flatMap(({ level, index, count }) => Array.from({ length: count }, (_, i) => ({ level, index: index + i })))
    .map(({ level, index }) => ({ level, index, at: firstPage(level, index) }))
    .sort((a, b) => a.at - b.at || a.level - b.level)
  const ordered: { level: number; index: number; count: number }[] = []
  for (const { level, index } of tables) {
    const last = ordered.at(-1)
    if (last?.level === level && last.index + last.count === index) last.count++
    else ordered.push({ level, index, count: 1 })
  }
  return ordered
}

/** Sets an entry as two u32: flags and the frame's low 20 bits, then the rest of the frame and the high flags. */
export function setEntry(table: Uint32Array, entry: number, mfn: number, flags: number, highFlags = 0): void {
  table[2 * entry] = (mfn << 12) | flags
  table[2 * entry + 1] = (mfn / 2 ** 20) | highFlags
}
