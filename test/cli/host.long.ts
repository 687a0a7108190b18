/**
 * The commands on a Xen host, run on one in memory; and what they say without one.
 *
 * Source: ./recording-host.ts; docs/commands.md.
 * Gotcha: no guest runs there. A real Xen runs the same commands in test/xen.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t, { type Test } from 'tap'
import { DomainHeader, LIBXC_HEADER_BYTES } from '../../lib/abi/save-stream.js'
import { NEWEST_XEN } from '../../lib/abi/xen-release.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import { MAIN_IN_MODULES, runCommand } from './command.js'
import { type Host, hostVariables, IN_MEMORY, runOnHost, TWO_GUESTS } from './on-host.js'
import { TERMINAL } from './terminal.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-host-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const put = (name: string, content: Uint8Array | string): void => writeFileSync(path.join(folder, name), content)
put('pv', pvKernelFile())
put('pvh', pvhKernelFile())
put('ramdisk', 'a ramdisk')
put(
  'guest.cfg',
  'name = "web"\ntype = "pvh"\nkernel = "pvh"\nramdisk = "ramdisk"\nmemory = 32\nvcpus = 2\nmemroy = 1\n',
)

/** Runs a command on a host, and returns the state of the host as well. */
const on = (host: Host, typed: string) => runOnHost(host, typed.split(' '), { cwd: folder })

const WEB: Host = { ...TWO_GUESTS, domains: TWO_GUESTS.domains?.slice(0, 1) ?? [] }

t.test('without a Xen, one line says what is missing', async (t) => {
  const cfg = ['create', 'guest.cfg']
  for (const args of [['list'], ['destroy', 'web'], ['capture', 'web', '-o', 'x.core'], ['map', 'domain:web'], cfg]) {
    const { code, err, text } = runCommand(args, { cwd: folder })
    t.equal(code, 2, args.join(' '))
    t.match(err, /^(guest\.cfg: [^\n]*\n)?xen-domain-builder: no-hypervisor: [^\n]+\n$/, args.join(' '))
    t.equal(text, '')
  }
  t.match(JSON.parse(runCommand(['list', '--json'], { cwd: folder }).text), { error: { code: 'no-hypervisor' } })
})

