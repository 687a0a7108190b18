/**
 * The worker of the page: it does all of the work, one request of each kind at a time.
 *
 * Source: https://html.spec.whatwg.org/#dedicated-workers-and-the-worker-interface
 * Gotcha: a request that is replaced may still be under way. Its answers are dropped, since the page shows the new one's.
 */
/// <reference lib="dom" />
import { DomainBuilderError } from '../errors.js'
import { messagePart } from '../printable.js'
import { readAhead } from '../snapshot/byte-source.js'
import { wholeOf } from '../snapshot/kernel-source.js'
import type { SnapshotFile } from '../snapshot/snapshot-file.js'
import { turn } from '../work.js'
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

/** Returns the bytes of a file, handed over piece by piece. */
async function blobOf(file: SnapshotFile, signal: AbortSignal): Promise<Blob> {
  const blobs: Blob[] = []
  let pieces: Uint8Array<ArrayBuffer>[] = []
  let bytes = 0
  for (const piece of file) {
    signal.throwIfAborted()
    pieces.push(piece as Uint8Array<ArrayBuffer>)
    bytes += piece.length
    if (bytes < BLOB_BYTES) continue
    blobs.push(new Blob(pieces))
    pieces = []
    bytes = 0
    await turn()
  }
  return new Blob([...blobs, ...pieces])
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
    for (const { name, file } of made) files.push({ name, blob: await blobOf(file, watch.signal) })
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
