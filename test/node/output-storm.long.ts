/**
 * Stress test of the command's outputs: signals at random moments, full disks, directories that vanish, several writers
 * at once. Afterwards either the old file or the new one is there, and every other program's file.
 *
 * Source: ../../lib/node/output.ts; kill(2), tmpfs(5), pid_namespaces(7).
 * Gotcha: the moments come from a seed, but the machine's state at each does not, so a single run may end either way.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MAIN } from '../cli/command.js'
import { TERMINAL } from '../cli/terminal.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { checkMessage, OutputFolder, type State, sha256 } from '../fixtures/output-folder.js'
import { Random } from '../fixtures/random.js'
import { findCommand, findCommands } from '../peer/command.js'
import { type Found, requirePeer } from '../peer/require-peer.js'

const SEED = 14
const RUNS = 200
/** Runs at a time. */
const AT_ONCE = 2
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const
const MIB = 2 ** 20

const SETS = [['g.xl'], ['g.img', 'g.img.json'], ['g.xl.gz']] as const

const base = mkdtempSync(join(tmpdir(), 'xdb-storm-'))
t.teardown(() => rmSync(base, { recursive: true, force: true }))
writeFileSync(join(base, 'kernel'), pvKernelFile())
const random = new Random(SEED)
// Incompressible data, so that all of it is written.
writeFileSync(join(base, 'ramdisk'), Buffer.concat(Array.from({ length: 12 }, () => random.bytes(MIB))))

interface Ended {
  readonly how: number | NodeJS.Signals | null
  readonly said: string
}

interface Running {
  readonly process: ChildProcess
  readonly ended: Promise<Ended>
}

