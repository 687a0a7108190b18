/**
 * Outputs appear whole or not at all: afterwards either the old file or the new one is there.
 *
 * Source: rename(2), link(2), umask(2).
 * Gotcha: several files are several renames, so a failure in between must put the first ones back.
 */
import { spawn } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { buildDomain, type Domain, DomainBuilderError, readKernel, writeSnapshot } from '../../lib/index.js'
import { openSnapshotFile, readKernelFile, writeSnapshotFile } from '../../lib/node/index.js'
import { writeFiles } from '../../lib/node/output.js'
import { writePieces } from '../../lib/node/writer.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf, sameGuest } from '../fixtures/snapshots.js'

const guest = async (name = 'guest'): Promise<Domain> =>
  buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 8 * 2 ** 20, name, ramdisk: pattern(300000) })

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text))

/** Writes one text into each file. */
const writeTexts = (names: readonly string[], text: string, during: () => void = () => {}, options = {}) =>
  writeFiles(
    names,
    async (outputs) => {
      for (const { fd } of outputs) await writePieces(fd, () => [{ offset: 0, bytes: bytes(text) }])
      during()
    },
    options,
  )

test('every format is written by name and opened by the name of any of its files', async (t) => {
  const dir = t.testdir()
  const domain = await guest()
  for (const [name, files] of [
    ['g.img', ['g.img', 'g.img.json']],
    ['g.xl', ['g.xl']],
    ['g.xl.gz', ['g.xl.gz']],
    ['g.core', ['g.core']],
  ] as const) {
    const parts: number[] = []
    const written = await writeSnapshotFile(domain, join(dir, name), { onProgress: ({ done }) => parts.push(done) })
    t.same(
      written.files,
      files.map((file) => join(dir, file)),
    )
    t.ok(parts.length > 0 && parts.every((part, i) => part >= (parts[i - 1] ?? 0)), 'progress rises')
    for (const file of files) {
      const snapshot = await openSnapshotFile(join(dir, file))
      t.equal(snapshot.format, written.format, file)
      sameGuest(t, snapshot.domain, domain, file)
      snapshot.close()
    }
  }
  t.equal(statSync(join(dir, 'g.xl')).size, writeSnapshot(domain, 'xl')[0]?.size)
  t.equal(Buffer.compare(readFileSync(join(dir, 'g.xl')), bytesOf(writeSnapshot(domain, 'xl')[0] ?? [])), 0)
  writeFileSync(join(dir, 'kernel'), pvKernelFile())
  t.equal((await readKernelFile(join(dir, 'kernel'))).container, 'elf')
})

test('what cannot be opened, written or read any more is refused in one line', async (t) => {
  const dir = t.testdir({ text: 'no snapshot', dir: {} })
  const domain = await guest()
  await t.rejects(openSnapshotFile(join(dir, 'text')), { code: 'unknown-format' })
  await t.rejects(openSnapshotFile(join(dir, 'none')), { code: 'cannot-read', message: /no such file/ })
  await t.rejects(openSnapshotFile(join(dir, 'dir')), { code: 'cannot-read', message: /is a directory/ })
  await t.rejects(openSnapshotFile('/dev/zero'), { code: 'cannot-read', message: /is a device/ })
  await t.rejects(writeSnapshotFile(domain, join(dir, 'x.zip')), { code: 'bad-config', message: /extension/ })
  await t.rejects(writeSnapshotFile(domain, join(dir, 'x.xl.zst')), { code: 'bad-config', message: /zstd/ })
  await t.rejects(writeSnapshotFile(domain, join(dir, 'x.img'), { compress: 'gzip' }), { code: 'bad-config' })
  await t.rejects(writeSnapshotFile(domain, join(dir, 'x'), { format: 'xll' as 'xl' }), {
    code: 'bad-config',
    message: /did you mean xl/,
  })
  await t.rejects(writeSnapshotFile(domain, join(dir, 'no', 'x.xl')), { code: 'cannot-write', message: /no directory/ })
  await t.rejects(writeSnapshotFile(domain, join(dir, 'text'), { format: 'xl', keep: [join(dir, 'text')] }), {
    code: 'cannot-write',
    message: /is an input/,
  })
  t.same(readdirSync(dir).sort(), ['dir', 'text'])
  await writeSnapshotFile(domain, join(dir, 'g.xl'))
  const snapshot = await openSnapshotFile(join(dir, 'g.xl'))
  snapshot.close()
  snapshot.close()
  const [run] = snapshot.domain.memory.pages()
  t.throws(() => snapshot.domain.memory.read((run?.pfn ?? 0) * 4096, 4096), { code: 'cannot-read', message: /closed/ })
})

