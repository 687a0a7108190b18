/**
 * The program: its names, and the options that all of its commands have.
 *
 * Source: package.json, "bin"; the GNU coding standards (--help, --version).
 * Gotcha: these options may stand before the command as well; arguments.ts allows that.
 */
import type { Options } from './command.js'

/** The command's names: the long one, and the one to type. */
export const PROGRAM = 'xen-domain-builder'
export const SHORT_NAME = 'xdb'

/** The options of every command. */
export const COMMON = {
  json: { type: 'boolean', help: 'the answer, or the error, as one JSON object on standard output' },
  quiet: { type: 'boolean', help: 'no progress on a terminal' },
  help: { type: 'boolean', short: 'h', help: 'describes the command and its options' },
  version: { type: 'boolean', help: 'the version' },
} as const satisfies Options
