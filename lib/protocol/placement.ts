/**
 * Placement: the places of all parts in a guest's RAM. No two parts overlap, and every refusal gives the size wanted
 * and the room available.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "Memory Layout" (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: the memory that a kernel needs at run time (init_size) is placed like its code. Otherwise a kernel can
 * decompress itself over its ramdisk, as once in hyperkit and other VMMs.
 */

import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { type MemoryMap, without } from '../guest/memory-map.js'
import type { Region } from '../guest/region.js'
import { largest } from '../lists.js'
import { logLayout } from '../log.js'
import {
  alignDown,
  alignUp,
  hex,
  overlaps,
  PAGE_SIZE,
  type Paddr,
  pagesFor,
  pfnOf,
  type Range,
  showRange,
  showRanges,
  showSize,
} from '../units.js'

/** The range where a part may go, and the end to search from. */
export interface Where {
  readonly within: Range<Paddr>
  readonly align: number
  readonly from: 'bottom' | 'top'
}

interface Placed extends Range<Paddr> {
  readonly name: string
  readonly bytes: number
}

export class Placement {
  readonly map: MemoryMap
  /** The range where everything has to go, if that is not all of the memory. */
  readonly within: Range<Paddr> | undefined
  readonly #placed: Placed[] = []
  /** The RAM that is neither reserved nor used, in order. */
  #unused: readonly Range<Paddr>[]

  constructor(map: MemoryMap, within?: Range<Paddr>) {
    this.map = map
    this.within = within
    this.#unused = map.free
  }

  /** One past the last byte of anything placed. */
  get end(): Paddr {
    return this.#placed.reduce((end, range) => Math.max(end, range.end), 0)
  }

  /** Returns the placed parts in order, in whole pages; if `mapped`, with virtual addresses equal to physical ones. */
  regions(mapped: boolean): Region[] {
    return this.#placed.map(({ name, start, end, bytes }) =>
      defined({
        name,
        pfn: pfnOf(start),
        pages: (end - start) / PAGE_SIZE,
        vaddr: mapped ? BigInt(start) : undefined,
        bytes: bytes === end - start ? undefined : bytes,
      }),
    )
  }

  /**
   * Places a part at exactly `start`, a multiple of the page size.
   * @throws DomainBuilderError `memory-too-small`, `does-not-fit` or `overlap`, with both ranges.
   */
  at(name: string, start: Paddr, bytes: number): Paddr {
    const range = { start, end: start + pagesFor(bytes) * PAGE_SIZE }
    if (start % PAGE_SIZE !== 0) {
      throw new DomainBuilderError('does-not-fit', `the address of the ${name} is not page-aligned`, {
        expected: `a multiple of ${hex(PAGE_SIZE)}`,
        found: hex(start),
      })
    }
    this.#requirePlace(name, range)
    const reserved = this.map.reserved.map((r) => ({ ...r, name: 'reserved range' }))
    const other = [...this.#placed, ...reserved].find((taken) => overlaps(range, taken))
    if (other) {
      throw new DomainBuilderError('overlap', `the ${name} overlaps the ${other.name}`, {
        expected: `none of ${showRange(other)}`,
        found: showRange(range),
      })
    }
    return this.#put(name, range, bytes)
  }

  /**
   * Keeps everything else out of a range that the guest will use once it runs: all of it that is still empty, reserved
   * or not.
   * @throws DomainBuilderError `memory-too-small` or `does-not-fit` where it is not all RAM.
   */
  keep(name: string, range: Range<Paddr>): void {
    const pages = { start: alignDown(range.start, PAGE_SIZE), end: alignUp(range.end, PAGE_SIZE) }
    this.#requirePlace(name, pages)
    const taken = [...this.#placed].sort((a, b) => a.start - b.start)
    for (const piece of without(pages, taken)) this.#put(name, piece, piece.end - piece.start)
  }

  /**
   * Places a part in the first piece of free memory that is large enough, from either end.
   * @throws DomainBuilderError `does-not-fit` with the size wanted and the largest free size.
   */
  somewhere(name: string, bytes: number, where: Where): Paddr {
    const start = this.room(name, bytes, where)
    return this.#put(name, { start, end: start + pagesFor(bytes) * PAGE_SIZE }, bytes)
  }

  /** Returns the address that somewhere() would choose. @throws DomainBuilderError as somewhere() does. */
  room(name: string, bytes: number, where: Where): Paddr {
    const found = this.find(bytes, where)
    if (found !== undefined) return found
    const sizes = this.#free(where.within).map(({ start, end }) => end - alignUp(start, where.align))
    throw new DomainBuilderError('does-not-fit', `the guest has no room for its ${name}`, {
      expected: `${hex(bytes)} bytes within ${showRange(this.#clip(where.within))}`,
      found: `${hex(largest(sizes, 0))} in a row`,
    })
  }

  /** Returns the same address, or undefined. */
  find(bytes: number, { within, align, from }: Where): Paddr | undefined {
    const length = pagesFor(bytes) * PAGE_SIZE
    const free = this.#free(within)
    for (const { start, end } of from === 'bottom' ? free : free.reverse()) {
      const at = from === 'bottom' ? alignUp(start, align) : alignDown(end - length, align)
      if (at >= start && at + length <= end) return at
    }
    return undefined
  }

  #clip(range: Range<Paddr>): Range<Paddr> {
    const { start, end } = this.within ?? range
    return { start: Math.max(start, range.start), end: Math.min(end, range.end) }
  }

  /** Returns the free whole pages, in order. */
  #free(where: Range<Paddr>): Range<Paddr>[] {
    const within = this.#clip(where)
    return this.#unused
      .map(({ start, end }) => ({
        start: alignUp(Math.max(start, within.start), PAGE_SIZE),
        end: alignDown(Math.min(end, within.end), PAGE_SIZE),
      }))
      .filter(({ start, end }) => start < end)
  }

  /** Requires that the range is RAM, and inside `within`. */
  #requirePlace(name: string, range: Range<Paddr>): void {
    if (this.within && without(range, [this.within]).length > 0) {
      throw new DomainBuilderError('does-not-fit', `the ${name} is outside the range of within`, {
        expected: `within ${showRange(this.within)}`,
        found: showRange(range),
      })
    }
    if (range.end > this.map.end) {
      throw new DomainBuilderError('memory-too-small', `the guest has no room for its ${name}`, {
        expected: `memory up to ${hex(range.end)} for ${showRange(range)}`,
        found: `memory up to ${hex(this.map.end)}`,
      })
    }
    if (without(range, this.map.ram).length > 0) {
      throw new DomainBuilderError('does-not-fit', `the ${name} is outside the RAM of the guest`, {
        expected: `within ${showRanges(this.map.ram)}`,
        found: showRange(range),
      })
    }
  }

  #put(name: string, range: Range<Paddr>, bytes: number): Paddr {
    this.#placed.push({ name, ...range, bytes })
    this.#unused = this.#unused.flatMap((unused) => without(unused, [range]))
    logLayout('%s: %s, %s', name, showRange(range), showSize(bytes))
    return range.start
  }
}
