/**
 * SnapshotFile: one file of a snapshot, whose bytes are made on demand.
 *
 * Source: our own design. A file is a list of parts, each of a length that is known before any byte exists.
 * Gotcha: the bytes may be views of the guest's memory. A consumer may keep them, but must neither change nor transfer
 * them.
 */
import { BLOCK_BYTES, type Content } from '../guest/memory.js'
import { alignUp } from '../units.js'
import { Work, type WorkOptions } from '../work.js'

/** Bytes of a file, and their place in it. */
export interface Piece {
  /** In bytes, from the file's beginning. */
  readonly offset: number
  /** Valid for as long as the consumer keeps them. */
  readonly bytes: Uint8Array
}

/** Content of a file, and its start. */
export interface Stretch {
  /** In bytes, from the start of the part. */
  readonly offset: number
  /** In bytes: at most BLOCK_BYTES where they are to be made. */
  readonly length: number
  readonly content: Content
}

/** A part of a file. Bytes outside its stretches are zero. */
export interface Part {
  /** Its size in the file, in bytes. */
  readonly length: number
  /** Bytes of all its stretches. */
  readonly content: number
  /** In order of offset. */
  stretches(): Iterable<Stretch>
}

/** Returns a part whose bytes exist. */
export const solid = (bytes: Uint8Array): Part => ({
  length: bytes.length,
  content: bytes.length,
  stretches: () => [{ offset: 0, length: bytes.length, content: bytes }],
})

/** Returns a part of zeros, without stretches. */
export const zeros = (length: number): Part => ({ length, content: 0, stretches: () => [] })

/** Returns a part of `length` bytes that stretches fill without a gap. */
export const flowing = (length: number, contents: () => Iterable<Omit<Stretch, 'offset'>>): Part => ({
  length,
  content: length,
  *stretches() {
    let offset = 0
    for (const next of contents()) {
      yield { ...next, offset }
      offset += next.length
    }
  },
})

/** The alignment of content that is made, in bytes, so that it can be an array of words. */
const MADE_ALIGN = 8
/** Bytes that exist are handed out without a copy from this length on. */
const HANDED_OUT = 1 << 16
/** The most zeros that are handed out at a time. */
const ZEROS_BYTES = 1 << 20

/**
 * One file of a snapshot. Iterating yields its bytes in order, any number of times: for `Readable.from(file)`,
 * `writeFile(name, file)`, `ReadableStream.from(file)`, `new Blob([...file])`. Iterating throws the signal's reason,
 * and the errors of the guest's memory.
 *
 * @example
 * ```ts
 * const file = writeXl(guest)
 * new Response(ReadableStream.from(file), { headers: { 'content-length': `${file.size}` } })
 * ```
 */
export class SnapshotFile implements Iterable<Uint8Array> {
  /** The suffix of this file's name to the snapshot's: '' for the first file, such as `.json` for another. */
  readonly suffix: string
  /** In bytes. */
  readonly size: number
  readonly #parts: readonly Part[]
  readonly #options: WorkOptions

  /** @param options apply each time that the file is iterated over. */
  constructor(suffix: string, parts: readonly Part[], options: WorkOptions = {}) {
    this.suffix = suffix
    this.size = parts.reduce((sum, { length }) => sum + length, 0)
    this.#parts = parts
    this.#options = options
  }

  /**
   * Yields the bytes in order of offset, without stretches of zeros: for a sparse file. Between the pieces the file is
   * zero.
   * @param nextBlock returns memory of BLOCK_BYTES to make bytes in. All pieces in the last block were handed out by
   *   then, so a writer that has finished with them may return it again. Default: fresh memory, so every piece stays
   *   valid.
   */
  *pieces(nextBlock: () => Uint8Array = freshBlock): Generator<Piece> {
    const work = new Work(
      this.#parts.reduce((sum, part) => sum + part.content, 0),
      this.#options,
    )
    let block: Uint8Array = new Uint8Array(0)
    // The gathered bytes of the block, and their place in the file.
    let start = 0
    let end = 0
    let at = 0
    for (const { offset, length, content } of this.#stretches()) {
      const isMade = typeof content === 'function'
      const isHandedOut = !isMade && length >= HANDED_OUT
      const isAligned = !isMade || end % MADE_ALIGN === 0
      const fits = alignUp(end, MADE_ALIGN) + length <= block.length
      if (end > start && (isHandedOut || !isAligned || !fits || offset !== at + end - start)) {
        yield { offset: at, bytes: block.subarray(start, end) }
        start = end
      }
      if (isHandedOut) {
        yield { offset, bytes: content }
      } else {
        if (!fits) {
          block = nextBlock()
          /* c8 ignore next -- only an error in a format's writer leads here */
          if (length > block.length) throw new RangeError(`a stretch of ${length} bytes is too large for a block`)
          end = 0
          start = 0
        }
        if (start === end) {
          at = offset
          end = alignUp(end, MADE_ALIGN)
          start = end
        }
        const out = block.subarray(end, end + length)
        end += length
        if (isMade) content(out)
        else out.set(content)
      }
      work.step(length)
    }
    if (end > start) yield { offset: at, bytes: block.subarray(start, end) }
  }

  /** Yields the stretches of all parts, with offsets from the beginning of the file. */
  *#stretches(): Generator<Stretch> {
    let start = 0
    for (const part of this.#parts) {
      for (const { offset, length, content } of part.stretches()) yield { offset: start + offset, length, content }
      start += part.length
    }
  }

  /** Yields all bytes in order. */
  *[Symbol.iterator](): Generator<Uint8Array> {
    let at = 0
    for (const { offset, bytes } of this.pieces()) {
      yield* gap(offset - at)
      yield bytes
      at = offset + bytes.length
    }
    yield* gap(this.size - at)
  }
}

const freshBlock = (): Uint8Array => new Uint8Array(BLOCK_BYTES)

function* gap(length: number): Generator<Uint8Array> {
  for (let done = 0; done < length; done += ZEROS_BYTES) yield new Uint8Array(Math.min(ZEROS_BYTES, length - done))
}
