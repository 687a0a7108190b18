/**
 * The results of a suite in the Test Anything Protocol, case by case.
 *
 * Source: https://testanything.org/tap-version-13-specification.html
 * Gotcha: prove of Perl 5.36 refuses version 14. A value in a YAML block is JSON, since its own parser reads few forms of
 * YAML.
 */
import { jsonText, printable } from '../printable.js'
import type { CaseResult } from './result.js'

/** The first line. */
export const TAP_VERSION = 'TAP version 13'

const ON_ONE_LINE = Number.POSITIVE_INFINITY

/** Returns text for the description of a case or the reason after a directive. */
const plain = (text: string): string => printable(text.replace(/\s+/g, ' '), ON_ONE_LINE)
const escaped = (text: string): string => plain(text).replace(/[\\#]/g, '\\$&')

/** Returns the lines of a case. @param number from 1. */
export function tapCase(
  { name, result, reason, variant, differences = [], console: printed }: CaseResult,
  number: number,
): string[] {
  const line = `${result === 'fail' ? 'not ok' : 'ok'} ${number} - ${escaped(name)}`
  if (result === 'skip') return [`${line} # SKIP ${plain(reason ?? '')}`]
  if (result === 'pass') return [line]
  return [
    line,
    '  ---',
    ...(variant === undefined ? [] : [`  rule: ${jsonText(variant.rule)}`, `  source: ${jsonText(variant.source)}`]),
    '  differences:',
    ...differences.flatMap(({ at, expected, found, hint }) => [
      `    - at: ${jsonText(at)}`,
      `      expected: ${jsonText(expected)}`,
      `      found: ${jsonText(found)}`,
      ...(hint === undefined ? [] : [`      hint: ${jsonText(hint)}`]),
    ]),
    ...(printed === undefined ? [] : ['  console:', ...printed.map((text) => `    - ${jsonText(text)}`)]),
    '  ...',
  ]
}

/** Returns the last line: the number of cases. */
export const tapPlan = (cases: number): string => `1..${cases}`

/** Returns the line with which a suite stops that cannot go on. */
export const tapBailOut = (reason: string): string => `Bail out! ${plain(reason)}`
