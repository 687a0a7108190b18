/**
 * The mappings of a guest's pages, as runs of virtual addresses that lead to consecutive frames.
 *
 * Source: Intel SDM vol. 3, 4.4 and 4.5, by ../guest/table-reader.ts.
 * Gotcha: a running kernel maps most frames twice, linearly and as its own image; both are given.
 */
import { PT_ENTRIES, PTE_PRESENT } from '../abi/x86.js'
import type { Domain } from '../guest/domain.js'
import { type Growing, type Run, runBefore } from '../guest/runs.js'
import { entryVaddr, walkPageTables } from '../guest/table-reader.js'
import { entryMfn, hasPageTables, isLarge } from '../guest/translate.js'
import { PAGE_SIZE, type Vaddr } from '../units.js'

interface CoreRun extends Run {
  readonly vaddr: Vaddr
}

/**
 * Returns the runs in order of address; no runs where paging is off, or the tables are invalid. At most `limit` of
 * them, as many as a core has room for.
 */
export function coreRuns(domain: Domain, limit: number): CoreRun[] {
  const runs: Growing<CoreRun>[] = []
  if (!hasPageTables(domain)) return runs
  for (const table of walkPageTables(domain)) {
    for (let index = 0; index < table.entries.length; index++) {
      const entry = table.entries[index] as bigint
      if (!(entry & BigInt(PTE_PRESENT))) continue
      if (table.level !== 1 && !isLarge(domain, entry, table.level)) continue
      const first = domain.p2m.pfn(entryMfn(domain, entry, table.level))
      if (first === undefined) continue
      // A large page may reach past the guest's memory, or over a hole in it.
      for (const { start, end } of domain.memory.within(first, PT_ENTRIES ** (table.level - 1))) {
        const vaddr = entryVaddr(domain, table, index) + BigInt((start - first) * PAGE_SIZE)
        const last = runBefore(runs, start)
        if (last && last.vaddr + BigInt(last.pages * PAGE_SIZE) === vaddr) {
          last.pages += end - start
          continue
        }
        if (runs.length === limit) return runs
        runs.push({ vaddr, pfn: start, pages: end - start })
      }
    }
  }
  return runs
}
