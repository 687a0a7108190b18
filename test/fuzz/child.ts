/**
 * Fuzzes one target in a process of its own, and sends what it found to the one that started it.
 *
 * Source: https://nodejs.org/api/child_process.html#child_processforkmodulepath-args-options
 * Gotcha: only what is compiled after coverage was asked for has it by blocks, so all that counts is imported late; and V8
 * runs with --no-flush-bytecode, since code that is forgotten and compiled again would count anew.
 */
import { Coverage } from './coverage.js'
import type { Length, Report } from './fuzzer.js'
import { Journal } from './journal.js'

/** What a child is asked to do. */
export interface Task {
  readonly target: string
  readonly seed: number
  readonly length: Length
  /** Path of its journal. */
  readonly journal: string
}

/** What a child says: that it is alive, or what came out. */
export type Message = { readonly alive: true } | { readonly report: Report }

/** Executions between two signs of life. */
const ALIVE = 256

/**
 * Our own code, and the decoder that is not. What depends on the clock must not guide: when the event loop has its turn.
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
