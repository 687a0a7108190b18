/**
 * docs/errors.md has every error code, with the cause as in the code, and a remedy.
 *
 * Source: ../lib/errors.ts.
 * Gotcha: the cause is compared word for word, so that the page cannot drift from the library.
 */
import { readFileSync } from 'node:fs'
import * as path from 'node:path'
import t from 'tap'
import { EXIT_STATUS } from '../lib/cli/exit-status.js'
import { ERROR_CODES, type ErrorCode } from '../lib/errors.js'
import { projectRoot } from './peer/paths.js'

t.test('every code, its cause and a cure', (t) => {
  const page = readFileSync(path.join(projectRoot, 'docs/errors.md'), 'utf8')
  const rows = [...page.matchAll(/^\| `([a-z-]+)` \| (\d) \| (.+?) \| (.+?) \|$/gm)].map(
    ([, code, exit, cause, cure]) => ({
      code,
      exit: Number(exit),
      cause,
      cure,
    }),
  )
  t.same(
    rows.map(({ code, cause }) => [code, cause]),
    Object.entries(ERROR_CODES),
  )
  for (const { code, exit } of rows) t.equal(exit, EXIT_STATUS[code as ErrorCode], `${code}: exit status`)
  for (const { code, cure = '' } of rows) t.ok(cure.length > 10, `${code} has a cure`)
  t.end()
})
