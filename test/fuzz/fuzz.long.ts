/**
 * Tests of the fuzzer: coverage leads it to planted faults, the same seed gives the same run, and every target runs.
 *
 * Source: ./planted.ts.
 * Gotcha: this tests the fuzzer, not the library; for that, use npm run fuzz.
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { requirePeer } from '../peer/require-peer.js'
import { Coverage } from './coverage.js'
import { fuzz, type Report } from './fuzzer.js'
import { fuzzInChild } from './in-child.js'
import { TARGET_NAMES, targetNamed } from './targets.js'

// Blocks are counted in code that is compiled from now on.
new Coverage(() => false)
const { PLANTED } = await import('./planted.js')

/** The number of executions of each target. */
const SHORT = 64

async function guided(name: keyof typeof PLANTED, executions: number, seed = 1): Promise<Report> {
  const coverage = new Coverage((url) => url.endsWith('/planted.js'))
  return fuzz(PLANTED[name], { seed, length: { executions }, coverage })
}

const found = ({ findings }: Report) => findings.map(({ kind, message }) => `${kind}: ${message.split(' at ')[0]}`)

t.test('an error of another class is found, and its input made short', async (t) => {
  const report = await guided('pair', 4000)
  t.same(found(report), ['escape: TypeError: the pair was not expected'])
  t.same(report.findings[0]?.input, Uint8Array.of(0x7f, 0xff))
  t.equal(report.executions, 4000)
})

t.test('coverage leads to what chance does not reach', async (t) => {
  const executions = 30_000
  t.same(found(await guided('behindConditions', executions)), ['wrong: all conditions hold'])
  t.same(found(await fuzz(PLANTED.behindConditions, { seed: 1, length: { executions } })), [])
})

t.test('memory beyond the bound is found', async (t) => {
  t.match(found(await guided('memory', 256)), [/^bound: 300 MiB/])
})

t.test('nothing is found where nothing is wrong', async (t) => {
  t.same(found(await guided('sound', 256)), [])
})

t.test('the same seed is the same run', async (t) => {
  const [one, again, other] = [await guided('pair', 256), await guided('pair', 256), await guided('pair', 256, 2)]
  t.equal(one.digest, again.digest)
  t.not(one.digest, other.digest)
})

for (const name of TARGET_NAMES) {
  t.test(`a short run of ${name}`, async (t) => {
    const found = await requirePeer(t, async () => {
      const missing = await targetNamed(name).missing?.()
      return missing === undefined ? { found: true } : { missing }
    })
    if (!found) return
    const report = await fuzzInChild({ target: name, seed: 1, length: { executions: SHORT } })
    t.same(report.findings, [])
    t.ok(report.executions >= SHORT)
    t.ok(report.refused < report.executions, 'some inputs are accepted')
    t.ok(report.corpus > 0 && report.covered > 1000, `${report.covered} characters of code`)
  })
}

t.test('an input is executed again by its base64', (t) => {
  const main = fileURLToPath(new URL('./fuzz.js', import.meta.url))
  const run = (input: string) =>
    spawnSync(process.execPath, [main, '--target', 'xl-cfg', '--input', input], { encoding: 'utf8' })
  t.match(run(Buffer.from('memory = 1\n').toString('base64')), { status: 0, stdout: /^accepted\n/ })
  t.match(run(Buffer.from('memory\n').toString('base64')), { status: 1, stderr: /expected = or \+=/ })
  t.end()
})
