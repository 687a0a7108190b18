/**
 * The p2m: the machine frame of each guest frame. A function; its bytes are made when they are read.
 *
 * Source: xen/include/public/xen.h (mfn_list); the entry formats from Xen's docs/misc/x86-xenpv-bootloader.pandoc.
 * Gotcha: a hole is all ones in the list, 8 bytes for a 64-bit guest and 4 for a 32-bit one.
 */
import { DomainBuilderError } from '../errors.js'
import type { OneOf } from '../one-of.js'
import { FRAMES_MAX, hex, type Mfn, PAGE_SIZE, type Pfn, shown } from '../units.js'
import { fillCounting } from './counting.js'
import { firstAbove } from './runs.js'
import { throughWords } from './words.js'

/** A pair of functions, pfn to mfn and back; no list is stored. */
export interface P2m {
  /** For people and for sidecar files: identity, offset:N, table. */
  readonly name: string
  /** mfn - pfn, if it is the same for all frames, without holes. */
  readonly distance?: number
  /** The range from a guest frame on, up to its end or a hole; undefined for a hole. Only a p2m of ranges has it. */
  rangeFrom?(pfn: Pfn): P2mRange | undefined
  /** The machine frame of a guest frame; undefined for a hole. */
  mfn(pfn: Pfn): Mfn | undefined
  /** The guest frame of a machine frame; undefined if no guest frame has it. */
  pfn(mfn: Mfn): Pfn | undefined
}

/** Frames that are consecutive on both sides. */
export interface P2mRange {
  /** The first frame, as the guest counts them. */
  readonly pfn: Pfn
  /** The machine frame of the first frame. */
  readonly mfn: Mfn
  /** The number of frames. */
  readonly pages: number
}

/** A caller's p2m: identity, a constant distance, one u64 a page (all ones for a hole), ranges, or a function. */
export type P2mSpec =
  | 'identity'
  | (OneOf<{ offset: number; table: BigUint64Array; ranges: readonly P2mRange[] }> & {
      readonly function?: never
      readonly name?: never
    })
  | {
      /** Returns the frame of a page, or undefined for a hole. */
      readonly function: (pfn: Pfn) => Mfn | undefined
      /** Default "function". */
      readonly name?: string
      readonly offset?: never
      readonly table?: never
      readonly ranges?: never
    }

/** The entry of a page that a guest does not have, in a p2m list of 64-bit entries. */
export const HOLE64 = 0xffffffffffffffffn
const HOLE32 = 0xffffffff
/** A 32-bit guest's frames have 30 bits. Linux marks other entries of its list by the two highest ones. */
export const P2M_MARKED32 = 2 ** 30

const identity: P2m = { name: 'identity', distance: 0, mfn: (pfn) => pfn, pfn: (mfn) => mfn }

function checkMfn(mfn: number, pfn: number): Mfn {
  if (!Number.isInteger(mfn) || mfn < 0 || mfn >= FRAMES_MAX) {
    throw new DomainBuilderError('bad-config', `the machine frame for pfn ${hex(pfn)} in the p2m is invalid`, {
      expected: `an mfn below ${hex(FRAMES_MAX)}`,
      found: shown(mfn),
    })
  }
  return mfn
}

/** The bits of an mfn that one pass of the sort below uses. */
const DIGIT_BITS = 16
const DIGITS = 2 ** DIGIT_BITS

/** One stable pass of a radix sort: `order` into `sorted`, by one digit of each key. */
function sortByDigit(order: Uint32Array, digits: Uint16Array, sorted: Uint32Array): void {
  const next = new Uint32Array(DIGITS + 1)
  for (let i = 0; i < order.length; i++) {
    const slot = (digits[order[i] as number] as number) + 1
    next[slot] = (next[slot] as number) + 1
  }
  for (let i = 1; i < DIGITS; i++) next[i] = (next[i] as number) + (next[i - 1] as number)
  for (let i = 0; i < order.length; i++) {
    const pfn = order[i] as number
    const digit = digits[pfn] as number
    const at = next[digit] as number
    sorted[at] = pfn
    next[digit] = at + 1
  }
}

/**
 * Returns the pfns that have a frame, in the order of their frames. A radix sort: a hostile p2m from a file must not
 * cost the calls of a comparison sort or the worst case of a hash.
 */
