/**
 * The results of a suite as JUnit XML, which CI servers show.
 *
 * Source: the schema junit-10.xsd of the xUnit plugin of Jenkins, which test/suite checks the output against.
 * Gotcha: XML 1.0 has no form for most control characters, so they are shown as escapes.
 */
import { escapeText } from '../inspect/escape.js'
import { differenceText } from '../testing/expectation.js'
import { type CaseResult, countResults } from './result.js'

/** Returns the file. @param suite the name of the suite. */
export function junitXml(suite: string, results: readonly CaseResult[]): string {
  const { fail, skip } = countResults(results)
  const counts = `tests="${results.length}" failures="${fail}" errors="0"`
  const name = escapeText(suite)
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="${name}" ${counts}>`,
    `  <testsuite name="${name}" ${counts} skipped="${skip}">`,
    ...results.flatMap((result) => testcase(name, result)),
    '  </testsuite>',
    '</testsuites>',
    '',
  ].join('\n')
}

function testcase(
  suite: string,
  { name, result, reason = '', variant, differences = [], console: printed }: CaseResult,
): string[] {
  const open = `    <testcase classname="${suite}" name="${escapeText(name)}"`
  if (result === 'pass') return [`${open}/>`]
  if (result === 'skip') return [`${open}>`, `      <skipped message="${escapeText(reason)}"/>`, '    </testcase>']
  const lines = [...(variant === undefined ? [] : [variant.rule]), ...differences.map(differenceText)].map(escapeText)
  const [first] = differences
  return [
    `${open}>`,
    `      <failure message="${first === undefined ? '' : escapeText(differenceText(first))}">${lines.join('\n')}</failure>`,
    ...(printed === undefined ? [] : [`      <system-out>${printed.map(escapeText).join('\n')}</system-out>`]),
    '    </testcase>',
  ]
}
