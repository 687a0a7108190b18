/** Runs examples/xl-restore.ts as a user does: its files, its output, and one line for each error. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { helloKernel } from '../../examples/hello-kernel.js'
import { bytesSource, readStartInfo, readVirtual, translate, validate } from '../../lib/index.js'
import { openXl } from '../../lib/snapshot/xen-save.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'
import { projectRoot } from '../peer/paths.js'

const run = (dir: string, ...args: readonly string[]) =>
  spawnSync(process.execPath, [join(projectRoot, 'dist/examples/xl-restore.js'), ...args], {
    cwd: dir,
    encoding: 'utf8',
  })
const read = (dir: string, name: string) => openXl(bytesSource(readFileSync(join(dir, name))))

test('our own kernel, named after the file, and what to type on the server', (t) => {
  const dir = t.testdir()
  const { status, stdout, stderr } = run(dir, 'hello.xl')
  t.equal(stderr, '')
  t.equal(status, 0)
  t.match(stdout, "hello.xl: pv guest 'hello', 128M of memory, 1 vcpu\n")
  t.match(stdout, /^ {4}scp hello\.xl root@SERVER:\n {4}ssh -t root@SERVER xl restore -c hello\.xl$/m)
  t.same(readdirSync(dir), ['hello.xl'])
  const guest = read(dir, 'hello.xl')
  t.equal(guest.name, 'hello')
  t.same(validate(guest), [])
  t.same(readVirtual(guest, 0xffff880000100000n, 0x1b0), helloKernel().subarray(0x1000, 0x11b0))
  t.end()
})

test('a kernel and a ramdisk of the user', (t) => {
  const dir = t.testdir({
    kernel: Buffer.from(pvKernelFile({ notes: { MOD_START_PFN: 1 } })),
    ramdisk: Buffer.from(pattern(50000)),
  })
  const { status, stderr } = run(
    dir,
    ...['g.xl', 'kernel', 'ramdisk', '--memory', '64M', '--vcpus', '2', '--cmdline', 'a b'],
  )
  t.equal(stderr, '')
  t.equal(status, 0)
  const guest = read(dir, 'g.xl')
  const { nr_pages, cmd_line, mod_start, mod_len } = readStartInfo(guest)
  t.equal(nr_pages, 16384n)
  t.equal(guest.vcpus.length, 2)
  t.match(cmd_line, 'a b')
  t.equal(mod_len, 50000n)
  t.same(guest.memory.read(translate(guest, mod_start)?.paddr ?? 0, 100), pattern(100))
  t.end()
})

test('what it cannot do is one line, and leaves nothing behind', (t) => {
  const dir = t.testdir({ text: 'this is not a kernel\n'.repeat(100) })
  for (const [args, code, line] of [
    [['g.xl', 'text'], 1, /^not-a-kernel: [^\n]+\n$/],
    [['g.xl', 'missing'], 1, /^ENOENT: [^\n]+\n$/],
    [['g.xl', '--memory', '1M'], 1, /^memory-too-small: [^\n]+\n$/],
    [['no/such/g.xl'], 1, /^cannot-write: [^\n]+\n$/],
    [[], 2, /^usage: [^\n]+\n$/],
  ] as const) {
    const { status, stderr } = run(dir, ...args)
    t.equal(status, code)
    t.match(stderr, line)
  }
  t.same(readdirSync(dir), ['text'])
  t.end()
})
