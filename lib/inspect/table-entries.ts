/**
 * The entries of a page table as runs: consecutive entries that follow one rule are one run.
 *
 * Source: Intel SDM vol. 3, 4.4 and 4.5.
 * Gotcha: entries that are zero are in no run: addresses between two runs are not mapped.
 */
import { levelShift, PT_ENTRIES, PTE_ADDR_MASK } from '../abi/x86.js'
import type { Domain } from '../guest/domain.js'
import type { TablePage } from '../guest/table-reader.js'
import { hex, PAGE_SIZE } from '../units.js'
import { type EntryOrigin, entryOrigin } from './explain.js'
import { type PhysicalRange, rangeOf } from './frames.js'

/** Entries from `index` on, each naming the frame `step` after the last one; flags and reason are the same. */
export type EntryRun = {
  /** The index of the first entry in its table, 0 to 511. */
  readonly index: number
  /** The number of entries. */
  readonly count: number
  /** The first entry, all 64 bits. */
  readonly entry: string
  /** Frames from one entry's frame to the next; 0 in a run of one, or where all are the same. */
  readonly step: number
  /** To a table of the guest, a page of it, a frame outside the guest, or nowhere. */
  readonly leads: EntryOrigin['leads']
  /** The guest's frame that the first entry names; null without one. */
  readonly pfn: number | null
  /** The reason for the entries' content, for people. */
  readonly why: string
}

/** A page table of the guest. */
export type TableMap = {
  /** 1 maps pages, 4 (or 3, PAE) is the top. */
  readonly level: number
  /** Frame of the table, as the guest counts them. */
  readonly pfn: number
  /** Virtual address that its entry 0 translates. */
  readonly vaddr: string
  /** The number of entries whose present bit is set. */
  readonly present: number
  /** Entries that are not zero, in runs that follow one rule, by index. */
  readonly runs: readonly EntryRun[]
}

/** A run in the making. */
interface Draft extends EntryOrigin {
  readonly index: number
  readonly first: bigint
  count: number
  step: number
  range: number
}

/** Returns one table; `pae` for a guest whose top table has four entries. */
export function tableMap(domain: Domain, ranges: readonly PhysicalRange[], table: TablePage, pae: boolean): TableMap {
  const drafts: Draft[] = []
  const size = pae && table.level === 3 ? 4 : PT_ENTRIES
  let present = 0
  for (let index = 0; index < size; index++) {
    const entry = table.entries[index] as bigint
    if (entry === 0n) continue
    present += Number(entry & 1n)
    const last = drafts.at(-1)
    const origin = entryOrigin(domain, table.level, entry)
    const range = origin.pfn === undefined ? -1 : rangeOf(ranges, origin.pfn)
    if (last && last.index + last.count === index && joins(last, entry, origin, range, table.level)) last.count++
    else drafts.push({ ...origin, index, first: entry, count: 1, step: 0, range })
  }
  return {
    level: table.level,
    pfn: table.pfn,
    vaddr: hex(table.vaddr),
    present,
    runs: drafts.map(({ index, count, first, step, leads, pfn, why }) => {
      return { index, count, entry: hex(first, 16), step: count > 1 ? step : 0, leads, pfn: pfn ?? null, why }
    }),
  }
}

/** Returns whether an entry continues the run; the second entry decides its step. */
function joins(run: Draft, entry: bigint, origin: EntryOrigin, range: number, level: number): boolean {
  if (origin.leads !== run.leads || origin.why !== run.why || range !== run.range) return false
  if ((entry & ~PTE_ADDR_MASK) !== (run.first & ~PTE_ADDR_MASK)) return false
  const distance = Number((entry & PTE_ADDR_MASK) >> 12n) - Number((run.first & PTE_ADDR_MASK) >> 12n)
  if (run.count === 1) {
    const large = origin.leads === 'page' && level > 1 ? 2 ** levelShift(level) / PAGE_SIZE : 1
    if (distance !== 0 && distance !== large) return false
    run.step = distance
  }
  if (distance !== run.count * run.step) return false
  return origin.pfn === undefined || origin.pfn === (run.pfn ?? 0) + distance
}
