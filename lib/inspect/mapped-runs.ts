/**
 * mappedRuns: the virtual address space of a guest by its own page tables, merged into runs.
 *
 * Source: Intel SDM vol. 3, 4.5 and 4.6 (access rights: a right needs every level to grant it).
 * Gotcha: a table with several paths to it is read once, by the first of them.
 */
import { PTE_NX, PTE_PRESENT, PTE_PSE, PTE_RW, X86_32_VADDR_BITS } from '../abi/x86.js'
import type { Domain } from '../guest/domain.js'
import { type Growing, runBefore, runEndingAfter } from '../guest/runs.js'
import { type TablePage, walkPageTables } from '../guest/table-reader.js'
import { pagingLevels } from '../guest/translate.js'
import { PAGE_SIZE, type Pfn, type Vaddr } from '../units.js'
import { type PhysicalRange, physicalRanges, rangeOf } from './frames.js'

/** Virtual pages that map consecutive frames, of one region, with the same access. */
export interface MappedRun {
  /** The address of the first page. */
  readonly vaddr: Vaddr
  /** The number of pages of 4 KiB, even where they are mapped by larger ones. */
  readonly pages: number
  /** The frame of the first page, as the guest counts frames; the others follow it. */
  readonly pfn: Pfn
  /** Every level of the tables grants it. */
  readonly writable: boolean
  /** No level of the tables has NX. */
  readonly executable: boolean
  /** Bytes that one entry maps: 4 KiB, 2 MiB or 1 GiB. */
  readonly pageSize: number
  /** Name of the region; `free` or `unnamed` for frames outside all regions. */
  readonly region: string
}

/** Returns the pages that one entry of a leaf maps: 1, 2^9 or 2^18. */
const pagesOf = (level: number): number => 2 ** (9 * (level - 1))

/** Collects runs, page by page or large page by large page, in order of address. */
export class RunCollector {
  readonly runs: Growing<MappedRun>[] = []
  readonly #domain: Domain
  readonly #ranges: readonly PhysicalRange[]
  readonly #pae: boolean
  /** The range of the last run. */
  #range = -1

  constructor(domain: Domain, ranges: readonly PhysicalRange[]) {
    this.#domain = domain
    this.#ranges = ranges
    this.#pae = pagingLevels(domain) === 3
  }

  /** Adds the pages that a table maps itself; the tables that it names are not read. */
  add(table: TablePage): void {
    if (table.level === 4 || (this.#pae && table.level === 3)) return
    const { level, entries, path } = table
    // The processor has no such bits in PAE's L3; Xen writes them set.
    const above = path.filter((step) => !(this.#pae && step.level === 3))
    const writable = above.every(({ entry }) => entry & BigInt(PTE_RW))
    const executable = !path.some(({ entry }) => entry & PTE_NX)
    const bytes = BigInt(pagesOf(level)) * BigInt(PAGE_SIZE)
    // Halves of entries, as numbers: a bigint for each would take ten times as long.
    const words = new Uint32Array(entries.buffer, entries.byteOffset, entries.length * 2)
    for (let index = 0; index < entries.length; index++) {
      const low = words[2 * index] as number
      if (!(low & PTE_PRESENT) || (level > 1 && !(low & PTE_PSE))) continue
      const high = words[2 * index + 1] as number
      const mfn = (high & 0xfffff) * 2 ** 20 + (low >>> 12)
      // Bit 12 of a large page's entry is PAT.
      const pfn = this.#domain.p2m.pfn(level > 1 ? mfn - (mfn % pagesOf(level)) : mfn)
      if (pfn === undefined) continue
      const access = { writable: writable && (low & PTE_RW) !== 0, executable: executable && high >>> 31 === 0 }
      this.#pages(table.vaddr + BigInt(index) * bytes, pfn, pagesOf(level), access)
    }
  }

  /** Adds frames from `pfn` on, mapped at `vaddr`, range by range; frames outside the guest are omitted. */
  #pages(vaddr: Vaddr, pfn: Pfn, pages: number, access: Pick<MappedRun, 'writable' | 'executable'>): void {
    const end = pfn + pages
    let at = pfn
    while (at < end) {
      const known = this.#ranges[this.#range]
      const inKnown = known !== undefined && at >= known.pfn && at < known.pfn + known.pages
      const index = inKnown ? this.#range : rangeOf(this.#ranges, at)
      const range = this.#ranges[index]
      if (range === undefined) {
        // A large page may reach over a hole: the frames after it are still mapped.
        at = Math.min(end, this.#ranges[runEndingAfter(this.#ranges, at)]?.pfn ?? end)
        continue
      }
      const to = Math.min(end, range.pfn + range.pages)
      const from = vaddr + BigInt(at - pfn) * BigInt(PAGE_SIZE)
      this.#append(
        { vaddr: from, pages: to - at, pfn: at, ...access, pageSize: pages * PAGE_SIZE, region: range.name },
        index,
      )
      at = to
    }
  }

  #append(run: MappedRun, range: number): void {
    const last = runBefore(this.runs, run.pfn)
    const follows =
      range === this.#range &&
      last?.writable === run.writable &&
      last.executable === run.executable &&
      last.pageSize === run.pageSize &&
      last.vaddr + BigInt(last.pages) * BigInt(PAGE_SIZE) === run.vaddr
    this.#range = range
    if (follows) last.pages += run.pages
    else this.runs.push(run)
  }

  /** Without paging each address maps to itself: adds the memory that 32 bits can reach. */
  addUnpaged(): void {
    const end = 2 ** X86_32_VADDR_BITS / PAGE_SIZE
    for (const { pfn, pages, name } of this.#ranges) {
      if (pfn >= end) return
      this.runs.push({
        vaddr: BigInt(pfn) * BigInt(PAGE_SIZE),
        pages: Math.min(pages, end - pfn),
        pfn,
        writable: true,
        executable: true,
        pageSize: PAGE_SIZE,
        region: name,
      })
    }
  }
}

/**
 * Returns the virtual address space of a guest, in order of address; where paging is off, its memory at its own
 * addresses.
 * @throws DomainBuilderError `not-mapped` when cr3 names no frame of the guest.
 */
export function mappedRuns(domain: Domain): MappedRun[] {
  const collector = new RunCollector(domain, physicalRanges(domain))
  if (pagingLevels(domain) === 0) collector.addUnpaged()
  else for (const table of walkPageTables(domain)) collector.add(table)
  return collector.runs
}
