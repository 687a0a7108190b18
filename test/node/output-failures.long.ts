/**
 * Every call to the file system fails once, fails from then on, or is the last before the process is killed. For every
 * call, either the old files or the new ones remain.
 *
 * Source: ../../lib/node/output.ts, ../../lib/node/lock.ts.
 * Gotcha: node:fs itself is changed during a test, in this process or in the child, so other code sees failures too.
 */
import { spawn } from 'node:child_process'
import fs, {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { DomainBuilderError } from '../../lib/index.js'
import { Folder } from '../../lib/node/folder.js'
import { lock } from '../../lib/node/lock.js'
import { writeFiles } from '../../lib/node/output.js'
import { writePieces } from '../../lib/node/writer.js'
import { OutputFolder, sha256 } from '../fixtures/output-folder.js'

const SETS = [['g.xl'], ['g.img', 'g.img.json'], ['g', 'g.rom', 'g.json']] as const

/** Calls that can fail. */
const CALLS = [
  'chmodSync',
  'closeSync',
  'copyFileSync',
  'fchmodSync',
  'fchownSync',
  'fstatSync',
  'ftruncateSync',
  'linkSync',
  'lstatSync',
  'mkdirSync',
  'openSync',
  'readdirSync',
  'realpathSync',
  'renameSync',
  'unlinkSync',
  'rmdirSync',
  'statSync',
  'writeSync',
] as const

const write = (names: readonly string[], text = 'new', signal?: AbortSignal) =>
  writeFiles(
    names,
    async (outputs) => {
      for (const { fd, truncate } of outputs) {
        truncate(text.length)
        await writePieces(fd, () => [{ offset: 0, bytes: Buffer.from(text) }])
      }
    },
    signal === undefined ? {} : { signal },
  )

const folderOf = (t: Test, names: readonly string[]): OutputFolder =>
  new OutputFolder(mkdtempSync(join(t.testdirName, 'x')), names)

/** Runs work in which some of the calls fail. @returns the names of the calls that failed. */
async function failing(fails: (call: number) => boolean, work: () => Promise<void>): Promise<string[]> {
  const calls = fs as unknown as Record<string, (...args: unknown[]) => unknown>
  const real = Object.fromEntries(CALLS.map((name) => [name, calls[name] as (...args: unknown[]) => unknown]))
  const failed: string[] = []
  let count = 0
  for (const [name, call] of Object.entries(real)) {
    calls[name] = (...args) => {
      if (!fails(count++)) return call(...args)
      failed.push(name)
      // Like a real close that fails, it still releases the file.
      if (name === 'closeSync') call(...args)
      throw Object.assign(new Error(`EIO: i/o error, ${name} 'x'`), { code: 'EIO', syscall: name })
    }
  }
  syncBuiltinESMExports()
  try {
    await work()
  } finally {
    Object.assign(fs, real)
    syncBuiltinESMExports()
  }
  return failed
}

/** Returns the message of the refusal, or undefined if writing succeeded. */
async function refusalOf(t: Test, work: () => Promise<void>): Promise<string | undefined> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof DomainBuilderError) || error.code !== 'cannot-write') t.fail(`not a refusal: ${error}`)
    return String((error as Error).message)
  }
  return undefined
}

t.test('one call fails', async (t) => {
  t.testdir()
  for (const names of SETS) {
    let refused = 0
    for (let at = 0; ; at++) {
      const folder = folderOf(t, names)
      let said: string | undefined
      const [name] = await failing(
        (call) => call === at,
        async () => {
          said = await refusalOf(t, () => write(names.map((one) => folder.file(one))))
        },
      )
      if (name === undefined) break
      const what = `${names}: ${name}, call ${at}`
      const wanted = said === undefined ? 'new' : 'old'
      if (said !== undefined) refused++
      for (const state of folder.states(names.map(() => sha256('new'))))
        if (state !== wanted) t.equal(state, wanted, what)
      folder.checkOthers(t, what)
      // Only files that cannot be removed remain.
      if (!/^(unlink|rmdir)/.test(name)) t.same(folder.left(), [], what)
    }
    t.ok(refused >= 5, `${names}: ${refused} refusals`)
  }
})

