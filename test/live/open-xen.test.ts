/**
 * Tests of what openXen needs from its machine: one line for the first thing that is missing, and nothing on standard
 * error. Also the files and names that are the machine's.
 *
 * Source: lib/live/native.ts, userdata.ts and process-name.ts.
 * Gotcha: a machine without a Xen has no device, so another file stands for it where the libraries are reached.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isRunning, ownProcess } from '../../lib/live/process-name.js'
import { setUserdata, userdata } from '../../lib/live/userdata.js'
import { findFile } from '../peer/command.js'
import { projectRoot } from '../peer/paths.js'
import { requirePeer } from '../peer/require-peer.js'

const NATIVE = JSON.stringify(join(projectRoot, 'dist/lib/live/native.js'))

/** A hook by which koffi is another module, or absent. */
const KOFFI: Readonly<Record<string, string>> = {
  absent: "throw Object.assign(new Error('no koffi'), { code: 'ERR_MODULE_NOT_FOUND' })",
  broken: 'return { url: \'data:text/javascript,throw new Error("wrong processor")\', shortCircuit: true }',
  'without libraries':
    "return { url: 'data:text/javascript,export default { load(name) { throw new Error(name) } }', shortCircuit: true }",
}

/** Returns the error of an attempt to open Xen in a separate process. */
function failureOf(t: Test, devices: readonly string[], koffi?: string): string {
  const hook = `export async function resolve(name, context, next) { if (name === 'koffi') { ${koffi} } return next(name, context) }`
  const source = [
    ...(koffi === undefined
      ? []
      : [
          `(await import('node:module')).register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook)}`)})`,
        ]),
    `const { openNative } = await import(${NATIVE})`,
    `await openNative(${JSON.stringify(devices)}).then(() => console.log('opened'), (e) => console.log(e.code, e.message))`,
  ].join('\n')
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', source], { encoding: 'utf8' })
  t.equal(stderr, '', 'nothing is on standard error')
  return stdout.trim()
}

t.test('what is missing', async (t) => {
  const device = join(t.testdir(), 'privcmd')
  t.equal(failureOf(t, [device]), `no-hypervisor ${device} is missing: this is not the dom0 of a Xen host`)
  writeFileSync(device, '')
  if (process.getuid?.() !== 0) {
    chmodSync(device, 0)
    t.equal(failureOf(t, [device]), `no-hypervisor ${device} cannot be opened: run as root`)
    chmodSync(device, 0o600)
  }
  t.equal(failureOf(t, [device], KOFFI.absent), 'no-hypervisor koffi is missing: npm install koffi')
  t.equal(failureOf(t, [device], KOFFI.broken), 'no-hypervisor koffi does not work here: wrong processor')
  t.equal(
    failureOf(t, [device], KOFFI['without libraries']),
    "no-hypervisor libxentoollog.so.1 is missing: it comes with Xen's tools",
  )
})

t.test("Xen's libraries, which say nothing themselves", async (t) => {
  const library = '/usr/lib/x86_64-linux-gnu/libxencall.so.1'
  if ((await requirePeer(t, () => findFile(library, 'libxencall1'))) === undefined) return
  if (existsSync('/dev/xen/privcmd')) return t.pass('a Xen runs here')
  const device = join(t.testdir({ privcmd: '' }), 'privcmd')
  t.equal(failureOf(t, [device]), 'no-hypervisor /dev/xen/privcmd cannot be opened: No such file or directory')
})

t.test('userdata is whole, and only its owner may read it', async (t) => {
  const folder = t.testdir()
  const set = (text: string | undefined) => setUserdata(5, 'UUID', 'libxl-json', text, folder)
  set(undefined)
  // A process that was killed may have left one.
  writeFileSync(join(folder, 'userdata-n.5.UUID.libxl-json'), 'half', { mode: 0o644 })
  set('{}')
  set('{"a":1}')
  const file = join(folder, 'userdata-d.5.UUID.libxl-json')
  t.same(readdirSync(folder), ['userdata-d.5.UUID.libxl-json'])
  t.equal(readFileSync(file, 'utf8'), '{"a":1}\0', 'libxl takes it for a string of C')
  t.equal(userdata(5, 'UUID', 'libxl-json', folder), '{"a":1}')
  t.equal(statSync(file).mode & 0o777, 0o600)
  set(undefined)
  t.same(readdirSync(folder), [])
  t.throws(() => setUserdata(5, 'UUID', 'libxl-json', '{}', join(folder, 'none')), {
    code: 'cannot-write',
    message: /userdata-d\.5\.UUID\.libxl-json: no such file or directory$/,
  })
})

t.test('a process is known by its number and its start', async (t) => {
  const own = ownProcess()
  t.match(own, new RegExp(`^${process.pid}:[1-9]\\d*$`))
  t.ok(isRunning(own))
  t.notOk(isRunning(`${process.pid}:1`), 'another process that had the number')
  for (const name of ['', 'text', '1', '../1:2', '99999999999:1', `${own} `]) t.notOk(isRunning(name), name)
  const child = spawn('sleep', ['60'])
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? []
  const name = `${child.pid}:${stat[19]}`
  t.ok(isRunning(name))
  child.kill('SIGKILL')
  await once(child, 'exit')
  t.notOk(isRunning(name))
})
