/**
 * The map that the page contains, and the names of its frames.
 *
 * Source: ../map-html.ts, which writes the data into the page.
 * Gotcha: the lists may be shorter than the guest's: `map.bounds` says so.
 */
import { hex, PAGE_SIZE } from '../../units.js'
import type { GuestMap } from '../map-model.js'
import { find } from './dom.js'

/** The map, and the names of an entry's bits, highest first: `[low bit, how many, name, meaning]`. */
export interface PageData {
  readonly map: GuestMap
  readonly bits: readonly (readonly [number, number, string, string])[]
}

export const { map, bits } = JSON.parse(find('data').textContent) as PageData

export const PAGE = BigInt(PAGE_SIZE)

/** Returns a virtual address in as many digits as the guest's addresses have. */
export const showVaddr = (vaddr: bigint): string => hex(vaddr, map.paging.levels === 4 ? 16 : 8)

/** Returns the range of physical memory that a frame lies in. */
export const rangeAt = (pfn: number) => map.physical.find((range) => pfn >= range.pfn && pfn < range.pfn + range.pages)

/** Returns a frame's range and its place there. */
export function frameName(pfn: number): string {
  const range = rangeAt(pfn)
  if (!range) {
    const { found, listed } = map.bounds.physical
    return found > listed ? 'a range not listed here' : "outside the guest's memory"
  }
  return pfn === range.pfn ? range.name : `${range.name}+${hex(pfn - range.pfn)}`
}
