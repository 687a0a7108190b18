/**
 * Every command on every kind of file: each answer to --json is valid, names its schema, and has the right exit status.
 *
 * Source: ../../schemas; ./command.ts, which validates each.
 * Gotcha: this lists schemas and exit statuses; the last test checks that none was left out.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { COMMANDS } from '../../lib/cli/commands.js'
import { ANSWERS } from '../../lib/inspect/answers.js'
import { buildBzImage, buildElf, patternBytes, xenNotes } from '../../lib/testing/index.js'
import { hvmSaveFile } from '../fixtures/hvm-save.js'
import { linuxKernelFile, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'
import type { Answer } from './answers.js'
import { runCommand } from './command.js'
import { type Host, runOnHost, TWO_GUESTS } from './on-host.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-answers-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const put = (name: string, content: Uint8Array | string): void => writeFileSync(path.join(folder, name), content)

/** Answers and commands seen so far. */
const seen = new Set<string>()

/** Runs it with --json, on a Xen host if one is given, checks schema and exit status, and returns the answer. */
function ask(t: Test, typed: string, name: keyof typeof ANSWERS, status = 0, host?: Host): Answer {
  const words = typed.split(' ')
  const args = [...words, '--json']
  const { code, text, err } = host ? runOnHost(host, args, { cwd: folder }) : runCommand(args, { cwd: folder })
  const answer = JSON.parse(text) as Answer
  t.equal(answer.schema, `xen-domain-builder/${name}/${ANSWERS[name]}`, `${typed}: ${err}`)
  t.equal(code, status, typed)
  seen.add(`answer ${name}`).add(`command ${words[0]}`)
  return answer
}

const MULTI = buildElf({
  class: 64,
  entry: 0x1000000,
  segments: [{ paddr: 0x1000000, data: patternBytes(5000), memsz: 9000 }],
  notes: [...xenNotes({ PHYS32_ENTRY: [0x1000100], PHYS32_RELOC: [0x200000, 0x1000000, 0x3fffffff] })],
  trailing: new Uint8Array(Int32Array.of(0, 1, 2, 0, 3).buffer),
})
put('pv64', pvKernelFile({ notes: { FEATURES: 'writable_page_tables', GUEST_VERSION: '1', BSD_SYMTAB: 'yes' } }))
put('pv32', pvKernelFile({ class: 32 }))
put('pvh', pvhKernelFile({ notes: { PHYS32_RELOC: [0x200000, 0x1000000, 0x3fffffff] } }))
put('elf', linuxKernelFile())
put('elf32', linuxKernelFile(32))
put('bzImage', buildBzImage({ payload: gzipSync(MULTI), version: '6.1 (test)' }))
put('old', buildBzImage({ payload: new Uint8Array(100), protocol: 0x204, header: { payload_length: 0 } }))
put('pv.gz', gzipSync(pvKernelFile()))
put('none', buildElf({ class: 64, entry: 0, segments: [{ paddr: 0x1000000, data: patternBytes(5000) }] }))
put('text', 'hello\n')
put('ramdisk', patternBytes(5000))
put('hvm.xl', hvmSaveFile())

t.test('kernels', async (t) => {
  for (const name of ['pv64', 'pv32', 'pvh', 'elf', 'elf32', 'bzImage', 'old', 'pv.gz', 'none']) {
    ask(t, `inspect ${name}`, 'kernel')
    ask(t, `check ${name}`, 'verdicts', name === 'none' ? 1 : 0)
  }
  for (const type of ['pv', 'pvh', 'linux']) ask(t, `check bzImage --type ${type}`, 'verdicts', type === 'pv' ? 1 : 0)
  ask(t, 'extract bzImage -o extracted --relocs relocs', 'extract')
  ask(t, 'extract pv.gz -o extracted', 'extract')
  ask(t, 'diff pv64 pv64', 'kernel-diff')
  ask(t, 'diff pv64 pv32', 'kernel-diff', 1)
  ask(t, 'diff bzImage old', 'kernel-diff', 1)
})

