/**
 * The entries of the embedded page tables, one by one, and the walk through them.
 *
 * Source: ../table-entries.ts for runs; Intel SDM vol. 3, 4.4 and 4.5.
 * Gotcha: several paths may reach the same table, so an entry's address depends on the path: `base` is that of its table.
 */
import { levelShift, PT_ENTRIES, X86_32_VADDR_BITS, X86_64_VADDR_BITS } from '../../abi/x86.js'
import { canonical } from '../../guest/table-reader.js'
import type { EntryRun, TableMap } from '../table-entries.js'
import { map, PAGE } from './data.js'

const { levels, top } = map.paging

/** One entry of a table. */
export interface Entry {
  readonly table: TableMap
  readonly run: EntryRun
  readonly index: number
  readonly value: bigint
  readonly pfn: number | null
  readonly vaddr: bigint
}

/** Returns the number of bytes that an entry of a level translates. */
export const bytesAt = (level: number): bigint => 1n << BigInt(levelShift(level))

/** Returns the bits of an address that the tables translate. */
const translated = (vaddr: bigint): bigint =>
  BigInt.asUintN(levels === 4 ? X86_64_VADDR_BITS : X86_32_VADDR_BITS, vaddr)
/** Whether an address is one of the guest's. */
export const isVaddr = (vaddr: bigint): boolean => canonical(translated(vaddr), levels) === vaddr

const tables = new Map(map.tables.map((table) => [`${table.level}:${table.pfn}`, table]))
/** Returns a table, if it is embedded in the page. */
export const tableAt = (level: number, pfn: number | null): TableMap | undefined => tables.get(`${level}:${pfn}`)
/** The table that cr3 names. */
export const root = tableAt(levels, top)

/** Returns an entry of a run: the run's first one, or one that follows it. */
export function entryAt(table: TableMap, run: EntryRun, index: number, base: bigint): Entry {
  const further = (index - run.index) * run.step
  return {
    table,
    run,
    index,
    value: BigInt(run.entry) + BigInt(further) * PAGE,
    pfn: run.pfn === null ? null : run.pfn + further,
    vaddr: canonical(base + BigInt(index) * bytesAt(table.level), levels),
  }
}

/** The entries on the way from cr3, and whether the last one maps the address. */
interface Walk {
  readonly steps: readonly Entry[]
  readonly end: 'mapped' | 'absent' | 'unknown'
  readonly paddr?: bigint
}

/** Translates an address as the processor does, as far as the embedded tables lead. */
export function walk(vaddr: bigint): Walk {
  const steps: Entry[] = []
  const low = translated(vaddr)
  let table = root
  let base = 0n
  while (table) {
    const size = bytesAt(table.level)
    const index = Number((low / size) % BigInt(PT_ENTRIES))
    const run = table.runs.find((run) => index >= run.index && index < run.index + run.count)
    if (!run) return { steps, end: 'absent' }
    const entry = entryAt(table, run, index, base)
    steps.push(entry)
    if (run.leads === 'absent' || run.leads === 'foreign' || entry.pfn === null) return { steps, end: 'absent' }
    if (run.leads === 'page') {
      const frame = (BigInt(entry.pfn) * PAGE) & ~(size - 1n)
      return { steps, end: 'mapped', paddr: frame + (low & (size - 1n)) }
    }
    base += BigInt(index) * size
    table = tableAt(table.level - 1, entry.pfn)
  }
  return { steps, end: 'unknown' }
}
