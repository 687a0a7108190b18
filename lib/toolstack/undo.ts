/**
 * Undo: what was done to a hypervisor, so that a failure at any step takes all of it back.
 *
 * Source: our own design.
 * Gotcha: a step is noted before it is tried where it may be done in part; its undoing must accept that it was not.
 */
import { logLive } from '../log.js'

/** Steps to take back. */
export class Undo {
  readonly #steps: { readonly what: string; readonly undo: () => unknown }[] = []

  /** Notes how a step is undone. */
  add(what: string, undo: () => unknown): void {
    this.#steps.push({ what, undo })
  }

  /** Undoes everything, the last step first. A step that fails is logged, and the others are still undone. */
  async run(): Promise<void> {
    for (const { what, undo } of this.#steps.splice(0).reverse()) {
      logLive('undoing: %s', what)
      try {
        await undo()
      } catch (error) {
        logLive('not undone: %s: %s', what, error instanceof Error ? error.message : String(error))
      }
    }
  }
}
