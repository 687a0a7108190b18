/**
 * locator: the region, the virtual addresses and the symbol of a physical address, for many addresses of one guest.
 *
 * Source: mapped-runs.ts; H. Edelsbrunner's interval tree, here as a sorted list with the highest end of each half.
 * Gotcha: a guest may map one page a million times. Only a few of its addresses are listed.
 */

import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import type { NearSymbol, SymbolTable } from '../symbols/symbol-table.js'
import { PAGE_SIZE, type Paddr, type Pfn, paddrOf, pfnOf, type Vaddr } from '../units.js'
import { regionAt } from './frames.js'
import { type MappedRun, mappedRuns } from './mapped-runs.js'

/** The surroundings of a physical address. */
export interface Location {
  /** The region that it lies in, if any, and the distance from the region's first byte. */
  readonly region?: { readonly name: string; readonly offset: number }
  /** Virtual addresses that lead to it by the guest's page tables, in order; at most 8. */
  readonly vaddrs: readonly Vaddr[]
  /** The symbol at one of them. */
  readonly symbol?: NearSymbol & { readonly vaddr: Vaddr }
}

/** The most virtual addresses of a location. */
const MAPPINGS_MAX = 8

/** The most bytes after the start of a symbol without a size: a name that is further away says nothing. */
const SYMBOL_REACH = 2n ** 20n

/**
 * Returns a function that says where physical addresses of a guest lie. The page tables are read once, at the first call.
 * @param symbols the names of the kernel's addresses, if they are known.
 *
 * @example
 * ```ts
 * const where = locator(guest)
 * console.log(where(0x1000000).region?.name) // kernel
 * ```
 */
export function locator(domain: Domain, symbols?: SymbolTable): (paddr: Paddr) => Location {
  let mapped: MappedFrames | undefined
  return (paddr) => {
    const region = regionAt(domain, pfnOf(paddr))
    mapped ??= new MappedFrames(knownRuns(domain))
    const offset = BigInt(paddr % PAGE_SIZE)
    const vaddrs = mapped.at(pfnOf(paddr)).map((vaddr) => vaddr + offset)
    const symbol = symbols && nearest(symbols, vaddrs)
    return {
      ...(region && { region: { name: region.name, offset: paddr - paddrOf(region.pfn) } }),
      vaddrs,
      ...(symbol && { symbol }),
    }
  }
}

/** The runs of a guest; none where its page tables cannot be read. */
function knownRuns(domain: Domain): readonly MappedRun[] {
  try {
    return mappedRuns(domain)
  } catch (error) {
    if (error instanceof DomainBuilderError && error.code === 'not-mapped') return []
    throw error
  }
}

function nearest(symbols: SymbolTable, vaddrs: readonly Vaddr[]): Location['symbol'] {
  for (const vaddr of vaddrs) {
    const near = symbols.near(vaddr)
    if (near !== undefined && near.offset < SYMBOL_REACH) return { ...near, vaddr }
  }
  return undefined
}

/** The runs that map each frame. */
class MappedFrames {
  /** By first frame. */
  readonly #runs: readonly MappedRun[]
  /** For the middle of each half of the list, the highest end of its frames. */
  readonly #ends: Float64Array

  constructor(runs: readonly MappedRun[]) {
    this.#runs = [...runs].sort((a, b) => a.pfn - b.pfn)
    this.#ends = new Float64Array(runs.length)
    this.#measure(0, runs.length)
  }

  #measure(low: number, high: number): Pfn {
    if (low >= high) return 0
    const middle = (low + high) >>> 1
    const { pfn, pages } = this.#runs[middle] as MappedRun
    const end = Math.max(pfn + pages, this.#measure(low, middle), this.#measure(middle + 1, high))
    this.#ends[middle] = end
    return end
  }

  /** Returns the virtual addresses of a frame, in order. */
  at(frame: Pfn): Vaddr[] {
    const found: Vaddr[] = []
    const visit = (low: number, high: number): void => {
      const middle = (low + high) >>> 1
      if (low >= high || (this.#ends[middle] as number) <= frame || found.length === MAPPINGS_MAX) return
      visit(low, middle)
      const { pfn, pages, vaddr } = this.#runs[middle] as MappedRun
      if (pfn > frame) return
      if (frame < pfn + pages && found.length < MAPPINGS_MAX)
        found.push(vaddr + BigInt(frame - pfn) * BigInt(PAGE_SIZE))
      visit(middle + 1, high)
    }
    visit(0, this.#runs.length)
    return found.sort((a, b) => (a < b ? -1 : 1))
  }
}
