/**
 * The map that the page contains, and the names of its frames.
 *
 * Source: ../map-html.ts, which writes the data into the page.
 * Gotcha: the lists may be shorter than the guest's: `map.bounds` says so.
 */
import { lazy } from '../../lazy.js'
import { showSymbol } from '../../symbols/symbol-table.js'
import { hex, PAGE_SIZE } from '../../units.js'
import { addressDigits } from '../map-addresses.js'
import type { GuestMap } from '../map-model.js'
import { type PageSymbols, readPageSymbols, symbolNear } from '../map-symbols.js'
import { find } from './dom.js'

/** The map, its symbols, and the names of an entry's bits, highest first: `[low bit, how many, name, meaning]`. */
export interface PageData {
  readonly map: GuestMap
  readonly symbols: PageSymbols
  readonly bits: readonly (readonly [number, number, string, string])[]
}

const data = JSON.parse(find('data').textContent) as PageData
export const { map, bits } = data

/** The symbols that the page has. */
export const symbols = lazy(() => readPageSymbols(data.symbols))

const digits = addressDigits(map)

export const PAGE = BigInt(PAGE_SIZE)

/** Returns a virtual address in as many digits as the guest's addresses have. */
export const showVaddr = (vaddr: bigint): string => hex(vaddr, digits.virtual)

/** Returns a physical address in as many digits as the guest's addresses have. */
export const showPaddr = (paddr: bigint): string => hex(paddr, digits.physical)

/** Returns the symbol of a virtual address in brackets, after a space; nothing where the page has none. */
export function symbolAt(vaddr: bigint): string {
  const near = symbolNear(symbols(), vaddr)
  return near === undefined ? '' : ` (${showSymbol(near)})`
}

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
