/**
 * The check for a refusal in tests: the code, and a part of the one line that a user reads.
 *
 * Source: lib/errors.ts.
 * Gotcha: a message of two lines fails here, even if it has the text.
 */
import type { Test } from 'tap'
import { DomainBuilderError, type ErrorCode } from '../../lib/errors.js'

/** Checks that `act` refuses with `code`, in one line that has `text` in it. */
export async function refuses(
  t: Test,
  act: () => unknown,
  code: ErrorCode,
  text: string | RegExp,
  name = `${code}: ${text}`,
): Promise<void> {
  try {
    await act()
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    t.equal(error.code, code, `${name}: code (${error.message})`)
    t.match(error.message, text, `${name}: message`)
    t.notMatch(error.message, /\n/, `${name}: one line`)
    return
  }
  t.fail(`${name}: was accepted`)
}
