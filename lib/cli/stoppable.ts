/**
 * Work that a signal stops: it is undone, and the process ends by that signal.
 *
 * Source: https://www.cons.org/cracauer/sigint.html: a shell must see which signal ended its child.
 * Gotcha: the first process of a container ignores a signal that it sends itself, so it exits with a status instead.
 */
import { constants } from 'node:os'
import { sayAtOnce } from './printer.js'

/** Signals that tell a process to stop: from a key, from another process, from a closed terminal. */
const STOPPED_BY = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Does work that undoes itself when its signal is aborted. A signal that tells the process to stop aborts it. The process
 * then says the outcome with the reason, and ends by that signal.
 * @param outcome the state after the work was undone, such as `guest.img: not written`.
 */
export async function stoppable<T>(outcome: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController()
  let stopped: NodeJS.Signals | undefined
  const stop = (signal: NodeJS.Signals) => {
    stopped ??= signal
    abort.abort(new Error(`stopped by ${signal}`))
  }
  for (const signal of STOPPED_BY) process.on(signal, stop)
  try {
    return await work(abort.signal)
  } catch (error) {
    if (stopped !== undefined) {
      for (const signal of STOPPED_BY) process.off(signal, stop)
      sayAtOnce(`${outcome}, because of ${stopped}`)
      endBy(stopped)
    }
    throw error
  } finally {
    for (const signal of STOPPED_BY) process.off(signal, stop)
  }
}

/** Ends the process by a signal, or with the status that a shell gives to one. */
function endBy(signal: NodeJS.Signals): never {
  process.kill(process.pid, signal)
  process.exit(128 + constants.signals[signal])
}
