/**
 * xdb test without a machine: operands, paths, expectations that --update writes, reports, and every version of Node.
 *
 * Source: lib/cli/test.ts; docs/commands.md.
 * Gotcha: test/qemu/suite.qemu.ts runs guests, and test/suite tests the parts alone.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { findNode } from '../docs/package.js'
import { linuxKernelFile, pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import { MAIN, runCommand } from './command.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-test-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => path.join(folder, name)
const put = (name: string, content: Uint8Array | string): void => writeFileSync(at(name), content)
const read = (name: string): string => readFileSync(at(name), 'utf8')
mkdirSync(at('sub'))
put('pvh', pvhKernelFile())
put('sub/pvh', pvhKernelFile())
put('sub/pv', pvKernelFile())
put('sub/linux', linuxKernelFile())
put('sub/initrd', pattern(5000))

const xdb = (...args: string[]) => {
  const { code, text, err } = runCommand(['test', ...args], { cwd: folder })
  return { code, out: text, err }
}

t.test('an expectation is written, passes, and fails for another guest', async (t) => {
  const pvh = ['pvh', '--type', 'pvh', '--expect', 'guest.json']
  t.same(xdb(...pvh, '--update'), {
    code: 0,
    out: 'TAP version 13\nok 1 - pvh\n1..1\n# guest.json: written\n',
    err: '',
  })
  t.same(xdb(...pvh), { code: 0, out: 'TAP version 13\nok 1 - pvh\n1..1\n', err: '' })
  const { mtimeMs, ino } = statSync(at('guest.json'))
  t.same(xdb(...pvh, '--update'), { code: 0, out: 'TAP version 13\nok 1 - pvh\n1..1\n', err: '' })
  t.match(statSync(at('guest.json')), { mtimeMs, ino }, 'a file with the right content stays')
  t.match(xdb(...pvh, '--vcpus', '2'), {
    code: 1,
    out: /not ok 1 - pvh\n[\s\S]*at: "vcpus\.length"\n {6}expected: 1\n {6}found: 2\n/,
  })
  put('part.json', '{ "vcpus": [{ "registers": { "rip": "0x1" } }], "startInfo": null }')
  const part = ['pvh', '--type', 'pvh', '--acpi', 'none', '--expect', 'part.json']
  t.match(xdb(...part), { code: 1, out: /rip/ })
  t.match(xdb(...part, '--update'), { code: 0, out: /# part\.json: written\n$/ })
  t.same(JSON.parse(read('part.json')), {
    schema: 'xen-domain-builder/expectation/1',
    vcpus: [{ registers: { rip: '0x1000850' } }],
    startInfo: null,
  })
  t.match(xdb(...part), { code: 0 })
})

t.test('the answer of inspect is an expectation', async (t) => {
  const build = ['build', 'pvh', '--type', 'pvh', '--purpose', 'vmm', '-o', 'pvh.img', '--memory', '64']
  t.equal(runCommand(build, { cwd: folder }).code, 0)
  put('inspected.json', runCommand(['inspect', 'pvh.img', '--json'], { cwd: folder }).text)
  t.match(xdb('pvh', '--type', 'pvh', '--memory', '64', '--expect', 'inspected.json'), { code: 0 })
})

t.test('every file of a test file is next to it, and the report is not', async (t) => {
  put('sub/guest.cfg', 'kernel = "pv"\nmemory = 32\ncmdline = "quiet"\n')
  const options = { type: 'linux', ramdisk: 'initrd', memory: 64, entry: '64' }
  const tests = [
    { kernel: 'pvh', options: { type: 'pvh' }, expect: 'pvh.json' },
    { name: 'cfg', config: 'guest.cfg', expect: { startInfo: { cmd_line: 'quiet', nr_pages: '0x2000' } } },
    { kernel: 'linux', options, expect: { bootParams: { hdr: { ramdisk_size: '0x1388' } } } },
  ]
  put('sub/tests.json', JSON.stringify({ tests }))
  t.match(xdb('sub/tests.json'), {
    code: 2,
    out: '',
    err: /cannot-read: the expectation sub\/pvh\.json is missing: --update/,
  })
  const passes = 'TAP version 13\nok 1 - pvh\nok 2 - cfg\nok 3 - linux\n1..3\n'
  t.match(xdb('sub/tests.json', '--update'), { code: 0, out: `${passes}# sub/pvh.json: written\n` })
  t.match(xdb('sub/tests.json', '--junit', 'report.xml'), { code: 0, out: passes })
  t.match(read('report.xml'), /<testsuites name="tests\.json" tests="3" failures="0"/)
  const { code, text } = runCommand(['test', 'tests.json'], { cwd: at('sub') })
  t.same({ code, text }, { code: 0, text: passes })
  t.match(runCommand(['test', at('sub/tests.json')], { cwd: folder }).code, 0)
})

t.test('an option of a test that its guest does not have is a mistake, not a result', async (t) => {
  for (const [options, message] of [
    [{ type: 'pvh', entry: '64' }, '--entry is for --type linux; this guest is pvh'],
    [{ vcpus: 'x' }, "--vcpus 'x' is invalid: expected a whole number"],
    [{ ramdisk: ['pvh', 1] }, undefined],
    [{ memory: ['1', '2'] }, "memory '[1, 2]' is invalid: expected one value"],
    [{ dom0: 'yes' }, "dom0 'yes' is invalid: expected true or false"],
    [{ cmdline: true }, "cmdline 'true' is invalid: expected a TEXT"],
    [{ output: 'x' }, "build has no option 'output'"],
    [{ config: 'x' }, "build has no option 'config'"],
    [{ constructor: 'x' }, "build has no option 'constructor'"],
  ] as const) {
    put('one.json', JSON.stringify({ tests: [{ kernel: 'pvh', options }] }))
    const { code, out, err } = xdb('one.json')
    t.same({ code, out }, { code: 2, out: '' }, err)
    if (message !== undefined) t.match(err, `bad-config: one.json.tests[0].options: ${message}`)
  }
})

t.test('a fault in the middle ends the output with it, and writes nothing', async (t) => {
  const tests = [{ kernel: 'pvh', expect: 'none.json' }, { kernel: 'missing' }]
  put('stops.json', JSON.stringify({ tests }))
  const { code, out, err } = xdb('stops.json', '--update', '--junit', 'stops.xml')
  t.equal(code, 2)
  t.equal(out, 'TAP version 13\nok 1 - pvh\nBail out! missing: no such file or directory\n')
  t.equal(err, 'xen-domain-builder: cannot-read: missing: no such file or directory\n')
  t.notOk(existsSync(at('none.json')) || existsSync(at('stops.xml')))
  t.match(xdb('pvh', '--junit', 'pvh'), { code: 2, err: /cannot-write: pvh: is an input, which is never changed\n/ })
  t.match(xdb('pvh', '--expect', 'x.json', '--update', '--junit', 'no/such.xml'), { code: 2, err: /cannot-write/ })
  t.notOk(existsSync(at('x.json')), 'all outputs, or none')
  t.same(
    readdirSync(folder).filter((name) => name.startsWith('.xdb')),
    [],
  )
})

t.test('names that two tests would have are refused', async (t) => {
  put('twice.json', JSON.stringify({ tests: [{ kernel: 'pvh' }, { kernel: 'sub/pvh' }] }))
  t.match(xdb('twice.json'), {
    code: 2,
    err: 'bad-config: twice.json.tests[1] has the name of another test: expected a member name that is unique, found pvh',
  })
})

t.test('prove runs a test file that calls the command', async (t) => {
  if (!(await requirePeer(t, () => findCommand('prove', 'perl')))) return
  // prove splits the command at spaces, of which the paths may have some.
  put('xdb-test', `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' test "$@"\n`)
  const prove = (file: string) =>
    spawnSync('env', ['-u', 'NODE_OPTIONS', 'prove', '--exec', 'sh xdb-test', file], {
      cwd: folder,
      encoding: 'utf8',
    })
  t.match(prove('sub/tests.json'), { status: 0, stdout: /Files=1, Tests=3,[\s\S]*Result: PASS/ })
  t.not(prove('stops.json').status, 0)
  put('fails.json', JSON.stringify({ tests: [{ kernel: 'pvh', expect: { type: 'pv' } }] }))
  t.match(prove('fails.json'), { status: 1, stdout: /Failed test: {2}1\n/ })
})

for (const major of [20, 22, 24]) {
  t.test(`an expectation written here passes on Node ${major}, and is written there with the same bytes`, async (t) => {
    const node = await requirePeer(t, () => findNode(major))
    if (node === undefined) return
    const test = (...args: string[]) =>
      spawnSync('env', ['-u', 'NODE_OPTIONS', node, MAIN, 'test', ...args], { cwd: folder, encoding: 'utf8' })
    for (const kernel of ['sub/pv', 'sub/pvh', 'sub/linux']) {
      const [ours, theirs] = [`ours-${major}.json`, `theirs-${major}.json`]
      rmSync(at(ours), { force: true })
      rmSync(at(theirs), { force: true })
      t.equal(xdb(kernel, '--expect', ours, '--update', '--vcpus', '2').code, 0)
      t.match(test(kernel, '--expect', ours, '--vcpus', '2'), { status: 0, stdout: /^ok 1/m })
      t.equal(test(kernel, '--expect', theirs, '--update', '--vcpus', '2').status, 0)
      t.equal(read(theirs), read(ours))
    }
  })
}
