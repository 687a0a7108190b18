/**
 * zstd's entropy tables: the Huffman and FSE codes from a block's headers, as the hot loops look them up.
 *
 * Source: RFC 8878, https://www.rfc-editor.org/rfc/rfc8878, sections 4.1 (FSE), 4.2 (Huffman), 3.1.1.3.2.1 (codes).
 * Gotcha: the two directions differ: a table's description is read forwards, from the low bits up; the weights that it
 * codes are read backwards.
 */
import type { Source } from './source.js'
import { HUFFMAN_BITS_MAX } from './zstd-core.js'

/** The occurrences of each symbol in 2^log; -1 means less than once. */
interface Distribution {
  readonly log: number
  readonly counts: readonly number[]
}

/** One code of sequences: the values of its symbols and their predefined distribution. */
export interface SequenceCode {
  readonly name: string
  readonly logMax: number
  /** By symbol: the least value, and the number of bits that add to it. */
  readonly base: readonly number[]
  readonly bits: readonly number[]
  readonly predefined: Distribution
}

/** Makes a code whose values follow each other without gaps: computes bases from bits. */
function code(
  name: string,
  logMax: number,
  first: number,
  bits: readonly number[],
  log: number,
  counts: number[],
): SequenceCode {
  let next = first
  const base = bits.map((count) => {
    const value = next
    next += 2 ** count
    return value
  })
  return { name, logMax, base, bits, predefined: { log, counts } }
}

const times = (count: number, value: number): number[] => new Array<number>(count).fill(value)

