/** The assertions: what they let pass, what they say, and how tap, node:test and vitest show it. */
import { AssertionError } from 'node:assert'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'tap'
import { helloKernel } from '../../examples/hello-kernel.js'
import { buildDomain, DomainBuilderError, readKernel } from '../../lib/index.js'
import { assertBootParams, assertMapped, assertNotMapped, assertStartInfo } from '../../lib/testing/index.js'
import { projectRoot } from '../peer/paths.js'

const build = async () => buildDomain(await readKernel(helloKernel()), { memory: 32 << 20, cmdline: 'quiet' })

function caught(act: () => void): AssertionError {
  try {
    act()
  } catch (error) {
    if (error instanceof AssertionError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

test('what is as expected passes, and only what is named is compared', async () => {
  const guest = await build()
  assertStartInfo(guest, { nr_pages: 0x2000n, cmd_line: 'quiet' })
  assertMapped(guest, 0xffff880000100000n, { paddr: 0x100000, writable: true })
  assertMapped(guest, 0xffff880000100000n)
  assertNotMapped(guest, 0x1000n)
})

test('each difference is a line, and only the named fields are in actual and expected', async (t) => {
  const guest = await build()
  const error = caught(() => assertStartInfo(guest, { nr_pages: 1n, cmd_line: 'loud', magic: 'xen-3.0-x86_64' }))
  t.ok(
    error.message.startsWith(
      "start_info is not what the test expects:\n  start_info.nr_pages: expected 0x1, found 0x2000\n  start_info.cmd_line: expected 'loud', found 'quiet'",
    ),
  )
  t.same(error.actual, { nr_pages: 0x2000n, cmd_line: 'quiet', magic: 'xen-3.0-x86_64' })
  t.match(caught(() => assertMapped(guest, 0x1000n)).message, /0x1000: expected 'mapped', found 'not mapped'/)
  t.match(
    caught(() => assertNotMapped(guest, 0xffff880000100000n)).message,
    /expected 'not mapped', found \{ vaddr: 0x/,
  )
  t.throws(() => assertBootParams(guest, {}), DomainBuilderError)
})

const FAILING = `
import { buildDomain, readKernel } from 'xen-domain-builder'
import { assertStartInfo, buildElf, xenNotes } from 'xen-domain-builder/testing'
test('nr_pages', async () => {
  const notes = xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: 'generic', VIRT_BASE: 0xffffffff80000000n })
  const segments = [{ paddr: 0x100000, vaddr: 0xffffffff80100000n, data: new Uint8Array(64) }]
  const image = buildElf({ class: 64, entry: 0xffffffff80100000n, segments, notes })
  assertStartInfo(buildDomain(await readKernel(image), { memory: 32 << 20 }), { nr_pages: 0x2001n })
})
`
const RUNNERS = {
  'node:test': { module: 'node:test', args: (file: string) => ['--test', file] },
  tap: { module: 'tap', args: (file: string) => [file] },
  vitest: {
    module: 'vitest',
    args: (file: string, dir: string) => [
      join(projectRoot, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--root',
      dir,
      file,
    ],
  },
} as const

for (const [name, { module, args }] of Object.entries(RUNNERS)) {
  test(`${name} shows what differs`, async (t) => {
    const dir = t.testdir({ 'failing.test.mjs': `import { test } from '${module}'\n${FAILING}` })
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([key]) => !/^(TAP|NODE_TEST|NODE_OPTIONS)/.test(key)),
    )
    const run = spawnSync(process.execPath, args(join(dir, 'failing.test.mjs'), dir), {
      encoding: 'utf8',
      cwd: dir,
      env,
    })
    t.equal(run.status, 1)
    const said = run.stdout + run.stderr
    t.match(said, /start_info\.nr_pages: expected 0x2001, found 0x2000/)
    t.match(said, /8192n?/, 'actual')
    t.match(said, /8193n?/, 'expected')
  })
}