t.test('all calls fail from one on', async (t) => {
  t.testdir()
  for (const names of SETS) {
    let kept = 0
    for (let from = 0; ; from++) {
      const folder = folderOf(t, names)
      let said: string | undefined
      const [name] = await failing(
        (call) => call >= from,
        async () => {
          said = await refusalOf(t, () => write(names.map((one) => folder.file(one))))
        },
      )
      if (name === undefined) break
      const what = `${names}: ${name} and all after call ${from}`
      folder.checkOthers(t, what)
      const states = folder.states(names.map(() => sha256('new')))
      for (const state of states) t.match(state, /^(old|new)$/, what)
      if (said === undefined) {
        for (const state of states) t.equal(state, 'new', what)
      } else if (states.includes('new')) {
        kept++
        const [, name = '', backup = ''] = said.match(/^(.*) \(the old file is now (.*)\)/) ?? []
        t.equal(readFileSync(folder.file(backup), 'utf8'), `old ${name}`, what)
        const contents = folder.left().map((one) => {
          try {
            return readFileSync(folder.file(one), 'utf8')
          } catch {
            return 'a folder'
          }
        })
        for (const [i, state] of states.entries()) {
          if (state === 'new') t.ok(contents.includes(`old ${names[i]}`), `${what}: ${names[i]} is kept`)
        }
      }
    }
    t.equal(kept > 0, names.length > 1, `${names}: old files that could not be put back: ${kept}`)
  }
})

const url = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href)

/** A program that writes files, and sends itself a signal before one of the named calls. */
const PROGRAM = `
  import fs from 'node:fs'
  import { syncBuiltinESMExports } from 'node:module'
  import { writeFiles } from ${url('../../lib/node/output.js')}
  import { writePieces } from ${url('../../lib/node/writer.js')}
  const { signal, calls, at, names } = JSON.parse(process.argv[1])
  let left = at
  for (const name of calls) {
    const real = fs[name]
    fs[name] = (...args) => {
      if (left-- === 0) process.kill(process.pid, signal)
      return real(...args)
    }
  }
  syncBuiltinESMExports()
  await writeFiles(names, async (outputs) => {
    for (const { fd, truncate } of outputs) {
      truncate(3)
      await writePieces(fd, () => [{ offset: 0, bytes: Buffer.from('new') }])
    }
  }).catch((error) => {
    console.error(error.message)
    process.exitCode = 2
  })`

interface Child {
  readonly signal: NodeJS.Signals
  readonly calls: readonly string[]
  readonly at: number
  readonly names: readonly string[]
}

