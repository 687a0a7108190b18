/**
 * The result of a case: a guest that was built, or a run of one.
 *
 * Source: our own design; ./tap.ts, ./junit.ts and schemas/test-1.json show it.
 * Gotcha: it has no times, since the same inputs give the same report.
 */

import type { Difference } from '../testing/expectation.js'
import type { BootInfoVariant } from '../testing/index.js'

/** The result of a case. */
export interface CaseResult {
  /** `NAME`, `NAME: run` or `NAME: VARIANT`. */
  readonly name: string
  readonly result: 'pass' | 'fail' | 'skip'
  /** The reason for a skipped case. */
  readonly reason?: string
  /** The variant of the guest, with the rule that allows it. */
  readonly variant?: Pick<BootInfoVariant, 'name' | 'rule' | 'source'>
  /** The values that are not as expected. */
  readonly differences?: readonly Difference[]
  /** The last lines of the console, of a run that failed. */
  readonly console?: readonly string[]
}

/** The number of cases of each result. */
interface Counts {
  readonly pass: number
  readonly fail: number
  readonly skip: number
}

/** Returns the number of cases of each result. */
export function countResults(results: readonly CaseResult[]): Counts {
  const count = (wanted: CaseResult['result']): number => results.filter(({ result }) => result === wanted).length
  return { pass: count('pass'), fail: count('fail'), skip: count('skip') }
}