for (const [codec, from, ...args] of [
  ['xz', 'xz-utils', '--check=crc32', '--format=xz'],
  ['xz', 'xz-utils', '--format=lzma'],
  ['bzip2', 'bzip2'],
  ['zstd', 'zstd', '-q'],
  ['lz4', 'lz4', '-l', '-q'],
  ['lzop', 'lzop'],
] as const) {
  t.test(`a kernel compressed by ${codec} ${args.join(' ')}`, async (t) => {
    if (!(await requirePeer(t, () => findCommand(codec, from)))) return
    put('packed', spawnSync(codec, [...args, '-c'], { input: MULTI }).stdout)
    ask(t, 'inspect packed', 'kernel')
    ask(t, 'check packed', 'verdicts')
  })
}

/** Build options for each kind of guest, and the formats that carry it. */
const GUESTS = {
  pv64: ['pv64 --type pv --ramdisk ramdisk --vcpus 2 --cmdline quiet', 'xl', 'xen-core', 'elf-core'],
  'pv-p2m': ['pv64 --type pv --p2m offset:0x77', 'elf-core'],
  pv32: ['pv32 --type pv --ramdisk ramdisk', 'xl', 'elf-core'],
  pvh: ['pvh --type pvh --ramdisk ramdisk --cmdline quiet', 'xl', 'elf-core'],
  'pvh-pc': ['pvh --type pvh --platform pc --acpi pc', 'qemu', 'qemu-stream', 'libvirt'],
  linux16: ['bzImage --type linux --entry 16', 'qemu'],
  linux32: ['bzImage --type linux --entry 32 --ramdisk ramdisk', 'qemu', 'kexec'],
  linux64: [
    'bzImage --type linux --entry 64 --cmdline quiet --reserve 0x3000000-0x3001000',
    'qemu',
    'kexec',
    'qemu-stream',
  ],
  elf32: ['elf32 --type linux', 'elf-core'],
  hybrid: ['elf --type linux --subarch xen --paging', 'elf-core'],
} as const

/** Every command that reads a guest. */
function askAll(t: Test, name: string, type: string): void {
  ask(t, `inspect ${name}`, 'guest')
  ask(t, `check ${name}`, 'violations')
  if (type === 'pv') ask(t, `validate ${name}`, 'violations')
  else t.match(ask(t, `validate ${name}`, 'error', 2), { error: { code: 'bad-config' } })
  ask(t, `map ${name}`, 'map')
  ask(t, `stats ${name}`, 'stats')
}

t.test('guests of every kind, in every format', async (t) => {
  for (const [name, [built, ...formats]] of Object.entries(GUESTS)) {
    const { guest } = ask(t, `build ${built} -o ${name}.img --memory 64`, 'build')
    const { type, vcpus } = guest as { type: string; vcpus: { registers: { rip: string } }[] }
    askAll(t, `${name}.img`, type)
    ask(t, `map ${name}.img --at ${vcpus[0]?.registers.rip}`, 'walk')
    ask(t, `map ${name}.img --at 0x7fffffffffff`, 'walk', 1)
    ask(t, `read ${name}.img 0x1000000 16`, 'read')
    ask(t, `read ${name}.img rip 16`, 'read')
    ask(t, `map ${name}.img --at rip`, 'walk')
    t.ok(Number(ask(t, `search ${name}.img --hex ??16 --limit 3`, 'search').count) > 0)
    ask(t, `search ${name}.img --virtual --regex [a-z]+ --limit 3`, 'search')
    ask(t, `search ${name}.img no-such-text --count`, 'search', 1)
    ask(t, `strings ${name}.img -n 6 --limit 3`, 'strings')
    for (const format of formats) {
      ask(t, `convert ${name}.img -o ${name}.${format} --format ${format}`, 'convert')
      ask(t, `inspect ${name}.${format}`, 'guest')
      ask(t, `diff ${name}.img ${name}.${format}`, 'guest-diff')
    }
  }
  ask(t, 'diff pv64.img pv32.img', 'guest-diff', 1)
  ask(t, 'diff pv64.img pv32.img --save pv.delta', 'delta')
  ask(t, 'inspect pv64.img+pv.delta', 'guest')
  ask(t, 'diff pv64.img+pv.delta pv32.img', 'guest-diff')
  ask(t, 'convert pv64.xl --apply pv.delta -o pv.core', 'convert')
  ask(t, 'diff pvh.img linux64.img', 'guest-diff', 1)
  ask(t, 'build bzImage -o q --type linux --format qemu --memory 64', 'build')
  put(
    'guest.cfg',
    'kernel = "pv64"\nmemory = 16\nmemroy = 1\nzzz = 1\nserial = 1\nvkb = []\ncmdline = "a"\nroot = "b"\n',
  )
  t.match(ask(t, 'build --config guest.cfg -o cfg.img', 'build'), {
    config: {
      unused: ['serial'],
      notCarried: ['vkb'],
      unknown: [{ key: 'memroy', meant: 'memory' }, { key: 'zzz' }],
      warnings: [String],
    },
  })
})

