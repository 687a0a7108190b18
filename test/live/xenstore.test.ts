/**
 * Tests of the client of xenstore against a small xenstored, and of what it does with a broken one.
 *
 * Source: xenstored.ts next to this file; xen/docs/misc/xenstore.txt.
 * Gotcha: test/xen/open-xen.ts runs the same client against Xen's own xenstored.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { XS } from '../../lib/abi/xs-wire.js'
import { openXenStore, type StoreConnection } from '../../lib/live/xenstore-socket.js'
import { projectRoot } from '../peer/paths.js'
import { message, startXenstored, type Xenstored } from './xenstored.js'

async function start(t: Test): Promise<{ xenstored: Xenstored; store: StoreConnection }> {
  const xenstored = await startXenstored(t)
  const store = await openXenStore()
  t.teardown(() => store.close())
  return { xenstored, store }
}

/** Waits for events that are on their way. */
const settle = (): Promise<void> => sleep(20)

t.test('nodes', async (t) => {
  const { xenstored, store } = await start(t)
  await store.write('/a/b', 'größe')
  await store.write('/a/c', '')
  await store.mkdir('/a/d')
  await store.mkdir('/a/d')
  t.equal(await store.read('/a/b'), 'größe')
  t.equal(await store.read('/a/c'), '')
  t.equal(await store.read('/none'), undefined)
  t.same(await store.list('/a'), ['b', 'c', 'd'])
  t.same(await store.list('/none'), [])
  await store.setPermissions('/a/b', ['n0', 'r5'])
  t.same(xenstored.tree.permissions('/a/b'), ['n0', 'r5'])
  await store.remove('/a')
  await store.remove('/a')
  t.same(xenstored.tree.values, {})
  await t.rejects(async () => store.setPermissions('/a', ['n0']), {
    code: 'hypercall-failed',
    message: "xenstore's set_perms of /a is refused: ENOENT",
  })
})

t.test('domains', async (t) => {
  const { xenstored, store } = await start(t)
  await store.introduce(5, 0x1234, 7)
  await store.resume(5)
  await store.release(5)
  t.same(
    xenstored.requests.map(({ type, args }) => [type, ...args]),
    [
      ['introduce', '5', '4660', '7', ''],
      ['resume', '5', ''],
      ['release', '5', ''],
    ],
  )
  xenstored.intercept = ({ id }) => message(XS.error, id, 'ENOENT\0')
  await store.release(5)
  await t.rejects(async () => store.introduce(5, 1, 1), { message: "xenstore's introduce of 5 is refused: ENOENT" })
})

t.test('replies in any number of pieces, and many in one', async (t) => {
  const { xenstored, store } = await start(t)
  let held = Buffer.alloc(0)
  xenstored.send = (_, bytes) => {
    held = Buffer.concat([held, bytes])
  }
  const answers = Promise.all(
    Array.from({ length: 50 }, async (_, i) => {
      await store.write(`/n${i}`, `value ${i}`)
      return store.read(`/n${i}`)
    }),
  )
  while (xenstored.requests.length < 50) await settle()
  const [socket] = xenstored.sockets
  socket?.write(held)
  held = Buffer.alloc(0)
  while (xenstored.requests.length < 100) await settle()
  for (let at = 0; at < held.length; at += 7) {
    socket?.write(held.subarray(at, at + 7))
    if (at % 70 === 0) await new Promise(setImmediate)
  }
  t.same(
    await answers,
    Array.from({ length: 50 }, (_, i) => `value ${i}`),
  )
})

t.test('a transaction runs again after a conflict, and not at all after an error', async (t) => {
  const { xenstored, store } = await start(t)
  await store.write('/count', '0')
  let runs = 0
  const result = await store.transaction(async (nodes) => {
    const before = await nodes.read('/count')
    if (runs++ < 2) await store.write('/count', `${runs}`)
    await nodes.write('/count', `${before} and mine`)
    return before
  })
  t.same([runs, result, await store.read('/count')], [3, '2', '2 and mine'])
  await t.rejects(
    store.transaction(async (nodes) => {
      await nodes.write('/count', 'lost')
      throw new Error('stop')
    }),
    { message: 'stop' },
  )
  t.same(xenstored.requests.at(-1)?.args, ['F', ''])
  t.equal(await store.read('/count'), '2 and mine')
})

t.test('watches', async (t) => {
  const { store } = await start(t)
  const events: string[] = []
  const endFirst = await store.watch('/a', (path) => events.push(`1 ${path}`))
  const endSecond = await store.watch('/a', (path) => events.push(`2 ${path}`))
  await settle()
  t.same(events.splice(0).sort(), ['1 /a', '2 /a'], 'each is told once at first')
  await store.write('/a/b', 'x')
  await store.write('/other', 'x')
  await settle()
  t.same(events.splice(0).sort(), ['1 /a/b', '2 /a/b'])
  await endFirst()
  await endFirst()
  await store.remove('/a/b')
  await settle()
  t.same(events.splice(0), ['2 /a/b'])
  await endSecond()
  await store.write('/a/b', 'x')
  await settle()
  t.same(events, [])
})

t.test('a lost connection refuses everything, and wakes the watchers', async (t) => {
  const { xenstored, store } = await start(t)
  const events: string[] = []
  const end = await store.watch('/a', (path) => events.push(path))
  await settle()
  xenstored.intercept = () => Buffer.alloc(0)
  const waiting = [store.read('/a'), store.write('/a', 'b'), store.list('/a')]
  while (xenstored.requests.length < 4) await settle()
  for (const socket of xenstored.sockets) socket.destroy()
  const lost = { code: 'hypercall-failed', message: 'the connection to xenstored is closed: xenstored ended it' }
  for (const one of waiting) await t.rejects(Promise.resolve(one), lost)
  await t.rejects(async () => store.read('/a'), lost)
  await t.rejects(async () => end(), lost)
  t.same(events, ['/a', ''])
})

