/** Runs the example of a unit test as its comment says. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { projectRoot } from '../peer/paths.js'

test('the unit test of twenty lines passes under node --test', async (t) => {
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => key !== 'NODE_TEST_CONTEXT'))
  const { status, stdout } = spawnSync(
    process.execPath,
    ['--test', join(projectRoot, 'dist/examples/boot-info.test.js')],
    {
      encoding: 'utf8',
      env,
    },
  )
  t.equal(status, 0)
  t.match(stdout, /pass 1\n/)
  const source = readFileSync(join(projectRoot, 'examples/boot-info.test.ts'), 'utf8')
  t.ok(source.slice(source.indexOf('*/')).split('\n').length <= 22)
})
