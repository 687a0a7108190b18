/**
 * The debug namespaces that tell the story of a build.
 *
 * Source: https://github.com/debug-js/debug
 * Gotcha: DEBUG=xen-domain-builder:* shows them all; nothing is formatted while they are off, and debug itself is loaded
 * with the first thing that there is to say.
 */
import type { Debug } from 'debug'
import { lazy, require } from './lazy.js'
import { messagePart } from './printable.js'

/** Says something, in debug's format: %s, %d, %o. */
export type Log = (format: string, ...values: readonly unknown[]) => void

const createDebug = lazy(() => require('debug') as Debug)

/** Longest text of a value that is said. */
const TEXT_MAX = 400

/** A value as it may be said: text out of a file, also in a list or an object, is made printable. */
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

/** What was found in a kernel file. */
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
