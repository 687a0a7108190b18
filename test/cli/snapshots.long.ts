/**
 * Tests of build, convert, read and diff, run as a user runs them, on every format, through files and pipes.
 *
 * Source: docs/commands.md.
 * Gotcha: a killed writer must leave no file, in any format.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { buildDomain, readKernel, writeXl } from '../../lib/index.js'
import { hvmSaveFile } from '../fixtures/hvm-save.js'
import { linuxKernelFile, pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf } from '../fixtures/snapshots.js'
import { findCommand } from '../peer/command.js'
import { type Found, requirePeer } from '../peer/require-peer.js'
import { MAIN, runCommand } from './command.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-snapshots-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string): string => path.join(folder, name)
const findBash = () => findCommand('bash', 'bash')

function xdb(args: readonly string[], input?: Uint8Array): { code: number | null; out: Buffer; err: string } {
  const { code, out, err } = runCommand(args, input === undefined ? {} : { input })
  return { code, out, err }
}

const kernel = file('kernel')
const pvKernel = await readKernel(pvKernelFile())
writeFileSync(kernel, pvKernelFile({ notes: { MOD_START_PFN: 1 } }))
const ramdisk = file('ramdisk')
writeFileSync(ramdisk, pattern(7777))
const asked = [
  '--type',
  'pv',
  '--memory',
  '16',
  '--ramdisk',
  ramdisk,
  '--vcpus',
  '2',
  '--cmdline',
  'quiet',
  '--p2m',
  'offset:0x77',
]

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

t.test(
  'an HVM guest that xl saved: every command that reads, every format that carries it, and none that builds',
  (t) => {
    const saved = file('winter')
    writeFileSync(saved, hvmSaveFile())
    const says = (args: readonly string[], wanted: RegExp): void => {
      const { code, out, err } = xdb(args)
      t.equal(err, '')
      t.equal(code, 0, args[0] ?? '')
      t.match(out.toString(), wanted)
    }
    says(['inspect', saved], /^guest {4}winter: hvm x86_64, /)
    says(['map', saved], /0xffffffff81000000/)
    says(['map', saved, '--at', '0xffffffff81000000'], /physical 0x12000/)
    says(['check', saved], /the snapshot is sound/)
    says(['read', saved, '0x12000', '20'], /^page 18, round 2/)
    says(['read', saved, '0xffffffff81000000', '20', '--virtual'], /^page 18, round 2/)
    let before = saved
    for (const name of ['winter.img', 'winter.core', 'winter.dump', 'winter.xl']) {
      const format = name === 'winter.dump' ? ['--format', 'xen-core'] : []
      const told = /^.+: the configuration that the guest was saved with is kept .*\n$/
      t.match(xdb(['convert', before, '-o', file(name), ...format]), { code: 0, err: told }, name)
      t.same(xdb(['diff', saved, file(name)]), { code: 0, out: Buffer.alloc(0), err: '' }, `diff ${name}`)
      before = file(name)
    }
    const refused = (args: readonly string[], code: number, why: RegExp): void => {
      const ran = xdb(args)
      t.equal(ran.code, code, args.join(' '))
      t.match(ran.err, why)
      // A usage error names the help on a separate line.
      t.equal(ran.err.trimEnd().split('\n').length, /^Try /m.test(ran.err) ? 2 : 1, 'one line')
    }
    refused(['validate', saved], 2, /bad-config: only a PV guest has page tables that Xen validates: .* found hvm\n$/)
    for (const format of ['qemu', 'kexec'])
      refused(
        ['convert', saved, '-o', file('no'), '--format', format],
        1,
        /does-not-fit: the guest needs the state of its devices, .* found hvm\n/,
      )
    t.notOk(existsSync(file('no')))
    refused(
      ['build', kernel, '-o', file('no'), '--type', 'hvm'],
      2,
      /--type 'hvm' is invalid: expected one of pv, pvh, linux, auto; firmware starts HVM guests, /,
    )
    t.end()
  },
)

t.test('--xen reaches the guest and the file, or is refused', (t) => {
  const zipped = file('ramdisk.gz')
  writeFileSync(zipped, gzipSync(pattern(7777)))
  const cfg = file('guest.cfg')
  writeFileSync(cfg, `type = "pv"\nkernel = "${kernel}"\nramdisk = "${zipped}"\nmemory = 16\n`)
  const pages = (...words: string[]): number => {
    const built = xdb(['build', '--config', cfg, '-o', file('release.img'), '--json', ...words])
    t.equal(built.code, 0, built.err)
    const { guest } = JSON.parse(built.out.toString()) as { guest: { regions: { name: string; pages: number }[] } }
    return guest.regions.find(({ name }) => name === 'ramdisk')?.pages ?? 0
  }
  t.equal(pages('--xen', '4.17'), 2, 'decompressed')
  t.equal(pages(), 1, 'as it is')
  const release = (name: string): string => {
    const bytes = readFileSync(name)
    const at = bytes.indexOf('XENF') + 24
    return `${bytes.readUInt32LE(at)}.${bytes.readUInt32LE(at + 4)}`
  }
  const [made, other] = [file('release.xl'), file('other.xl')]
  t.equal(xdb(['build', kernel, '-o', made, ...asked, '--xen', '4.16']).code, 0)
  t.equal(release(made), '4.16')
  t.equal(xdb(['convert', made, '-o', other, '--xen', '4.20']).code, 0)
  t.equal(release(other), '4.20')
  for (const [words, error] of [
    [['convert', made, '-o', file('release.img'), '--xen', '4.16'], /--xen is for format xl; this output is raw/],
    [['build', kernel, '-o', file('release.img'), '--xen', '4.9'], /--xen '4\.9' is invalid: expected one of 4\.14, /],
    [['build', kernel, '-o', file('release.img'), '--type', 'linux', '--xen', '4.17'], /xen is invalid for type linux/],
  ] as const) {
    const { code, err } = xdb(words)
    t.equal(code, 2)
    t.match(err, error)
  }
  t.end()
})

t.test('settings and policies reach the xl file, or are refused', (t) => {
  const cfg = file('settings.cfg')
  const lines = `type = "pv"\nkernel = "${kernel}"\nmemory = 16\non_crash = "preserve"\n`
  writeFileSync(cfg, `${lines}disk = [ "/dev/vg/web,raw,xvda,rw" ]\n`)
  const host = file('host.xl')
  t.equal(xdb(['build', '--config', cfg, '-o', host]).code, 0)
  const kept = (name: string): unknown =>
    (JSON.parse(xdb(['inspect', name, '--json']).out.toString()) as { saved: unknown }).saved
  t.match(kept(host), { config: [{ name: 'b_info.kernel' }, { name: 'on_crash' }, { name: 'disks[0].readwrite' }] })
  const [image, converted] = [file('settings.img'), file('converted.xl')]
  t.equal(xdb(['build', '--config', cfg, '-o', image]).code, 0)
  t.equal(xdb(['convert', image, '-o', converted]).code, 0)
  t.ok(readFileSync(converted).includes('"on_crash": "preserve"'), 'a raw image keeps them')
  writeFileSync(cfg, `${lines}cpus = "0-1"\n`)
  const refused = xdb(['build', '--config', cfg, '-o', file('refused.xl')])
  t.equal(refused.code, 2)
  t.match(refused.err, /not carried into an xl file: cpus: remove them here, and restore with "xl restore CONFIG FILE"/)
  const none = xdb(['build', kernel, '-o', file('none.xl'), '--policy-from', host])
  t.equal(none.code, 2)
  t.match(none.err, /no processor policies.*saved/)
  const policies = [{ name: 'X86_CPUID_POLICY', body: new Uint8Array(24).fill(3) }]
  const bytes = bytesOf(
    writeXl(buildDomain(pvKernel, { type: 'pv', memory: 16 * 2 ** 20, purpose: 'restore', policies })),
  )
  writeFileSync(host, bytes)
  const same = file('same-policy.xl')
  t.equal(xdb(['build', kernel, '-o', same, '--policy-from', host, ...asked]).code, 0)
  t.match(kept(same), { records: [{ name: 'X86_CPUID_POLICY', bytes: 24 }] })
  t.end()
})

t.test('an xl file of a PVH guest with maxmem says what the guest begins with', (t) => {
  const [pvhKernel, cfg] = [file('pvh.elf'), file('pvh.cfg')]
  writeFileSync(pvhKernel, pvhKernelFile())
  writeFileSync(cfg, `type = "pvh"\nkernel = "${pvhKernel}"\nmemory = 40\nmaxmem = 400\n`)
  const restored = xdb(['build', '--config', cfg, '-o', file('pvh.xl')])
  t.match(restored.err, /the restored guest begins with its maxmem, 400 MiB, .*xl mem-set lowers it/)
  const created = xdb(['build', '--config', cfg, '-o', file('pvh.img')])
  t.match(created.out.toString(), /\(\d+ pages, 40 MiB of it at first\)/)
  t.end()
})

t.test("the output's ending says the format, of build as of convert", (t) => {
  const image = file('by-name.img')
  t.equal(xdb(['build', kernel, '-o', image, ...asked]).code, 0)
  for (const [ending, format] of [
    ['xl', 'xl'],
    ['xl.gz', 'xl'],
    ['core', 'elf-core'],
    ['kexec.img', 'raw'],
  ] as const) {
    const name = file(`by-name.${ending}`)
    const built = xdb(['build', kernel, '-o', name, '--json', ...asked])
    t.equal(built.code, 0, built.err)
    t.equal((JSON.parse(built.out.toString()) as { format: string }).format, format, ending)
    t.equal(existsSync(`${name}.json`), format === 'raw')
  }
  const said = xdb(['build', kernel, '-o', file('said.xl'), '--json', '--format', 'xen-core', ...asked])
  t.match(said.out.toString(), /"format": "xen-core"/)
  for (const ending of ['constructor', 'zip', 'gz', 'elf.gz']) {
    const refused = xdb(['build', kernel, '-o', file(`by-name.${ending}`), ...asked])
    t.equal(refused.code, 2, ending)
    t.match(refused.err, /the format of .* is unknown: give --format \(raw, .*\), or an extension \(\.img, /)
  }
  t.equal(xdb(['build', kernel, '-o', file('by-name'), ...asked]).code, 0, 'build writes raw without an extension')
  t.ok(existsSync(file('by-name.json')))
  t.equal(xdb(['convert', image, '-o', file('constructor')]).code, 2, 'convert has no default')
  t.end()
})

t.test('check: a sound snapshot, one that is cut, one whose page tables Xen would not take', (t) => {
  const sound = file('sound.xl')
  t.equal(xdb(['build', kernel, '-o', sound, '--format', 'xl', ...asked]).code, 0)
  t.same(xdb(['check', sound]), { code: 0, out: Buffer.from('Xen would accept these page tables\n'), err: '' })
  t.match(JSON.parse(xdb(['check', sound, '--json']).out.toString()), { violations: [] })
  t.equal(xdb(['check', sound, '--type', 'pv']).code, 2, 'a type is for a kernel')
  const bytes = readFileSync(sound)
  for (const length of [40, bytes.length >> 1, bytes.length - 1]) {
    const { code, out, err } = xdb(['check', '-'], bytes.subarray(0, length))
    t.equal(code, 1, `${length} bytes`)
    t.equal(out.length, 0)
    t.match(err, /^xen-domain-builder: truncated: [^\n]+\n$/)
  }
  const image = file('holed.img')
  t.equal(xdb(['build', kernel, '-o', image, ...asked]).code, 0)
  const memory = readFileSync(image)
  const sidecar = JSON.parse(readFileSync(`${image}.json`, 'utf8')) as { pageTables: { top: number } }
  const { top } = sidecar.pageTables
  memory.fill(0, top * 4096, (top + 1) * 4096)
  writeFileSync(image, memory)
  const refused = xdb(['check', image])
  t.equal(refused.code, 1)
  t.match(refused.out.toString(), /^entry-not-mapped: /m)
  const guest = file('linux.img')
  writeFileSync(file('bz'), linuxKernelFile())
  t.equal(xdb(['build', file('bz'), '-o', guest, '--type', 'linux', '--memory', '64']).code, 0)
  t.match(xdb(['check', guest]).out.toString(), /^16288 pages, \d+ of them with content: the snapshot is sound\n$/)
  t.end()
})

t.test('kexec segments: built, and used like every other format', async (t) => {
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

  // The default memory is as much as the ranges need; then the options that a reservation excludes.
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
    /^start_info\.cmd_line: quiet \| loud\nkept uuid: [-0-9a-f]{36} \| [-0-9a-f]{36}\npfn 0x[0-9a-f]+ \(start_info\): from byte 0x[0-9a-f]+ on\n$/,
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

/** Arguments for env(1): tap adds itself and handlers for signals to every Node whose environment has its variable. */
const bare = (args: readonly string[]): string[] => ['-u', 'NODE_OPTIONS', process.execPath, MAIN, ...args]

