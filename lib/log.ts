/**
 * The debug namespaces that tell the story of a build.
 *
 * Source: https://github.com/debug-js/debug, only its core. Its entry for Node loads `tty` and `util`; its entry for
 * browsers writes to stdout under Node.
 * Gotcha: nothing is formatted while a namespace is off. DEBUG=xen-domain-builder:* in the environment shows them all
 * on stderr.
 */
import setup from 'debug/src/common.js'
import { debugVariable, isTerminal } from './host.js'
import { lazy } from './lazy.js'
import { messagePart } from './printable.js'

/** Writes a line, in debug's format: %s, %d, %o. */
type Log = (format: string, ...values: readonly unknown[]) => void

/** ANSI colours of the lines on a terminal. */
const COLORS = [6, 2, 3, 4, 5, 1]

const createDebug = lazy(() => {
  const debug = setup({
    colors: COLORS,
    useColors: isTerminal,
    load: debugVariable,
    save() {},
    log: (...line) => console.error(...line),
    formatArgs(line) {
      if (this.useColors) {
        const color = `\u001b[3${this.color}`
        line[0] = `  ${color};1m${this.namespace} \u001b[0m${line[0]}`
        line.push(`${color}m+${debug.humanize(this.diff)}\u001b[0m`)
      } else {
        line[0] = `${new Date().toISOString()} ${this.namespace} ${line[0]}`
      }
    },
  })
  debug.formatters.o = (value) =>
    JSON.stringify(value, (_, part) => (typeof part === 'bigint' ? `0x${part.toString(16)}` : part))
  return debug
})

/** The most characters of a value that a line shows. */
const TEXT_MAX = 400

/** A value that is safe to log: text from a file, also in a list or an object, is made printable. */
function shown(value: unknown): unknown {
  if (typeof value === 'string') return messagePart(value, TEXT_MAX)
  if (Array.isArray(value)) return value.map(shown)
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, shown(one)]))
}

function namespace(name: string): Log {
  const log = lazy(() => createDebug()(`xen-domain-builder:${name}`))
  return (format, ...values) => {
    const say = log()
    if (say.enabled) say(format, ...values.map(shown))
  }
}

/** The findings in a kernel file. */
export const logKernel: Log = namespace('kernel')
/** Decompression. */
export const logPayload: Log = namespace('payload')
/** Notes and the parameters made of them. */
export const logNotes: Log = namespace('notes')
/** Regions as they are placed, with their ranges. */
export const logLayout: Log = namespace('layout')
/** Page tables: how many, where. */
export const logTables: Log = namespace('tables')
/** Boot information, field by field. */
export const logBoot: Log = namespace('boot')
/** Snapshots written and read. */
export const logSnapshot: Log = namespace('snapshot')
/** Requests to a hypervisor that runs. */
export const logLive: Log = namespace('live')
