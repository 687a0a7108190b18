/** Scripts for a Xen host: their statuses, their failures, and how they are ended. */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { SHUTDOWN } from '../../lib/abi/hypercall.js'
import { buildDomain, bytesSource, openSnapshot, readKernel } from '../../lib/index.js'
import { openXenHost, type RunOptions } from '../../lib/runner/index.js'
import { endingKernel } from '../fixtures/ending-kernel.js'
import { linuxKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const folder = t.testdir()
/** Where runs have their files. */
const work = join(folder, 'work')
mkdirSync(work)
process.env.TMPDIR = work

const MiB = 2 ** 20
const guest = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 16 * MiB, purpose: 'restore' })

/** Returns a host whose script is that text. */
function host(name: string, script: string) {
  const file = join(folder, name)
  writeFileSync(file, `#!/bin/sh\n${script}\n`)
  chmodSync(file, 0o755)
  return openXenHost(file)
}
const run = (name: string, script: string, options: Partial<RunOptions> = {}) =>
  host(name, script).run(guest, { timeout: 20, ...options })

const checkNothingLeft = (t: Test): void => void t.same(readdirSync(work), [], 'no file is left')

t.test('the script gets a save file, whose guest has the name of the file', async (t) => {
  const copy = join(folder, 'copy')
  const names: string[] = []
  for (let i = 0; i < 2; i++) {
    const { console, ending, instants } = await run('copies', `cp "$1" '${copy}'; basename "$1"`)
    t.same(ending, { kind: 'shutdown', reason: 'poweroff' })
    t.same(instants, [])
    const { name, type, memory } = await openSnapshot(bytesSource(readFileSync(copy)))
    t.equal(console, `${name}.xl\n`)
    t.same([type, memory.pageCount], ['pv', guest.memory.pageCount])
    names.push(name)
  }
  t.equal(new Set(names).size, 2, 'each run has another name')
  checkNothingLeft(t)
})

t.test("its status is Xen's code, or a failure with its complaint", async (t) => {
  for (const [reason, code] of Object.entries(SHUTDOWN)) {
    t.same((await run('exits', `exit ${code}`)).ending, { kind: 'shutdown', reason })
  }
  await t.rejects(run('fails', 'echo "no host" >&2; exit 100'), {
    code: 'hypercall-failed',
    message: `${join(folder, 'fails')} has ended with status 100: no host`,
  })
  await t.rejects(run('dies', 'kill -9 $$'), { code: 'hypercall-failed', message: /dies has ended with SIGKILL$/ })
  await t.rejects(openXenHost('no-such-script').run(guest, { timeout: 1 }), {
    code: 'no-hypervisor',
    message: 'no-such-script cannot be started: it is not installed, or not in PATH',
  })
  checkNothingLeft(t)
})

t.test('SIGTERM ends it: after the timeout, when the console is enough, by the signal', async (t) => {
  const ended = join(folder, 'ended')
  const waits = `ended='${ended}'; trap 'echo removed >>"$ended"; exit 100' TERM; echo ready; while :; do sleep 0.05; done`
  t.match(await run('waits', waits, { timeout: 0.3 }), { ending: { kind: 'timeout' }, console: 'ready\n' })
  const isEnough = (console: string): boolean => console.includes('ready')
  t.match(await run('waits', waits, { isEnough }), { ending: { kind: 'enough' } })
  const abort = new AbortController()
  const reason = new Error('stop')
  const running = run('waits', `touch '${join(folder, 'begun')}'; ${waits}`, { signal: abort.signal })
  while (!existsSync(join(folder, 'begun'))) await delay(10)
  await delay(100)
  abort.abort(reason)
  await t.rejects(running, reason)
  const failing = run('waits', waits, {
    isEnough() {
      throw new Error('of the caller')
    },
  })
  await t.rejects(failing, { message: 'of the caller' })
  t.equal(readFileSync(ended, 'latin1'), 'removed\n'.repeat(4))
  checkNothingLeft(t)
})

t.test('guests that it cannot run', async (t) => {
  const xen = host('unused', 'exit 0')
  t.equal(xen.purpose, 'restore')
  t.equal(xen.refusal(guest), undefined)
  t.match(xen.refusal(guest, { stops: [0n] }), /^a Xen host has no stops/)
  await t.rejects(xen.run(guest, { timeout: 1, stops: [0n] }), {
    code: 'bad-config',
    message: /^Xen cannot run the guest: a Xen host has no stops/,
  })
  const bare = buildDomain(await readKernel(linuxKernelFile()), { type: 'linux', memory: 64 * MiB })
  t.match(xen.refusal(bare), /is not supported by the xl format/)
  const pc = buildDomain(await readKernel(endingKernel('never').file), {
    type: 'pvh',
    memory: 64 * MiB,
    purpose: 'vmm',
  })
  t.ok(xen.refusal(pc), 'a PVH guest of a PC')
  checkNothingLeft(t)
})
