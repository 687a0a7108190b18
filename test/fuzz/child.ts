/**
 * Fuzzes one target in a separate process, and sends the results to its parent.
 *
 * Source: https://nodejs.org/api/child_process.html#child_processforkmodulepath-args-options
 * Gotcha: only code compiled after coverage was enabled has block coverage, so the covered code is imported late. V8
 * runs with --no-flush-bytecode, since code that is flushed and compiled again would count anew.
 */
import { Coverage } from './coverage.js'
import type { Length, Report } from './fuzzer.js'
import { Journal } from './journal.js'

/** The task of a child. */
export interface Task {
  readonly target: string
  readonly seed: number
  readonly length: Length
  /** The path of its journal. */
  readonly journal: string
}

/** A message of a child: that it is alive, or its report. */
export type Message = { readonly alive: true } | { readonly report: Report }

/** The number of executions between two messages that it is alive. */
const ALIVE = 256

/**
 * Our own code, and the third-party decoder. Code that depends on the clock must not guide: turns of the event loop.
 */
const GUIDES = /\/dist\/lib\/(?!work\.js$)|\/node_modules\/pako\//

const { target: name, seed, length, journal: path } = JSON.parse(process.argv[2] ?? '') as Task
const say = (message: Message) => process.send?.(message)
const coverage = new Coverage((url) => GUIDES.test(url))
const { fuzz } = await import('./fuzzer.js')
const { targetNamed } = await import('./targets.js')
const target = targetNamed(name)
const journal = new Journal(path)
let inputs = 0
const report = await fuzz(target, {
  seed,
  length,
  coverage,
  onInput(bytes) {
    journal.write(bytes)
    if (inputs++ % ALIVE === 0) say({ alive: true })
  },
})
target.close?.()
say({ report })
process.disconnect()
