/**
 * MemoryMap: the physical addresses that are RAM, and those reserved. The one source of e820, of the PVH memory map and
 * of the guest's frames.
 *
 * Source: ACPI specification 6.5, chapter 15; the holes are those of every PC since the first.
 * Gotcha: a guest has less RAM than its owner configured: memory in the hole below 1 MiB is lost. Memory in the hole
 * below 4 GiB is not: it moves above 4 GiB.
 */
import { E820_TYPE } from '../abi/boot-params.js'
import { DEVICE_HOLE, LOW_HOLE } from '../abi/pc.js'
import { DomainBuilderError } from '../errors.js'
import {
  alignDown,
  alignUp,
  hex,
  overlaps,
  PADDR_MAX,
  PAGE_SIZE,
  type Paddr,
  type Pfn,
  pfnOf,
  type Range,
  showRange,
  showRanges,
} from '../units.js'

/** Half-open; `type` is one of E820_TYPE. */
export interface MapEntry extends Range<Paddr> {
  readonly type: number
}

/** A range that a guest must not use. */
export interface ReservedRange extends Range<Paddr> {
  /** One of E820_TYPE, default RESERVED. */
  readonly type?: number
}

/** The low memory in which a PC's crash kernel starts processors; the firmware may own the page after it. */
export const CRASH_LOW_MEMORY: Range<Paddr> = { start: 0, end: 0x9f000 }

export class MemoryMap {
  /** Ranges of RAM in whole pages, reserved or not, sorted. */
  readonly ram: readonly Range<Paddr>[]
  /** Sorted and disjoint. */
  readonly reserved: readonly ReservedRange[]

  constructor(ram: readonly Range<Paddr>[], reserved: readonly ReservedRange[]) {
    this.ram = ram
    this.reserved = reserved
  }

  /** One past the last byte of RAM. */
  get end(): Paddr {
    return this.ram.at(-1)?.end ?? 0
  }

  /** The guest's frames. */
  get frames(): readonly Range<Pfn>[] {
    return this.ram.map(({ start, end }) => ({ start: pfnOf(start), end: pfnOf(end) }))
  }

  /** The same map with one more reserved range, disjoint from the others. */
  reserving(range: ReservedRange): MemoryMap {
    return new MemoryMap(
      this.ram,
      [...this.reserved, range].sort((a, b) => a.start - b.start),
    )
  }

  /** RAM that is not reserved, sorted. */
  get free(): readonly Range<Paddr>[] {
    return this.ram.flatMap((range) => without(range, this.reserved))
  }

  /** The map for a guest: usable and reserved ranges in order of address. */
  get entries(): readonly MapEntry[] {
    return [
      ...this.free.map((range) => ({ ...range, type: E820_TYPE.RAM })),
      ...this.reserved.map((range) => ({ type: E820_TYPE.RESERVED, ...range })),
    ].sort((a, b) => a.start - b.start)
  }
}

/** The rest of a range without the others, which are sorted and disjoint. */
export function without(range: Range<Paddr>, others: readonly Range<Paddr>[]): Range<Paddr>[] {
  const left: Range<Paddr>[] = []
  let { start } = range
  for (const other of others) {
    if (!overlaps({ start, end: range.end }, other)) continue
    if (other.start > start) left.push({ start, end: other.start })
    start = other.end
  }
  if (start < range.end) left.push({ start, end: range.end })
  return left
}

/** The address ranges without RAM. */
export interface Holes {
  /** Memory that would lie here is absent. */
  readonly low?: Range<Paddr>
  /** Ends at 4 GiB; memory that would lie here moves after it. */
  readonly device: Range<Paddr>
}

export const PC_HOLES: Holes = { low: LOW_HOLE, device: DEVICE_HOLE }

/**
 * Returns the map of a machine with `memory` bytes and reserved ranges.
 * @param reserve ranges that are not empty.
 * @param memmap the guest's RAM in whole pages, if it does not get all of it.
 * @throws DomainBuilderError `bad-config` for memory beyond the last address or an empty memmap, `overlap` for two
 * ranges that share an address, `does-not-fit` for a memmap outside the machine's memory.
 */
export function memoryMap(
  memory: number,
  { low, device }: Holes,
  reserve: readonly ReservedRange[] = [],
  memmap?: readonly Range<Paddr>[],
): MemoryMap {
  const below = Math.min(memory, device.start)
  const ram = without({ start: 0, end: below }, low ? [low] : [])
  if (memory > below) ram.push({ start: device.end, end: device.end + memory - below })
  const end = ram.at(-1)?.end ?? 0
  if (end > PADDR_MAX) {
    throw new DomainBuilderError('bad-config', 'the memory is too large', {
      expected: `an end of at most ${hex(PADDR_MAX)}`,
      found: hex(end),
    })
  }
  return new MemoryMap(memmap === undefined ? ram : checkMemmap(memmap, ram), sortRanges(reserve, 'reserved'))
}

/** The map of a PC. */
export const pcMemoryMap = (
  memory: number,
  reserve: readonly ReservedRange[] = [],
  memmap?: readonly Range<Paddr>[],
): MemoryMap => memoryMap(memory, PC_HOLES, reserve, memmap)

/**
 * Returns the map of a PVH dom0: the host's RAM in whole pages, from the bottom, until it is `memory` bytes.
 * @throws DomainBuilderError `overlap` for two ranges that share an address, `does-not-fit` for a host with less RAM.
 */
export function dom0MemoryMap(memory: number, hostRam: readonly Range<Paddr>[]): MemoryMap {
  const ram: Range<Paddr>[] = []
  let left = memory
  for (const range of sortRanges(hostRam, 'hostRam')) {
    const start = alignUp(range.start, PAGE_SIZE)
    const end = Math.min(alignDown(range.end, PAGE_SIZE), start + left)
    if (start >= end) continue
    ram.push({ start, end })
    left -= end - start
  }
  if (left === 0) return new MemoryMap(ram, [])
  throw new DomainBuilderError('does-not-fit', 'the memory of the dom0 is larger than hostRam', {
    expected: `at most ${memory - left} bytes`,
    found: `${memory}`,
  })
}

/** Bytes of memory of a PC whose RAM reaches to `end`. */
export const pcMemoryUpTo = (end: Paddr): number =>
  end > DEVICE_HOLE.end ? end - (DEVICE_HOLE.end - DEVICE_HOLE.start) : Math.min(end, DEVICE_HOLE.start)

function checkMemmap(memmap: readonly Range<Paddr>[], ram: readonly Range<Paddr>[]): Range<Paddr>[] {
  const ranges = sortRanges(memmap, 'memmap')
  for (const range of ranges) {
    if (without(range, ram).length > 0) {
      throw new DomainBuilderError('does-not-fit', 'a memmap range lies outside the memory of the machine', {
        expected: `within ${showRanges(ram)}`,
        found: showRange(range),
      })
    }
  }
  if (ranges.length > 0) return ranges
  throw new DomainBuilderError('bad-config', 'memmap is empty', { expected: 'a range', found: 'none' })
}

/** Sorted. @throws DomainBuilderError `overlap`. */
function sortRanges<R extends Range<Paddr>>(ranges: readonly R[], kind: string): R[] {
  const sorted = [...ranges].sort((a, b) => a.start - b.start)
  sorted.forEach((range, i) => {
    const next = sorted[i + 1]
    if (next && overlaps(range, next)) {
      throw new DomainBuilderError('overlap', `two ${kind} ranges share an address`, {
        expected: `none of ${showRange(range)}`,
        found: showRange(next),
      })
    }
  })
  return sorted
}
