/**
 * The worker of the page: it does all of the work, one request of each kind at a time.
 *
 * Source: https://html.spec.whatwg.org/#dedicated-workers-and-the-worker-interface
 * Gotcha: a request that is replaced may still be under way. Its answers are dropped, since the page shows the new one's.
 */
/// <reference lib="dom" />
import { DomainBuilderError } from '../errors.js'
import { lazy } from '../lazy.js'
import { messagePart } from '../printable.js'
import { readAhead } from '../snapshot/byte-source.js'
import { wholeOf } from '../snapshot/kernel-source.js'
import type { SnapshotFile } from '../snapshot/snapshot-file.js'
import { type Part, turn } from '../work.js'
import { fileSource } from './file-source.js'
import type { Ask, Refusal, Tell, Told } from './messages.js'
import { Session, type Watch } from './session.js'

/** A worker's own scope, as far as this file uses it. */
declare const self: {
  onmessage: ((event: MessageEvent<Ask>) => void) | null
  postMessage(message: Told): void
}

/** The bytes of a file that are handed to the browser at a time; it keeps large files on the disk. */
const BLOB_BYTES = 4 << 20
/** Milliseconds between two reports of progress. */
const REPORT_EVERY = 100

/** Returns the error as the command prints it. A fault of the program is `internal`. */
const refusalOf = (error: unknown): Refusal =>
  error instanceof DomainBuilderError
    ? { code: error.code, message: error.message }
    : { code: 'internal', message: messagePart(String(error), 1000) }

const zeroBlob = lazy(() => new Blob([new Uint8Array(BLOB_BYTES)]))

/** Returns a blob of zeros, made of few bytes: a blob of blobs only refers to them. */
function zeros(length: number): Blob {
  let blob = zeroBlob()
  while (blob.size < length) blob = new Blob([blob, blob])
  return blob.slice(0, length)
}

/** Returns the bytes of a file, handed over piece by piece. Holes are not made. */
async function blobOf(file: SnapshotFile, report: (part: Part) => void, signal: AbortSignal): Promise<Blob> {
  const blobs: Blob[] = []
  let pieces: Uint8Array<ArrayBuffer>[] = []
  let gathered = 0
  let end = 0
  const hand = () => {
    blobs.push(new Blob(pieces))
    pieces = []
    gathered = 0
  }
  const gap = (to: number) => {
    if (to === end) return
    hand()
    blobs.push(zeros(to - end))
  }
  for (const { offset, bytes } of file.pieces()) {
    signal.throwIfAborted()
    gap(offset)
    pieces.push(bytes as Uint8Array<ArrayBuffer>)
    gathered += bytes.length
    end = offset + bytes.length
    if (gathered < BLOB_BYTES) continue
    hand()
    report({ done: end, total: file.size })
    await turn()
  }
  gap(file.size)
  hand()
  return new Blob(blobs)
}

/** Starts to listen to the page. */
export function startWorker(): void {
  const session = new Session()
  const running = new Map<Ask['ask'], AbortController>()
  const stop = (kinds: Iterable<Ask['ask']>): void => {
    for (const kind of [...kinds]) {
      running.get(kind)?.abort(new Error('replaced'))
      running.delete(kind)
    }
  }

  async function answer(ask: Ask, tell: (message: Tell) => void, watch: Watch): Promise<void> {
    if (ask.ask === 'cancel') return
    if (ask.ask === 'open') {
      const files = ask.files.map((file) => ({ name: file.name, source: readAhead(fileSource(file)) }))
      tell({ tell: 'subject', subject: await session.open(files, watch) })
      for await (const lines of session.answers(watch)) tell({ tell: 'lines', lines })
      return
    }
    const ramdisks = ask.ramdisks.map((file) => wholeOf(fileSource(file)))
    if (ask.ask === 'build') return tell({ tell: 'guest', ...(await session.map(ask.words, ramdisks, watch)) })
    const made = await session.save(ask.product, ask.words, ramdisks, watch)
    const files: { name: string; blob: Blob }[] = []
    for (const { name, file } of made) {
      const report = (part: Part) => watch.onProgress(`writing ${name}`, part)
      files.push({ name, blob: await blobOf(file, report, watch.signal) })
    }
    tell({ tell: 'files', files })
  }

  self.onmessage = async ({ data: ask }) => {
    stop(ask.ask === 'open' || ask.ask === 'cancel' ? running.keys() : [ask.ask])
    const abort = new AbortController()
    running.set(ask.ask, abort)
    const { signal } = abort
    const tell = (message: Tell) => {
      if (!signal.aborted) self.postMessage({ ...message, of: ask.ask })
    }
    let reported = 0
    const onProgress: Watch['onProgress'] = (doing, { done, total }) => {
      const now = performance.now()
      if (now - reported < REPORT_EVERY) return
      reported = now
      tell({ tell: 'progress', doing, done, total })
    }
    try {
      await answer(ask, tell, { signal, onProgress })
    } catch (error) {
      tell({ tell: 'refused', refusal: refusalOf(error) })
    }
    tell({ tell: 'end' })
  }
}
