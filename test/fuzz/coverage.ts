/**
 * The code that has run, from V8's own block coverage of the scripts that count.
 *
 * Source: https://chromedevtools.github.io/devtools-protocol/tot/Profiler/#method-takePreciseCoverage
 * Gotcha: taking it costs some milliseconds, mostly for scripts that do not count, so it is taken once a batch.
 * Sessions are never ended: when the first one ends, V8 stops counting for all.
 */
import { type Profiler, Session } from 'node:inspector'

/** One byte for each character of each script: 1 where the code has run. */
export type Painted = ReadonlyMap<string, Uint8Array>

export class Coverage {
  readonly #session = new Session()
  readonly #isCounted: (url: string) => boolean
  readonly #known = new Map<string, Uint8Array>()

  /** @param isCounted tells from a script's URL whether its coverage guides. */
  constructor(isCounted: (url: string) => boolean) {
    this.#isCounted = isCounted
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** Returns the code that has run since the last call. */
  take(): Painted {
    let scripts: readonly Profiler.ScriptCoverage[] = []
    this.#session.post('Profiler.takePreciseCoverage', (error, found) => {
      if (error) throw error
      scripts = found.result.filter(({ url }) => this.#isCounted(url))
    })
    return new Map(scripts.map(({ url, functions }) => [url, paint(functions)]))
  }

  /** Whether any of it had not run before. */
  isNew(painted: Painted): boolean {
    for (const [url, ran] of painted) {
      const known = this.#known.get(url)
      if (known === undefined || ran.length > known.length) return true
      for (let i = 0; i < ran.length; i++) if ((ran[i] as number) > (known[i] as number)) return true
    }
    return false
  }

  learn(painted: Painted): void {
    for (const [url, ran] of painted) {
      const before = this.#known.get(url) ?? new Uint8Array(0)
      const known = ran.length > before.length ? new Uint8Array(ran.length) : before
      if (known !== before) known.set(before)
      for (let i = 0; i < ran.length; i++) known[i] = (known[i] as number) | (ran[i] as number)
      this.#known.set(url, known)
    }
  }

  /** The number of characters of code that have run. */
  get size(): number {
    let size = 0
    for (const known of this.#known.values()) for (const byte of known) size += byte
    return size
  }
}

/** Paints outer functions and blocks first; inner ones override them. */
export function paint(functions: readonly Profiler.FunctionCoverage[]): Uint8Array {
  const ranges = functions.flatMap((one) => one.ranges)
  const painted = new Uint8Array(ranges.reduce((end, { endOffset }) => Math.max(end, endOffset), 0))
  for (const { startOffset, endOffset, count } of ranges) painted.fill(count > 0 ? 1 : 0, startOffset, endOffset)
  return painted
}
