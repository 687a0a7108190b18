/**
 * bzip2: blocks sorted by the bytes that follow (Burrows-Wheeler), moved to front, run-length and Huffman coded.
 *
 * Source: no official specification; the format is that of bzip2 1.0, described by Joe Tsai, "BZIP2: Format
 * Specification", https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf.
 * Gotcha: a decoder that stops after the first stream truncates the file: pbzip2 writes one stream for each block.
 */

import { hex } from '../units.js'
import type { Slices } from '../work.js'
import { GrowingBytes } from './growing-bytes.js'
import { type Decoded, type Source, sliceEnds } from './source.js'

/** Pi and its square root: 48 bits each, in two halves. */
const BLOCK_MAGIC = [0x314159, 0x265359] as const
const END_MAGIC = [0x177245, 0x385090] as const
/** A block of level n holds n times this many bytes after the first run-length coding. */
const LEVEL_BYTES = 100_000
/** Symbols that share one Huffman table. */
const GROUP_SYMBOLS = 50
/** The longest code, in bits, and the number of first bits that are looked up at once. */
const CODE_MAX = 20
const LOOKUP_BITS = 10
/** The work of one slice: groups of symbols read, entries of a block followed. */
const GROUPS_IN_SLICE = 2 ** 10
const ENTRIES_IN_SLICE = 2 ** 16
/** The two symbols that count a run of the front byte, in bijective base 2. */
const RUN_A = 0
const RUN_B = 1
/** After this many equal bytes comes a count of further ones. */
const RUN_BYTES = 4

/** Reads bits from the highest down. After the end it reads zeros, and `check` refuses them. */
class Bits {
  readonly source: Source
  /** Its lowest `count` bits are still unread. */
  buffer = 0
  count = 0

  constructor(source: Source) {
    this.source = source
  }

  /** Reads at most 24 bits. */
  read(count: number): number {
    while (this.count < count) {
      this.buffer = (this.buffer << 8) | (this.source.bytes[this.source.at++] ?? 0)
      this.count += 8
    }
    this.count -= count
    return (this.buffer >>> this.count) & ((1 << count) - 1)
  }

  read32(): number {
    return this.read(16) * 0x10000 + this.read(16)
  }

  /** The first untouched byte. */
  get at(): number {
    return this.source.at - (this.count >> 3)
  }

  /** Refuses the stream if reads have passed its end. */
  check(): void {
    const { source } = this
    if (this.at > source.bytes.length) {
      source.damaged(
        'the stream ends early',
        { expected: 'more', found: `${source.bytes.length} bytes` },
        source.bytes.length,
      )
    }
  }

  /** Moves to the next whole byte. */
  align(): void {
    this.source.at = this.at
    this.count = 0
  }
}

/** A canonical Huffman code. */
interface Codes {
  /** By the next LOOKUP_BITS bits: symbol * 32 + length, or 0 for a longer code. */
  readonly lookup: Uint16Array
  /** By length: the first longer code, extended to CODE_MAX bits. */
  readonly limit: Int32Array
  /** By length: the difference between a code of that length and its index in `symbols`. */
  readonly base: Int32Array
  readonly symbols: Uint16Array
}

export function* decodeBzip2(source: Source): Slices<Decoded> {
  const output = new GrowingBytes(source)
  const room = new Room()
  do yield* decodeStream(source, output, room)
  while (source.left >= 4 && levelAt(source) > 0)
  return { bytes: yield* output.result(), consumed: source.at }
}

/** The level, 1 to 9, if a stream starts here, else 0. */
function levelAt(source: Source): number {
  const [b, z, h, digit = 0] = source.peek(4)
  return b === 0x42 && z === 0x5a && h === 0x68 && digit >= 0x31 && digit <= 0x39 ? digit - 0x30 : 0
}

/** One block's memory, shared by all streams: a file may have an empty stream every 14 bytes. */
class Room {
  #block = new Uint32Array(0)