/** Starts a command. env(1) removes the variable by which tap hooks itself into every Node. */
function start(args: readonly string[], prefix: readonly string[] = []): Running {
  const started = spawn('env', ['-u', 'NODE_OPTIONS', ...prefix, process.execPath, MAIN, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  started.stderr.on('data', (text) => {
    said += String(text)
  })
  const ended = new Promise<Ended>((resolve) => started.on('close', (code, by) => resolve({ how: by ?? code, said })))
  return { process: started, ended }
}

/** Returns the arguments that build a guest into a folder's outputs. */
const buildInto = (folder: OutputFolder, memory = 24): string[] => [
  ...['build', join(base, 'kernel'), '--ramdisk', join(base, 'ramdisk'), '--memory', String(memory)],
  ...['-o', folder.file(folder.names[0] as string)],
]

let folders = 0
function folderOf(names: readonly string[], at = base): OutputFolder {
  const path = join(at, `folder-${folders++}`)
  mkdirSync(path)
  return new OutputFolder(path, names)
}

interface Guest {
  readonly names: readonly string[]
  /** The sha-256 of each new file. */
  readonly wanted: readonly string[]
  /** Milliseconds from the start of the command to its end. */
  readonly lasts: number
}

/** Returns the files and the duration of a command that nothing disturbs. */
async function undisturbed(names: readonly string[], memory?: number): Promise<Guest> {
  const folder = folderOf(names)
  const started = Date.now()
  const { how, said } = await start(buildInto(folder, memory)).ended
  if (how !== 0) throw new Error(said)
  const lasts = Date.now() - started
  const wanted = names.map((name) => sha256(readFileSync(folder.file(name))))
  rmSync(folder.path, { recursive: true })
  return { names, wanted, lasts }
}

const guests = new Map<string, Promise<Guest>>()
function guestOf(names: readonly string[], memory?: number): Promise<Guest> {
  const key = `${names[0]} ${memory}`
  const known = guests.get(key) ?? undisturbed(names, memory)
  guests.set(key, known)
  return known
}

const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

t.test(`${RUNS} signals at random moments`, async (t) => {
  const random = new Random(SEED)
  // As many at a time as below, so that they take equally long.
  await Promise.all(SETS.map((names) => guestOf(names)))
  const counts = new Map<string, number>()
  const count = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1)
  const plans = Array.from({ length: RUNS }, (_, run) => ({
    run,
    names: random.pick(SETS),
    signal: random.pick(SIGNALS),
    /** Half of the moments count from the start of writing, which is late in a run. */
    isWriting: random.oneIn(2),
    moment: random.below(1000) / 1000,
  }))
  const storm = async () => {
    for (let plan = plans.shift(); plan !== undefined; plan = plans.shift()) {
      const { run, names, signal, isWriting, moment } = plan
      const { wanted, lasts } = await guestOf(names)
      const folder = folderOf(names)
      const running = start(buildInto(folder))
      while (isWriting && folder.left().length === 0 && running.process.exitCode === null) await delay(2)
      const after = Math.round(moment * (isWriting ? lasts / 2 : lasts))
      await delay(after)
      running.process.kill(signal)
      const { how, said } = await running.ended
      const what = `run ${run}, ${names}, ${signal} after ${after} ms${isWriting ? ' of writing' : ''}`
      if (how !== 0 && how !== signal) t.fail(`${what}: ended by ${how}`)
      const states = folder.states(wanted)
      check(t, folder, states, what, signal === 'SIGKILL')
      checkMessage(t, said, what)
      if (how === 0 && states.includes('old')) t.fail(`${what}: done, and not written`)
      const left = folder.left()
      if (left.length > 0) count('killed while it wrote')
      if (/not written/.test(said)) count('stopped while it wrote')
      count(states.join('+'))
      if (signal === 'SIGKILL') {
        const next = await start(buildInto(folder)).ended
        t.same(next, { how: 0, said: '' }, `${what}: the next run`)
        t.ok(folder.states(wanted).every((state) => state === 'new'))
        folder.checkOthers(t, what)
        t.same(
          folder.left(),
          left.filter((name) => name.endsWith('.tmp')),
          'the next run removes nothing but a lock',
        )
      }
      rmSync(folder.path, { recursive: true })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, storm))
  t.comment(`${RUNS} runs of seed ${SEED}: ${[...counts].map(([what, times]) => `${what} ${times}`).join(', ')}`)
  for (const what of ['old', 'new', 'stopped while it wrote', 'killed while it wrote']) t.ok(counts.has(what), what)
})

/** Checks for old files or new ones, all from one writer, the others' files, and nothing else. */
function check(t: Test, folder: OutputFolder, states: readonly State[], what: string, isKilled = false): void {
  // A process that is killed between two renames leaves the first file new and the second old.
  const allowed = isKilled ? /^(new,?)*(old,?)*$/ : /^(new,?)+$|^(old,?)+$/
  if (!allowed.test(states.join())) t.fail(`${what}: ${states}`)
  folder.checkOthers(t, what)
  if (!isKilled && folder.left().length > 0) t.fail(`${what}: ${folder.left()} is left`)
}

/** Mounts a disk until the test ends. Mounting needs root, and capabilities that a container's root may lack. */
async function mountDisk(t: Test, options: string): Promise<Found<string>> {
  const at = mkdtempSync(join(base, 'disk-'))
  const { error, status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'none', at])
  if (status !== 0) return { missing: `a small disk cannot be mounted: ${error ?? stderr.toString().trim()}` }
  t.teardown(() => spawnSync('umount', [at]))
  return { found: at }
}

/** Runs the command: a refusal leaves the old files, a success the new ones. @returns whether it succeeded. */
async function runsOrRefuses(
  t: Test,
  folder: OutputFolder,
  why: RegExp,
  prefix: readonly string[] = [],
): Promise<boolean> {
  const { wanted } = await guestOf(folder.names)
  const { how, said } = await start(buildInto(folder), prefix).ended
  const states = folder.states(wanted)
  const what = `${folder.names}: ${said}`
  check(t, folder, states, what)
  checkMessage(t, said, what)
  t.equal(how, said === '' ? 0 : 2, what)
  t.equal(states[0], said === '' ? 'new' : 'old', what)
  if (said !== '') {
    t.match(said, /^xen-domain-builder: cannot-write: /)
    t.match(said, why)
  }
  return said === ''
}

