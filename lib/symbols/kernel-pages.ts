/**
 * kernelPages: the pages of a guest that its page tables map for the kernel.
 *
 * Source: Linux Documentation/arch/x86/x86_64/mm.rst for the place of the image; Intel SDM vol. 3, 4.4 and 4.5.
 * Gotcha: tables may map one page any number of times, so the number of pages is bounded.
 */
import { KERNEL_HALF_32, KERNEL_IMAGE_64 } from '../abi/linux-memory.js'
import { levelShift } from '../abi/x86.js'
import type { Domain } from '../guest/domain.js'
import { type Run, runEndingAfter } from '../guest/runs.js'
import { entryPfn, entryVaddr, type TablePage, walkPageTables, walkTables, walkTo } from '../guest/table-reader.js'
import { hasPageTables, isLarge, isPresent, pagingLevels } from '../guest/translate.js'
import { type Pfn, paddrOf, type Vaddr } from '../units.js'

/** Consecutive virtual pages with content, mapped to consecutive frames. */
export interface Mapped {
  readonly vaddr: Vaddr
  readonly pfn: Pfn
  readonly pages: number
}

/**
 * Yields the pages with content that the kernel's part of vcpu 0's tables maps, in order of address. In 64-bit mode that
 * is the image alone. Yields none where paging is off, or the tables cannot be walked.
 */
export function* kernelPages(domain: Domain): Iterable<Mapped> {
  if (!hasPageTables(domain)) return
  const content = [...domain.memory.pages()]
  // Pages may be mapped any number of times. As many as there are in all are enough.
  let room = content.reduce((sum, { pages }) => sum + pages, 0)
  for (const { table, start } of kernelTablePages(domain)) {
    for (const [index, entry] of table.entries.entries()) {
      if (!isPresent(domain, entry, table.level)) continue
      if (table.level !== 1 && !isLarge(domain, entry, table.level)) continue
      const first = entryPfn(domain, entry, table.level)
      if (first === undefined) continue
      const vaddr = start + entryVaddr(domain, table, index)
      const end = first + 2 ** (levelShift(table.level) - levelShift(1))
      for (let i = runEndingAfter(content, first); i < content.length; i++) {
        const run = content[i] as Run
        const [from, to] = [Math.max(run.pfn, first), Math.min(run.pfn + run.pages, end)]
        if (from >= to) break
        if (room < to - from) return
        room -= to - from
        yield { vaddr: vaddr + BigInt(paddrOf(from - first)), pfn: from, pages: to - from }
      }
    }
  }
}

/** Yields the tables of the kernel's part, and the address that each counts from. */
function* kernelTablePages(domain: Domain): Iterable<{ table: TablePage; start: Vaddr }> {
  if (pagingLevels(domain) !== 4) {
    for (const table of walkPageTables(domain)) if (table.vaddr >= KERNEL_HALF_32) yield { table, start: 0n }
    return
  }
  for (const { table } of walkTo(domain, KERNEL_IMAGE_64.start)) {
    if (table.level !== 2) continue
    for (const below of walkTables(domain, { pfn: table.pfn, level: 2 })) {
      yield { table: below, start: KERNEL_IMAGE_64.start }
    }
  }
}
