/**
 * gzip, by pako's zlib: all members, as one output; one member, written; and zlib's own streams, of one block each.
 *
 * Source: RFC 1952, https://www.rfc-editor.org/rfc/rfc1952; RFC 1950, https://www.rfc-editor.org/rfc/rfc1950;
 * https://github.com/nodeca/pako, a port of https://zlib.net.
 * Gotcha: a limit on the output alone does not bound the time of a call: a block of codes may decode to nothing. So one
 * call takes little input too. zlib decompresses directly into memory that grows in place.
 */
import {
  ZStream,
  zlibDeflate,
  zlibDeflateInit2,
  zlibDeflateReset,
  zlibInflate,
  zlibInflateInit,
  zlibInflateInit2,
  zlibInflateReset,
} from 'pako'
import { concat } from '../bytes.js'
import type { Slices } from '../work.js'
import { GrowingBytes } from './growing-bytes.js'
import { type Bounds, type Decoded, type Pull, PulledSource, type Source } from './source.js'

/** The most bytes that one call takes and returns: one to three milliseconds. */
const INPUT_MAX = 2 ** 15
const OUTPUT_MAX = 2 ** 19

/** zlib's window of 32 KiB, plus 16 for a gzip stream. */
const WINDOW_BITS = 15 + 16
/** zlib's own codes. */
const Z = { NO_FLUSH: 0, FINISH: 4, OK: 0, STREAM_END: 1, BUF_ERROR: -5 } as const
/** The parameters of zlib's deflateInit2(): the best compression, by the only method, with the usual memory. */
const DEFLATE = { LEVEL: 9, METHOD: 8, MEMORY: 8, STRATEGY: 0 } as const

/** The members of a stream, one after another. */
class Members {
  readonly #source: Source
  readonly #zlib = new ZStream()
  /** Whether the last member has ended: nothing or a zero, which is padding, follows it. */
  ended = false
  /** Bytes of all members so far. */
  #length = 0