t.test('a disk without room for the new files keeps the old ones', async (t) => {
  for (const size of ['64k', '1m', '10m']) {
    const disk = await requirePeer(t, () => mountDisk(t, `size=${size}`))
    if (disk === undefined) return
    for (const names of SETS) {
      const folder = folderOf(names, disk)
      t.notOk(await runsOrRefuses(t, folder, /no space left on device/), size)
      rmSync(folder.path, { recursive: true })
    }
  }
})

t.test('so does a disk without room for more names', async (t) => {
  let done = 0
  for (let more = 0; done < SETS.length; more++) {
    if (more > 20) return t.fail('it is never done')
    done = 0
    for (const names of SETS) {
      const disk = await requirePeer(t, () => mountDisk(t, 'size=100m,nr_inodes=100'))
      if (disk === undefined) return
      const folder = folderOf(names, disk)
      const used = Number(spawnSync('df', ['--output=iused', disk], { encoding: 'utf8' }).stdout.split('\n')[1])
      spawnSync('mount', ['-o', `remount,nr_inodes=${used + more}`, disk])
      if (await runsOrRefuses(t, folder, /no space left on device/)) done++
      rmSync(folder.path, { recursive: true })
    }
    if (more === 0) t.equal(done, 0, 'no name is free')
  }
})

t.test('so does a limit on the size of files', async (t) => {
  if (!(await requirePeer(t, () => findCommand('bash', 'bash')))) return
  for (const blocks of [1, 64, 8000]) {
    for (const names of SETS) {
      const limit = ['bash', '-c', `ulimit -f ${blocks}; exec "$@"`, 'bash']
      t.notOk(await runsOrRefuses(t, folderOf(names), /file too large/, limit), `${names}: ${blocks}`)
    }
  }
})

/** Starts a command and stops it while it writes, once its temporary files exist. */
async function stopWriting(folder: OutputFolder): Promise<Running> {
  for (;;) {
    const running = start(buildInto(folder))
    while (folder.left().length < folder.names.length && running.process.exitCode === null) await delay(1)
    running.process.kill('SIGSTOP')
    if (folder.left().length === folder.names.length) return running
    running.process.kill('SIGKILL')
    await running.ended
  }
}

t.test('directories that vanish while files are written', async (t) => {
  const events: Record<string, (folder: OutputFolder, there: string) => void> = {
    removed: ({ path }) => rmSync(path, { recursive: true }),
    renamed: ({ path }, there) => renameSync(path, there),
    replaced({ path }, there) {
      renameSync(path, there)
      mkdirSync(path)
    },
    'replaced by a file'({ path }, there) {
      renameSync(path, there)
      writeFileSync(path, 'mine')
    },
  }
  for (const names of SETS) {
    for (const [event, happens] of Object.entries(events)) {
      const what = `${names}: ${event}`
      const folder = folderOf(names)
      const there = join(base, `there-${folders++}`)
      const running = await stopWriting(folder)
      happens(folder, there)
      running.process.kill('SIGCONT')
      const { how, said } = await running.ended
      t.equal(how, 2, what)
      checkMessage(t, said, what)
      t.match(said, /^xen-domain-builder: cannot-write: [^\n]*director/, what)
      if (event === 'replaced') t.same(readdirSync(folder.path), [], what)
      if (event === 'replaced by a file') t.equal(readFileSync(folder.path, 'utf8'), 'mine', what)
      if (event === 'removed') continue
      t.ok(
        folder.states([], there).every((state) => state === 'old'),
        what,
      )
      folder.checkOthers(t, what, there)
      if (process.platform === 'linux') t.same(folder.left(there), [], `${what}: nothing is left where it is now`)
    }
  }
})