t.test('list: the columns of xl, and the same for programs', async (t) => {
  const { code, text } = on(TWO_GUESTS, 'list')
  t.equal(code, 0)
  t.match(text.trimEnd().split('\n'), [
    /^Name {40}ID {3}Mem VCPUs {2}State {6}Time\(s\)$/,
    /^Domain-0 {37}0 {2}1024 {5}1 {2}r----- {9}0\.0$/,
    /^web {42}1 {4}16 {5}1 {2}r----- {9}0\.0$/,
    /^db {43}2 {4}32 {5}1 {2}r----- {9}0\.0$/,
  ])
  const { domains } = JSON.parse(on(TWO_GUESTS, 'list --json').text)
  t.match(domains[1], { domid: 1, name: 'web', memory: 16 * 2 ** 20, vcpus: 1, states: ['running'], cpuTime: 0 })
  t.match(on({ ...WEB, nodes: { '/local/domain/1/name': 'a\u001b[31m' } }, 'list').text, /^a\\x1b\[31m /m)
})

t.test('create: a kernel or an xl.cfg, with its answer', async (t) => {
  const cfg = on({}, 'create guest.cfg --json')
  t.equal(cfg.code, 0, cfg.err)
  t.match(JSON.parse(cfg.text), {
    domid: 1,
    uuid: /^[0-9a-f-]{36}$/,
    name: 'web',
    type: 'pvh',
    config: { unknown: [{ key: 'memroy', meant: 'memory' }] },
  })
  t.same(cfg.host?.running, [1], 'and lets it run')
  t.match(on({}, 'create --config guest.cfg --name db').text, /^db: domain 1, uuid [0-9a-f-]{36}\n$/)
  t.match(on({}, 'create pv --memory 16 --name hello').text, /^hello: domain 1, /)
  t.same(on({}, 'create pv --memory 16 --paused').host?.running, [])
  t.match(JSON.parse(on({}, 'create pv --memory 16 --json').text), { name: 'guest', type: 'pv' })
})

t.test('create: what a live domain would not get is refused before there is one', async (t) => {
  put('disk.cfg', 'kernel = "pv"\nmemory = 16\ndisk = ["/dev/vg/web,raw,xvda,rw"]\n')
  put('cpus.cfg', 'kernel = "pv"\nmemory = 16\ncpus = "2-3"\ncpuid = "host"\n')
  put('rename.cfg', 'kernel = "pv"\nmemory = 16\non_crash = "coredump-destroy"\n')
  for (const [typed, line] of [
    ['create disk.cfg', /bad-config: settings\.disks .* xl block-attach/],
    ['create cpus.cfg', /cpus\.cfg: not supported by this command: cpuid, cpus: remove them, or use xl create/],
    ['create rename.cfg', /bad-config: settings\.on_crash .*destroy, restart or preserve/],
    ['create guest.cfg --config disk.cfg', /guest\.cfg and --config are both an xl\.cfg/],
    ['create -', /none of them can be standard input/],
    ['create', /create needs a KERNEL, or --config FILE/],
    ['create pv --type linux', /--type 'linux' is invalid/],
    ['create pv --xen 4.17', /create has no option '--xen'/],
    ['create pv --acpi none', /--acpi needs --type pvh/],
    ['create pv --console --json', /--console has no JSON answer/],
    ['create ramdisk', /ramdisk: .*|bad-config/],
    ['create missing', /cannot-read: missing/],
  ] as const) {
    const { code, err, host } = on({}, typed)
    t.equal(code, 2, typed)
    t.match(err, line)
    t.equal(host, undefined, 'no host is asked')
  }
  const used = on(TWO_GUESTS, 'create pv --memory 16 --name web')
  t.match(used, { code: 2, err: /bad-config: the name of the guest is in use/ })
  t.same(used.host?.running, [1, 2])
})

t.test('create: a failure and a signal undo everything', async (t) => {
  const none = on({}, 'create pv --memory 16 --type pvh')
  t.match(none, { code: 1, err: /not-pvh/ })
  t.same(none.host?.leftovers, [])
  const silent = on({}, 'create pv --memory 16 --console')
  t.match(silent, { code: 2, err: /no-hypervisor: domain 1 has no console: xenconsoled does not serve it/ })
  t.same(silent.host?.leftovers, [])
  const stopped = on({ stopAt: 'setGrants' }, 'create pv --memory 16 --name hello')
  t.equal(stopped.code, null)
  t.equal(stopped.err, 'hello: not created, because of SIGTERM\n')
  t.same(stopped.host?.leftovers, [])
})

t.test('create --foreground: waits for the end, and does what the settings ask for', async (t) => {
  const off = on({ ends: ['poweroff'] }, 'create pv --memory 16 --foreground')
  t.equal(off.code, 0, off.err)
  t.equal(off.err, 'guest: domain 1 has ended (poweroff), and is removed\n')
  t.same(off.host?.leftovers, [])
  const again = on({ ends: ['reboot', 'reboot', 'poweroff'] }, 'create guest.cfg -F')
  t.equal(again.code, 0)
  t.match(
    again.err.split('\n').filter((line) => line.startsWith('web: ')),
    [
      'web: domain 1 has ended (reboot), and is removed',
      'web: domain 2 is its successor',
      'web: domain 2 has ended (reboot), and is removed',
      'web: domain 3 is its successor',
      'web: domain 3 has ended (poweroff), and is removed',
    ],
  )
  t.same(again.host?.leftovers, [])
  put('preserve.cfg', 'kernel = "pv"\nmemory = 16\non_crash = "preserve"\n')
  const kept = on({ ends: ['crash'] }, 'create preserve.cfg -F')
  t.equal(kept.err, 'guest: domain 1 has ended (crash), and is left as it is\n')
  t.ok(kept.host?.leftovers.includes('domain 1'))
})

t.test('watch: takes over a domain', async (t) => {
  const ended = on({ ...WEB, end: 'poweroff' }, 'watch web pv --json')
  t.equal(ended.code, 0, ended.err)
  t.same(JSON.parse(ended.text), { schema: 'xen-domain-builder/watch/1', reason: 'poweroff', action: 'destroy' })
  t.same(ended.host?.leftovers, [])
  const off = on({ ...WEB, stopAt: 'store.watch' }, 'watch web pv')
  t.equal(off.code, null)
  t.equal(off.err, 'web: not watched any more, because of SIGTERM\n')
  t.same(off.host?.running, [1], 'which goes on without the watcher')
  t.match(on(TWO_GUESTS, 'watch other pv'), { code: 2, err: /no-domain: the domain 'other' does not exist/ })
  t.match(on(TWO_GUESTS, 'watch 0 pv'), { code: 2, err: /bad-config: dom0 cannot be watched/ })
})

t.test('destroy: by name and by number', async (t) => {
  for (const given of ['web', '1']) {
    const { code, err, host } = on(WEB, `destroy ${given}`)
    t.equal(code, 0, err)
    t.same(host?.leftovers, [])
  }
  t.match(JSON.parse(on(TWO_GUESTS, 'destroy db --json').text), { domid: 2, name: 'db' })
  t.match(on(TWO_GUESTS, 'destroy 7'), { code: 2, err: /no-domain: the domain '7' does not exist/ })
  t.match(on(TWO_GUESTS, 'destroy 0'), { code: 2, err: /bad-config: dom0 cannot be destroyed/ })
  for (const [nodes, found] of [
    [{ '/libxl/1/device/vbd/51712/state': '4' }, 'vbd/51712'],
    [{ '/local/domain/0/device-model/1/state': 'running' }, 'device-model'],
  ] as const) {
    const refused = on({ ...TWO_GUESTS, nodes }, 'destroy web')
    t.match(refused, { code: 2, err: new RegExp(`use xl destroy.*found ${found}`) })
    t.same(refused.host?.running, [1, 2])
  }
})

/** Returns the release of Xen in a save file: the end of the header after libxc's first word. */
function xenOf(file: string): string {
  const bytes = readFileSync(path.join(folder, file))
  const at = bytes.indexOf(Buffer.alloc(8, 0xff)) + LIBXC_HEADER_BYTES
  const { xen_major, xen_minor } = DomainHeader.decode(bytes.subarray(at))
  return `${xen_major}.${xen_minor}`
}

t.test('capture: a snapshot, and the guest goes on', async (t) => {
  const { code, err, host } = on(TWO_GUESTS, 'capture web -o web.core')
  t.equal(code, 0, err)
  t.match(err, /^web: the guest was paused for \d+ ms\n$/)
  t.same(host?.running, [1, 2])
  t.match(runCommand(['inspect', 'web.core'], { cwd: folder }).text, /^guest {4}web: pv x86_64, 16 MiB/)
  t.match(JSON.parse(on(TWO_GUESTS, 'capture db -o db.img --json').text), {
    output: 'db.img',
    format: 'raw',
    domid: 2,
    name: 'db',
    pausedMs: Number,
  })
  const saved = on(TWO_GUESTS, 'capture web -o web.xl')
  t.equal(saved.code, 0, saved.err)
  t.match(saved.err, /^web: the guest was suspended for \d+ ms\n$/)
  t.same(saved.host?.running, [1, 2])
  t.equal(on({ ...TWO_GUESTS, release: '4.17' }, 'capture web -o old.xl').code, 0)
  t.same([xenOf('web.xl'), xenOf('old.xl')], [NEWEST_XEN, '4.17'], 'the file names the Xen of the host')
  t.match(on(TWO_GUESTS, 'capture web -o x'), { code: 2, err: /the format of 'x' is unknown/ })
  t.match(on(TWO_GUESTS, 'capture 0 -o x.core'), { code: 2, err: /dom0 cannot be captured/ })
  const stopped = on({ ...TWO_GUESTS, stopAt: 'readFrames' }, 'capture web -o never.core')
  t.match(stopped, { code: null, err: 'web: not captured, because of SIGTERM\n' })
  t.same(stopped.host?.running, [1, 2])
  t.notOk(existsSync(path.join(folder, 'never.core')))
})

t.test('domain:NAME in place of a snapshot', async (t) => {
  for (const [typed, shown] of [
    ['map domain:web', /start_info/],
    ['inspect domain:db', /^guest {4}db: pvh/],
    ['check domain:web', /^Xen would accept these page tables/],
    ['read domain:1 0x100000 16 --json', /"bytes"/],
    ['convert domain:web -o again.core', /^$/],
  ] as const) {
    const { code, err, text } = on(TWO_GUESTS, typed)
    t.equal(code, 0, `${typed}: ${err}`)
    t.match(err, /: the guest was paused for \d+ ms\n$/)
    t.match(text, shown)
  }
  t.match(on(TWO_GUESTS, 'diff domain:web web.core'), { code: 1, text: /^kept uuid: \S+ \| \S+\n$/ })
  t.match(on(TWO_GUESTS, 'map domain:none'), { code: 2, err: /no-domain/ })
})

/** A program whose output is awaited piece by piece. */
function listen(program: ReturnType<typeof spawn>): { until(text: RegExp): Promise<RegExpExecArray> } {
  let written = ''
  let heard = (): void => {}
  program.stdout?.setEncoding('utf8').on('data', (text: string) => {
    written += text
    heard()
  })
  return {
    until: (text) =>
      new Promise((resolve) => {
        heard = () => {
          const found = text.exec(written)
          if (found) resolve(found)
        }
        heard()
      }),
  }
}

/** Runs `create --console` of a guest whose console is a terminal, the other side of which is this test. */
async function atConsole(t: Test, more: readonly string[] = []) {
  const guest = spawn('script', ['-qfec', 'stty raw -echo; tty; exec sleep 1000', '/dev/null'])
  t.teardown(() => guest.kill())
  const fromUser = listen(guest)
  const [, tty = ''] = await fromUser.until(/^(\/dev\/\S+)\n/)
  const { HOST, state } = hostVariables({ tty })
  const { NODE_OPTIONS, ...env } = process.env
  const main = [...IN_MEMORY, MAIN_IN_MODULES, 'create', 'pv', '--memory', '16', '--console', ...more]
  const user = spawn(process.execPath, main, { cwd: folder, env: { ...env, HOST } })
  const ended = new Promise<number | null>((resolve) => user.on('close', resolve))
  return { guest, user, fromUser, fromGuest: listen(user), ended, state }
}

t.test("create --console: the guest's output, our keys, and Ctrl-]", async (t) => {
  if (!(await requirePeer(t, () => findCommand(...TERMINAL)))) return
  const { guest, user, fromGuest, fromUser, ended, state } = await atConsole(t)
  guest.stdin.write('hello from the guest\r\n')
  await fromGuest.until(/^guest: domain 1, uuid \S+\nhello from the guest\r\n/)
  user.stdin.write('typed\x1dnever')
  await fromUser.until(/\ntyped$/)
  t.equal(await ended, 0)
  t.same(state()?.running, [1], 'the guest goes on')
})

t.test('create --console ends with the guest, and without keys', async (t) => {
  if (!(await requirePeer(t, () => findCommand(...TERMINAL)))) return
  const { guest, user, fromGuest, ended } = await atConsole(t)
  user.stdin.end()
  guest.stdin.write('last words')
  await fromGuest.until(/last words$/)
  guest.kill('SIGKILL')
  t.equal(await ended, 0)
})
