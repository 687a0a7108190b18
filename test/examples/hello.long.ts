/** Runs npm start as a newcomer does: its output, its files, and one line for each error. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { helloKernel } from '../../examples/hello-kernel.js'
import { buildDomain, readKernel, readStartInfo, readVirtual } from '../../lib/index.js'
import { openSnapshotFile } from '../../lib/node/index.js'
import { npmEnvironment } from '../peer/npm.js'
import { copyCheckout, projectRoot } from '../peer/paths.js'

/** A fresh clone: npm start in this checkout would rebuild files that other tests run. */
const checkout = mkdtempSync(join(tmpdir(), 'xen-domain-builder-hello-'))
process.once('exit', () => rmSync(checkout, { recursive: true, force: true }))
copyCheckout(checkout)
symlinkSync(join(projectRoot, 'node_modules'), join(checkout, 'node_modules'))

const npm = (dir: string, ...args: readonly string[]) =>
  spawnSync('npm', args, {
    cwd: checkout,
    encoding: 'utf8',
    env: { ...npmEnvironment(), NODE_OPTIONS: '', TMPDIR: dir, LC_ALL: 'C.UTF-8' },
  })
const start = (dir: string, ...args: readonly string[]) => npm(dir, 'start', '--silent', '--', ...args)
/** Runs the program that npm start has built. */
const run = (...args: readonly string[]) =>
  spawnSync(process.execPath, [join(checkout, 'dist/start/hello.js'), ...args], { encoding: 'utf8' })

test('it shows the guest and writes one that can be opened again', async (t) => {
  const dir = t.testdir()
  const { status, stdout, stderr } = start(dir)
  t.equal(status, 0)
  t.equal(stderr, '')
  t.match(stdout, /0x100 +1 +4 KiB +0xffff880000100000 +kernel/)
  t.match(stdout, /rip +0xffff880000100000 -> L4\[272\] .* -> 0x100000\n/)
  t.match(stdout, /\n│ 0x100 +kernel +4 KiB │◄─+┤ 0xffff880000100000 +kernel +rwx │\n/)
  const [made = ''] = readdirSync(dir)
  const image = readFileSync(join(dir, made, 'guest.img'))
  const { domain } = await openSnapshotFile(join(dir, made, 'guest.img'))
  t.equal(image.length, 32 << 20)
  t.equal(readStartInfo(domain).nr_pages, 0x2000n)
  const kernel = helloKernel()
  t.same(readVirtual(domain, 0xffff880000100000n, 0x1b0), kernel.subarray(0x1000, 0x11b0))

  const [, ...hint] = /^To look at it again:\n {2}(npx \S+ inspect) '(.+)'$/m.exec(stdout) ?? []
  t.equal(hint[1], join(dir, made, 'guest.img'))
  const looked = npm(dir, 'exec', '--', ...(hint[0] ?? '').split(' ').slice(1), hint[1] ?? '')
  t.match(looked.stdout, /^guest +hello: pv x86_64, 32 MiB/, 'the hint is true')
})

test('it takes a kernel and a size', async (t) => {
  const dir = t.testdir()
  writeFileSync(join(dir, 'hello.elf'), helloKernel())
  const { status, stdout, stderr } = start(dir, join(dir, 'hello.elf'), '256M')
  t.equal(stderr, '')
  t.equal(status, 0)
  t.match(stdout, /pv x86_64, 256 MiB \(65536 pages\)/)
  t.same(readFileSync(join(dir, 'hello.elf')), Buffer.from(helloKernel()), 'and leaves it as it is')
})

test('a file that is no kernel, or is not there, is one line and exit 1', async (t) => {
  const dir = t.testdir({ text: 'this is not a kernel\n'.repeat(100) })
  for (const [name, line] of [
    ['text', /^not-a-kernel: [^\n]+\n$/],
    ['missing', /^ENOENT: [^\n]+\n$/],
  ] as const) {
    const { status, stderr } = run(join(dir, name))
    t.equal(status, 1)
    t.match(stderr, line)
  }
})

test('the tiny kernel can be written out by itself, and is a PV kernel for any size', async (t) => {
  const dir = t.testdir()
  const file = join(dir, 'hello.elf')
  const { status } = spawnSync(process.execPath, [join(projectRoot, 'dist/examples/write-hello-kernel.js'), file])
  t.equal(status, 0)
  t.same(readFileSync(file), Buffer.from(helloKernel()))
  const kernel = await readKernel(helloKernel())
  for (const memory of [4 << 20, 1 << 30, 2 ** 40]) {
    t.equal(readStartInfo(buildDomain(kernel, { memory })).nr_pages, BigInt(memory / 4096))
  }
})

test('a size it cannot start with is refused in one line', async (t) => {
  const dir = t.testdir()
  writeFileSync(join(dir, 'hello.elf'), helloKernel())
  const { status, stderr } = run(join(dir, 'hello.elf'), '1M')
  t.equal(status, 1)
  t.match(stderr, /^memory-too-small: [^\n]+\n$/)
})
