/**
 * Pages, addresses and frames: the units of everything else.
 *
 * Source: the vocabulary of Xen's public/xen.h and include/xen/mm.h (pfn: guest frame; mfn: machine frame).
 * Gotcha: virtual addresses are bigint and physical ones number. Adding the two by accident does not compile.
 */
import { defined } from './defined.js'
import { DomainBuilderError } from './errors.js'

/** Guest virtual address, bytes, 0 <= v < 2^64. */
export type Vaddr = bigint
/** Guest physical (PV: pseudo-physical) address, bytes, 0 <= p <= 2^52. */
export type Paddr = number
/** Guest page frame number: Paddr / 4096. */
export type Pfn = number
/** Machine frame number, as page-table entries and start_info hold it. */
export type Mfn = number

export const PAGE_SHIFT = 12
/** Bytes in a page. */
export const PAGE_SIZE = 1 << PAGE_SHIFT
/** x86-64 physical addresses have at most 52 bits (Intel SDM vol. 3, 4.1.4). */
export const PADDR_MAX = 2 ** 52
/** The highest frame number such an address can have, plus one. */
export const FRAMES_MAX = PADDR_MAX / PAGE_SIZE

/** The largest u32. */
export const U32_MAX = 2 ** 32 - 1

/** A half-open range: `start` is in it, `end` is not. */
export interface Range<T> {
  /** The first element. */
  readonly start: T
  /** The first element after the range. */
  readonly end: T
}

/** Rounds up to a multiple of `to`, which must be a positive integer; exact below 2^53. */
export const alignUp = (value: number, to: number): number => Math.ceil(value / to) * to
/** Rounds down to a multiple of `to`; exact below 2^53. */
export const alignDown = (value: number, to: number): number => Math.floor(value / to) * to
/** The number of pages for `bytes` bytes. */
export const pagesFor = (bytes: number): number => Math.ceil(bytes / PAGE_SIZE)
/** Frame number to byte address. A multiplication: a shift would wrap at 4 GiB. */
export const paddrOf = (pfn: Pfn): Paddr => pfn * PAGE_SIZE
/** The frame an address lies in. */
export const pfnOf = (paddr: Paddr): Pfn => Math.floor(paddr / PAGE_SIZE)

/** Wraps to 64 bits, as addresses do on the machine. */
export const u64 = (value: bigint): bigint => BigInt.asUintN(64, value)

/** 0x-prefixed hex, padded to `digits`; a negative number has its sign first. */
export function hex(value: number | bigint, digits = 1): string {
  const sign = value < 0 ? '-' : ''
  return `${sign}0x${value.toString(16).slice(sign.length).padStart(digits, '0')}`
}

/** A half-open range as people read it: [start, end). */
export function showRange(range: Range<number | bigint>): string {
  return `[${hex(range.start)}, ${hex(range.end)})`
}

/** The most ranges that an error lists; the others are counted. */
const MAX_RANGES_SHOWN = 8

/** A list of ranges as people read it; only the first few of a long one. */
export function showRanges(ranges: readonly Range<number | bigint>[]): string {
  const first = ranges.slice(0, MAX_RANGES_SHOWN).map(showRange).join(', ')
  return ranges.length > MAX_RANGES_SHOWN ? `${first} and ${ranges.length - MAX_RANGES_SHOWN} more` : first
}

/** Whether two half-open ranges share an element. */
export function overlaps<T extends number | bigint>(a: Range<T>, b: Range<T>): boolean {
  return a.start < b.end && b.start < a.end
}

/**
 * A u64 as a number that can be a physical address or a count of bytes.
 * @throws DomainBuilderError `bad-range` when it is above `max`.
 */
export function narrow(value: bigint, what: string, detail: { max?: number; offset?: number } = {}): number {
  const max = detail.max ?? PADDR_MAX
  if (value < 0n || value > BigInt(max)) {
    throw new DomainBuilderError('bad-range', `${what} is out of range`, {
      expected: `at most ${hex(max)}`,
      found: hex(value),
      ...defined({ offset: detail.offset }),
    })
  }
  return Number(value)
}

/**
 * Returns a caller's number, an integer in [min, max].
 * @throws DomainBuilderError `bad-config` otherwise.
 */
export function checkedInteger(value: unknown, what: string, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw new DomainBuilderError('bad-config', `${what} cannot be used`, {
      expected: `an integer from ${min} to ${max}`,
      found: shown(value),
    })
  }
  return value
}

/** The most characters of a caller's text that an error repeats. */
const MAX_SHOWN = 64

/** A text, cut to a length that fits an error. */
export const clip = (text: string): string => (text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}...` : text)

/** Any value of a caller in a few characters, for the `found` of an error. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${clip(value)}'`
  if (typeof value === 'bigint') return BigInt.asIntN(65, value) === value ? `${value}n` : 'a bigint beyond 64 bits'
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return String(value)
  return typeof value
}

const SIZE_UNITS: Readonly<Record<string, number>> = { B: 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }

/**
 * The bytes in a size such as "256M", "4G" or "1.5G"; a bare number is MiB, as in xl.cfg.
 * @throws DomainBuilderError `bad-config` for other text, or above 2^52 bytes.
 */
export function parseSize(text: string): number {
  const match = /^(\d{1,16}(?:\.\d{1,6})?)\s*([BKMGT]?)(?:i?B)?$/i.exec(String(text).trim())
  const bytes = match ? Number(match[1]) * (SIZE_UNITS[(match[2] || 'M').toUpperCase()] ?? Number.NaN) : Number.NaN
  if (!Number.isSafeInteger(bytes) || bytes > PADDR_MAX) {
    throw new DomainBuilderError('bad-config', 'the memory size is invalid', {
      expected: 'such as 256M or 4G',
      found: `'${text}'`,
    })
  }
  return bytes
}

/**
 * The bytes in a number such as "64", "0x40" or "4K"; unlike a memory size, a bare number is bytes.
 * @throws DomainBuilderError `bad-config` for other text, or above 2^52 bytes.
 */
export function parseBytes(text: string): number {
  const plain = /^(?:0x[0-9a-f]{1,14}|\d{1,16})$/i.test(text)
  const isSize = /^\d{1,16}(?:\.\d{1,6})?[BKMGT](?:i?B)?$/i.test(text)
  const bytes = plain ? Number(text) : isSize ? parseSize(text) : Number.NaN
  if (bytes <= PADDR_MAX) return bytes
  throw new DomainBuilderError('bad-config', 'the number of bytes is invalid', {
    expected: `such as 64, 0x40 or 4K, at most ${hex(PADDR_MAX)}`,
    found: shown(text),
  })
}

/** Bytes as people read them: the largest unit that divides well. */
export function showSize(bytes: number): string {
  for (const unit of ['T', 'G', 'M', 'K']) {
    const size = SIZE_UNITS[unit] as number
    if (bytes >= size) {
      const value = bytes / size
      return `${Number.isInteger(value) ? value : value.toFixed(1)} ${unit}iB`
    }
  }
  return `${bytes} B`
}
