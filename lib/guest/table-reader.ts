/**
 * walkPageTables: yields every page table that cr3 leads to, with its entries. Works on any guest with paging on.
 *
 * Source: Intel SDM vol. 3, 4.4 and 4.5.
 * Gotcha: a naive walk of damaged tables may never end: several paths may lead to a table, even at several levels. It
 * is yielded once for each level, with the first path that leads there.
 */
import { levelShift, PT_ENTRIES, X86_32_VADDR_BITS, X86_64_VADDR_BITS } from '../abi/x86.js'
import { type Pfn, paddrOf, type Vaddr } from '../units.js'
import type { Domain } from './domain.js'
import { entryMfn, isLarge, isPresent, pagingLevels, topEntry, topTable, type WalkStep } from './translate.js'

/** A page table of the guest. */
export interface TablePage {
  /** Frame of the table, as the guest counts them. */
  readonly pfn: Pfn
  /** 1 maps pages, 4 (or 3, PAE) is the top. */
  readonly level: number
  /** The virtual address that entry 0 translates. */
  readonly vaddr: Vaddr
  /** Steps from cr3 to the entry that names this table; none for the top. */
  readonly path: readonly WalkStep[]
  /** Its 512 entries. */
  readonly entries: BigUint64Array
}

/** A table to start from. */
export type TableRoot = Pick<TablePage, 'pfn' | 'level'>

/**
 * The guest frame that an entry of a table of that level names; of a large page, the first one. Undefined for a frame
 * that is not the guest's.
 */
export function entryPfn(domain: Domain, entry: bigint, level: number): Pfn | undefined {
  const pfn = domain.p2m.pfn(entryMfn(domain, entry, level))
  return pfn !== undefined && domain.memory.has(pfn) ? pfn : undefined
}

/**
 * Yields every table from cr3 down, top first, in order of address; none if paging is off.
 * @throws DomainBuilderError `not-mapped` if cr3 names no frame of the guest.
 */
export function walkPageTables(domain: Domain): Iterable<TablePage> {
  const level = pagingLevels(domain)
  return level === 0 ? [] : walkTables(domain, { pfn: topTable(domain), level })
}

/** Yields a table and every table that it leads to, like walkPageTables. Addresses count from its first entry. */
export function* walkTables(domain: Domain, root: TableRoot): Iterable<TablePage> {
  const levels = pagingLevels(domain)
  const first = topEntry(domain)
  const seen = new Set<string>()
  const stack: Omit<TablePage, 'entries'>[] = [{ ...root, vaddr: 0n, path: [] }]
  for (let table = stack.pop(); table; table = stack.pop()) {
    const key = `${table.pfn}:${table.level}`
    if (seen.has(key)) continue
    seen.add(key)
    const entries = readTable(domain, table.pfn, table.level === levels ? first : 0)
    yield { ...table, vaddr: canonical(table.vaddr, levels), entries }
    if (table.level === 1) continue
    // Last first, so that the stack returns them in order.
    const count = levels === 3 && table.level === 3 ? 4 : PT_ENTRIES
    for (let index = count - 1; index >= 0; index--) {
      const entry = entries[index] as bigint
      if (!isPresent(domain, entry, table.level) || isLarge(domain, entry, table.level)) continue
      const pfn = entryPfn(domain, entry, table.level)
      if (pfn === undefined) continue
      stack.push({
        pfn,
        level: table.level - 1,
        vaddr: table.vaddr + (BigInt(index) << BigInt(levelShift(table.level))),
        path: [...table.path, { level: table.level, pfn: table.pfn, index, entry }],
      })
    }
  }
}

/**
 * Yields the tables on the path of one virtual address, top first, each with the index of the entry it uses. The last
 * entry maps a page or leads nowhere. Yields none if paging is off or the address is not canonical.
 * @throws DomainBuilderError `not-mapped` if cr3 names no frame of the guest.
 */
export function* walkTo(domain: Domain, vaddr: Vaddr): Iterable<{ table: TablePage; index: number }> {
  const levels = pagingLevels(domain)
  const bits = levels === 4 ? X86_64_VADDR_BITS : X86_32_VADDR_BITS
  const address = BigInt.asUintN(bits, vaddr)
  if (levels === 0 || canonical(address, levels) !== vaddr) return
  const path: WalkStep[] = []
  let pfn: Pfn | undefined = topTable(domain)
  for (let level: number = levels; pfn !== undefined && level >= 1; level--) {
    const index = Number((address >> BigInt(levelShift(level))) & BigInt(PT_ENTRIES - 1))
    const entries = readTable(domain, pfn, level === levels ? topEntry(domain) : 0)
    const start = canonical(address - BigInt.asUintN(levelShift(level + 1), address), levels)
    yield { table: { pfn, level, vaddr: start, path: [...path], entries }, index }
    const entry = entries[index] as bigint
    path.push({ level, pfn, index, entry })
    const goesOn = isPresent(domain, entry, level) && !isLarge(domain, entry, level)
    pfn = goesOn ? entryPfn(domain, entry, level) : undefined
  }
}

/** The virtual address that an entry translates. */
export function entryVaddr(domain: Domain, table: TablePage, index: number): Vaddr {
  return canonical(table.vaddr + (BigInt(index) << BigInt(levelShift(table.level))), pagingLevels(domain))
}

/** The address of all 64 bits that the translated ones stand for. */
export const canonical = (vaddr: bigint, levels: number): Vaddr =>
  levels === 4 ? BigInt.asUintN(64, BigInt.asIntN(X86_64_VADDR_BITS, vaddr)) : vaddr

/** @param first the index in the page at which the table begins; what would lie after the page is zero. */
function readTable(domain: Domain, pfn: Pfn, first: number): BigUint64Array {
  const page = new BigUint64Array(PT_ENTRIES)
  domain.memory.readInto(paddrOf(pfn), new Uint8Array(page.buffer))
  return first === 0 ? page : page.copyWithin(0, first).fill(0n, PT_ENTRIES - first)
}