function byFrame(pages: number, mfn: (pfn: Pfn) => Mfn | undefined): Uint32Array {
  let order = new Uint32Array(pages)
  let present = 0
  let highest = 0
  for (let pfn = 0; pfn < pages; pfn++) {
    const frame = mfn(pfn)
    if (frame === undefined) continue
    order[present++] = pfn
    if (frame > highest) highest = frame
  }
  order = order.subarray(0, present)
  let sorted = new Uint32Array(present)
  const digits = new Uint16Array(pages)
  for (let unit = 1; unit <= highest; unit *= DIGITS) {
    for (let pfn = 0; pfn < pages; pfn++) digits[pfn] = Math.floor((mfn(pfn) ?? 0) / unit) % DIGITS
    sortByDigit(order, digits, sorted)
    ;[order, sorted] = [sorted, order]
  }
  return order
}

/** The reverse of an arbitrary p2m: sorted once, at its first use, then a binary search. */
function reverseOf(pages: number, mfn: (pfn: Pfn) => Mfn | undefined): (mfn: Mfn) => Pfn | undefined {
  let order: Uint32Array | undefined
  const frameAt = (sorted: Uint32Array, i: number): Mfn => mfn(sorted[i] as Pfn) as Mfn
  return (frame) => {
    order ??= byFrame(pages, mfn)
    const pfn = order[firstAbove(order, order.length, frameAt, frame - 1)]
    return pfn !== undefined && mfn(pfn) === frame ? pfn : undefined
  }
}

/**
 * Makes a P2m from the caller's specification.
 * @param pages the guest pages it must cover.
 * @throws DomainBuilderError `bad-config` for a table of the wrong length or a frame beyond 52-bit addresses.
 */
export function makeP2m(spec: P2mSpec, pages: number): P2m {
  if (spec === 'identity') return identity
  if (spec.offset !== undefined) {
    const { offset } = spec
    checkMfn(offset, 0)
    checkMfn(offset + pages - 1, pages - 1)
    return {
      name: `offset:${offset}`,
      distance: offset,
      mfn: (pfn) => pfn + offset,
      pfn: (mfn) => (mfn >= offset ? mfn - offset : undefined),
    }
  }
  if (spec.table !== undefined) {
    const { table } = spec
    if (table.length !== pages) {
      throw new DomainBuilderError('bad-config', 'the length of the p2m table is wrong', {
        expected: `${pages} entries`,
        found: `${table.length}`,
      })
    }
    const mfn = (pfn: Pfn): Mfn | undefined => {
      const value = table[pfn]
      return value === undefined || value === HOLE64 ? undefined : checkMfn(Number(value), pfn)
    }
    return { name: 'table', mfn, pfn: reverseOf(pages, mfn) }
  }
  if (spec.ranges !== undefined) return rangesP2m(spec.ranges)
  const mfn = (pfn: Pfn): Mfn | undefined => {
    const value = spec.function(pfn)
    return value === undefined ? undefined : checkMfn(value, pfn)
  }
  return { name: spec.name ?? 'function', mfn, pfn: reverseOf(pages, mfn) }
}

/** The frame after the highest one of a guest with `pages` pages; if unknown, the last possible frame. */
export function mfnAfter(spec: P2mSpec, pages: number): Mfn {
  if (spec === 'identity') return pages
  if (spec.offset !== undefined) return spec.offset + pages
  if (spec.ranges !== undefined) return spec.ranges.reduce((end, range) => Math.max(end, range.mfn + range.pages), 0)
  if (spec.table === undefined) return FRAMES_MAX - 1
  // As pairs of words: a bigint for each entry would take longer than the rest of a build.
  const { buffer, byteOffset, length } = spec.table
  const words = new Uint32Array(buffer, byteOffset, 2 * length)
  let highest = -1
  for (let i = 0; i < words.length; i += 2) {
    const high = words[i + 1] as number
    const mfn = high * 2 ** 32 + (words[i] as number)
    if (mfn > highest && high !== HOLE32) highest = mfn
  }
  return highest + 1
}

