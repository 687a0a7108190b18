/**
 * map: the layout of a guest, physical beside virtual, out of its own page tables.
 *
 * Source: ../guest/table-reader.ts; xen/include/public/xen.h, "Start-of-day memory layout".
 * Gotcha: the virtual side is read back from the tables, never from the regions: what is shown is what the guest sees.
 */
import { PTE_PRESENT, PTE_RW } from '../abi/x86.js'
import type { Domain } from '../guest/domain.js'
import { entryPfn, entryVaddr, walkPageTables } from '../guest/table-reader.js'
import { translate } from '../guest/translate.js'
import { hex, PAGE_SIZE, type Pfn, showSize, type Vaddr } from '../units.js'
import { explainEntry, explainStartInfo, regionAt } from './explain.js'
import type { Json } from './json.js'
import { table } from './table.js'

/** Virtual pages that lead to frames that follow one another, of one region, with the same access. */
export interface MappedRun {
  readonly vaddr: Vaddr
  readonly pages: number
  readonly pfn: Pfn
  readonly writable: boolean
  /** Name of the region, or `free`. */
  readonly region: string
}

/** The virtual address space of a guest, in order of address. */
export function mappedRuns(domain: Domain): MappedRun[] {
  const runs: MappedRun[] = []
  for (const page of walkPageTables(domain)) {
    if (page.level !== 1) continue
    page.entries.forEach((entry, index) => {
      if (!(entry & BigInt(PTE_PRESENT))) return
      const pfn = entryPfn(domain, entry)
      if (pfn === undefined) return
      const vaddr = entryVaddr(domain, page, index)
      const writable = (entry & BigInt(PTE_RW)) !== 0n
      const region = regionAt(domain, pfn)?.name ?? 'free'
      const last = runs.at(-1)
      const follows =
        last?.region === region &&
        last.writable === writable &&
        last.pfn + last.pages === pfn &&
        last.vaddr + BigInt(last.pages * PAGE_SIZE) === vaddr
      if (last && follows) runs[runs.length - 1] = { ...last, pages: last.pages + 1 }
      else runs.push({ vaddr, pages: 1, pfn, writable, region })
    })
  }
  return runs
}

/** The layout as JSON. */
export function describeMap(domain: Domain): { readonly [key: string]: Json } {
  return {
    physical: domain.regions.map(({ name, pfn, pages }) => ({ name, pfn, pages })),
    virtual: mappedRuns(domain).map((run) => ({ ...run, vaddr: hex(run.vaddr) })),
    tables: [...walkPageTables(domain)].map((page) => ({
      level: page.level,
      pfn: page.pfn,
      vaddr: hex(page.vaddr),
      present: page.entries.reduce((sum, entry) => sum + Number(entry & 1n), 0),
    })),
    startInfo: explainStartInfo(domain).map(({ bytes, ...rest }) => ({
      ...rest,
      bytes: Buffer.from(bytes).toString('hex'),
    })),
  }
}

/** The layout for people. */
export function mapText(domain: Domain): string[] {
  const digits = domain.abi === 'x86_64' ? 16 : 8
  const physical = domain.regions.map(({ name, pfn, pages }) => [
    hex(pfn * PAGE_SIZE, 9),
    hex((pfn + pages) * PAGE_SIZE, 9),
    showSize(pages * PAGE_SIZE),
    name,
  ])
  const end = domain.regions.reduce((last, { pfn, pages }) => Math.max(last, pfn + pages), 0)
  const { endPfn } = domain.memory
  if (end < endPfn) {
    physical.push([hex(end * PAGE_SIZE, 9), hex(endPfn * PAGE_SIZE, 9), showSize((endPfn - end) * PAGE_SIZE), 'free'])
  }
  const virtual = mappedRuns(domain).map((run) => [
    hex(run.vaddr, digits),
    hex(run.pfn * PAGE_SIZE, 9),
    showSize(run.pages * PAGE_SIZE),
    run.writable ? 'rw' : 'r-',
    run.region,
  ])
  const tables = [...walkPageTables(domain)]
  const levels = [4, 3, 2, 1]
    .map((level) => ({ level, count: tables.filter((page) => page.level === level).length }))
    .filter(({ count }) => count > 0)
  const origins = explainStartInfo(domain).filter(({ field }) => !field.startsWith('('))
  return [
    'physical memory',
    ...table(['start', 'end', '>size', 'region'], physical),
    '',
    'virtual memory, as the page tables have it',
    ...table(['vaddr', 'paddr', '>size', 'access', 'region'], virtual),
    '',
    `page tables  ${levels.map(({ level, count }) => `${count} L${level}`).join(', ')}; top at pfn ${hex(tables[0]?.pfn ?? 0)}`,
    '',
    'start_info, field by field',
    ...table(
      ['>offset', '>bytes', 'field', 'from'],
      origins.map(({ offset, length, field, from }) => [hex(offset, 3), String(length), field, from]),
    ),
  ]
}

/** The walk of one virtual address, each entry explained. */
export function walkText(domain: Domain, vaddr: Vaddr): string[] {
  const bits = domain.abi === 'x86_64' ? 48 : 32
  const found = translate(domain, vaddr)
  const lines = [`cr3 ${hex(domain.vcpus[0]?.cr3 ?? 0n)}`]
  for (const page of walkPageTables(domain)) {
    const shift = 12n + 9n * BigInt(page.level - 1)
    const from = BigInt.asUintN(bits, vaddr) - BigInt.asUintN(bits, page.vaddr)
    if (from < 0n || from >= 512n << shift) continue
    lines.push(explainEntry(domain, page, Number(from >> shift)))
  }
  return [...lines, found ? `physical ${hex(found.paddr)}, machine frame ${hex(found.mfn)}` : 'not mapped']
}