t.test('told to stop, it leaves nothing behind, says so, and is stopped', async (t) => {
  for (const format of ['xl', 'elf-core', 'raw']) {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      const output = mkdtempSync(file('stopped-'))
      const args = ['build', kernel, '-o', path.join(output, 'x'), '--format', format, '--memory', '512G']
      const child = spawn('env', bare(args))
      let said = ''
      child.stderr.on('data', (text) => {
        said += String(text)
      })
      const ended = new Promise((resolve) => child.on('close', (code, by) => resolve(by ?? code)))
      const begun = () => readdirSync(output).some((name) => statSync(path.join(output, name)).size > 0)
      const started = Date.now()
      while (!begun() && child.exitCode === null && Date.now() - started < 20000)
        await new Promise((r) => setTimeout(r, 2))
      t.ok(begun(), `${format}: stopped while it writes`)
      child.kill(signal)
      t.equal(await ended, signal)
      t.match(said, new RegExp(`^[^\\n]*/x[^\\n]*: not written, because of ${signal}\\n$`))
      t.same(readdirSync(output), [], `${format}: ${signal}`)
    }
  }
})

/** Builds into a folder too small for any guest: one line says why, and no file is left. */
function refusesAll(t: Test, output: string, why: RegExp, limit: string): void {
  for (const format of ['raw', 'xl', 'xen-core', 'elf-core']) {
    const args = ['build', kernel, '-o', path.join(output, 'x'), '--format', format, '--memory', '64']
    const ran = spawnSync('bash', ['-c', `${limit}; exec "$@"`, 'bash', 'env', ...bare(args)], { encoding: 'utf8' })
    t.equal(ran.status, 2, format)
    t.match(ran.stderr, /^xen-domain-builder: cannot-write: [^\n]*\n$/)
    t.match(ran.stderr, why)
    t.same(readdirSync(output), [])
  }
}

