/** Runs whose QEMU fails: a program in its place does what a real one does rarely. */
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { buildDomain, type DomainConfig, readKernel } from '../../lib/index.js'
import { openQemu, type RunOptions } from '../../lib/runner/index.js'
import { endingKernel } from '../fixtures/ending-kernel.js'

const folder = t.testdir()
/** Where runs have their files. */
const work = join(folder, 'work')
mkdirSync(work)
process.env.TMPDIR = work

const MiB = 2 ** 20
const GiB = 2 ** 30
const kernel = endingKernel({ status: 0 })
const guest = buildDomain(await readKernel(kernel.file), { type: 'pvh', memory: 16 * MiB, purpose: 'vmm' })

/**
 * Returns a program that reads its stream and answers the monitor as QEMU does, except for `rules`: code that runs for
 * each command, and returns whether it has answered.
 */
function fakeQemu(name: string, rules: string, start = ''): string {
  const file = join(folder, name)
  writeFileSync(
    file,
    `#!${process.execPath}
const fs = require('node:fs')
const net = require('node:net')
${start}
fs.createReadStream(null, { fd: 3 }).on('error', () => {}).resume()
const exit = new net.Socket({ fd: 6 })
const monitor = new net.Socket({ fd: 4 })
const say = (message) => monitor.write(JSON.stringify(message) + '\\r\\n')
const event = (event, data) => say({ event, data })
say({ QMP: {} })
let text = ''
monitor.on('data', (more) => {
  const lines = (text + more).split('\\n')
  text = lines.pop()
  for (const { execute } of lines.map((line) => JSON.parse(line))) {
    if (((execute) => { ${rules} })(execute)) continue
    say({ return: execute === 'query-status' ? { status: 'paused' } : {} })
  }
})
`,
  )
  chmodSync(file, 0o755)
  return file
}

const run = (qemu: string, options: Partial<RunOptions> = {}) =>
  openQemu({ qemu }).run(guest, { timeout: 20, ...options })

const checkNothingLeft = (t: Test): void => void t.same(readdirSync(work), [], 'no file is left')

t.test('a program that is missing, or is no program', async (t) => {
  const text = join(folder, 'text')
  writeFileSync(text, 'text')
  await t.rejects(run('no-such-qemu'), {
    code: 'no-hypervisor',
    message: 'no-such-qemu cannot be started: it is not installed, or not in PATH',
  })
  await t.rejects(run(text), { code: 'no-hypervisor', message: `${text} cannot be started: it is not executable` })
  checkNothingLeft(t)
})

t.test('the complaint of a QEMU that ends at once', async (t) => {
  const qemu = fakeQemu('complains', '', `console.error('qemu: cannot set up\\nguest memory'); process.exit(7)`)
  await t.rejects(run(qemu), {
    code: 'hypercall-failed',
    message: `${qemu} has ended with status 7: qemu: cannot set up; guest memory`,
  })
  checkNothingLeft(t)
})

t.test('a QEMU that ends while the guest runs, or is killed', async (t) => {
  const ends = fakeQemu('ends', `if (execute === 'cont') process.exit(0)`)
  await t.rejects(run(ends), { code: 'hypercall-failed', message: `${ends} has ended with status 0` })
  const killed = fakeQemu('killed', `if (execute === 'stop') process.kill(process.pid, 'SIGKILL')`)
  await t.rejects(run(killed, { timeout: 0.1 }), {
    code: 'hypercall-failed',
    message: `${killed} has ended with SIGKILL`,
  })
  checkNothingLeft(t)
})

t.test('a command that QEMU refuses', async (t) => {
  const qemu = fakeQemu(
    'refuses',
    `if (execute === 'cont') return say({ error: { class: 'GenericError', desc: 'no' } })`,
  )
  await t.rejects(run(qemu), { code: 'hypercall-failed', message: 'QEMU refuses cont: no' })
  const saves = `if (execute === 'query-migrate') return say({ return: { status: 'failed' } })`
  await t.rejects(run(fakeQemu('saves', saves), { timeout: 0.1 }), {
    code: 'hypercall-failed',
    message: 'QEMU cannot save the machine',
  })
  checkNothingLeft(t)
})

