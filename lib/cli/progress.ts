/**
 * Progress on a terminal: one line that changes, gone when the work is done.
 *
 * Source: our own rule: only on a terminal's stderr, only for work that lasts, never with --quiet.
 * Gotcha: decompression runs without a break, so a phase is shown before it begins.
 */
import type { Part } from '../work.js'
import { isWatched, showStatus } from './printer.js'

/** Milliseconds before anything is shown: short work stays silent. */
const PATIENCE = 150

export class Progress {
  readonly #on: boolean
  readonly #started = Date.now()
  #shown = false
  #last = 0

  constructor(quiet: boolean) {
    this.#on = !quiet && isWatched()
  }

  /** Says what happens now; `done` of `total`, when that can be told. `long`: show it at once. */
  say(what: string, part?: Part, long = false): void {
    if (!this.#on) return
    const now = Date.now()
    if (!long && (now - this.#started < PATIENCE || now - this.#last < 50)) return
    this.#last = now
    this.#shown = true
    const percent = part && part.total > 0 ? ` ${Math.floor((100 * part.done) / part.total)}%` : ''
    showStatus(`${what}${percent}`)
  }

  /** Clears the line. */
  end(): void {
    if (this.#shown) showStatus('')
    this.#shown = false
  }
}