test('a file keeps its permissions, a link stays a link, and a long name is a name like any other', async (t) => {
  const dir = t.testdir({ secret: 'old', real: 'old', open: 'old' })
  const file = (name: string): string => join(dir, name)
  chmodSync(file('secret'), 0o600)
  chmodSync(file('open'), 0o664)
  symlinkSync('real', file('link'))
  symlinkSync('nowhere', file('dangling'))
  await writeTexts([file('secret'), file('open'), file('link')], 'new')
  t.equal(statSync(file('secret')).mode & 0o777, 0o600)
  t.equal(statSync(file('open')).mode & 0o777, 0o664)
  t.equal(readlinkSync(file('link')), 'real')
  t.equal(readFileSync(file('real'), 'utf8'), 'new')
  await t.rejects(writeTexts([file('dangling')], 'new'), { code: 'cannot-write', message: /leads nowhere/ })
  const long = 'n'.repeat(255)
  await writeTexts([file(long)], 'new')
  t.equal(readFileSync(file(long), 'utf8'), 'new')
  await t.rejects(writeTexts([file(`${long}n`)], 'new'), { code: 'cannot-write', message: /too long/ })
  t.same(readdirSync(dir).sort(), ['dangling', 'link', long, 'open', 'real', 'secret'])
})

test('a failure at any of several renames leaves every old file as it was', async (t) => {
  for (const failing of [0, 1, 2]) {
    const dir = t.testdir({ a: 'old a', b: 'old b', c: 'old c' })
    const names = ['a', 'b', 'c'].map((name) => join(dir, name))
    const inTheWay = names[failing] as string
    const during = () => {
      rmSync(inTheWay)
      mkdirSync(join(inTheWay, 'x'), { recursive: true })
    }
    await t.rejects(writeTexts(names, 'new', during), { code: 'cannot-write' }, `rename ${failing}`)
    t.same(readdirSync(dir).sort(), ['a', 'b', 'c'], 'no temporary file is left')
    for (const [i, name] of names.entries()) {
      if (i !== failing) t.equal(readFileSync(name, 'utf8'), `old ${'abc'[i]}`)
    }
  }
  const fresh = t.testdir({})
  const during = () => mkdirSync(join(fresh, 'b', 'x'), { recursive: true })
  await t.rejects(writeTexts([join(fresh, 'a'), join(fresh, 'b')], 'new', during), { code: 'cannot-write' })
  t.same(readdirSync(fresh), ['b'], 'a new file is taken away again')
})

test('an abort, a failing writer and a directory that vanishes leave nothing', async (t) => {
  const dir = t.testdir({ old: 'old' })
  const abort = new AbortController()
  const reason = new Error('enough')
  const stopped = writeTexts([join(dir, 'old')], 'new', () => abort.abort(reason), { signal: abort.signal })
  await t.rejects(stopped, reason)
  await t.rejects(
    writeTexts([join(dir, 'old')], 'new', () => {
      throw new DomainBuilderError('bad-snapshot', 'no')
    }),
    { code: 'bad-snapshot' },
  )
  t.same([readdirSync(dir), readFileSync(join(dir, 'old'), 'utf8')], [['old'], 'old'])
  const domain = await guest()
  let told = 0
  const midway = new AbortController()
  const onProgress = () => {
    if (++told === 2) midway.abort(reason)
  }
  await t.rejects(writeSnapshotFile(domain, join(dir, 'g.img'), { signal: midway.signal, onProgress }), reason)
  t.same(readdirSync(dir), ['old'])
  const gone = join(dir, 'gone')
  mkdirSync(gone)
  await t.rejects(
    writeTexts([join(gone, 'a'), join(gone, 'b')], 'new', () => rmSync(gone, { recursive: true })),
    { code: 'cannot-write' },
  )
  t.notOk(existsSync(gone))
})

test('writers of one name at once: the files are all from one of them', async (t) => {
  const dir = t.testdir()
  const names = JSON.stringify([join(dir, 'g.img'), join(dir, 'g.img.json')])
  const program = `
    import { writeFiles } from ${JSON.stringify(new URL('../../lib/node/output.js', import.meta.url).href)}
    import { writePieces } from ${JSON.stringify(new URL('../../lib/node/writer.js', import.meta.url).href)}
    const [me] = process.argv.slice(1)
    for (let i = 0; i < 100; i++) {
      const bytes = Buffer.from(me + ' ' + i)
      await writeFiles(${names}, async (outputs) => {
        for (const { fd } of outputs) await writePieces(fd, () => [{ offset: 0, bytes }])
      })
    }`
  const run = (me: string) =>
    new Promise<number | null>((resolve) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program, me], { stdio: ['ignore', 2, 2] })
      child.on('close', resolve)
    })
  const writers = ['one', 'two', 'three'].map(run)
  let seen = 0
  let running = true
  const all = Promise.all(writers).then((codes) => {
    running = false
    return codes
  })
  while (running) {
    if (existsSync(join(dir, 'g.img'))) {
      seen++
      t.match(readFileSync(join(dir, 'g.img'), 'utf8'), /^(one|two|three) \d+$/, { skip: false })
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  t.same(await all, [0, 0, 0])
  t.ok(seen > 0)
  t.equal(readFileSync(join(dir, 'g.img'), 'utf8'), readFileSync(join(dir, 'g.img.json'), 'utf8'))
  t.same(readdirSync(dir).sort(), ['g.img', 'g.img.json'], 'no temporary file and no lock is left')
})
