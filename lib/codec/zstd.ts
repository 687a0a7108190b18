/**
 * zstd: frames of blocks, each of literals and sequences.
 *
 * Source: RFC 8878, https://www.rfc-editor.org/rfc/rfc8878; names are its names. Kernels use no dictionaries.
 * Gotcha: do not rely on the content size: Linux compresses from a pipe, so the frame of a real kernel has none.
 */

import { alignDown, hex } from '../units.js'
import type { Slices } from '../work.js'
import { GrowingBytes } from './growing-bytes.js'
import { machineMemory, machineOf } from './machine.js'
import { magicU32 } from './magic.js'
import { type Bounds, type Decoded, type Pull, PulledSource, type Source, sliceEnds } from './source.js'
import { digestFunction, LANES, lanesFunction, STRIPE } from './xxh64.js'
import {
  BLOCK_AT,
  BLOCK_MAX,
  HASH_AT,
  HUFFMAN_AT,
  HUFFMAN_BITS_MAX,
  huffmanFunction,
  LITERALS_AT,
  OUTPUT_AT,
  OUTPUT_SLACK,
  RESULT,
  sequencesFunction,
  TABLE_AT,
  ZSTD_FIELDS,
} from './zstd-core.js'
import {
  LITERAL_LENGTH,
  MATCH_LENGTH,
  OFFSET,
  readHuffmanTable,
  readSequenceTable,
  type SequenceCode,
} from './zstd-tables.js'

const FRAME_MAGIC = magicU32('zstd')
/** The first of sixteen magic numbers of frames with other data, which are ignored. */
const SKIPPABLE_MAGIC = 0x184d2a50
const BLOCK = { raw: 0, rle: 1, compressed: 2 } as const
const BLOCK_HEADER = 3
/** Magic, descriptor, window, dictionary, content size, in bytes; a skippable frame has fewer. */
const FRAME_HEADER_MAX = 18
const CHECKSUM = 4
const LITERALS = { raw: 0, rle: 1, compressed: 2, treeless: 3 } as const

const PROBLEM: Readonly<Record<number, string>> = {
  [RESULT.badBits]: 'a bit stream does not end at its start',
  [RESULT.badOffset]: 'an offset reaches before the start of the frame',
  [RESULT.pastLiterals]: 'sequences use more literals than there are',
  [RESULT.pastEnd]: 'a block is too large',
}

interface Exports {
  huffman(start: number, end: number, marker: number, out: number, outEnd: number, maxBits: number): number
  sequences(start: number, end: number, marker: number, count: number): number
  lanes(state: number, from: number, to: number): number
  digest(state: number, from: number, to: number, length: bigint): bigint
}

const machineOver = machineOf<Exports>(() => [
  huffmanFunction(),
  sequencesFunction(),
  lanesFunction(),
  digestFunction(),
])

/** Decodes a whole stream; data after it is ignored. */
export function* decodeZstd(source: Source): Slices<Decoded> {
  const output = new GrowingBytes(source, OUTPUT_AT, OUTPUT_SLACK, machineMemory)
  let consumed = 0
  for (const frame of framesOf(source, output)) {
    for (const _ of frame?.blocks() ?? []) yield
    consumed = source.at
    yield
  }
  return { bytes: yield* output.result(), consumed }
}

/** The largest window of a stream in pieces, in bytes: the default limit of zstd(1). */
const WINDOW_MAX = 2 ** 27
/** Bytes of a piece: at least this many within a frame, at most this many at its end. */
const PIECE_BYTES = 2 ** 22

/**
 * Decodes a stream as it arrives. Yields pieces that belong to the caller; memory holds its window and one piece.
 * @throws DomainBuilderError as decodeZstd() does; `payload-damaged` for data after the last frame.
 */
export function* zstdPieces(pull: Pull, bounds: Bounds): Generator<Uint8Array<ArrayBuffer>> {
  const source: Source = new PulledSource('zstd', pull, bounds)
  const output = new GrowingBytes(source, OUTPUT_AT, OUTPUT_SLACK, machineMemory)
  for (const frame of framesOf(source, output)) {
    for (const _ of frame?.blocks(WINDOW_MAX) ?? []) {
      const piece = frame?.handOut(PIECE_BYTES)
      if (piece) yield piece
    }
    // The next frame uses nothing of this one.
    for (let at = 0; at < output.length; at += PIECE_BYTES) yield output.bytes(at).slice(0, PIECE_BYTES)
    output.discard(output.length)
  }
  if (source.left > 0) source.damaged('the data is not a frame', { found: `${source.left} bytes of something else` })
}

