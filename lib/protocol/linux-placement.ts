/**
 * Placement: where things go in a guest's RAM, so that no two of them meet and every refusal says what was wanted and
 * what there is.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "Memory Layout" (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: hyperkit and others once let a kernel decompress itself over its ramdisk: what a kernel needs at run time
 * (init_size) is placed as its code is.
 */
import { DomainBuilderError } from '../errors.js'
import type { Region } from '../guest/allocator.js'
import { type MemoryMap, without } from '../guest/memory-map.js'
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

/** Where something may go, and from which end to look. */
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
  /** Where everything has to go, if that is not all of the memory. */
  readonly within: Range<Paddr> | undefined
  readonly #placed: Placed[] = []
  /** RAM that nobody reserved and nothing was put in, in order. */
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

  /** What was placed, in that order, whole pages; a virtual address for each where addresses are their own translation. */
  regions(mapped: boolean): Region[] {
    return this.#placed.map(({ name, start, end, bytes }) => ({
      name,
      pfn: pfnOf(start),
      pages: (end - start) / PAGE_SIZE,
      ...(mapped ? { vaddr: BigInt(start) } : {}),
      ...(bytes === end - start ? {} : { bytes }),
    }))
  }

  /**
   * Puts something exactly there; `start` is a multiple of the page size.
   * @throws DomainBuilderError `memory-too-small`, `does-not-fit` or `overlap`, with both ranges.
   */
  at(name: string, start: Paddr, bytes: number): Paddr {
    const range = { start, end: start + pagesFor(bytes) * PAGE_SIZE }
    if (start % PAGE_SIZE !== 0) {
      throw new DomainBuilderError('does-not-fit', `the ${name} cannot begin within a page`, {
        expected: `a multiple of ${hex(PAGE_SIZE)}`,
        found: hex(start),
      })
    }
    this.#requirePlace(name, range)
    const reserved = this.map.reserved.map((r) => ({ ...r, name: 'reserved range' }))
    const other = [...this.#placed, ...reserved].find((taken) => overlaps(range, taken))
    if (other) {
      throw new DomainBuilderError('overlap', `the ${name} and the ${other.name} want the same memory`, {
        expected: `none of ${showRange(other)}`,
        found: showRange(range),
      })
    }
    return this.#put(name, range, bytes)
  }

  /**
   * Keeps everything else out of a range that the guest will take once it runs: all of it that nothing was put in so far,
   * reserved or not.
   * @throws DomainBuilderError `memory-too-small` or `does-not-fit` where it is not all RAM.
   */
  keep(name: string, range: Range<Paddr>): void {
    const pages = { start: alignDown(range.start, PAGE_SIZE), end: alignUp(range.end, PAGE_SIZE) }
    this.#requirePlace(name, pages)
    const taken = [...this.#placed].sort((a, b) => a.start - b.start)
    for (const piece of without(pages, taken)) this.#put(name, piece, piece.end - piece.start)
  }

  /**
   * Puts something into the first piece of free memory that takes it, from either end.
   * @throws DomainBuilderError `does-not-fit` with the size wanted and the largest there is.
   */
  somewhere(name: string, bytes: number, where: Where): Paddr {
    const start = this.room(name, bytes, where)
    return this.#put(name, { start, end: start + pagesFor(bytes) * PAGE_SIZE }, bytes)
  }

  /** Where somewhere() would put it. @throws DomainBuilderError as somewhere() does. */
  room(name: string, bytes: number, where: Where): Paddr {
    const found = this.find(bytes, where)
    if (found !== undefined) return found
    const sizes = this.#free(where.within).map(({ start, end }) => end - alignUp(start, where.align))
    throw new DomainBuilderError('does-not-fit', `the guest has no room for its ${name}`, {
      expected: `${hex(bytes)} bytes within ${showRange(this.#clip(where.within))}`,
      found: `${hex(Math.max(0, ...sizes))} in a row`,
    })
  }

  /** The same, or undefined. */
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

  /** Free whole pages, in order. */
  #free(where: Range<Paddr>): Range<Paddr>[] {
    const within = this.#clip(where)
    return this.#unused
      .map(({ start, end }) => ({
        start: alignUp(Math.max(start, within.start), PAGE_SIZE),
        end: alignDown(Math.min(end, within.end), PAGE_SIZE),
      }))
      .filter(({ start, end }) => start < end)
  }

  /** It is RAM, and where everything has to be. */
  #requirePlace(name: string, range: Range<Paddr>): void {
    if (this.within && without(range, [this.within]).length > 0) {
      throw new DomainBuilderError('does-not-fit', `the ${name} is not where everything must be`, {
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
      throw new DomainBuilderError('does-not-fit', `there is no memory where the ${name} must be`, {
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