  of(level: number): Uint32Array {
    const length = level * LEVEL_BYTES
    if (this.#block.length < length) this.#block = new Uint32Array(length)
    return this.#block.subarray(0, length)
  }
}

function* decodeStream(source: Source, output: GrowingBytes, room: Room): Slices<void> {
  const start = source.at
  const level = levelAt(source)
  if (level === 0) source.damaged('the stream header is missing', { expected: 'BZh1 to BZh9' })
  source.take(4)
  const bits = new Bits(source)
  let combined = 0
  for (let number = 0; ; number++) {
    const at = bits.at
    const magic = [bits.read(24), bits.read(24)] as const
    const stored = bits.read32()
    bits.check()
    if (magic[0] === END_MAGIC[0] && magic[1] === END_MAGIC[1]) {
      source.check('stream', 'combined CRC', combined >>> 0, stored, at)
      bits.align()
      source.endStream(output.length)
      yield
      return
    }
    if (magic[0] !== BLOCK_MAGIC[0] || magic[1] !== BLOCK_MAGIC[1]) {
      source.damaged(
        `stream at ${hex(start)}: the magic of a block or of the end is missing`,
        { found: hex(magic[0] * 2 ** 24 + magic[1], 12) },
        at,
      )
    }
    const from = output.length
    yield* decodeBlock(bits, room.of(level), output)
    const decoded = output.bytes(from)
    let crc = 0
    let crcAt = 0
    for (const end of sliceEnds(0, decoded.length)) {
      crc = crcOf(decoded.subarray(crcAt, end), crc)
      crcAt = end
      yield
    }
    source.check(`block ${number}`, 'CRC', crc, stored, at)
    combined = ((combined << 1) | (combined >>> 31)) ^ crc
  }
}

function* decodeBlock(bits: Bits, block: Uint32Array, output: GrowingBytes): Slices<void> {
  const { source } = bits
  if (bits.read(1) === 1) source.unsupported('a randomised block, last written in 1999,', {}, bits.at)
  const first = bits.read(24)
  const bytes = readBytesInUse(bits)
  if (bytes.length === 0) source.damaged('a block uses no bytes', {}, bits.at)
  /** A run's two symbols, all bytes except the front one, and the end of the block. */
  const symbolCount = bytes.length + 2

  const tableCount = bits.read(3)
  const selectorCount = bits.read(15)
  if (tableCount < 2 || tableCount > 6 || selectorCount === 0) {
    source.damaged('tables and selectors are out of range', { found: `${tableCount} and ${selectorCount}` }, bits.at)
  }
  const selectors = readSelectors(bits, tableCount, selectorCount)
  const tables = Array.from({ length: tableCount }, () => readCodes(bits, symbolCount))
  bits.check()

  const symbols = new Symbols(bits, selectors, tables, bytes, block)
  while (!symbols.read(GROUPS_IN_SLICE)) yield
  const { length } = symbols
  if (first >= length)
    source.damaged('the first byte lies outside the block', { expected: `below ${length}`, found: `${first}` }, bits.at)
  yield
  const starts = startsOf(block, length)
  for (let from = 0; from < length; from += ENTRIES_IN_SLICE) {
    yield
    undoSort(block, starts, from, Math.min(from + ENTRIES_IN_SLICE, length))
  }
  const runs = new Runs(block, first, output)
  for (let from = 0; from < length; from += ENTRIES_IN_SLICE) {
    yield
    runs.undo(Math.min(ENTRIES_IN_SLICE, length - from))
  }
}

/** The bytes in use: 16 bits say which sixteenths of them occur, then 16 bits follow for each of those. */
function readBytesInUse(bits: Bits): Uint8Array {
  const sixteenths = bits.read(16)
  const used: number[] = []
  for (let high = 0; high < 16; high++) {
    if (!(sixteenths & (0x8000 >> high))) continue
    const low = bits.read(16)
    for (let i = 0; i < 16; i++) if (low & (0x8000 >> i)) used.push(high * 16 + i)
  }
  return Uint8Array.from(used)
}

/** The table of each group, coded as its place among the recent ones: that many ones and a zero. */
function readSelectors(bits: Bits, tableCount: number, count: number): Uint8Array {
  const recent = Array.from({ length: tableCount }, (_, index) => index)
  const selectors = new Uint8Array(count)
  for (let i = 0; i < count; i++) {
    let place = 0
    while (bits.read(1) === 1) {
      if (++place === tableCount) bits.source.damaged('a selector is out of range', {}, bits.at)
    }
    const [table = 0] = recent.splice(place, 1)
    recent.unshift(table)
    selectors[i] = table
  }
  return selectors
}

/** Reads code lengths, each coded as steps up or down from the one before. */
function readCodes(bits: Bits, symbolCount: number): Codes {
  const lengths = new Uint8Array(symbolCount)
  let length = bits.read(5)
  for (let symbol = 0; symbol < symbolCount; symbol++) {
    for (;;) {
      if (length < 1 || length > CODE_MAX)
        bits.source.damaged('a code length is out of range', { found: `${length}` }, bits.at)
      if (bits.read(1) === 0) break
      length += bits.read(1) === 0 ? 1 : -1
    }
    lengths[symbol] = length
  }

  const limit = new Int32Array(CODE_MAX + 2)
  const base = new Int32Array(CODE_MAX + 2)
  const symbols = new Uint16Array(symbolCount)
  const lookup = new Uint16Array(1 << LOOKUP_BITS)
  let code = 0
  let place = 0
  for (let size = 1; size <= CODE_MAX; size++) {
    base[size] = code - place
    for (let symbol = 0; symbol < symbolCount; symbol++) {
      if (lengths[symbol] !== size) continue
      symbols[place++] = symbol
      if (size <= LOOKUP_BITS) {
        const shift = LOOKUP_BITS - size
        lookup.fill(symbol * 32 + size, code << shift, (code + 1) << shift)
      }
      code++
    }
    // With more symbols than codes, two codes would be the same.
    if (code > 1 << size) bits.source.damaged('a code has too many symbols', {}, bits.at)
    limit[size] = code << (CODE_MAX - size)
    code <<= 1
  }
  return { lookup, limit, base, symbols }
}

/**
 * Reads the symbols of a block and fills it with the bytes in sorted order. This, undoing the sort and undoing the runs
 * each take too long for one slice, so they can stop and continue. A generator would be slower by a quarter.
 */
class Symbols {
  readonly #bits: Bits
  readonly #selectors: Uint8Array
  readonly #tables: readonly Codes[]
  readonly #block: Uint32Array
  readonly #endOfBlock: number
  readonly #front: Uint8Array
  #group = 0
  #run = 0
  #runWeight = 1
  /** The number of bytes so far. */
  length = 0

