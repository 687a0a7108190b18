/**
 * Searching and merging runs, compared with the plain way to do it.
 *
 * Source: lib/guest/runs.ts.
 * Gotcha: a search gives the length of the list, not -1, where every element ends too early.
 */
import fc from 'fast-check'
import t from 'tap'
import {
  addPages,
  addRange,
  countUpTo,
  type Growing,
  type Run,
  rangeEndingAfter,
  runBefore,
  runEndingAfter,
  runOf,
} from '../../lib/guest/runs.js'

/** Sorted, disjoint ranges: pairs of a gap and a length. */
const ranges = fc.array(fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 4 })), { maxLength: 40 }).map((pairs) => {
  let end = 0
  return pairs.map(([gap, length]) => {
    const start = end + gap
    end = start + length
    return { start, end }
  })
})
const firstIndex = <T>(list: readonly T[], holds: (element: T) => boolean): number => {
  const index = list.findIndex(holds)
  return index < 0 ? list.length : index
}

t.test('a search finds what a look at every element finds', async (t) => {
  fc.assert(
    fc.property(ranges, fc.integer({ min: -1, max: 300 }), (list, at) => {
      const expected = firstIndex(list, ({ end }) => end > at)
      const starts = Float64Array.from(list, ({ start }) => start)
      return (
        rangeEndingAfter(list, at) === expected &&
        runEndingAfter(list.map(runOf), at) === expected &&
        countUpTo(starts, at) === list.filter(({ start }) => start <= at).length
      )
    }),
  )
  t.equal(rangeEndingAfter([], 0), 0)
})

t.test('added pages and ranges cover the same frames, and no two of them touch', async () => {
  fc.assert(
    fc.property(ranges, fc.nat(3), (list, gap) => {
      const runs: Growing<Run>[] = []
      const merged: { start: number; end: number }[] = []
      const joined: { start: number; end: number }[] = []
      for (const { start, end } of list) {
        addPages(runs, start, end - start)
        addRange(merged, start, end)
        addRange(joined, start, end, gap)
      }
      const frames = (of: readonly Run[]) =>
        of.flatMap(({ pfn, pages }) => Array.from({ length: pages }, (_, i) => pfn + i)).join()
      const apart = (of: readonly { start: number; end: number }[], least: number) =>
        of.every(({ start }, i) => i === 0 || start - (of[i - 1]?.end ?? 0) > least)
      return (
        frames(runs) === frames(list.map(runOf)) &&
        frames(merged.map(runOf)) === frames(runs) &&
        apart(merged, 0) &&
        apart(joined, gap)
      )
    }),
  )
})

t.test('ranges that overlap become one; only the frame right after a run continues it', async (t) => {
  const list: { start: number; end: number }[] = []
  for (const [start, end] of [
    [1, 9],
    [2, 3],
    [9, 10],
  ] as const)
    addRange(list, start, end)
  t.same(list, [{ start: 1, end: 10 }])
  const runs = [{ pfn: 4, pages: 2 }]
  t.equal(runBefore(runs, 6), runs[0])
  for (const pfn of [5, 7]) t.equal(runBefore(runs, pfn), undefined)
  t.equal(runBefore([], 0), undefined)
})
