/**
 * build, convert, read and diff as a user meets them, on every format, through files and pipes.
 *
 * Source: README.md, "The commands".
 * Gotcha: a writer that is killed must leave nothing behind, whatever the format.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { linuxKernelFile, pattern, pvKernelFile } from '../fixtures/kernels.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'

const MAIN = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url))
const folder = mkdtempSync(path.join(tmpdir(), 'xdb-snapshots-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string): string => path.join(folder, name)

function xdb(args: readonly string[], input?: Uint8Array): { code: number | null; out: Buffer; err: string } {
  const ran = spawnSync(process.execPath, [MAIN, ...args], { input: input ?? '', maxBuffer: 2 ** 28 })
  return { code: ran.status, out: ran.stdout, err: ran.stderr.toString() }
}

const kernel = file('kernel')
writeFileSync(kernel, pvKernelFile({ notes: { MOD_START_PFN: 1 } }))
const ramdisk = file('ramdisk')
writeFileSync(ramdisk, pattern(7777))
const asked = ['--memory', '16', '--ramdisk', ramdisk, '--vcpus', '2', '--cmdline', 'quiet', '--p2m', 'offset:0x77']

t.test('a guest through every format is the same guest', async (t) => {
  const xl = file('guest.xl')
  const built = xdb(['build', kernel, '-o', xl, '--format', 'xl', ...asked])
  t.equal(built.err, '')
  t.equal(built.code, 0)
  const names = ['a.img', 'b.core', 'c.xl', 'd.core.gz', 'e.xl.gz']
  let before = xl
  for (const name of names) {
    const converted = xdb(['convert', before, '-o', file(name)])
    t.equal(converted.err, '', name)
    t.equal(converted.code, 0)
    t.same(xdb(['diff', xl, file(name)]), { code: 0, out: Buffer.alloc(0), err: '' }, `diff ${name}`)
    before = file(name)
  }
  t.equal(xdb(['convert', before, '-o', file('f'), '--format', 'xen-core']).code, 0)
  t.equal(xdb(['diff', xl, file('f')]).code, 0)
  for (const name of [...names, 'f']) {
    const said = JSON.parse(xdb(['inspect', file(name), '--json']).out.toString()) as {
      startInfo: { cmd_line: string }
    }
    t.equal(said.startInfo.cmd_line, 'quiet', `inspect ${name}`)
    t.match(xdb(['map', file(name)]).out.toString(), /start_info/, `map ${name}`)
  }
})

t.test('kexec segments: built, and used as any other', async (t) => {
  const linux = file('linux')
  writeFileSync(linux, linuxKernelFile())
  const common = ['--type', 'linux', '--ramdisk', ramdisk, '--cmdline', 'quiet']
  const built = xdb(['build', linux, '-o', file('g.kexec'), '--format', 'kexec', '--memory', '64', ...common])
  t.equal(built.err, '')
  t.equal(built.code, 0)
  const piped = xdb(['build', linux, '-o', '-', '--format', 'kexec', '--memory', '64', ...common])
  t.ok(piped.out.equals(readFileSync(file('g.kexec'))), 'standard output has the same bytes')
  for (const name of ['k.img', 'k.core', 'k.kexec', 'k.kexec.gz']) {
    t.equal(xdb(['convert', file('g.kexec'), '-o', file(name)]).err, '', name)
    t.same(xdb(['diff', file('g.kexec'), file(name)]), { code: 0, out: Buffer.alloc(0), err: '' })
  }
  t.ok(readFileSync(file('k.kexec')).equals(readFileSync(file('g.kexec'))))
  t.match(xdb(['inspect', file('g.kexec')]).out.toString(), /^guest +guest: linux x86_64/)
  t.same([...xdb(['read', file('g.kexec'), '0x1000000', '16']).out], [...pattern(16)])

  // As much memory as the ranges need, where none is named; and what a reservation cannot have.
  const header = file('elfcorehdr')
  writeFileSync(header, pattern(100))
  const within = ['--within', '0x1000000-0x2000000', '--elfcorehdr', header]
  const crash = xdb(['build', linux, '-o', file('c.kexec'), '--format', 'kexec', ...common, ...within])
  t.equal(crash.err, '')
  t.match(crash.out.toString(), /command line +"quiet elfcorehdr=0x1[0-9a-f]+"/)
  t.match(crash.out.toString(), /0x001000000 +0x00[0-9a-f]+ .* ram/)
  const told = xdb([
    'build',
    linux,
    '-o',
    file('m.kexec'),
    '--memmap',
    '0-0x9f000',
    '--memmap',
    '0x100000-0x10000000',
    ...common,
  ])
  t.equal(told.err, '')
  const small = xdb(['build', linux, '-o', file('s'), ...common, '--within', '0x2000000-0x3000000'])
  t.equal(small.code, 1)
  t.match(small.err, /does-not-fit: .*expected within \[0x2000000, 0x3000000\), found \[0x1000000, 0x1003000\)\n$/)
  t.equal(xdb(['build', linux, '-o', file('s'), '--within', 'here']).code, 2)
  const pv = xdb(['build', kernel, '-o', file('pv.kexec'), '--format', 'kexec', '--memory', '16'])
  t.match(pv.err, /needs Xen: kexec alone cannot run it/)
  t.notOk(existsSync(file('pv.kexec')))
})

t.test('through pipes', async (t) => {
  const built = xdb(['build', kernel, '-o', '-', '--format', 'xl', ...asked])
  t.ok(built.out.equals(readFileSync(file('guest.xl'))), 'standard output has the same bytes')
  const core = xdb(['convert', '-', '-o', '-', '--format', 'elf-core'], built.out)
  t.equal(core.code, 0)
  t.ok(core.out.equals(readFileSync(file('b.core'))))
})

t.test('read, by physical and virtual address', async (t) => {
  t.same([...xdb(['read', file('guest.xl'), '0x100000', '16']).out], [...pattern(16)])
  t.same([...xdb(['read', file('b.core'), '--virtual', '0xffffffff80100000', '16']).out], [...pattern(16)])
  const json = JSON.parse(xdb(['read', file('guest.xl'), '0x100000', '2', '--json']).out.toString()) as {
    bytes: string
  }
  t.equal(json.bytes, '0108')
  t.equal(xdb(['read', file('guest.xl'), '0x10000000', '1']).code, 1, 'outside the memory')
  t.equal(xdb(['read', file('guest.xl'), 'here', '1']).code, 2)
})

t.test('diff names what differs', async (t) => {
  const other = [...asked.slice(0, -4), '--cmdline', 'loud', '--p2m', 'offset:0x77']
  t.equal(xdb(['build', kernel, '-o', file('other.xl'), '--format', 'xl', ...other]).code, 0)
  const { code, out } = xdb(['diff', file('guest.xl'), file('other.xl')])
  t.equal(code, 1)
  t.match(
    out.toString(),
    /^start_info\.cmd_line: quiet \| loud\npfn 0x[0-9a-f]+ \(start_info\): from byte 0x[0-9a-f]+ on\n$/,
  )
})

t.test('diff of two kernels, and of what cannot be compared', async (t) => {
  writeFileSync(file('kernel2'), pvKernelFile({ notes: { MOD_START_PFN: 1, GUEST_OS: 'other' } }))
  t.same(xdb(['diff', kernel, kernel]), { code: 0, out: Buffer.alloc(0), err: '' })
  const { code, out } = xdb(['diff', kernel, file('kernel2')])
  t.equal(code, 1)
  t.match(out.toString(), /^note Xen GUEST_OS: test \| other$/m)
  const json = JSON.parse(xdb(['diff', kernel, file('kernel2'), '--json']).out.toString()) as { fields: unknown[] }
  t.ok(json.fields.length > 1)
  t.match(xdb(['diff', kernel, file('guest.xl')]), { code: 2, err: /is a kernel, .* a snapshot/ })
})

t.test('map draws, by the name of its output', async (t) => {
  for (const [name, begins] of [
    ['map.svg', '<svg xmlns'],
    ['map.html', '<!doctype html>'],
  ] as const) {
    t.match(xdb(['map', file('guest.xl'), '-o', file(name)]), { code: 0, err: '' })
    t.ok(readFileSync(file(name), 'utf8').startsWith(begins))
  }
  t.match(xdb(['map', file('guest.xl'), '-o', file('map.pdf')]), { code: 2, err: /\.svg or \.html/ })
  t.equal(xdb(['map', file('guest.xl'), '-o', file('map.svg'), '--at', '0x0']).code, 2)
})

t.test('zstd is read', async (t) => {
  if (!(await requirePeer(t, () => findCommand('zstd', 'zstd')))) return
  t.equal(spawnSync('zstd', ['-q', '-f', file('guest.xl'), '-o', file('guest.xl.zst')]).status, 0)
  t.equal(xdb(['diff', file('guest.xl'), file('guest.xl.zst')]).code, 0)
  t.equal(xdb(['convert', file('guest.xl'), '-o', file('x.xl.zst')]).code, 2)
})

t.test('a damaged file is refused in one line, and leaves nothing', async (t) => {
  const bytes = readFileSync(file('guest.xl'))
  writeFileSync(file('cut.xl'), bytes.subarray(0, bytes.length - 100))
  const refused = xdb(['convert', file('cut.xl'), '-o', file('cut.core')])
  t.equal(refused.code, 1)
  t.match(refused.err, /^xen-domain-builder: truncated: \w+ record: .*file offset 0x[0-9a-f]+\)\n$/)
  t.notOk(existsSync(file('cut.core')))
})

t.test('told to stop, it leaves nothing behind', async (t) => {
  const output = file('stopped')
  mkdirSync(output)
  // Through env: tap hooks itself, and handlers for signals, into every Node that it sees started.
  const args = ['-u', 'NODE_OPTIONS', process.execPath, MAIN, 'build', kernel, '-o', path.join(output, 'x.xl')]
  const child = spawn('env', [...args, '--format', 'xl', '--memory', '512G'])
  const started = Date.now()
  while (readdirSync(output).length === 0 && Date.now() - started < 20000) await new Promise((r) => setTimeout(r, 5))
  child.kill('SIGTERM')
  const signal = await new Promise((resolve) => child.on('exit', (code, s) => resolve(s ?? code)))
  t.equal(signal, 'SIGTERM')
  t.same(readdirSync(output), [])
})
