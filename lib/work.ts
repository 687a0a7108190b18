/**
 * Long work: how it is stopped, and how it says how far it is.
 *
 * Source: https://dom.spec.whatwg.org/#interface-AbortSignal.
 * Gotcha: a signal is looked at between two pieces of work. Whoever takes the pieces must let the event loop have its turn
 * now and then, or nobody gets to abort anything but `onProgress` itself.
 */

/** How far a piece of work is. */
export interface Part {
  /** Bytes done, at most `total`. */
  readonly done: number
  /** Bytes in all. */
  readonly total: number
}

/** Cancellation and progress of long work. */
export interface WorkOptions {
  /** Stops the work between two pieces: it throws the signal's reason. */
  readonly signal?: AbortSignal
  /** Told after each piece. What it throws stops the work too. */
  readonly onProgress?: (part: Part) => void
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
    this.#done += bytes
    this.#options.onProgress?.({ done: this.#done, total: this.#total })
    this.#options.signal?.throwIfAborted()
  }
}

/** Milliseconds of work between two breaths. */
const BREATH_INTERVAL = 50
let lastBreath = 0

/** Lets the event loop have its turn, when it is time: signals and timers are heard then. */
export async function breathe(): Promise<void> {
  const now = Date.now()
  if (now - lastBreath < BREATH_INTERVAL) return
  lastBreath = now
  await new Promise((resolve) => setImmediate(resolve))
}
