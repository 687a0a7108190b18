/**
 * xdb test with a real QEMU: console, end, moments and variants of guests that run.
 *
 * Source: lib/cli/test.ts; qemu(1).
 * Gotcha: QEMU emulates the processor, so no time is exact. The texts and the ends are.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { MAIN, runCommand } from '../cli/command.js'
import { EBX, endingKernel, type KernelEnd, MARKS } from '../fixtures/ending-kernel.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-suite-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const put = (name: string, content: Uint8Array | string): void => writeFileSync(path.join(folder, name), content)
const ENDS: Readonly<Record<string, KernelEnd>> = { three: { status: 3 }, fault: 'triple fault', never: 'never' }
for (const [name, end] of Object.entries(ENDS)) put(name, endingKernel(end).file)
const { at } = endingKernel({ status: 3 })
const hex = (value: bigint | number): string => `0x${value.toString(16)}`

/** Runs the command in the folder. Returns the exit status and the answer. */
function xdb(...args: readonly string[]) {
  const { code, text } = runCommand(['test', ...args, '--json'], { cwd: folder, env: { TMPDIR: folder } })
  return { code, cases: (JSON.parse(text) as { cases: { name: string; result: string }[] }).cases }
}

t.test('a test file: console, end, moments, variants and an expectation that --update writes', async (t) => {
  if (!(await requirePeer(t, () => findCommand('qemu-system-x86_64', 'qemu-system-x86')))) return
  const options = { type: 'pvh', memory: '64M' }
  const run = {
    expectConsole: ['hello', { pattern: 'the k[a-z]+' }],
    ends: 'exit 3',
    timeout: 60,
    at: [
      {
        symbol: hex(at.greeted),
        expect: { vcpus: [{ registers: { rbx: hex(EBX), rip: hex(at.greeted) } }] },
        memory: [{ at: hex(at.mark), hex: MARKS.after.toString(16) }],
      },
      { end: true, expect: 'end.json' },
    ],
  }
  put(
    'tests.json',
    JSON.stringify({ tests: [{ kernel: 'three', options, run, variants: ['no-memmap', 'hole-at-0'] }] }),
  )
  const passing = ['three', 'three: run', 'three: no-memmap', 'three: hole-at-0'].map((name) => ({
    name,
    result: 'pass',
  }))
  t.match(xdb('tests.json', '--run', '--update'), { code: 0, cases: passing })
  t.match(readFileSync(path.join(folder, 'end.json'), 'utf8'), `"rbx": "${hex(EBX)}"`)
  t.match(xdb('tests.json', '--run'), { code: 0, cases: passing })
  const wrong = { ...run, ends: 'exit 4', at: [{ symbol: hex(at.main), memory: [{ at: hex(at.mark), hex: '22' }] }] }
  put('wrong.json', JSON.stringify({ tests: [{ kernel: 'three', options, run: wrong }] }))
  t.match(xdb('wrong.json', '--run'), {
    code: 1,
    cases: [
      { result: 'pass' },
      {
        result: 'fail',
        differences: [
          { at: 'end', expected: 'exit 4', found: 'exit 3' },
          { at: `at ${hex(at.main)}: physical memory at ${hex(at.mark)}`, expected: '22', found: '11' },
        ],
        console: ['hello from the kernel'],
      },
    ],
  })
})

t.test('a kernel on the command line, by stream and by ROM', async (t) => {
  if (!(await requirePeer(t, () => findCommand('qemu-system-x86_64', 'qemu-system-x86')))) return
  const pvh = ['--type', 'pvh', '--memory', '64', '--run']
  t.match(xdb('three', ...pvh), { code: 0, cases: [{ result: 'pass' }, { name: 'three: run', result: 'pass' }] })
  t.match(xdb('fault', ...pvh), { code: 1, cases: [{}, { differences: [{ at: 'end', found: 'reset' }] }] })
  t.match(xdb('fault', ...pvh, '--ends', 'reset'), { code: 0 })
  t.match(xdb('never', ...pvh, '--timeout', '2'), { code: 1, cases: [{}, { differences: [{ found: 'timeout' }] }] })
  t.match(xdb('never', ...pvh, '--expect-console', 'hello'), { code: 0 }, 'a text that was seen is enough')
  const rom = { kernel: 'three', options: { type: 'linux' }, run: { ends: 'exit 3', how: 'rom' } }
  const reached = { ...rom, name: 'reached', run: { at: [{ symbol: hex(at.main) }], timeout: 600 } }
  put('rom.json', JSON.stringify({ tests: [rom, { ...reached, kernel: 'never' }] }))
  t.match(xdb('rom.json', '--run'), { code: 0, cases: [{}, { result: 'pass' }, {}, { result: 'pass' }] })
})

t.test('an interrupted run leaves no process and no file', async (t) => {
  if (!(await requirePeer(t, () => findCommand('qemu-system-x86_64', 'qemu-system-x86')))) return
  const before = readdirSync(folder)
  const words = [MAIN, 'test', 'never', '--type', 'pvh', '--run', '--junit', 'never.xml', '--timeout', '600']
  const child = spawn('env', ['-u', 'NODE_OPTIONS', process.execPath, ...words], {
    cwd: folder,
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const qemus = (): string[] =>
    readdirSync('/proc')
      .filter((pid) => /^\d+$/.test(pid))
      .filter((pid) => {
        try {
          const parent = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
          return parent === String(child.pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('qemu-system')
        } catch {
          return false
        }
      })
  let err = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  const closed = new Promise<NodeJS.Signals | null>((resolve) => child.on('close', (_, signal) => resolve(signal)))
  while (qemus().length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
  const [pid] = qemus()
  child.kill('SIGINT')
  t.equal(await closed, 'SIGINT')
  t.match(err, /never: not finished, because of SIGINT\n$/)
  t.same(readdirSync(folder), before)
  t.throws(() => readFileSync(`/proc/${pid}/cmdline`), { code: 'ENOENT' })
})
