/**
 * dataRuns: the pages of a guest whose content matters, which every format must carry.
 *
 * Source: our own rule. Xen gives a restored guest arbitrary bytes in a page without data (a DEBUG Xen: 0xc2). So every
 * placed page is data, and so is the zeroed rest of the layout's regions: bss, rings.
 * Gotcha: zero is data too. Only pages that no code can rely on are omitted: free memory, the pad, the unwritten boot
 * stack.
 */
import type { Domain } from '../guest/domain.js'
import type { Run } from '../guest/runs.js'
import { PAGE_SIZE, type Pfn, paddrOf } from '../units.js'
import { flowing, type Part } from './snapshot-file.js'

/** Regions that are memory kept free for the guest to use. */
const UNWRITTEN = ['pad', 'boot_stack']

/** Returns the runs of data pages: sorted, disjoint, each as long as possible. */
export function dataRuns(domain: Domain): Run[] {
  const named = domain.regions.filter(({ name, pages }) => pages > 0 && !UNWRITTEN.includes(name))
  const all = [...domain.memory.pages(), ...named.map(({ pfn, pages }) => ({ pfn, pages }))]
  all.sort((a, b) => a.pfn - b.pfn)
  const runs: { pfn: Pfn; pages: number }[] = []
  let last: { pfn: Pfn; pages: number } | undefined
  for (const { pfn, pages } of all) {
    if (last && pfn <= last.pfn + last.pages) {
      last.pages = Math.max(last.pages, pfn + pages - last.pfn)
    } else {
      last = { pfn, pages }
      runs.push(last)
    }
  }
  return runs
}

/** Returns the size of the pages of runs, in bytes. */
export const bytesOf = (runs: readonly Run[]): number => runs.reduce((sum, { pages }) => sum + pages * PAGE_SIZE, 0)

/** Returns the memory of the runs, in order. */
export const pageContents = ({ memory }: Domain, runs: readonly Run[]): Part =>
  flowing(bytesOf(runs), function* () {
    for (const { pfn, pages } of runs) yield* memory.parts(paddrOf(pfn), pages * PAGE_SIZE)
  })
