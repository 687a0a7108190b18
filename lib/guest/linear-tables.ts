/**
 * Page tables for a guest without a hypervisor: low memory at its own addresses in 2 MiB pages, and further mappings in
 * 4 KiB pages. Planned as runs and made when read.
 *
 * Source: Intel SDM vol. 3, 4.4 (PAE) and 4.5 (4-level).
 * Gotcha: a PAE L3 entry has no RW or US bit: if one is set, the load of cr3 faults.
 */
import {
  levelShift,
  PT_ENTRIES,
  PT_LEVEL_BITS,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_PRESENT,
  PTE_PSE,
  PTE_RW,
  PTE_USER,
  X86_32_VADDR_BITS,
  X86_64_VADDR_BITS,
} from '../abi/x86.js'
import { DomainBuilderError } from '../errors.js'
import { hex, overlaps, PAGE_SIZE, type Paddr, type Pfn, pagesFor, pfnOf, type Range, type Vaddr } from '../units.js'
import type { PageTableFrames } from './domain.js'
import { setEntry } from './page-tables.js'
import { addRange } from './runs.js'
import { throughWords } from './words.js'

/** A range of virtual addresses that maps to consecutive physical ones, in bytes. */
export interface LinearMapping {
  readonly vaddr: Vaddr
  readonly paddr: Paddr
  readonly bytes: number
}

/** Tables of one level with consecutive indexes and frames. `index`: virtual page / pages of such a table. */
interface TableRun {
  readonly level: number
  readonly index: number
  readonly count: number
  readonly pfn: Pfn
}

/** Pages that map to consecutive frames. `vpn` is the virtual page number, masked to the translated bits. */
interface PageRun {
  readonly vpn: number
  readonly pages: number
  readonly pfn: Pfn
}

const LARGE_PAGE_LEVEL = 2
/** The page size of low memory's mapping, in bytes. */
export const LARGE_PAGE_SIZE = 2 ** levelShift(LARGE_PAGE_LEVEL)
const pagesOfTable = (level: number): number => 2 ** (PT_LEVEL_BITS * level)

export class LinearTables {
  readonly levels: 3 | 4
  /** The number of tables. */
  readonly count: number
  readonly #runs: readonly TableRun[]
  readonly #identityPages: number
  readonly #pages: readonly PageRun[]
  readonly #user: number

