/**
 * The words for the end of a run, such as `exit 0`, `reset` and `exception 14`.
 *
 * Source: ../runner/guest-run.ts.
 * Gotcha: an exception has an address as well, which a test does not name.
 */

import { SHUTDOWN } from '../abi/hypercall.js'
import { didYouMean } from '../closest.js'
import { DomainBuilderError } from '../errors.js'
import type { Ending } from '../runner/guest-run.js'
import { hex, shown } from '../units.js'

const BYTE_MAX = 0xff
const SIMPLE: readonly string[] = ['reset', 'timeout', ...Object.keys(SHUTDOWN)]
const FORMS = `exit N, hypercall NAME, exception N, ${SIMPLE.join(', ')}`

/** Returns the words that a test expects, in the form of endingWords(). @throws DomainBuilderError `bad-config` */
export function checkEnding(text: string): string {
  const words = text.trim().replace(/\s+/g, ' ')
  if (SIMPLE.includes(words) || /^hypercall [a-z_]\w*$/.test(words)) return words
  const [, kind, number] = /^(exit|exception) (\d{1,3}|0x[0-9a-f]{1,2})$/i.exec(words) ?? []
  if (kind !== undefined && Number(number) <= BYTE_MAX) return `${kind} ${Number(number)}`
  throw new DomainBuilderError('bad-config', 'the end of the run is invalid', {
    expected: FORMS,
    found: `${shown(text)}${didYouMean(words, SIMPLE)}`,
  })
}

/** Returns the words for an ending, without the address of an exception. */
export function endingWords(ending: Ending): string {
  switch (ending.kind) {
    case 'exit':
      return `exit ${ending.code}`
    case 'shutdown':
      return ending.reason
    case 'hypercall':
      return `hypercall ${ending.name}`
    case 'exception':
      return `exception ${ending.vector}`
    default:
      return ending.kind
  }
}

/** Returns the words for an ending, with the address of an exception. */
export const endingText = (ending: Ending): string =>
  ending.kind === 'exception' ? `${endingWords(ending)} at ${hex(ending.rip)}` : endingWords(ending)

/** Returns whether a guest without expectations has failed. */
export const isFailure = (ending: Ending): boolean =>
  ['reset', 'exception', 'timeout'].includes(ending.kind) ||
  (ending.kind === 'shutdown' && ['crash', 'watchdog'].includes(ending.reason))
