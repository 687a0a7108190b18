/**
 * Runs of consecutive pages and ranges of addresses in sorted lists: how one is found, and how a list grows.
 *
 * Source: our own. Every list is sorted and disjoint, so a search is binary: a guest may have 100,000 runs.
 * Gotcha: a search may run for each page. So ranges and runs have a loop each, because a call for each step takes twice
 * as long where it is not inlined; and a key of another kind is a function that exists already.
 */
import type { Pfn, Range } from '../units.js'

/** Consecutive pages. */
export interface Run {
  /** The first frame. */
  readonly pfn: Pfn
  /** The number of pages, each 4096 bytes. */
  readonly pages: number
}

/** A run in a list that is being made: the last one may grow. */
export type Growing<R extends Run> = R & { pages: number }

/** The index of the first element whose key is above `value`, or `count`. Keys never decrease. */
export function firstAbove<L>(
  list: L,
  count: number,
  keyAt: (list: L, index: number) => number,
  value: number,
): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >>> 1
    if (keyAt(list, middle) > value) high = middle
    else low = middle + 1
  }
  return low
}

const numberAt = (list: ArrayLike<number>, i: number): number => list[i] as number

/** The number of elements that are at most `value`. */
export const countUpTo = (sorted: ArrayLike<number>, value: number): number =>
  firstAbove(sorted, sorted.length, numberAt, value)

/** The index of the first range that ends after `at`. */
export function rangeEndingAfter(ranges: readonly Range<number>[], at: number): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((ranges[middle] as Range<number>).end > at) high = middle
    else low = middle + 1
  }
  return low
}

/** The index of the first run that ends after a frame. */
export function runEndingAfter(runs: readonly Run[], pfn: Pfn): number {
  let low = 0
  let high = runs.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const run = runs[middle] as Run
    if (run.pfn + run.pages > pfn) high = middle
    else low = middle + 1
  }
  return low
}

/** The last run, if `pfn` is the frame right after it. */
export function runBefore<R extends Run>(runs: readonly R[], pfn: Pfn): R | undefined {
  const last = runs.at(-1)
  return last !== undefined && last.pfn + last.pages === pfn ? last : undefined
}

/** Adds pages to a list: to its last run, if they are right after it. */
export function addPages(runs: Growing<Run>[], pfn: Pfn, pages: number): void {
  const last = runBefore(runs, pfn)
  if (last) last.pages += pages
  else runs.push({ pfn, pages })
}

/** Adds a range to a list, in order of `start`: to its last range, if at most `gap` lies between them. */
export function addRange(ranges: { start: number; end: number }[], start: number, end: number, gap = 0): void {
  const last = ranges.at(-1)
  if (last !== undefined && start <= last.end + gap) last.end = Math.max(last.end, end)
  else ranges.push({ start, end })
}

/** The pages of a range of frames. */
export const runOf = ({ start, end }: Range<Pfn>): Run => ({ pfn: start, pages: end - start })
