/**
 * SnapshotFile: one file of a snapshot, whose bytes are made when somebody asks for them.
 *
 * Source: our own design. A file is a list of parts, each of a length that is known before any byte exists.
 * Gotcha: the bytes may be views of the guest's memory. A consumer may keep them, but must neither change nor transfer
 * them.
 */
import type { Content } from '../guest/memory.js'
import { alignUp } from '../units.js'
import { Work, type WorkOptions } from '../work.js'

/** Bytes of a file, and where in it they begin. */
export interface Piece {
  /** In bytes, from the file's beginning. */
  readonly offset: number
  /** Valid for as long as the consumer keeps them. */
  readonly bytes: Uint8Array
}

/** Content of a file, and where it begins. */
export interface Stretch {
  /** In bytes, from the start of the part. */
  readonly offset: number
  /** Bytes: at most BLOCK_BYTES where they are to be made. */
  readonly length: number
  readonly content: Content
}

/** A part of a file. What no stretch covers is zero. */
export interface Part {
  /** Bytes that it takes in the file. */
  readonly length: number
  /** Bytes of all its stretches. */
  readonly content: number
  /** In order of offset. */
  stretches(): Iterable<Stretch>
}

/** A part whose bytes exist. */
export const solid = (bytes: Uint8Array): Part => ({
  length: bytes.length,
  content: bytes.length,
  stretches: () => [{ offset: 0, length: bytes.length, content: bytes }],
})

/** A part of zeros: no stretch at all. */
export const zeros = (length: number): Part => ({ length, content: 0, stretches: () => [] })

/** A part that stretches fill without a gap, `length` bytes of them. */
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

/** Bytes of a block that content is made in, and that short content is gathered in. */
export const BLOCK_BYTES = 1 << 20
/** Content is made where an array of words may begin. */
const MADE_ALIGN = 8
/** Bytes that exist are handed out as they are from this length on. */
const HANDED_OUT = 1 << 16
/** Most zeros that are handed out at a time. */
const ZEROS_BYTES = 1 << 20

/**
 * One file of a snapshot. Iterating gives its bytes in order, as often as it is asked for: for `Readable.from(file)`,
 * `writeFile(name, file)`, `ReadableStream.from(file)`, `new Blob([...file])`.
 * Iterating throws the signal's reason, and what the guest's memory refuses.
 *
 * @example
 * ```ts
 * const file = writeXl(guest)
 * new Response(ReadableStream.from(file), { headers: { 'content-length': `${file.size}` } })
 * ```
 */
export class SnapshotFile implements Iterable<Uint8Array> {
  /** What follows the snapshot's name in this file's: '' for the first file, such as `.json` for another. */
  readonly suffix: string
  /** Bytes. */
  readonly size: number
  readonly #parts: readonly Part[]
  readonly #options: WorkOptions

  /** @param options are heeded each time that the file is iterated over. */
  constructor(suffix: string, parts: readonly Part[], options: WorkOptions = {}) {
    this.suffix = suffix
    this.size = parts.reduce((sum, { length }) => sum + length, 0)
    this.#parts = parts
    this.#options = options
  }

  /**
   * The bytes that are not zeros alone, in order of offset: for a sparse file. Between them the file is zero.
   * @param nextBlock gives memory of BLOCK_BYTES to make bytes in. All pieces in the last block were handed out then, so a
   * writer that is done with them may give it again. Default: fresh memory, so every piece stays valid.
   */
  *pieces(nextBlock: () => Uint8Array = freshBlock): Generator<Piece> {
    const work = new Work(
      this.#parts.reduce((sum, part) => sum + part.content, 0),
      this.#options,
    )
    let block: Uint8Array = new Uint8Array(0)
    // What is gathered in the block, and where in the file it belongs.
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

  /** Those of all parts, their offsets from the beginning of the file. */
  *#stretches(): Generator<Stretch> {
    let start = 0
    for (const part of this.#parts) {
      for (const { offset, length, content } of part.stretches()) yield { offset: start + offset, length, content }
      start += part.length
    }
  }

  /** All bytes in order. */
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