function start(child: Child) {
  const started = spawn(
    'env',
    ['-u', 'NODE_OPTIONS', process.execPath, '--input-type=module', '-e', PROGRAM, JSON.stringify(child)],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  let said = ''
  started.stderr.on('data', (text) => {
    said += String(text)
  })
  const ended = new Promise<{ how: number | NodeJS.Signals | null; said: string }>((resolve) =>
    started.on('close', (code, by) => resolve({ how: by ?? code, said })),
  )
  return { process: started, ended }
}

t.test('killed before any call: each file is whole, and the next writer takes over', async (t) => {
  t.testdir()
  const next: Promise<void>[] = []
  let mixed = 0
  for (const names of SETS) {
    for (let at = 0; ; at++) {
      const folder = folderOf(t, names)
      const files = names.map((one) => folder.file(one))
      const { how } = await start({ signal: 'SIGKILL', calls: CALLS, at, names: files }).ended
      if (how === 0) break
      const what = `${names}: before call ${at}`
      t.equal(how, 'SIGKILL', what)
      const states = folder.states(names.map(() => sha256('new'))).join()
      t.match(states, /^(new,?)*(old,?)*$/, `${what}: ${states}`)
      if (/new.*old/.test(states)) mixed++
      folder.checkOthers(t, what)
      const left = folder.left().filter((name) => name.endsWith('.tmp'))
      next.push(
        write(files, 'next').then(() => {
          t.same(new Set(folder.states(names.map(() => sha256('next')))), new Set(['new']), `${what}: the next`)
          folder.checkOthers(t, what)
          t.same(folder.left(), left, `${what}: the next writer removes the lock and nothing else`)
        }),
      )
    }
  }
  t.ok(mixed > 0, 'some were killed between two renames')
  await Promise.all(next)
})

t.test('stopped for long in the middle: it gives up, and the pair of the other writer stays', async (t) => {
  t.testdir()
  const folder = folderOf(t, ['g.img', 'g.img.json'])
  const names = folder.names.map((one) => folder.file(one))
  // existsSync checks the lock; at the second call, one of the two files is in its place.
  const slow = start({ signal: 'SIGSTOP', calls: ['existsSync'], at: 1, names })
  while (folder.states([sha256('new'), ''])[0] !== 'new') await new Promise((resolve) => setTimeout(resolve, 5))
  await write(names, 'other')
  t.same(folder.states([sha256('other'), sha256('other')]), ['new', 'new'])
  slow.process.kill('SIGCONT')
  const { how, said } = await slow.ended
  t.equal(how, 2)
  t.match(said, /another writer has replaced it/)
  t.same(folder.states([sha256('other'), sha256('other')]), ['new', 'new'])
  t.same(folder.left(), [])
})

t.test('a lock that is not ours to take over is an error, and an abort ends the wait', async (t) => {
  const dir = t.testdir({})
  const folder = new Folder(dir)
  const held = await lock(folder, 'g')
  const abort = new AbortController()
  const reason = new Error('enough')
  const waiting = lock(folder, 'g', abort.signal)
  abort.abort(reason)
  await t.rejects(waiting, reason)
  const [name = ''] = fs.readdirSync(dir)
  held.release()
  t.same(fs.readdirSync(dir), [])
  mkdirSync(join(dir, name))
  writeFileSync(join(dir, name, 'mine'), 'mine')
  await t.rejects(lock(folder, 'g'), { code: 'ENOTDIR' })
  t.equal(readFileSync(join(dir, name, 'mine'), 'utf8'), 'mine')
  rmSync(join(dir, name), { recursive: true })
  writeFileSync(join(dir, name), 'a file')
  await t.rejects(lock(folder, 'g'), { code: 'ENOTDIR' })
  t.same([fs.readdirSync(dir), readFileSync(join(dir, name), 'utf8')], [[name], 'a file'])
  rmSync(join(dir, name))
  mkdirSync(join(dir, name))
  const over = await lock(folder, 'g')
  t.ok(!over.isLost(), 'an empty one has no owner')
  over.release()
  folder.close()
})

t.test('a directory that is renamed, and one file for two outputs', async (t) => {
  const dir = t.testdir({ here: {} })
  const folder = new OutputFolder(join(dir, 'here'), ['g.img', 'g.img.json'])
  const there = join(dir, 'there')
  const moved = writeFiles(
    folder.names.map((one) => folder.file(one)),
    async (outputs) => {
      for (const { fd } of outputs) await writePieces(fd, () => [{ offset: 0, bytes: Buffer.from('new') }])
      renameSync(folder.path, there)
      mkdirSync(folder.path)
    },
  )
  await t.rejects(moved, { code: 'cannot-write' })
  t.same(fs.readdirSync(folder.path), [])
  t.same(folder.states([], there), ['old', 'old'])
  folder.checkOthers(t, 'renamed', there)
  if (existsSync('/proc/self/fd')) t.same(folder.left(there), [], 'Linux says where it is now')
  writeFileSync(join(dir, 'one'), 'old')
  symlinkSync('one', join(dir, 'two'))
  await t.rejects(write([join(dir, 'one'), join(dir, 'two')]), {
    code: 'cannot-write',
    message: /two: is the same file as/,
  })
  t.equal(readFileSync(join(dir, 'one'), 'utf8'), 'old')
  const long = 'ü'.repeat(125)
  await write([join(dir, long), join(dir, `${long}.json`)])
  t.equal(readFileSync(join(dir, long), 'utf8'), 'new', 'a long name of characters of two bytes')
})