  /**
   * @param identityEnd addresses from 0 to here, rounded up to 2 MiB, are their own translation.
   * @param user whether code outside ring 0 may use the mappings.
   * @throws DomainBuilderError `overlap` if two mappings translate the same address differently.
   */
  constructor(
    levels: 3 | 4,
    pfn: Pfn,
    identityEnd: Paddr,
    mappings: readonly LinearMapping[] = [],
    { user = false }: { readonly user?: boolean } = {},
  ) {
    this.levels = levels
    this.#identityPages = Math.ceil(identityEnd / LARGE_PAGE_SIZE) * (LARGE_PAGE_SIZE / PAGE_SIZE)
    this.#user = user ? PTE_USER : 0
    const bits = levels === 4 ? X86_64_VADDR_BITS : X86_32_VADDR_BITS
    // A mapping that the identity mapping already contains needs no further pages.
    this.#pages = mappings
      .map((mapping) => pageRun(mapping, bits))
      .filter(({ vpn, pages, pfn }) => vpn !== pfn || vpn + pages > this.#identityPages)
    this.#checkOverlaps()
    const runs: TableRun[] = []
    let next = pfn
    for (let level: number = levels; level >= 1; level--) {
      const identity = level > 1 ? [{ vpn: 0, pages: this.#identityPages }] : []
      for (const { start, end } of tableIndexes([...identity, ...this.#pages], level)) {
        runs.push({ level, index: start, count: end - start, pfn: next })
        next += end - start
      }
    }
    this.#runs = runs
    this.count = next - pfn
  }

  /** The frame of the top table. */
  get top(): Pfn {
    return this.#runs[0]?.pfn ?? 0
  }

  get frames(): PageTableFrames {
    const runs = this.#runs.map(({ level, pfn, count }) => ({ level, pfn, pages: count }))
    return { top: this.top, pages: this.count, runs }
  }

  /** Writes the tables in the frames [pfn, pfn + out.length / 4096) into `out`. */
  fill(pfn: Pfn, out: Uint8Array): void {
    out.fill(0)
    throughWords(out, (words) => {
      for (let done = 0; done * PAGE_SIZE < out.length; done++) {
        const run = this.#runs.find((r) => pfn + done >= r.pfn && pfn + done < r.pfn + r.count)
        if (!run) continue
        const table = words.subarray((done * PAGE_SIZE) / 4, ((done + 1) * PAGE_SIZE) / 4)
        this.#fillTable(run.level, run.index + pfn + done - run.pfn, table)
      }
    })
  }

  #fillTable(level: number, index: number, table: Uint32Array): void {
    const leaf = PTE_PRESENT | PTE_RW | PTE_ACCESSED | PTE_DIRTY | this.#user
    const first = index * PT_ENTRIES
    if (level === 1) {
      for (const { vpn, pages, pfn } of this.#pages) {
        for (let at = Math.max(vpn, first); at < Math.min(vpn + pages, first + PT_ENTRIES); at++) {
          setEntry(table, at - first, pfn + at - vpn, leaf)
        }
      }
      return
    }
    if (level === LARGE_PAGE_LEVEL) {
      const pagesOfEntry = pagesOfTable(level - 1)
      const end = Math.min(this.#identityPages / pagesOfEntry, first + PT_ENTRIES)
      for (let at = first; at < end; at++) setEntry(table, at - first, at * pagesOfEntry, leaf | PTE_PSE)
    }
    const paeTop = this.levels === 3 && level === 3
    const flags = paeTop ? PTE_PRESENT : PTE_PRESENT | PTE_RW | PTE_ACCESSED | this.#user
    for (const child of this.#runs.filter((run) => run.level === level - 1)) {
      const end = Math.min(child.index + child.count, first + PT_ENTRIES)
      for (let at = Math.max(child.index, first); at < end; at++) {
        setEntry(table, at - first, child.pfn + at - child.index, flags)
      }
    }
  }

  /** Refuses overlapping mappings unless their pages are the same: segments may share a page at their ends. */
  #checkOverlaps(): void {
    const identity: PageRun = { vpn: 0, pages: this.#identityPages, pfn: 0 }
    this.#pages.forEach((run, i) => {
      for (const other of [identity, ...this.#pages.slice(0, i)]) {
        const same = other !== identity && other.pfn - other.vpn === run.pfn - run.vpn
        if (same || !overlaps(rangeOf(run), rangeOf(other))) continue
        const show = ({ vpn, pages }: PageRun) => `[${hex(vpn * PAGE_SIZE)}, ${hex((vpn + pages) * PAGE_SIZE)})`
        throw new DomainBuilderError('overlap', 'two mappings overlap', {
          expected: `none of ${show(other)}`,
          found: show(run),
        })
      }
    })
  }
}

const rangeOf = ({ vpn, pages }: PageRun): Range<number> => ({ start: vpn, end: vpn + pages })

function pageRun({ vaddr, paddr, bytes }: LinearMapping, bits: number): PageRun {
  const offset = paddr % PAGE_SIZE
  if (Number(vaddr % BigInt(PAGE_SIZE)) !== offset) {
    throw new DomainBuilderError(
      'wrong-layout',
      'a virtual address and its physical address have different page offsets',
      {
        expected: hex(offset),
        found: hex(vaddr % BigInt(PAGE_SIZE)),
      },
    )
  }
  const vpn = Number(BigInt.asUintN(bits, vaddr) / BigInt(PAGE_SIZE))
  return { vpn, pages: pagesFor(offset + bytes), pfn: pfnOf(paddr) }
}

/** The indexes of a level's tables that those pages need, as sorted ranges that do not touch. */
function tableIndexes(pages: readonly { vpn: number; pages: number }[], level: number): Range<number>[] {
  const span = pagesOfTable(level)
  const ranges = pages
    .filter((run) => run.pages > 0)
    .map((run) => ({ start: Math.floor(run.vpn / span), end: Math.floor((run.vpn + run.pages - 1) / span) + 1 }))
    .sort((a, b) => a.start - b.start)
  const merged: Range<number>[] = []
  for (const { start, end } of ranges) addRange(merged, start, end)
  return merged
}