  constructor(bits: Bits, selectors: Uint8Array, tables: readonly Codes[], bytesInUse: Uint8Array, block: Uint32Array) {
    this.#bits = bits
    this.#selectors = selectors
    this.#tables = tables
    this.#block = block
    this.#endOfBlock = bytesInUse.length + 1
    this.#front = bytesInUse
  }

  /** Reads `groups` groups. Returns true at the end of the block. */
  read(groups: number): boolean {
    const bits = this.#bits
    const { source } = bits
    const input = source.bytes
    const tables = this.#tables
    const block = this.#block
    const endOfBlock = this.#endOfBlock
    const front = this.#front
    // The state is in local variables: this loop takes most of the time.
    let { length } = this
    let run = this.#run
    let runWeight = this.#runWeight
    let { buffer, count } = bits
    let { at } = source
    for (const selector of this.#selectors.subarray(this.#group, this.#group + groups)) {
      const { lookup, limit, base, symbols } = tables[selector] as Codes
      for (let i = 0; i < GROUP_SYMBOLS; i++) {
        while (count < CODE_MAX) {
          buffer = (buffer << 8) | (at < input.length ? (input[at] as number) : 0)
          at++
          count += 8
        }
        const next = (buffer >>> (count - CODE_MAX)) & ((1 << CODE_MAX) - 1)
        const known = lookup[next >> (CODE_MAX - LOOKUP_BITS)] as number
        let symbol: number
        if (known !== 0) {
          count -= known & 31
          symbol = known >> 5
        } else {
          let size = LOOKUP_BITS + 1
          while (size <= CODE_MAX && next >= (limit[size] as number)) size++
          if (size > CODE_MAX) source.damaged('a code is invalid', {}, at - (count >> 3))
          count -= size
          symbol = symbols[(next >> (CODE_MAX - size)) - (base[size] as number)] as number
        }

        if (symbol <= RUN_B) {
          run += symbol === RUN_A ? runWeight : 2 * runWeight
          runWeight *= 2
          if (run > block.length) this.#tooLong(at)
          continue
        }
        if (run > 0) {
          if (length + run > block.length) this.#tooLong(at)
          block.fill(front[0] as number, length, length + run)
          length += run
          run = 0
          runWeight = 1
        }
        if (symbol === endOfBlock) {
          bits.buffer = buffer
          bits.count = count
          source.at = at
          bits.check()
          this.length = length
          return true
        }
        if (length === block.length) this.#tooLong(at)
        const place = symbol - 1
        const byte = front[place] as number
        if (place < 16) for (let j = place; j > 0; j--) front[j] = front[j - 1] as number
        else front.copyWithin(1, 0, place)
        front[0] = byte
        block[length++] = byte
      }
      if (at > input.length + 4) source.damaged('the stream ends early', {}, input.length)
    }
    this.#group += groups
    if (this.#group >= this.#selectors.length) source.damaged('a block does not end', {}, at)
    this.length = length
    this.#run = run
    this.#runWeight = runWeight
    bits.buffer = buffer
    bits.count = count
    source.at = at
    return false
  }

  #tooLong(at: number): never {
    return this.#bits.source.damaged('a block is too long', { expected: `at most ${this.#block.length}` }, at)
  }
}

/** The first place of each byte's entries in sorted order. */
function startsOf(block: Uint32Array, length: number): Uint32Array {
  const starts = new Uint32Array(256)
  for (let i = 0; i < length; i++) (starts[block[i] as number] as number)++
  let sum = 0
  for (let byte = 0; byte < 256; byte++) {
    const count = starts[byte] as number
    starts[byte] = sum
    sum += count
  }
  return starts
}

/** Stores links to the entries `from` to `to`: above an entry's byte goes the place of the entry that follows it. */
function undoSort(block: Uint32Array, starts: Uint32Array, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    const byte = (block[i] as number) & 0xff
    const place = starts[byte] as number
    starts[byte] = place + 1
    block[place] = (block[place] as number) | (i << 8)
  }
}

