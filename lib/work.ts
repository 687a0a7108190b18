/**
 * Long work: how it is stopped, how it says how far it is, and how it leaves the event loop its turns.
 *
 * Source: https://dom.spec.whatwg.org/#interface-AbortSignal; https://html.spec.whatwg.org/#message-channels.
 * Gotcha: a signal is looked at between two pieces of work. Unless the event loop has its turn now and then, nobody gets
 * to abort anything but `onProgress` itself.
 */

/** How far a piece of work is. */
export interface Part {
  /** Bytes done, at most `total`. */
  readonly done: number
  /** Bytes in all. */
  readonly total: number
}

/** Cancellation and progress of long work. */
export interface WorkOptions<P extends Part = Part> {
  /** Stops the work between two pieces: it throws the signal's reason. */
  readonly signal?: AbortSignal
  /** Told after each piece. What it throws stops the work too. */
  readonly onProgress?: (part: P) => void
}

/** Work that is under way. */
export class Work {
  readonly #options: WorkOptions
  readonly #total: number
  #done = 0

  /** @param total bytes in all. @throws the signal's reason, when it is aborted already. */
  constructor(total: number, options: WorkOptions = {}) {
    this.#total = total
    this.#options = options
    options.signal?.throwIfAborted()
  }

  /** So many more bytes are done. @throws the signal's reason. */
  step(bytes: number): void {
    this.reach(this.#done + bytes)
  }

  /** So many bytes are done in all. @throws the signal's reason. */
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
 * Lets one who waits go on, after a turn of the event loop. There is a channel for each turn: Node empties a channel that
 * is written to meanwhile before it looks at anything else.
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

/** Lets the event loop have its turn, when it is time: signals, timers and input are heard then. */
export async function breathe(): Promise<void> {
  if (!isDue()) return
  await new Promise<void>((resolve) => {
    if (waiting.push(resolve) === 1) nextTurn()
  })
}

/** Work that stops after each slice of a few milliseconds. */
export type Slices<T> = Generator<void, T>

/** Does all slices at once. */
export function atOnce<T>(slices: Slices<T>): T {
  for (;;) {
    const next = slices.next()
    if (next.done) return next.value
  }
}

/**
 * Does all slices; the event loop has its turns in between. Progress is told after each of those, and at the end.
 * @param total bytes in all. @param done how many of them are done. @throws the signal's reason.
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