t.test('close() refuses everything', async (t) => {
  const { xenstored, store } = await start(t)
  xenstored.intercept = () => Buffer.alloc(0)
  const waiting = Promise.resolve(store.read('/a'))
  store.close()
  store.close()
  await t.rejects(waiting, { message: 'the connection to xenstored is closed' })
  await t.rejects(async () => store.read('/a'), { message: 'the connection to xenstored is closed' })
})

t.test('messages that no xenstored sends', async (t) => {
  const { xenstored, store } = await start(t)
  xenstored.intercept = ({ id }) =>
    Buffer.concat([
      message(XS.read, id + 100, 'of no request'),
      message(XS.watch_event, 0, 'no token'),
      message(99, id, 'x'),
    ])
  await t.rejects(async () => store.read('/a'), { message: "xenstore's read of /a has a reply of unknown type 99" })
  xenstored.intercept = ({ type, id }) => (type === 'read' ? message(XS.read, id, 'fine') : undefined)
  t.equal(await store.read('/a'), 'fine')
  xenstored.intercept = ({ id }) => message(XS.read, id, 'x'.repeat(5000))
  await t.rejects(async () => store.read('/a'), { message: /is closed: a message of 5000 bytes$/ })
})

t.test('requests that xenstored would not survive are not sent', async (t) => {
  const { xenstored, store } = await start(t)
  await t.rejects(async () => store.write('/a', 'x'.repeat(4094)), {
    code: 'hypercall-failed',
    message: "xenstore's write of /a is too large: expected at most 4096 bytes, found 4097 bytes",
  })
  await t.rejects(async () => store.write('/a', 'b\0c'), { message: /has a NUL in it/ })
  await t.rejects(async () => store.read('/a\0b'), { message: /has a NUL in it/ })
  t.same(xenstored.requests, [])
  await store.write('/a', 'x'.repeat(4093))
  t.equal((await store.read('/a'))?.length, 4093)
})

t.test('more names than a message holds, which change meanwhile', async (t) => {
  const { xenstored, store } = await start(t)
  let text = Array.from({ length: 400 }, (_, i) => `name-${i}\0`).join('')
  let generation = 1
  let parts = 0
  xenstored.intercept = ({ type, id, args }) => {
    if (type === 'directory') return message(XS.error, id, 'E2BIG\0')
    if (type !== 'directory_part') return undefined
    if (++parts === 2) {
      generation++
      text = text.replaceAll('name', 'newer')
    }
    const from = Number(args[1])
    const end = text.lastIndexOf('\0', from + 2000) + 1
    const isLast = end >= text.length
    return message(XS.directory_part, id, `${generation}\0${text.slice(from, end)}${isLast ? '\0' : ''}`)
  }
  t.same(
    await store.list('/a'),
    Array.from({ length: 400 }, (_, i) => `newer-${i}`),
  )
  text = ''
  t.same(await store.list('/a'), [])
})

t.test('no xenstored', async (t) => {
  process.env.XENSTORED_PATH = join(t.testdir(), 'none')
  await t.rejects(openXenStore(), {
    code: 'no-hypervisor',
    message: `xenstored is missing: there is no ${process.env.XENSTORED_PATH}`,
  })
  // A server that is killed leaves its socket.
  const stale = join(mkdtempSync(join(tmpdir(), 'xdb-stale-')), 'socket')
  t.teardown(() => rmSync(join(stale, '..'), { recursive: true }))
  const server =
    "require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))"
  spawnSync(process.execPath, ['-e', server, stale])
  process.env.XENSTORED_PATH = stale
  await t.rejects(openXenStore(), { code: 'no-hypervisor', message: /^xenstored does not answer: .*ECONNREFUSED/ })
})

t.test('the device of a xenstored in another domain', async (t) => {
  // A named pipe that is open for both gives each request back: a reply of the same type, with the path as its value.
  const pipe = join(t.testdir(), 'xenbus')
  execFileSync('mkfifo', [pipe])
  process.env.XENSTORED_PATH = pipe
  const store = await openXenStore()
  t.same(await Promise.all([store.read('/a'), store.read('/b')]), ['/a\0', '/b\0'])
  await sleep(20)
  t.equal(await store.read('/c'), '/c\0')
  store.close()
  await t.rejects(async () => store.read('/a'), { message: 'the connection to xenstored is closed' })
})

t.test('the connection keeps the process alive only while something is expected', async (t) => {
  const { xenstored } = await start(t)
  xenstored.tree.write('/a', 'value')
  const run = (program: string): Promise<{ code: number | null; output: string }> =>
    new Promise((resolve) => {
      const client = JSON.stringify(join(projectRoot, 'dist/lib/live/xenstore-socket.js'))
      const source = `const { openXenStore } = await import(${client}); const store = await openXenStore(); ${program}`
      const child = spawn(process.execPath, ['--input-type=module', '-e', source], { timeout: 20_000 })
      let output = ''
      child.stdout.on('data', (text) => {
        output += text
      })
      child.on('close', (code) => resolve({ code, output }))
    })
  t.same(await run("console.log(await store.read('/a'))"), { code: 0, output: 'value\n' })
  t.same(
    await run(`const end = await store.watch('/a', async () => {
      if ((await store.read('/a')) !== 'new') return console.log('watched')
      await end(); console.log('ended')
    }); setTimeout(() => store.write('/a', 'new'), 300).unref()`),
    { code: 0, output: 'watched\nended\n' },
  )
})
