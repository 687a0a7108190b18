/**
 * Progress on a terminal: one line that changes, gone when the work is done.
 *
 * Source: our own rule: only on a terminal's stderr, only for work that lasts, never with --quiet.
 * Gotcha: nothing may be shown before work has lasted, or a quick command would flicker.
 */
import type { Part } from '../work.js'
import { isWatched, showStatus } from './printer.js'

/** Milliseconds before anything is shown: short work stays silent. */
const PATIENCE = 150
/** Milliseconds between two changes of the line. */
const INTERVAL = 50

export class Progress {
  readonly #on: boolean
  readonly #started = Date.now()
  #shown = false
  #last = 0

  constructor(quiet: boolean) {
    this.#on = !quiet && isWatched()
  }

  /** Shows the current work, and how much of it is done. */
  say(what: string, part: Part): void {
    if (!this.#on) return
    const now = Date.now()
    if (now - this.#started < PATIENCE || now - this.#last < INTERVAL) return
    this.#last = now
    this.#shown = true
    const percent = part.total > 0 ? ` ${Math.floor((100 * part.done) / part.total)}%` : ''
    showStatus(`${what}${percent}`)
  }

  /** Clears the line. */
  end(): void {
    if (this.#shown) showStatus('')
    this.#shown = false
  }
}
