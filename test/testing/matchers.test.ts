/**
 * assertGuest and the matchers: accepted and refused guests, and vitest with its own options.
 *
 * Source: https://vitest.dev/guide/extending-matchers; https://nodejs.org/api/test.html#assertregistername-fn
 * Gotcha: vitest and node:test run as separate processes, without tap's hooks.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildDomain, readKernel } from '../../lib/index.js'
import { assertGuest, goldenText, guestMatchers } from '../../lib/testing/index.js'
import { pvhKernelFile } from '../fixtures/kernels.js'
import { projectRoot } from '../peer/paths.js'

const guest = buildDomain(await readKernel(pvhKernelFile()), { type: 'pvh', platform: 'pc', memory: 64 << 20 })

t.test('assertGuest passes for any part, and names each difference by its path', async (t) => {
  assertGuest(guest, {})
  assertGuest(guest, { type: 'pvh', vcpus: [{ registers: { rip: '0x1000850' } }], startInfo: null })
  assertGuest(guest, JSON.parse(goldenText(guest)))
  t.throws(() => assertGuest(guest, { vcpus: [{ registers: { rip: '0x1', rpi: '0x2' } }], p2m: 'list' }), {
    name: 'AssertionError',
    code: 'ERR_ASSERTION',
    message: [
      'the guest is not what the test expects:',
      '  vcpus[0].registers.rip: expected "0x1", found "0x1000850"',
      '  vcpus[0].registers.rpi: expected "0x2", found nothing; did you mean rsi?',
      '  p2m: expected "list", found "identity"',
    ].join('\n'),
    actual: { vcpus: [{ registers: { rip: '0x1000850' } }], p2m: 'identity' },
    expected: { vcpus: [{ registers: { rip: '0x1', rpi: '0x2' } }], p2m: 'list' },
  })
  // @ts-expect-error No object.
  t.throws(() => assertGuest(guest, 'pvh'), {
    code: 'bad-config',
    message: /^the expectation is not a part of a guest/,
  })
  // @ts-expect-error A guest that was not awaited.
  t.throws(() => assertGuest(Promise.resolve(guest), {}), { code: 'bad-config', message: /an await is missing/ })
})

t.test('a matcher answers as its assertion, and throws what is no comparison', async (t) => {
  t.equal(guestMatchers.toHaveRegisters(guest, { rip: 0x1000850n }).pass, true)
  const { pass, message, actual, expected } = guestMatchers.toHaveRegisters(guest, { rip: 1n })
  t.same({ pass, actual, expected }, { pass: false, actual: { rip: 0x1000850n }, expected: { rip: 1n } })
  t.match(message(), /vcpu 0\.rip: expected 0x1, found 0x1000850/)
  t.equal(guestMatchers.toMatchGuest(guest, { type: 'pv' }).pass, false)
  t.match(guestMatchers.toMatchGuest(guest, {}).message(), 'toMatchGuest holds for the guest')
  t.equal(guestMatchers.toHaveMemory(guest, 0x1000, Uint8Array.of(0x78, 0xc5)).pass, true)
  t.equal(guestMatchers.toMap(guest, 0x1000n, { paddr: 0x1000 }).pass, true)
  t.throws(() => guestMatchers.toBeValid(guest), { code: 'bad-config' })
  t.throws(() => guestMatchers.toHaveRegisters(guest, {}, 9), { code: 'bad-config' })
})

const GUEST = `
import { buildDomain, readKernel } from 'xen-domain-builder'
import { assertGuest, buildElf, goldenText, guestMatchers, xenNotes } from 'xen-domain-builder/testing'
const notes = xenNotes({ PHYS32_ENTRY: 0x100000 })
const kernel = await readKernel(buildElf({ class: 32, entry: 0x100000, segments: [{ paddr: 0x100000, memsz: 4096 }], notes }))
const guest = buildDomain(kernel, { type: 'pvh', platform: 'pc', memory: (process.env.MIB ?? 64) * 2 ** 20 })
`
const env = (more: Readonly<Record<string, string>> = {}) => ({
  ...Object.fromEntries(Object.entries(process.env).filter(([key]) => !/^(TAP|NODE_TEST|NODE_OPTIONS|CI$)/.test(key))),
  ...more,
})

t.test('vitest: matchers, and a golden file that its -u updates', async (t) => {
  const dir = t.testdir({
    'guest.test.mjs': `import { expect, test } from 'vitest'${GUEST}
expect.extend(guestMatchers)
test('matchers', () => {
  expect(guest).toHaveRegisters({ rip: 0x100000n })
  expect(guest).not.toMatchGuest({ type: 'pv' })
  expect.soft(guest).toMatchGuest({ type: process.env.TYPE ?? 'pvh' })
})
test('golden', async () => { await expect(goldenText(guest)).toMatchFileSnapshot('golden.json') })`,
  })
  const vitest = (more: Readonly<Record<string, string>>, ...args: string[]) => {
    const words = [join(projectRoot, 'node_modules/vitest/vitest.mjs'), 'run', '--root', dir, ...args]
    const { status, stdout, stderr } = spawnSync(process.execPath, words, {
      encoding: 'utf8',
      cwd: dir,
      env: env(more),
    })
    return { status, said: stdout + stderr }
  }
  t.match(vitest({}), { status: 0 })
  const golden = () => readFileSync(join(dir, 'golden.json'), 'utf8')
  t.match(golden(), /^\{\n {2}"schema": "xen-domain-builder\/expectation\/1",\n {2}"type": "pvh",\n/)
  const wrong = vitest({ MIB: '32', TYPE: 'pv' })
  t.equal(wrong.status, 1)
  t.match(wrong.said, 'type: expected "pv", found "pvh"')
  t.match(wrong.said, /- .*"pages": 16288[\s\S]*\+ .*"pages": 8096/)
  t.match(vitest({ MIB: '32' }, '-u'), { status: 0 })
  t.match(golden(), '"pages": 8096')
})

t.test('node:test: an assertion as a method, where Node has that', async (t) => {
  const dir = t.testdir({
    'guest.test.mjs': `import * as runner from 'node:test'${GUEST}
runner.assert?.register('guest', assertGuest)
runner.test('it is a PVH guest', (t) => {
  if (t.assert?.guest === undefined) assertGuest(guest, { type: 'pvh' })
  else t.assert.guest(guest, { type: 'pvh' })
})`,
  })
  const { status, stdout } = spawnSync(process.execPath, ['--test', dir.concat('/guest.test.mjs')], {
    encoding: 'utf8',
    env: env(),
  })
  t.equal(status, 0, stdout)
})