t.test('an output that becomes too long is said in one line, and nothing is left of it', async (t) => {
  if (!(await requirePeer(t, findBash))) return
  mkdirSync(file('long'))
  refusesAll(t, file('long'), /file too large/, 'ulimit -f 64')
})

/** Mounts a disk of 128 KiB. Mounting needs root, and capabilities that a container's root may lack. */
async function mountSmallDisk(at: string): Promise<Found<string>> {
  mkdirSync(at)
  const { error, status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'none', at])
  return status === 0
    ? { found: at }
    : { missing: `a small disk cannot be mounted: ${error ?? stderr.toString().trim()}` }
}

t.test('so is one that fills the disk', async (t) => {
  if (!(await requirePeer(t, findBash))) return
  const disk = await requirePeer(t, () => mountSmallDisk(file('disk')))
  if (disk === undefined) return
  t.teardown(() => spawnSync('umount', [disk]))
  refusesAll(t, disk, /no space left on device/, 'true')
})

t.test('a name that cannot be had: none of the files appears', async (t) => {
  const output = file('half')
  mkdirSync(path.join(output, 'x.json'), { recursive: true })
  const refused = xdb(['build', kernel, '-o', path.join(output, 'x'), '--memory', '16'])
  t.equal(refused.code, 2)
  t.match(refused.err, /^xen-domain-builder: cannot-write: [^\n]*directory[^\n]*\n$/)
  t.same(readdirSync(output), ['x.json'])
})

t.test('standard output that goes away or is full', async (t) => {
  if (!(await requirePeer(t, findBash))) return
  const shell = (script: string, args: readonly string[]) => {
    const ran = spawnSync('bash', ['-c', script, 'bash', 'env', ...bare(args)], { encoding: 'utf8' })
    return { code: Number(ran.stdout), err: ran.stderr }
  }
  const build = ['build', kernel, '-o', '-', '--format', 'xl', '--memory', '64G']
  const gone = shell('{ { "$@"; echo $? >&3; } | head -c 9 >/dev/null; } 3>&1', build)
  t.equal(gone.code, 2, 'half a snapshot is no success')
  t.match(gone.err, /^xen-domain-builder: cannot-write: standard output: [^\n]*\n$/)
  const text = shell('{ { sleep 0.2; "$@"; echo $? >&3; } | true; } 3>&1', ['inspect', kernel])
  t.same(text, { code: 0, err: '' }, 'of a text, a reader takes what it wants')
  for (const args of [build, ['inspect', kernel]]) {
    const full = shell('{ "$@" >/dev/full; echo $? >&3; } 3>&1', args)
    t.equal(full.code, 2)
    t.match(full.err, /^xen-domain-builder: cannot-write: standard output: no space left on device\n$/)
  }
})