/** Decodes one small stream after another in the same memory: making it takes longer than a page. */
export class ZstdBlocks {
  readonly #output: GrowingBytes
  readonly #exports: Exports

  /** @param source the first stream. */
  constructor(source: Source) {
    this.#output = new GrowingBytes(source, OUTPUT_AT, OUTPUT_SLACK, machineMemory)
    this.#exports = machineOver(this.#output.memory)
  }

  /** Returns the decoded bytes, which are valid until the next call. */
  decode(source: Source): Uint8Array {
    const output = this.#output
    output.restart(source)
    for (const frame of framesOf(source, output, this.#exports)) for (const _ of frame?.blocks() ?? []);
    return output.bytes()
  }
}

/** Yields the frames in order; undefined for a frame with other data. */
function* framesOf(
  source: Source,
  output: GrowingBytes,
  exports = machineOver(output.memory),
): Generator<Frame | undefined> {
  do {
    source.ensure(FRAME_HEADER_MAX)
    const magic = source.u32le()
    if (magic === FRAME_MAGIC) yield new Frame(source, output, exports)
    else if (magic >>> 4 === SKIPPABLE_MAGIC >>> 4) {
      source.skip(source.u32le())
      yield undefined
    } else {
      source.at -= 4
      return
    }
    source.ensure(FRAME_HEADER_MAX)
  } while (source.left >= 4)
}

class Frame {
  readonly #source: Source
  readonly #output: GrowingBytes
  readonly #exports: Exports
  /** Where its content starts in the output: negative if some of it has been discarded. */
  #from: number
  #windowSize = 0
  /** Bits of the tables that the next block may reuse. */
  #huffmanBits: number | undefined
  #logs: { literalLength?: number; offset?: number; matchLength?: number } = {}
  #repeated: readonly [number, number, number] = [1, 4, 8]

  constructor(source: Source, output: GrowingBytes, exports: Exports) {
    this.#source = source
    this.#output = output
    this.#exports = exports
    this.#from = output.length
  }

  /** Decodes block by block. Refuses a frame whose window has more than `windowMax` bytes. */
  *blocks(windowMax = Number.MAX_SAFE_INTEGER): Generator<void> {
    const source = this.#source
    const output = this.#output
    const header = readFrameHeader(source)
    if (header.contentSize !== undefined && header.contentSize > output.left) source.tooLarge()
    if (header.windowSize > windowMax) {
      const sizes = { expected: `at most ${windowMax} bytes`, found: `${header.windowSize}` }
      source.unsupported('a window of this size', sizes)
    }
    this.#windowSize = header.windowSize
    new BigUint64Array(output.all.buffer, HASH_AT, LANES.length).set(LANES)
    const blockMax = Math.min(BLOCK_MAX, header.windowSize)

    for (let isLast = false; !isLast; ) {
      source.ensure(BLOCK_HEADER + BLOCK_MAX)
      const at = source.at
      const block = source.u8() | (source.u8() << 8) | (source.u8() << 16)
      isLast = (block & 1) === 1
      const type = (block >> 1) & 3
      const size = block >> 3
      if (size > blockMax)
        source.damaged('the block size is too large', { expected: `at most ${blockMax}`, found: `${size}` }, at)
      if (type === BLOCK.raw) output.append(source.take(size))
      else if (type === BLOCK.rle) output.fill(source.u8(), size)
      else if (type === BLOCK.compressed) this.#decodeBlock(size, blockMax)
      else source.damaged('block type is reserved', { found: `${type}` }, at)
      yield
    }
    const from = Math.max(0, this.#from)
    const size = output.length - this.#from
    if (header.contentSize !== undefined && header.contentSize !== size) {
      source.damaged('the frame content size is wrong', { expected: `${header.contentSize}`, found: `${size}` })
    }
    if (header.hasChecksum) {
      source.ensure(CHECKSUM)
      const end = OUTPUT_AT + output.length
      let rest = OUTPUT_AT + from
      for (const sliceEnd of sliceEnds(rest, end)) {
        rest = this.#exports.lanes(HASH_AT, rest, sliceEnd)
        yield
      }
      const hash = this.#exports.digest(HASH_AT, rest, end, BigInt(size))
      source.check('frame', 'XXH64', Number(BigInt.asUintN(32, hash)), source.u32le(), source.at - 4)
    }
  }

  /** Discards and returns the output that no later block can refer to, if it has at least `least` bytes. */
  handOut(least: number): Uint8Array<ArrayBuffer> | undefined {
    const output = this.#output
    const length = alignDown(output.length - this.#windowSize, STRIPE)
    if (length < least) return undefined
    this.#exports.lanes(HASH_AT, OUTPUT_AT, OUTPUT_AT + length)
    const piece = output.bytes().slice(0, length)
    output.discard(length)
    this.#from -= length
    return piece
  }

  #decodeBlock(size: number, blockMax: number): void {
    const source = this.#source
    const output = this.#output
    const at = source.at
    const end = at + size
    source.need(size)
    const room = Math.min(blockMax, output.left)
    output.reserve(room)
    output.all.set(source.bytes.subarray(at, end), BLOCK_AT)
    const toMemory = (from: number): number => from - at + BLOCK_AT

    const literals = this.#readLiterals(end, blockMax, toMemory)
    const fields = new DataView(output.all.buffer)
    const count = this.#readSequenceHeader(end)
    let literal = literals.start
    if (count > 0) {
      const out = OUTPUT_AT + output.length
      const set = (field: keyof typeof ZSTD_FIELDS, value: number): void =>
        fields.setUint32(ZSTD_FIELDS[field], value, true)
      set('frameStart', OUTPUT_AT + Math.max(0, this.#from))
      set('out', out)
      set('outEnd', out + room)
      set('literal', literal)
      set('literalEnd', literals.end)
      set('literalLengthLog', this.#logs.literalLength ?? 0)
      set('offsetLog', this.#logs.offset ?? 0)
      set('matchLengthLog', this.#logs.matchLength ?? 0)
      const [rep1, rep2, rep3] = this.#repeated
      set('rep1', rep1)
      set('rep2', rep2)
      set('rep3', rep3)
      const bits = this.#bitStream(source.at, end)
      const result = this.#exports.sequences(toMemory(source.at), toMemory(end), bits, count)
      this.#refuse(result, room < blockMax, at)
      const get = (field: keyof typeof ZSTD_FIELDS): number => fields.getUint32(ZSTD_FIELDS[field], true)
      output.length = get('out') - OUTPUT_AT
      literal = get('literal')
      this.#repeated = [get('rep1'), get('rep2'), get('rep3')]
    } else if (source.at !== end) {
      source.damaged('a block goes on after its end')
    }
    // The literals left after the sequences end the block.
    if (output.length + literals.end - literal > output.room) this.#refuse(RESULT.pastEnd, room < blockMax, at)
    output.append(output.all.subarray(literal, literals.end))
    source.at = end
  }

  #refuse(result: number, isCut: boolean, at: number): void {
    if (result === RESULT.done) return
    if (result === RESULT.pastEnd && isCut) this.#source.tooLarge()
    this.#source.damaged(PROBLEM[result] ?? 'a block is damaged', {}, at)
  }

  /** A backward stream's marker, as the number of bits of its last byte that do not count. */
  #bitStream(start: number, end: number): number {
    const last = end > start ? (this.#source.bytes[end - 1] as number) : 0
    if (last === 0) this.#source.damaged('a bit stream has no end marker', {}, end)
    return Math.clz32(last) - 23
  }

  /** Decodes the literals and returns their range in memory. */
  #readLiterals(end: number, blockMax: number, toMemory: (at: number) => number): { start: number; end: number } {
    const source = this.#source
    const { all } = this.#output
    const start = source.at
    const first = source.u8()
    const type = first & 3
    const format = (first >> 2) & 3
    const tooMany = (size: number): void => {
      if (size > blockMax)
        source.damaged(
          'the number of literals is too large',
          { expected: `at most ${blockMax}`, found: `${size}` },
          start,
        )
    }
    const past = (what: string): never => source.damaged(`${what} pass the end of the block`, {}, start)

    if (type === LITERALS.raw || type === LITERALS.rle) {
      let size = first >> 3
      if (format & 1) {
        size = (first >> 4) | (source.u8() << 4)
        if (format === 3) size |= source.u8() << 12
      }
      tooMany(size)
      if (type === LITERALS.rle) {
        all.fill(source.u8(), LITERALS_AT, LITERALS_AT + size)
        return { start: LITERALS_AT, end: LITERALS_AT + size }
      }
      if (size > end - source.at) past('literals')
      source.at += size
      return { start: toMemory(source.at - size), end: toMemory(source.at) }
    }

    // Two sizes with the same number of bits, after four bits.
    const sizeBits = format < 2 ? 10 : format === 2 ? 14 : 18
    const sizes = first + 256 * source.u8() + 65536 * source.u8()
    const more = format < 2 ? 0 : format === 2 ? source.u8() : source.u8() + 256 * source.u8()
    const both = Math.floor((more * 2 ** 24 + sizes) / 16)
    const size = both % 2 ** sizeBits
    const compressedSize = Math.floor(both / 2 ** sizeBits)
    tooMany(size)
    const streamsEnd = source.at + compressedSize
    if (streamsEnd > end) past('compressed literals')
    if (type === LITERALS.compressed) {
      const entries = new Uint16Array(all.buffer, HUFFMAN_AT, 1 << HUFFMAN_BITS_MAX)
      this.#huffmanBits = readHuffmanTable(source, streamsEnd, entries)
    }
    const bits = this.#huffmanBits
    if (bits === undefined) return source.damaged('the Huffman table to reuse is missing', {}, start)

    let out = LITERALS_AT
    const decode = (length: number, streamEnd: number): void => {
      const marker = this.#bitStream(source.at, streamEnd)
      const result = this.#exports.huffman(toMemory(source.at), toMemory(streamEnd), marker, out, out + length, bits)
      this.#refuse(result, false, source.at)
      out += length
      source.at = streamEnd
    }
    if (format === 0) {
      decode(size, streamsEnd)
    } else {
      const quarter = (size + 3) >> 2
      if (streamsEnd - source.at < 6 || 3 * quarter > size) past('the four streams of literals')
      const lengths = [source.u16le(), source.u16le(), source.u16le()]
      for (const length of lengths) {
        if (source.at + length > streamsEnd) past('the four streams of literals')
        decode(quarter, source.at + length)
      }
      decode(size - 3 * quarter, streamsEnd)
    }
    return { start: LITERALS_AT, end: out }
  }

  /** Reads the tables; returns the number of sequences. */
  #readSequenceHeader(end: number): number {
    const source = this.#source
    let count = source.u8()
    if (count === 0) return 0
    if (count === 255) count = source.u16le() + 0x7f00
    else if (count >= 128) count = (count - 128) * 256 + source.u8()
    const modes = source.u8()
    if (modes & 3) source.damaged('reserved bits of the sequences are set', { found: hex(modes) }, source.at - 1)
    const read = (code: SequenceCode, shift: number, name: keyof typeof TABLE_AT): void => {
      const entries = new Uint32Array(this.#output.all.buffer, TABLE_AT[name], 2 << code.logMax)
      this.#logs[name] = readSequenceTable(source, end, code, (modes >> shift) & 3, this.#logs[name], entries)
    }
    read(LITERAL_LENGTH, 6, 'literalLength')
    read(OFFSET, 4, 'offset')
    read(MATCH_LENGTH, 2, 'matchLength')
    if (source.at > end) source.damaged('the tables pass the end of the block')
    return count
  }
}

interface FrameHeader {
  readonly windowSize: number
  readonly contentSize: number | undefined
  readonly hasChecksum: boolean
}

function readFrameHeader(source: Source): FrameHeader {
  const at = source.at
  const descriptor = source.u8()
  if (descriptor & 0x08) source.unsupported('a reserved bit of the frame header', { found: hex(descriptor) }, at)
  const isSingleSegment = (descriptor & 0x20) !== 0
  let windowSize = 0
  if (!isSingleSegment) {
    const window = source.u8()
    const base = 2 ** (10 + (window >> 3))
    windowSize = base + (base / 8) * (window & 7)
  }
  const readNumber = (bytes: number): number => {
    let value = 0
    for (let i = 0; i < bytes; i++) value += source.u8() * 2 ** (8 * i)
    return value
  }
  const dictionary = readNumber([0, 1, 2, 4][descriptor & 3] as number)
  if (dictionary !== 0) source.unsupported('a dictionary', { found: hex(dictionary) }, at)
  const sizeFlag = descriptor >> 6
  const sizeBytes = sizeFlag === 0 ? Number(isSingleSegment) : 2 ** sizeFlag
  let contentSize: number | undefined
  if (sizeBytes > 0) contentSize = readNumber(sizeBytes) + (sizeBytes === 2 ? 256 : 0)
  return {
    windowSize: isSingleSegment ? (contentSize ?? 0) : windowSize,
    contentSize,
    hasChecksum: (descriptor & 0x04) !== 0,
  }
}
