/**
 * Writes bytes into an open file while more of them are made: several writes are under way at once.
 *
 * Source: https://nodejs.org/api/fs.html#fswritevfd-buffers-position-callback; Node writes in its pool of threads.
 * Gotcha: a short write is not an error. The rest is written until the system says why it takes no more.
 */
import { writev } from 'node:fs'
import { concat } from '../bytes.js'
import type { Piece } from '../snapshot/snapshot-file.js'
import { breathe } from '../work.js'
import { writeAt } from './fd.js'

/** Bytes that are worth a call of their own. */
const BATCH_BYTES = 2 << 20
/** A shorter batch is written at once: handing it to another thread would take longer. */
const SHORT_BYTES = 128 << 10
/** Buffers of one call: IOV_MAX of POSIX systems is at least this. */
const BATCH_BUFFERS = 512
/** Calls under way at once: the bytes of so many batches are in memory. */
const CALLS = 3

/** Writes pieces, which are in order of offset, and returns when all are in the file. */
export async function writePieces(fd: number, pieces: Iterable<Piece> | AsyncIterable<Piece>): Promise<void> {
  const calls = new Calls(fd)
  let buffers: Uint8Array[] = []
  let start = 0
  let end = 0
  try {
    for await (const { offset, bytes } of pieces) {
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
    // No call may be under way when the file is closed.
    await calls.settled()
  }
  await calls.done()
}

class Calls {
  readonly #fd: number
  readonly #running: Promise<void>[] = []

  constructor(fd: number) {
    this.#fd = fd
  }

  /** Begins a call, when fewer than the most are under way. */
  async write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    const bytes = buffers.reduce((sum, { length }) => sum + length, 0)
    if (bytes <= SHORT_BYTES) {
      writeAt(this.#fd, buffers.length === 1 ? (buffers[0] as Uint8Array) : concat(buffers), position)
      return breathe()
    }
    const call = writeAll(this.#fd, buffers, position)
    // It is awaited below; until then its failure is not an unhandled one.
    call.catch(() => {})
    this.#running.push(call)
    if (this.#running.length >= CALLS) await this.#running.shift()
  }

  /** Waits for all calls, whether they fail or not. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running)
  }

  /** @throws what a call failed with. */
  async done(): Promise<void> {
    await Promise.all(this.#running)
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

/** The buffers without their first bytes. */
function without(buffers: readonly Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes
  return buffers.flatMap((buffer) => {
    const dropped = Math.min(left, buffer.length)
    left -= dropped
    return dropped === buffer.length ? [] : [buffer.subarray(dropped)]
  })
}