t.test('a guest that Xen saved', async (t) => {
  askAll(t, 'hvm.xl', 'hvm')
  ask(t, 'map hvm.xl --at 0xffffffff81000000', 'walk')
  for (const format of ['raw', 'elf-core', 'xen-core']) {
    ask(t, `convert hvm.xl -o hvm.${format} --format ${format}`, 'convert')
    askAll(t, `hvm.${format}`, 'hvm')
  }
})

t.test('drawings, scripts, help, version', async (t) => {
  for (const name of ['map.svg', 'map.html']) {
    t.equal(ask(t, `map pv64.img -o ${name}`, 'drawing').bytes, readFileSync(path.join(folder, name)).length)
  }
  for (const shell of ['bash', 'zsh', 'fish']) ask(t, `completion ${shell}`, 'completion')
  for (const typed of ['help', '--help', 'help build', 'build --help', '--help build', '--quiet']) ask(t, typed, 'help')
  for (const typed of ['--version', 'build --version', '--version build']) ask(t, typed, 'version')
})

t.test('domains of a Xen host', async (t) => {
  ask(t, 'list', 'list', 0, TWO_GUESTS)
  ask(t, 'create pv64 --memory 16', 'create', 0, TWO_GUESTS)
  ask(t, 'create guest.cfg --name cfg', 'error', 2, TWO_GUESTS)
  ask(t, 'destroy web', 'destroy', 0, TWO_GUESTS)
  ask(t, 'watch web pv64', 'watch', 0, { ...TWO_GUESTS, end: 'poweroff' })
  for (const format of ['raw', 'xl', 'elf-core']) {
    ask(t, `capture web -o captured.${format} --format ${format}`, 'capture', 0, TWO_GUESTS)
    ask(t, `inspect captured.${format}`, 'guest')
  }
  ask(t, 'inspect domain:db', 'guest', 0, TWO_GUESTS)
  t.match(ask(t, 'map domain:none', 'error', 2, TWO_GUESTS), { error: { code: 'no-domain' } })
})

t.test('tests of guests', async (t) => {
  t.same(ask(t, 'test pvh --type pvh --expect pvh.json --update', 'test').written, ['pvh.json'])
  ask(t, 'test pvh --type pvh --expect pvh.json', 'test')
  t.match(ask(t, 'test pv64 --expect pvh.json', 'test', 1), { pass: 0, fail: 1 })
  ask(t, 'test pvh --type pvh --variants', 'test')
  put('tests.json', JSON.stringify({ tests: [{ kernel: 'none', options: { type: 'pv' }, run: {}, variants: true }] }))
  t.match(ask(t, 'test tests.json', 'test', 1), {
    cases: [
      { result: 'fail', differences: [{ at: 'build', found: 'not-xen-pv' }] },
      { result: 'skip', reason: 'the guest is not built' },
    ],
  })
  ask(t, 'test guest.cfg', 'test')
  ask(t, 'test tests.json --memory 64', 'error', 2)
})