export const LITERAL_LENGTH = code(
  'literal lengths',
  9,
  0,
  [...times(16, 0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  6,
  [4, 3, ...times(11, 2), 1, 1, 1, ...times(9, 2), 3, 2, ...times(5, 1), ...times(4, -1)],
)
export const MATCH_LENGTH = code(
  'match lengths',
  9,
  3,
  [...times(32, 0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  6,
  [1, 4, 3, ...times(6, 2), ...times(37, 1), ...times(7, -1)],
)
/** An offset's code is its number of bits: the offset is 2^code plus that many more bits. */
export const OFFSET = code(
  'offsets',
  8,
  1,
  Array.from({ length: 32 }, (_, bits) => bits),
  5,
  [...times(6, 1), 2, 2, 2, ...times(15, 1), ...times(5, -1)],
)

/** An FSE table: for each state its symbol, the bits to read, and the number to add to them for the next state. */
interface FseTable {
  readonly log: number
  readonly symbols: Uint8Array
  readonly bits: Uint8Array
  readonly next: Uint16Array
}

const highestBit = (value: number): number => 31 - Math.clz32(value)

/** Reads a distribution and leaves the source at the byte after it. */
function readDistribution(source: Source, end: number, logMax: number, symbolMax: number): Distribution {
  const start = source.at
  let at = start * 8
  const read = (count: number): number => {
    let value = 0
    for (let i = 0; i < count; i++, at++) {
      const byte = at >> 3 < end ? (source.bytes[at >> 3] as number) : 0
      value |= ((byte >> (at & 7)) & 1) << i
    }
    return value
  }
  const log = read(4) + 5
  if (log > logMax)
    source.damaged(
      'the accuracy of an FSE table is too large',
      { expected: `at most ${logMax}`, found: `${log}` },
      start,
    )
  const counts: number[] = []
  let left = 1 << log
  while (left > 0 && counts.length <= symbolMax) {
    // Values from 0 to left + 1: the lower ones take one bit less while there are codes for it.
    const bits = highestBit(left + 1) + 1
    const short = (1 << bits) - 1 - (left + 1)
    let value = read(bits - 1)
    if (value >= short) {
      value |= read(1) << (bits - 1)
      if (value >= 1 << (bits - 1)) value -= short
    }
    const count = value - 1
    counts.push(count)
    left -= Math.abs(count)
    if (count !== 0) continue
    for (let zeros = 3; zeros === 3; ) {
      zeros = read(2)
      counts.push(...times(zeros, 0))
      if (counts.length > symbolMax + 1) break
    }
  }
  if (left !== 0 || counts.length > symbolMax + 1) source.damaged('an FSE table does not add up', {}, start)
  source.at = (at + 7) >> 3
  if (source.at > end) source.damaged('an FSE table ends early', {}, start)
  return { log, counts }
}

/** Distributes the symbols over the states: rare ones at the end, the others in steps that visit each place once. */
function fseTable({ log, counts }: Distribution): FseTable {
  const size = 1 << log
  const symbols = new Uint8Array(size)
  const bits = new Uint8Array(size)
  const next = new Uint16Array(size)
  let rare = size
  for (const [symbol, count] of counts.entries()) if (count === -1) symbols[--rare] = symbol
  const step = (size >> 1) + (size >> 3) + 3
  let place = 0
  for (const [symbol, count] of counts.entries()) {
    for (let i = 0; i < count; i++) {
      symbols[place] = symbol
      do place = (place + step) & (size - 1)
      while (place >= rare)
    }
  }
  const seen = counts.map((count) => Math.abs(count))
  for (let state = 0; state < size; state++) {
    const symbol = symbols[state] as number
    const number = seen[symbol] as number
    seen[symbol] = number + 1
    bits[state] = log - highestBit(number)
    next[state] = (number << (bits[state] as number)) - size
  }
  return { log, symbols, bits, next }
}

/** The ways in which a block gives the table of its sequences. */
const MODE = { predefined: 0, rle: 1, compressed: 2, repeat: 3 } as const

/**
 * Reads one of the three tables of a block's sequences and writes it to `entries` for zstd-core. Returns the bits of
 * its states. `before` are those of the table already there, if any.
 */
export function readSequenceTable(
  source: Source,
  end: number,
  code: SequenceCode,
  mode: number,
  before: number | undefined,
  entries: Uint32Array,
): number {
  const symbolMax = code.base.length - 1
  if (mode === MODE.repeat) {
    if (before === undefined) source.damaged(`the table of ${code.name} to repeat is missing`)
    return before
  }
  if (mode === MODE.rle) {
    const symbol = source.u8()
    if (symbol > symbolMax)
      source.damaged(`code of ${code.name} is out of range`, { found: `${symbol}` }, source.at - 1)
    entries[0] = (code.bits[symbol] as number) << 24
    entries[1] = code.base[symbol] as number
    return 0
  }
  const table = fseTable(
    mode === MODE.predefined ? code.predefined : readDistribution(source, end, code.logMax, symbolMax),
  )
  for (const [state, symbol] of table.symbols.entries()) {
    entries[2 * state] =
      (table.next[state] as number) | ((table.bits[state] as number) << 16) | ((code.bits[symbol] as number) << 24)
    entries[2 * state + 1] = code.base[symbol] as number
  }
  return table.log
}

/** A weight w means 2^(w-1) of the table's places; 0 means none. Tables of weights have at most 6 bits. */
const WEIGHT_LOG_MAX = 6
const WEIGHT_MAX = HUFFMAN_BITS_MAX + 1

/**
 * Reads a Huffman tree and writes its table to `entries`: symbol * 256 + length, by the next bits. Returns the number
 * of those bits.
 */
export function readHuffmanTable(source: Source, end: number, entries: Uint16Array): number {
  const start = source.at
  const weights = readWeights(source, end)
  let sum = 0
  for (const weight of weights) {
    if (weight > WEIGHT_MAX) source.damaged('a Huffman weight is out of range', { found: `${weight}` }, start)
    sum += weight === 0 ? 0 : 2 ** (weight - 1)
  }
  // The last symbol's weight is omitted: it fills the table up to a power of two.
  const bits = sum === 0 ? 0 : highestBit(sum) + 1
  const rest = 2 ** bits - sum
  if (bits === 0 || bits > HUFFMAN_BITS_MAX || 2 ** highestBit(rest) !== rest) {
    source.damaged('the Huffman weights do not add up', { found: `${sum}` }, start)
  }
  weights.push(highestBit(rest) + 1)

  let place = 0
  for (let weight = 1; weight <= bits; weight++) {
    for (const [symbol, own] of weights.entries()) {
      if (own !== weight) continue
      entries.fill(symbol * 256 + (bits + 1 - weight), place, place + 2 ** (weight - 1))
      place += 2 ** (weight - 1)
    }
  }
  return bits
}

function readWeights(source: Source, end: number): number[] {
  const header = source.u8()
  if (header >= 128) {
    const count = header - 127
    const bytes = source.take((count + 1) >> 1)
    return Array.from({ length: count }, (_, i) => ((bytes[i >> 1] as number) >> (i & 1 ? 0 : 4)) & 15)
  }
  const last = source.at + header
  if (last > end) source.damaged('a Huffman tree ends early')
  const table = fseTable(readDistribution(source, last, WEIGHT_LOG_MAX, WEIGHT_MAX))
  // Two states take turns until one of them needs more bits than are left.
  const first = source.at
  const marker = last > first ? highestBit(source.bytes[last - 1] as number) : -1
  if (marker < 0) source.damaged("a Huffman tree's weights have no end marker", {}, last - 1)
  let at = (last - 1) * 8 + marker
  const read = (count: number): number => {
    let value = 0
    for (let i = 0; i < count; i++) {
      at--
      value = (value << 1) | (at < first * 8 ? 0 : ((source.bytes[at >> 3] as number) >> (at & 7)) & 1)
    }
    return value
  }
  const weights: number[] = []
  const states = [read(table.log), read(table.log)]
  for (let turn = 0; ; turn ^= 1) {
    const state = states[turn] as number
    weights.push(table.symbols[state] as number)
    if (weights.length > 254) source.damaged('a Huffman tree has too many weights', {}, first)
    states[turn] = (table.next[state] as number) + read(table.bits[state] as number)
    if (at < first * 8) {
      weights.push(table.symbols[states[turn ^ 1] as number] as number)
      break
    }
  }
  source.at = last
  return weights
}