/** A p2m of ranges: a search in a sorted list, in both directions. Frames in no range are holes. */
function rangesP2m(ranges: readonly P2mRange[]): P2m {
  const rangesBy = (from: 'pfn' | 'mfn') => {
    const sorted = [...ranges].sort((a, b) => a[from] - b[from])
    sorted.forEach((range, i) => {
      const next = sorted[i + 1]
      if (next && range[from] + range.pages > next[from]) {
        throw new DomainBuilderError('bad-config', `two p2m ranges share a ${from}`, { found: hex(next[from]) })
      }
    })
    const startOf = (list: readonly P2mRange[], i: number): number => (list[i] as P2mRange)[from]
    return (frame: number): P2mRange | undefined => {
      const range = sorted[firstAbove(sorted, sorted.length, startOf, frame) - 1]
      if (range === undefined) return undefined
      const skipped = frame - range[from]
      if (skipped >= range.pages) return undefined
      return { pfn: range.pfn + skipped, mfn: range.mfn + skipped, pages: range.pages - skipped }
    }
  }
  const [rangeFrom, back] = [rangesBy('pfn'), rangesBy('mfn')]
  return { name: 'ranges', rangeFrom, mfn: (pfn) => rangeFrom(pfn)?.mfn, pfn: (mfn) => back(mfn)?.pfn }
}

/** The same p2m, except for a few frames. */
export function withMoved(p2m: P2m, moved: ReadonlyMap<Pfn, Mfn>): P2m {
  if (moved.size === 0) return p2m
  const back = new Map([...moved].map(([pfn, mfn]) => [mfn, pfn]))
  return {
    name: `${p2m.name} with ${moved.size} moved`,
    mfn: (pfn) => moved.get(pfn) ?? p2m.mfn(pfn),
    pfn: (mfn) => {
      const direct = back.get(mfn)
      if (direct !== undefined) return direct
      const pfn = p2m.pfn(mfn)
      return pfn === undefined || moved.has(pfn) ? undefined : pfn
    },
  }
}

/** The machine frame of one of our structures. @throws DomainBuilderError `bad-config` if the p2m has a hole there. */
export function mfnOf(p2m: P2m, pfn: Pfn, what: string): Mfn {
  const mfn = p2m.mfn(pfn)
  if (mfn === undefined) {
    throw new DomainBuilderError('bad-config', `the p2m has a hole where the ${what} must be`, {
      expected: `a machine frame for pfn ${hex(pfn)}`,
      found: 'a hole',
    })
  }
  return mfn
}

/** Bytes of the list for `pages` guest pages, rounded up to pages. */
export function p2mListBytes(pages: number, entryBytes: 4 | 8): number {
  return Math.ceil((pages * entryBytes) / PAGE_SIZE) * PAGE_SIZE
}

/**
 * Fills a part of the list as the guest reads it, with zeros after the last entry.
 * @param offset bytes into the list; it and `out` are whole pages.
 */
export function fillP2mList(p2m: P2m, pages: number, entryBytes: 4 | 8, offset: number, out: Uint8Array): void {
  const first = offset / entryBytes
  const count = Math.max(0, Math.min(out.length / entryBytes, pages - first))
  out.fill(0, count * entryBytes)
  if (entryBytes === 8 && p2m.distance !== undefined) {
    fillCounting(out.subarray(0, 8 * count), BigInt(first + p2m.distance))
    return
  }
  if (entryBytes === 8 && p2m.rangeFrom !== undefined) {
    fillRanges(p2m.rangeFrom, first, out.subarray(0, 8 * count))
    return
  }
  throughWords(out, (words) => {
    if (entryBytes === 4) {
      for (let i = 0; i < count; i++) words[i] = p2m.mfn(first + i) ?? HOLE32
    } else {
      for (let i = 0; i < count; i++) {
        const mfn = p2m.mfn(first + i)
        words[2 * i] = mfn ?? HOLE32
        words[2 * i + 1] = mfn === undefined ? HOLE32 : mfn / 2 ** 32
      }
    }
  })
}

/** Fills a list of u64 range by range. */
function fillRanges(rangeFrom: NonNullable<P2m['rangeFrom']>, first: Pfn, out: Uint8Array): void {
  const count = out.length / 8
  for (let done = 0; done < count; ) {
    const range = rangeFrom(first + done)
    const pages = Math.min(range?.pages ?? 1, count - done)
    const part = out.subarray(8 * done, 8 * (done + pages))
    if (range === undefined) part.fill(0xff)
    else fillCounting(part, BigInt(range.mfn))
    done += pages
  }
}