  constructor(source: Source) {
    this.#source = source
    zlibInflateInit2(this.#zlib, WINDOW_BITS)
  }

  /** Decompresses into `room` bytes of `output` from `at` on. Returns their number; 0 if it needs more input first. */
  next(output: Uint8Array<ArrayBuffer>, at: number, room: number): number {
    const source = this.#source
    const zlib = this.#zlib
    source.ensure(INPUT_MAX)
    zlib.input = source.bytes
    zlib.next_in = source.at
    zlib.avail_in = Math.min(source.left, INPUT_MAX)
    zlib.output = output
    zlib.next_out = at
    zlib.avail_out = room
    const status = zlibInflate(zlib, Z.NO_FLUSH)
    source.at = zlib.next_in
    this.#length += zlib.next_out - at
    if (status === Z.STREAM_END) {
      source.endStream(this.#length)
      source.ensure(1)
      this.ended = (source.peek(1)[0] ?? 0) === 0
      if (!this.ended) zlibInflateReset(zlib)
    } else if (status !== Z.OK && status !== Z.BUF_ERROR) {
      source.damaged('the stream does not decompress', { found: zlib.msg })
    } else if (zlib.next_out === at && source.left === 0) {
      source.damaged('the stream ends early')
    }
    return zlib.next_out - at
  }
}

export function* decodeGzip(source: Source): Slices<Decoded> {
  // One byte above the limit shows that there is more.
  const output = new GrowingBytes(source, 0, 1)
  const members = new Members(source)
  while (!members.ended) {
    const room = Math.min(OUTPUT_MAX, output.left)
    output.reserve(room)
    const length = members.next(output.all, output.length, room + 1)
    if (length > room) output.reserve(length)
    output.length += length
    yield
  }
  return { bytes: yield* output.result(), consumed: source.at }
}

/**
 * Returns the first member alone, decompressed in one call; undefined if it is damaged, or longer than `room`. Never
 * more memory than its content needs.
 */
export function gunzipMember(bytes: Uint8Array, room: number): Uint8Array<ArrayBuffer> | undefined {
  const zlib = new ZStream()
  zlibInflateInit2(zlib, WINDOW_BITS)
  zlib.input = bytes
  zlib.next_in = 0
  zlib.avail_in = bytes.length
  const pieces: Uint8Array[] = []
  for (let length = 0; ; ) {
    const piece = new Uint8Array(Math.min(OUTPUT_MAX, room - length))
    zlib.output = piece
    zlib.next_out = 0
    zlib.avail_out = piece.length
    const status = zlibInflate(zlib, Z.NO_FLUSH)
    length += zlib.next_out
    pieces.push(piece.subarray(0, zlib.next_out))
    if (status === Z.STREAM_END) return concat(pieces)
    if (status !== Z.OK || zlib.avail_out > 0 || length === room) return undefined
  }
}

/**
 * Decodes a stream as it arrives. Yields pieces that belong to the caller; some are empty.
 * @throws DomainBuilderError as decodeGzip() does.
 */
export function* gzipPieces(pull: Pull, bounds: Bounds): Generator<Uint8Array<ArrayBuffer>> {
  const source: Source = new PulledSource('gzip', pull, bounds)
  const members = new Members(source)
  const output = new Uint8Array(OUTPUT_MAX)
  let left = source.ceiling
  while (!members.ended) {
    const length = members.next(output, 0, output.length)
    left -= length
    if (left < 0) source.tooLarge()
    yield output.slice(0, length)
  }
}

/** Compresses bytes as one member. The same bytes always give the same member. */
export function* encodeGzip(bytes: Uint8Array): Slices<Uint8Array> {
  const zlib = new ZStream()
  zlibDeflateInit2(zlib, DEFLATE.LEVEL, DEFLATE.METHOD, WINDOW_BITS, DEFLATE.MEMORY, DEFLATE.STRATEGY)
  zlib.input = bytes
  zlib.next_in = 0
  const pieces: Uint8Array[] = []
  for (let end = 0; ; ) {
    end = Math.min(bytes.length, end + INPUT_MAX)
    zlib.avail_in = end - zlib.next_in
    const flush = end === bytes.length ? Z.FINISH : Z.NO_FLUSH
    let status: number
    do {
      const piece = new Uint8Array(INPUT_MAX)
      zlib.output = piece
      zlib.next_out = 0
      zlib.avail_out = piece.length
      status = zlibDeflate(zlib, flush)
      pieces.push(piece.subarray(0, zlib.next_out))
    } while (zlib.avail_out === 0)
    if (status === Z.STREAM_END) return concat(pieces)
    yield
  }
}

/** Decodes one zlib stream after another with the same state: making it takes longer than a page. */
export class InflateBlocks {
  readonly #zlib = new ZStream()
  readonly #out: Uint8Array<ArrayBuffer>

  /** @param bytes the most of a decoded stream. */
  constructor(bytes: number) {
    this.#out = new Uint8Array(bytes)
    zlibInflateInit(this.#zlib)
  }

  /** Returns the decoded bytes, which are valid until the next call. */
  decode(source: Source): Uint8Array {
    const zlib = this.#zlib
    const out = this.#out
    zlibInflateReset(zlib)
    zlib.input = source.bytes
    zlib.next_in = 0
    zlib.avail_in = source.bytes.length
    zlib.output = out
    zlib.next_out = 0
    zlib.avail_out = out.length
    const status = zlibInflate(zlib, Z.FINISH)
    if (status !== Z.STREAM_END) source.damaged('the stream does not decompress', { found: zlib.msg || 'no end' })
    return out.subarray(0, zlib.next_out)
  }
}

/** The fastest level, and a window of a page. `method` and `memLevel` are zlib's defaults. */
const DEFLATE_BLOCK = { level: 1, method: 8, windowBits: 12, memLevel: 8, strategy: 0 } as const

/** Encodes one block after another as a zlib stream. The same bytes always give the same stream. */
export class DeflateBlocks {
  readonly #zlib = new ZStream()
  readonly #out: Uint8Array<ArrayBuffer>

  /** @param bytes the most of a stream. */
  constructor(bytes: number) {
    this.#out = new Uint8Array(bytes)
    const { level, method, windowBits, memLevel, strategy } = DEFLATE_BLOCK
    zlibDeflateInit2(this.#zlib, level, method, windowBits, memLevel, strategy)
  }

  /** Returns the stream, which is valid until the next call; undefined for one with more bytes. */
  encode(bytes: Uint8Array): Uint8Array | undefined {
    const zlib = this.#zlib
    const out = this.#out
    zlibDeflateReset(zlib)
    zlib.input = bytes
    zlib.next_in = 0
    zlib.avail_in = bytes.length
    zlib.output = out
    zlib.next_out = 0
    zlib.avail_out = out.length
    return zlibDeflate(zlib, Z.FINISH) === Z.STREAM_END ? out.subarray(0, zlib.next_out) : undefined
  }
}
