/**
 * The compressed bytes that a decoder reads, and the bounds it must keep. All our own decoders share it.
 *
 * Source: our own rule, lib/errors.ts: each refusal names what was expected, what was found, and the file offset.
 * Gotcha: never allocate by `size`: it comes from an untrusted file. It may only lower the ceiling, and is checked.
 */
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'

export interface Bounds {
  /** The most bytes of the output. */
  readonly limit: number
  /** The exact bytes of the output, if the file gives them. */
  readonly size?: number
  /** File offset of the first compressed byte, for messages. */
  readonly offset?: number
}

export interface Decoded {
  /** The decompressed bytes. A view: its buffer may be larger, and the caller owns it. */
  readonly bytes: Uint8Array
  /** Compressed bytes used from the start of the stream. */
  readonly consumed: number
}

/** The bytes that a pass over data reads in one slice of the work: two milliseconds at most. */
export const SLICE_BYTES = 2 ** 19

/** More streams than `most` must hold `bytes` bytes each on average: starting one costs 30 microseconds. */
const SMALL_STREAMS = { most: 4096, bytes: 64 }

/** Yields the ends of the slices from `from` to `to`; at least one. */
export function* sliceEnds(from: number, to: number): Generator<number> {
  for (let end = from + SLICE_BYTES; end < to; end += SLICE_BYTES) yield end
  yield to
}

/** A cursor over compressed bytes that refuses to read past their end. */
export class Source {
  readonly codec: string
  /** The whole stream, or the loaded part of a stream that comes in pieces. */
  bytes: Uint8Array
  readonly bounds: Bounds
  /** Next byte to read, in `bytes`. */
  at = 0
  /** Bytes of the stream before `bytes`. */
  protected passed = 0
  /** The number of streams that have ended. */
  #streams = 0

  constructor(codec: string, bytes: Uint8Array, bounds: Bounds) {
    this.codec = codec
    this.bytes = bytes
    this.bounds = bounds
  }

  /** The most bytes worth decoding: with one more, the stream is refused. */
  get ceiling(): number {
    return Math.min(this.bounds.limit, this.bounds.size ?? this.bounds.limit)
  }

  get left(): number {
    return this.bytes.length - this.at
  }

  /**
   * Counts a stream that has ended.
   * @param output bytes of all streams so far. @throws DomainBuilderError `payload-damaged` for too many tiny streams.
   */
  endStream(output: number): void {
    const { most, bytes } = SMALL_STREAMS
    if (++this.#streams <= most || output >= this.#streams * bytes) return
    this.damaged('the streams are too small', {
      expected: `at least ${bytes} bytes on average in more than ${most}`,
      found: `${output} bytes in ${this.#streams}`,
    })
  }

  /** @throws DomainBuilderError `payload-damaged`, with the file offset of `at`. */
  damaged(what: string, found: { expected?: string; found?: string } = {}, at = this.at): never {
    throw new DomainBuilderError('payload-damaged', `${this.codec}: ${what}`, {
      ...found,
      offset: this.#fileOffset(at),
    })
  }

  /** @throws DomainBuilderError `payload-damaged` for a feature of the format that no kernel uses. */
  unsupported(what: string, found: { expected?: string; found?: string } = {}, at = this.at): never {
    return this.damaged(`${what} is not supported`, found, at)
  }

  /** @throws DomainBuilderError `payload-size` or `payload-too-large`: the output passes the ceiling. */
  tooLarge(): never {
    const { limit, size } = this.bounds
    const offset = this.#fileOffset(0)
    if (size !== undefined && size <= limit) {
      throw new DomainBuilderError('payload-size', `${this.codec}: the payload decompresses to more than promised`, {
        expected: `${size} bytes`,
        found: 'more',
        offset,
      })
    }
    throw new DomainBuilderError('payload-too-large', `${this.codec}: the decompressed payload is too large`, {
      expected: `at most ${limit} bytes`,
      found: 'more',
      offset,
    })
  }

  /** @throws DomainBuilderError `payload-too-large`: within the limit, but more than this process can allocate. */
  outOfMemory(wanted: number): never {
    throw new DomainBuilderError('payload-too-large', `${this.codec}: the process has no memory for the output`, {
      expected: `room for ${wanted} bytes`,
      found: 'less',
      offset: this.#fileOffset(0),
    })
  }

  /** Throws another library's error as a DomainBuilderError. */
  failed(error: unknown, at = this.at): never {
    if (error instanceof DomainBuilderError) throw error
    throw new DomainBuilderError('payload-damaged', `${this.codec}: the stream does not decompress`, {
      found: error instanceof Error ? error.message : String(error),
      offset: this.#fileOffset(at),
      cause: error,
    })
  }

  /** Refuses a checksum that differs from the stored one. */
  check(what: string, name: string, computed: number | bigint, stored: number | bigint, at: number): void {
    if (computed === stored) return
    this.damaged(`${what}: ${name} differs from the stored value`, { expected: hex(stored), found: hex(computed) }, at)
  }

  /** Loads at least `length` bytes, or all that are left. It may change `bytes` and `at`. */
  ensure(_length: number): void {}

  need(length: number): void {
    if (length > this.left) {
      this.damaged(
        'the stream ends early',
        { expected: `${length} more bytes`, found: `${this.left}` },
        this.bytes.length,
      )
    }
  }

  /** The next bytes, fewer at the end. Does not move on. */
  peek(length: number): Uint8Array {
    return this.bytes.subarray(this.at, this.at + length)
  }

  take(length: number): Uint8Array {
    this.need(length)
    this.at += length
    return this.bytes.subarray(this.at - length, this.at)
  }

  /** Moves on past the next `length` bytes. */
  skip(length: number): void {
    for (let left = length; left > 0; ) {
      this.ensure(left)
      const step = Math.min(left, Math.max(1, this.left))
      this.take(step)
      left -= step
    }
  }

  u8(): number {
    const value = this.bytes[this.at]
    if (value === undefined) this.need(1)
    this.at++
    return value as number
  }

  u16le(): number {
    return this.u8() + this.u8() * 0x100
  }

  u16be(): number {
    return this.u8() * 0x100 + this.u8()
  }

  u32be(): number {
    return this.u16be() * 0x10000 + this.u16be()
  }

  u32le(): number {
    return this.u16le() + this.u16le() * 0x10000
  }

  #fileOffset(at: number): number {
    return (this.bounds.offset ?? 0) + this.passed + at
  }
}

/** Fills the start of `into` with the next bytes and returns their number; 0 at the end. */
export type Pull = (into: Uint8Array) => number

/** The most loaded bytes of a stream that comes in pieces: more than any step of a decoder needs. */
const AT_HAND = 2 ** 20

/** A stream that should not be in memory as a whole. */
export class PulledSource extends Source {
  readonly #pull: Pull
  readonly #window = new Uint8Array(AT_HAND)
  #ended = false

  constructor(codec: string, pull: Pull, bounds: Bounds) {
    super(codec, new Uint8Array(0), bounds)
    this.#pull = pull
  }

  override ensure(length: number): void {
    if (this.left >= Math.min(length, AT_HAND) || this.#ended) return
    let end = this.left
    this.#window.set(this.bytes.subarray(this.at))
    this.passed += this.at
    this.at = 0
    while (end < AT_HAND && !this.#ended) {
      const count = this.#pull(this.#window.subarray(end))
      if (count === 0) this.#ended = true
      end += count
    }
    this.bytes = this.#window.subarray(0, end)
  }
}