/** Follows the entries from the first byte on. After four equal bytes comes a count of more. */
class Runs {
  readonly #block: Uint32Array
  readonly #output: GrowingBytes
  #entry: number
  #previous = -1
  #equal = 0

  constructor(block: Uint32Array, first: number, output: GrowingBytes) {
    this.#block = block
    this.#output = output
    this.#entry = block[first] as number
  }

  /** Undoes the runs of the next `entries` entries. */
  undo(entries: number): void {
    const block = this.#block
    const output = this.#output
    let { all, room, length: out } = output
    const makeRoom = (more: number): void => {
      output.length = out
      output.reserve(more)
      all = output.all
      room = output.room
    }
    let entry = this.#entry
    let previous = this.#previous
    let equal = this.#equal
    for (let left = entries; left > 0; left--) {
      entry = block[entry >>> 8] as number
      const byte = entry & 0xff
      if (equal === RUN_BYTES) {
        if (byte > room - out) makeRoom(byte)
        all.fill(previous, out, out + byte)
        out += byte
        equal = 0
        previous = -1
        continue
      }
      equal = byte === previous ? equal + 1 : 1
      previous = byte
      if (out === room) makeRoom(1)
      all[out++] = byte
    }
    output.length = out
    this.#entry = entry
    this.#previous = previous
    this.#equal = equal
  }
}

/**
 * CRC-32 with the bits of each byte in the opposite of the usual order; four bytes at a time.
 * @param before the CRC of the bytes before them.
 */
function crcOf(bytes: Uint8Array, before: number): number {
  crcTables ??= makeCrcTables()
  const [t0, t1, t2, t3] = crcTables as unknown as readonly [Int32Array, Int32Array, Int32Array, Int32Array]
  let crc = ~before
  let at = 0
  for (; at + 4 <= bytes.length; at += 4) {
    crc ^=
      ((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)
    crc =
      (t3[crc >>> 24] as number) ^
      (t2[(crc >>> 16) & 0xff] as number) ^
      (t1[(crc >>> 8) & 0xff] as number) ^
      (t0[crc & 0xff] as number)
  }
  for (; at < bytes.length; at++) crc = (crc << 8) ^ (t0[(crc >>> 24) ^ (bytes[at] as number)] as number)
  return ~crc >>> 0
}

const CRC_POLYNOMIAL = 0x04c11db7
let crcTables: readonly Int32Array[] | undefined

/** Table k holds the CRC of each byte followed by k zero bytes. */
function makeCrcTables(): readonly Int32Array[] {
  const tables = Array.from({ length: 4 }, () => new Int32Array(256))
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte << 24
    for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc < 0 ? CRC_POLYNOMIAL : 0)
    for (const table of tables) {
      table[byte] = crc
      for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc < 0 ? CRC_POLYNOMIAL : 0)
    }
  }
  return tables
}
