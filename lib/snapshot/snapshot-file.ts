/**
 * SnapshotFile: one file of a snapshot, whose bytes are made when somebody asks for them.
 *
 * Source: our own design. A file is a list of parts, each of a length that is known before any byte exists.
 * Gotcha: the bytes may be views of the guest's memory. A consumer may keep them, but must neither change nor transfer
 * them.
 */
import { Work, type WorkOptions } from '../work.js'

/** Bytes of a file, and where in it they begin. */
export interface Piece {
  /** In bytes, from the file's beginning. */
  readonly offset: number
  /** Valid for as long as the consumer keeps them. */
  readonly bytes: Uint8Array
}

/** A part of a file. What no piece covers is zero. */
export interface Part {
  /** Bytes that it takes in the file. */
  readonly length: number
  /** Bytes of all its pieces. */
  readonly content: number
  /** In order of offset, which counts from the start of the part. */
  pieces(): Iterable<Piece>
}

/** A part whose bytes exist. */
export const solid = (bytes: Uint8Array): Part => ({
  length: bytes.length,
  content: bytes.length,
  pieces: () => [{ offset: 0, bytes }],
})

/** A part of zeros: no piece at all. */
export const zeros = (length: number): Part => ({ length, content: 0, pieces: () => [] })

/** A part that chunks fill without a gap, `length` bytes of them. */
export const flowing = (length: number, chunks: () => Iterable<Uint8Array>): Part => ({
  length,
  content: length,
  *pieces() {
    let offset = 0
    for (const bytes of chunks()) {
      yield { offset, bytes }
      offset += bytes.length
    }
  },
})

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

  /** The bytes that are not zeros alone, in order of offset: for a sparse file. Between them the file is zero. */
  *pieces(): Generator<Piece> {
    const content = this.#parts.reduce((sum, part) => sum + part.content, 0)
    const work = new Work(content, this.#options)
    let start = 0
    for (const part of this.#parts) {
      for (const { offset, bytes } of part.pieces()) {
        yield { offset: start + offset, bytes }
        work.step(bytes.length)
      }
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

function* gap(length: number): Generator<Uint8Array> {
  for (let done = 0; done < length; done += ZEROS_BYTES) yield new Uint8Array(Math.min(ZEROS_BYTES, length - done))
}
