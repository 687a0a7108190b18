/**
 * Writes bytes into an open file while more of them are made: several writes run at once.
 *
 * Source: https://nodejs.org/api/fs.html#fswritevfd-buffers-position-callback; Node writes in its pool of threads.
 * Gotcha: a short write is not an error. The rest must be written until the system reports why it takes no more.
 */
import { writev } from 'node:fs'
import { concat } from '../bytes.js'
import { BLOCK_BYTES } from '../guest/memory.js'
import type { Piece } from '../snapshot/snapshot-file.js'
import { breathe } from '../work.js'
import { writeAt } from './fd.js'

/** The bytes that are worth a separate call. */
const BATCH_BYTES = 1 << 20
/** A batch up to this size is written synchronously: handing it to another thread would take longer. */
const SHORT_BYTES = 128 << 10
/** The most buffers of one call: IOV_MAX of POSIX systems is at least this. */
const BATCH_BUFFERS = 512
/** Calls in progress at once: the bytes of as many batches are in memory. */
const CALLS = 3

type Pieces = Iterable<Piece> | AsyncIterable<Piece>

/**
 * Writes pieces, which are in order of offset, and returns when all are in the file.
 * @param pieces gets a function that returns the next block to make bytes in, for SnapshotFile. Blocks are reused.
 */
export async function writePieces(fd: number, pieces: (nextBlock: () => Uint8Array) => Pieces): Promise<void> {
  const calls = new Calls(fd)
  let buffers: Uint8Array[] = []
  let start = 0
  let end = 0
  try {
    for await (const { offset, bytes } of pieces(() => calls.nextBlock())) {
      if (offset !== end || end - start >= BATCH_BYTES || buffers.length === BATCH_BUFFERS) {
        await calls.write(buffers, start)
        buffers = []
        start = offset
        end = offset
      }
      buffers.push(bytes)
      end += bytes.length
    }
    await calls.write(buffers, start)
  } finally {
    // No call may be in progress when the file is closed.
    await calls.settled()
  }
  await calls.done()
}

interface Call {
  readonly written: Promise<void>
  /** Blocks that have no bytes in a later call. */
  readonly blocks: readonly Uint8Array[]
}

class Calls {
  readonly #fd: number
  readonly #running: Call[] = []
  /** The block that bytes are made in. */
  #block: Uint8Array | undefined
  /** Blocks before it; the next call is the last with bytes of them. */
  readonly #full: Uint8Array[] = []
  /** Blocks whose bytes are all in the file. */
  readonly #free: Uint8Array[] = []

  constructor(fd: number) {
    this.#fd = fd
  }

  nextBlock(): Uint8Array {
    if (this.#block !== undefined) this.#full.push(this.#block)
    this.#block = this.#free.pop() ?? new Uint8Array(BLOCK_BYTES)
    return this.#block
  }

  /** Starts a call, and waits for the oldest if as many as allowed are in progress. */
  async write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    const bytes = buffers.reduce((sum, { length }) => sum + length, 0)
    if (bytes <= SHORT_BYTES) {
      writeAt(this.#fd, buffers.length === 1 ? (buffers[0] as Uint8Array) : concat(buffers), position)
      if (this.#running.length === 0) this.#free.push(...this.#full.splice(0))
      return breathe()
    }
    const written = writeAll(this.#fd, buffers, position)
    // The promise is awaited below; until then its failure must not count as unhandled.
    written.catch(() => {})
    this.#running.push({ written, blocks: this.#full.splice(0) })
    if (this.#running.length < CALLS) return
    const first = this.#running.shift() as Call
    await first.written
    this.#free.push(...first.blocks)
  }

  /** Waits for all calls, whether they fail or not. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running.map(({ written }) => written))
  }

  /** @throws the error of a failed call. */
  async done(): Promise<void> {
    await Promise.all(this.#running.map(({ written }) => written))
  }
}

async function writeAll(fd: number, buffers: readonly Uint8Array[], position: number): Promise<void> {
  let rest = buffers
  let at = position
  while (rest.length > 0) {
    const written = await writeSome(fd, rest, at)
    at += written
    rest = without(rest, written)
  }
}

function writeSome(fd: number, buffers: readonly Uint8Array[], position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(fd, buffers as Uint8Array[], position, (error, written) => (error ? reject(error) : resolve(written)))
  })
}

/** Returns the buffers without their first bytes. */
function without(buffers: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes
  return buffers.flatMap((buffer) => {
    const dropped = Math.min(left, buffer.length)
    left -= dropped
    return dropped === buffer.length ? [] : [buffer.subarray(dropped)]
  })
}
