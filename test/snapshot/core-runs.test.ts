/**
 * The runs of mappings that a core has: merged, bounded, and only of frames that the guest has.
 *
 * Source: lib/snapshot/core-runs.ts.
 * Gotcha: a table may map a frame that the guest does not have, and the walk goes on after it.
 */
import t from 'tap'
import { PAGE_SIZE } from '../../lib/index.js'
import { coreRuns } from '../../lib/snapshot/core-runs.js'
import { pagedGuest } from '../fixtures/paged-guest.js'

const BASE = 0xffff800000000000n
const at = (page: number) => BASE + BigInt(page * PAGE_SIZE)

t.test('runs of addresses', async (t) => {
  const guest = pagedGuest(
    16,
    new Map([
      [at(0), 4],
      [at(1), 5],
      [at(2), 9],
      [at(3), 5000],
      [at(4), 10],
    ]),
  )
  const p2m = { ...guest.p2m, pfn: (mfn: number) => (mfn === 5000 ? undefined : mfn) }
  const runs = [
    { vaddr: at(0), pfn: 4, pages: 2 },
    { vaddr: at(2), pfn: 9, pages: 1 },
    { vaddr: at(4), pfn: 10, pages: 1 },
  ]
  t.same(coreRuns({ ...guest, p2m }, 10), runs)
  t.same(coreRuns({ ...guest, p2m }, 2), runs.slice(0, 2))
  t.same(coreRuns({ ...guest, vcpus: [] }, 10), [], 'without paging')
})