/** Runs several commands that write the same names at once. Afterwards all files are from one of them. */
async function together(t: Test, names: readonly string[], prefix: readonly string[] = []): Promise<void> {
  const memories = [24, 25, 26]
  const all: Guest[] = []
  for (const memory of memories) all.push(await guestOf(names, memory))
  for (let round = 0; round < 2; round++) {
    const folder = folderOf(names)
    const ended = await Promise.all(memories.map((memory) => start(buildInto(folder, memory), prefix).ended))
    for (const one of ended) t.same(one, { how: 0, said: '' }, `${names}, round ${round}`)
    const won = all.filter(({ wanted }) => folder.states(wanted).every((state) => state === 'new'))
    t.equal(won.length, 1, `${names}, round ${round}: ${folder.states([])}`)
    folder.checkOthers(t, `${names}, round ${round}`)
    t.same(folder.left(), [])
    rmSync(folder.path, { recursive: true })
  }
}

t.test('several writers of one name', async (t) => {
  for (const names of SETS) await together(t, names)
})

/** Returns a prefix that makes a command the first process of a pid namespace. */
async function findNamespaces(): Promise<Found<readonly string[]>> {
  const prefix = ['unshare', '--pid', '--fork', '--mount-proc']
  const { error, status, stderr } = spawnSync(prefix[0] as string, [...prefix.slice(1), 'sh', '-c', 'test $$ = 1'])
  return status === 0
    ? { found: prefix }
    : { missing: `no pid namespace can be made: ${error ?? stderr.toString().trim()}` }
}

t.test('several writers of one name that have the same pid', async (t) => {
  const prefix = await requirePeer(t, findNamespaces)
  if (prefix === undefined) return
  for (const names of SETS) await together(t, names, prefix)
})

t.test('the first process of a pid namespace is stopped like every other', async (t) => {
  const prefix = await requirePeer(t, findNamespaces)
  if (prefix === undefined) return
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const folder = folderOf(['g.xl.gz'])
    const running = start(buildInto(folder), prefix)
    while (folder.left().length === 0 && running.process.exitCode === null) await delay(1)
    const { pid } = running.process
    process.kill(Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')[0]), signal)
    const { how, said } = await running.ended
    t.equal(how, { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }[signal])
    t.match(said, new RegExp(`^[^\\n]*g.xl.gz: not written, because of ${signal}\\n$`))
    check(t, folder, folder.states([]), signal)
  }
})

t.test('a closed stderr does not leave a file half written', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const folder = folderOf(['g.xl.gz'])
    const running = start(buildInto(folder))
    running.process.stderr?.destroy()
    while (folder.left().length === 0 && running.process.exitCode === null) await delay(1)
    running.process.kill(signal)
    t.equal((await running.ended).how, signal)
    check(t, folder, folder.states([]), signal)
  }
})

t.test('a terminal that is closed while it shows progress', async (t) => {
  if (!(await requirePeer(t, () => findCommands(TERMINAL, ['setsid', 'util-linux'])))) return
  const { names, wanted, lasts } = await guestOf(['g.xl.gz'])
  const folder = folderOf(names)
  // In a separate session, the command gets no SIGHUP.
  const command = ['exec', 'setsid', '-w', 'env', '-u', 'NODE_OPTIONS', process.execPath, MAIN, ...buildInto(folder)]
  const terminal = spawn('script', ['-qfec', `${command.join(' ')} </dev/null`, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  const shown = new Promise<void>((resolve) => {
    terminal.stdout.on('data', (text) => {
      if (/writing .*g\.xl\.gz/.test(String(text))) resolve()
    })
  })
  await shown
  terminal.kill('SIGKILL')
  for (let waited = 0; folder.left().length > 0 && waited < 20 * lasts; waited += 10) await delay(10)
  t.same(folder.states(wanted), ['new'])
  check(t, folder, folder.states(wanted), 'closed')
})
