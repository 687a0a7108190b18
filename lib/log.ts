/**
 * The debug namespaces that tell the story of a build.
 *
 * Source: https://github.com/debug-js/debug
 * Gotcha: DEBUG=xen-domain-builder:* shows them all; nothing is formatted while they are off, and debug itself is loaded
 * with the first thing that there is to say.
 */
import type { Debug } from 'debug'
import { lazy, require } from './lazy.js'

/** Says something, in debug's format: %s, %d, %o. */
export type Log = (format: string, ...values: readonly unknown[]) => void

const createDebug = lazy(() => require('debug') as Debug)

function namespace(name: string): Log {
  const log = lazy(() => createDebug()(`xen-domain-builder:${name}`))
  return (format, ...values) => log()(format, ...values)
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
