/**
 * The debug namespaces that tell the story of a build.
 *
 * Source: https://github.com/debug-js/debug
 * Gotcha: DEBUG=xen-domain-builder:* shows them all; nothing is formatted while they are off.
 */
import createDebug from 'debug'

const namespace = (name: string) => createDebug(`xen-domain-builder:${name}`)

/** What was found in a kernel file. */
export const logKernel = namespace('kernel')
/** Decompression. */
export const logPayload = namespace('payload')
/** Notes and the parameters made of them. */
export const logNotes = namespace('notes')
/** Regions as they are placed, with their ranges. */
export const logLayout = namespace('layout')
/** Page tables: how many, where. */
export const logTables = namespace('tables')
/** Boot information, field by field. */
export const logBoot = namespace('boot')
/** Snapshots written and read. */
export const logSnapshot = namespace('snapshot')
