/**
 * Long work: how it is stopped, reports progress and yields to the event loop.
 *
 * Source: https://dom.spec.whatwg.org/#interface-AbortSignal; https://html.spec.whatwg.org/#message-channels.
 * Gotcha: a signal is checked between two pieces of work. Without yielding to the event loop, only `onProgress` itself
 * could abort.
 */

/** The progress of a piece of work. */
export interface Part {
  /** Bytes done, at most `total`. */
  readonly done: number
  /** Bytes in all. */
  readonly total: number
}

/** Cancellation and progress of long work. */
export interface WorkOptions<P extends Part = Part> {
  /** Stops the work between two pieces; the work then throws the signal's reason. */
  readonly signal?: AbortSignal
  /** Called after each piece. An error that it throws stops the work too. */
  readonly onProgress?: (part: P) => void
}

/** Work in progress. */
export class Work {
  readonly #options: WorkOptions
  readonly #total: number
  #done = 0

  /** @param total bytes in all. @throws the signal's reason if it is already aborted. */
  constructor(total: number, options: WorkOptions = {}) {
    this.#total = total
    this.#options = options
    options.signal?.throwIfAborted()
  }

  /** Reports that `bytes` more bytes are done. @throws the signal's reason. */
  step(bytes: number): void {
    this.reach(this.#done + bytes)
  }

  /** Reports that `done` bytes are done in all. @throws the signal's reason. */
  reach(done: number): void {
    this.#done = Math.min(done, this.#total)
    this.#options.onProgress?.({ done: this.#done, total: this.#total })
    this.#options.signal?.throwIfAborted()
  }
}

/** Milliseconds of work between two turns of the event loop. */
const BUDGET = 8
let lastTurn = 0

/** Whether the event loop has waited long enough. */
const isDue = (): boolean => performance.now() - lastTurn >= BUDGET

const waiting: (() => void)[] = []

/**
 * Resumes one waiter after a turn of the event loop. Each turn has its own channel: Node would drain a shared channel,
 * including messages posted meanwhile, before it handles anything else.
 */
function nextTurn(): void {
  const { port1, port2 } = new MessageChannel()
  port1.onmessage = () => {
    port1.close()
    lastTurn = performance.now()
    waiting.shift()?.()
    if (waiting.length > 0) nextTurn()
  }
  port2.postMessage(undefined)
}

/** Yields to the event loop, so that signals, timers and input are handled. */
export const turn = (): Promise<void> =>
  new Promise((resolve) => {
    if (waiting.push(resolve) === 1) nextTurn()
  })

/** Yields to the event loop when it is due. */
export async function breathe(): Promise<void> {
  if (isDue()) await turn()
}

/** Work that stops after each slice of a few milliseconds. */
export type Slices<T> = Generator<void, T>

/** Runs all slices without a pause. */
export function atOnce<T>(slices: Slices<T>): T {
  for (;;) {
    const next = slices.next()
    if (next.done) return next.value
  }
}

/**
 * Runs all slices and yields to the event loop in between. Reports progress after each yield and at the end.
 * @param total bytes in all. @param done returns how many of them are done. @throws the signal's reason.
 */
export async function doSlices<T>(slices: Slices<T>, options: WorkOptions = {}, total = 0, done = () => 0): Promise<T> {
  const work = new Work(total, options)
  for (;;) {
    const next = slices.next()
    if (next.done) {
      work.reach(total)
      return next.value
    }
    if (!isDue()) continue
    await breathe()
    work.reach(done())
  }
}