t.test('tables that Xen would refuse', async (t) => {
  ask(t, 'build pv64 -o bad.img --memory 16', 'build')
  const { pageTables } = JSON.parse(readFileSync(path.join(folder, 'bad.img.json'), 'utf8')) as {
    pageTables: { top: number }
  }
  const memory = readFileSync(path.join(folder, 'bad.img'))
  const { top } = pageTables
  memory.fill(0, top * 4096, (top + 1) * 4096)
  put('bad.img', memory)
  const { violations } = ask(t, 'validate bad.img', 'violations', 1)
  t.match(violations, [{ rule: 'entry-not-mapped', path: [] }])
  memory.fill(0xff, top * 4096, (top + 1) * 4096)
  put('bad.img', memory)
  t.ok((ask(t, 'check bad.img', 'violations', 1).violations as unknown[]).length > 100)
})

t.test('no, and questions that cannot be asked', async (t) => {
  for (const [typed, code, status] of [
    ['check text', 'not-a-kernel', 1],
    ['build none -o x.img --type pv', 'not-xen-pv', 1],
    ['build pv64 -o x.img --type pvh', 'not-pvh', 1],
    ['build pv64 -o x.img --memory 1', 'memory-too-small', 1],
    ['read pv64.img 0x10000000000 1', 'not-mapped', 1],
    ['read pv64.img 0x10 1 --virtual', 'not-mapped', 1],
    ['read pv64.img nothing 1', 'bad-config', 2],
    ['read pv64.img vcpu9:rip 1', 'bad-range', 2],
    ['map pv64.img --at 0xffffffffffffff000', 'bad-config', 2],
    ['search missing x', 'cannot-read', 2],
    ['search pv64 x', 'unknown-format', 2],
    ['search pv64.img [a-z --regex', 'bad-config', 2],
    ['search pv64.img 4x --hex', 'bad-config', 2],
    ['search pv64.img x --virtual --from start_info', 'usage', 2],
    ['search pv64.img x --from 2 --to 1', 'bad-config', 2],
    ['strings pv64.img -n 0', 'bad-config', 2],
    ['extract old -o x', 'not-a-kernel', 1],
    ['convert hvm.xl -o x --format qemu', 'does-not-fit', 1],
    ['diff missing pv64', 'cannot-read', 2],
    ['inspect pv.delta', 'unknown-format', 2],
    ['inspect pv32.img+pv.delta', 'bad-snapshot', 1],
    ['inspect pv64+pv.delta', 'unknown-format', 2],
    ['diff text pv64', 'not-a-kernel', 2],
    ['diff pv64 pv64.img', 'usage', 2],
    ['inspect missing', 'cannot-read', 2],
    ['map text', 'unknown-format', 2],
    ['run pv64', 'usage', 2],
    ['build pv64 -o no/such/folder', 'cannot-write', 2],
    ['build pv64 -o x.img --memory lots', 'bad-config', 2],
    ['build pv64 -o - --format xl', 'usage', 2],
    ['convert pv64.img -o - --format xl', 'usage', 2],
    ['extract pv64 -o -', 'usage', 2],
    ['frobnicate', 'usage', 2],
    ['inspect', 'usage', 2],
    ['inspect pv64 --frob', 'usage', 2],
    ['--memory', 'usage', 2],
  ] as const) {
    const { error } = ask(t, typed, 'error', status)
    t.equal((error as { code: string }).code, code, typed)
  }
  t.match(ask(t, 'build pv64 -o x.img --type linux --load-address 0x10', 'error', 1), { error: { expected: String } })
})

t.test('options before the command mean what they mean after it', async (t) => {
  const [before, after] = [
    ['--json', '--quiet', 'inspect', 'pv64'],
    ['inspect', 'pv64', '--quiet', '--json'],
  ].map((args) => runCommand(args, { cwd: folder }))
  t.same(before, after)
})

t.test('every answer and every command was seen', async (t) => {
  for (const name of Object.keys(ANSWERS)) t.ok(seen.has(`answer ${name}`), name)
  for (const name of Object.keys(COMMANDS)) t.ok(seen.has(`command ${name}`), name)
})