t.test('a QEMU that never answers is ended by the signal', async (t) => {
  const pid = join(folder, 'pid')
  const qemu = fakeQemu('silent', 'return true', `fs.writeFileSync('${pid}', String(process.pid))`)
  const reason = new Error('stop')
  const abort = new AbortController()
  const running = run(qemu, { signal: abort.signal })
  while (!existsSync(pid)) await delay(10)
  abort.abort(reason)
  await t.rejects(running, reason)
  checkNothingLeft(t)
})

t.test('a process that ends in the middle of a run takes QEMU and its files along', async (t) => {
  const pid = join(folder, 'pid')
  rmSync(pid)
  const qemu = fakeQemu(
    'lasts',
    'return true',
    `fs.writeFileSync('${pid}', String(process.pid)); setInterval(() => {}, 1000)`,
  )
  const program = `
    import { existsSync } from 'node:fs'
    import { buildDomain, readKernel } from '${new URL('../../lib/index.js', import.meta.url)}'
    import { openQemu } from '${new URL('../../lib/runner/index.js', import.meta.url)}'
    import { endingKernel } from '${new URL('../fixtures/ending-kernel.js', import.meta.url)}'
    const kernel = await readKernel(endingKernel({ status: 0 }).file)
    openQemu({ qemu: '${qemu}' }).run(buildDomain(kernel, { type: 'pvh', memory: 2 ** 24, purpose: 'vmm' }), { timeout: 60 })
    setInterval(() => existsSync('${pid}') && process.exit(5), 10)`
  const { status } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit' })
  t.equal(status, 5)
  // Where nothing collects it, a process that has ended stays as a zombie.
  const alive = () => {
    const stat = join('/proc', readFileSync(pid, 'latin1'), 'stat')
    return existsSync(stat) && !/\) Z /.test(readFileSync(stat, 'latin1'))
  }
  for (let i = 0; alive() && i < 100; i++) await delay(20)
  t.notOk(alive(), 'QEMU is gone')
  checkNothingLeft(t)
})

t.test('guests and options that are refused', async (t) => {
  const refused = async (options: Partial<RunOptions>, message: RegExp) =>
    t.rejects(run('no-such-qemu', options), { code: 'bad-config', message })
  for (const timeout of [0, -1, Number.NaN, 3e6, '5' as unknown as number]) {
    await refused({ timeout }, /^the timeout of a run is invalid: expected above 0, at most 2147483 seconds, found/)
  }
  await refused({ stops: [-1n] }, /^a stop of a run is invalid: .* found -1n$/)
  await refused({ stops: [5 as unknown as bigint] }, /^a stop of a run is invalid: .* found 5$/)
  const aborted = AbortSignal.abort(new Error('before'))
  await t.rejects(run('no-such-qemu', { signal: aborted }), { message: 'before' })

  const build = async (file: Uint8Array, config: Partial<DomainConfig>) =>
    buildDomain(await readKernel(file), { memory: 64 * MiB, ...config } as DomainConfig)
  const xenGuest = await build(kernel.file, { type: 'pvh', purpose: 'restore' })
  t.match(openQemu().refusal(xenGuest), /^the guest has Xen's special pages: QEMU has no memory there/)
  await t.rejects(openQemu().run(xenGuest, { timeout: 1 }), {
    code: 'bad-config',
    message: /^QEMU cannot run the guest: the guest has Xen's special pages/,
  })
  const large = await build(kernel.file, { type: 'pvh', purpose: 'vmm', memory: 2 ** 40 })
  t.match(openQemu().refusal(large), /^the guest has more memory than the machine can address/)
  t.equal(openQemu().refusal(await build(kernel.file, { type: 'pvh', purpose: 'vmm', memory: 512 * GiB })), undefined)
  t.equal(openQemu().purpose, 'vmm')
  checkNothingLeft(t)
})
