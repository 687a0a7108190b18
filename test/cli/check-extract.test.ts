/**
 * Tests of check and extract, run as a user runs them.
 *
 * Source: docs/commands.md.
 * Gotcha: exit codes and streams are the contract, so this runs the compiled program in a separate process.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { buildBzImage, buildElf, type ElfSpec, patternBytes, xenNotes } from '../../lib/testing/index.js'
import { buildUki } from '../fixtures/uki.js'
import { runCommand } from './command.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-check-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

const at = (name: string) => path.join(folder, name)
function file(name: string, bytes: Uint8Array): string {
  writeFileSync(at(name), bytes)
  return at(name)
}
const xdb = (args: readonly string[], input: Uint8Array = new Uint8Array(0)) => runCommand(args, { input })

const spec: ElfSpec = {
  class: 64,
  entry: 0x1000000,
  segments: [{ paddr: 0x1000000, data: patternBytes(5000) }],
  notes: [...xenNotes({ PHYS32_ENTRY: [0x1000100] }), { owner: 'a\x1b[2J', type: 7, desc: 'x' }],
}
const elf = buildElf(spec)
const relocs = new Uint8Array(Int32Array.of(0, 1, 2, 0, 3).buffer)
const bzImage = file('vmlinuz', buildBzImage({ payload: gzipSync(buildElf({ ...spec, trailing: relocs })) }))
const none = file('none', buildElf({ ...spec, entry: 0, notes: [] }))

t.test('check: each type, its entry and needs or its one cause, and every note', async (t) => {
  const { code, text, err } = xdb(['check', bzImage])
  t.equal(err, '')
  t.equal(code, 0)
  t.match(text, /^pv {5}no: not-xen-pv: the kernel is for PVH only/)
  t.match(text, '\npvh    ok, entry 0x1000100\n         the image at [0x1000000, 0x1001388)\n')
  t.match(text, '\nlinux  ok, entry 0x1000200\n         boot protocol 2.15, claims the 64-bit, 32-bit, 16-bit entry\n')
  t.match(text, /Xen +PHYS32_ENTRY +0x1000100/)
  t.match(text, 'a\\x1b[2J', 'a file cannot command the terminal')
  t.notMatch(text, '\x1b')
})

t.test('check --type: only that one counts', async (t) => {
  t.equal(xdb(['check', bzImage, '--type', 'pvh']).code, 0)
  const refused = xdb(['check', bzImage, '--type', 'pv'])
  t.equal(refused.code, 1)
  t.match(refused.text, /^pv {5}no: not-xen-pv: /)
  t.notMatch(refused.text, 'linux')
  t.equal(xdb(['check', bzImage, '--type', 'hvm']).code, 2)
  t.equal(xdb(['check', none]).code, 1, 'none of them')
})

t.test('check --json', async (t) => {
  const { code, text } = xdb(['check', bzImage, '--json'])
  t.equal(code, 0)
  t.match(JSON.parse(text), {
    verdicts: [
      { type: 'pv', ok: false, code: 'not-xen-pv', reason: String },
      { type: 'pvh', ok: true, entry: '0x1000100', needs: ['the image at [0x1000000, 0x1001388)'] },
      { type: 'linux', ok: true, entry: '0x1000200' },
    ],
    notes: [{ owner: 'Xen', type: 'PHYS32_ENTRY', value: '0x1000100' }, { owner: 'a\x1b[2J' }],
  })
  t.match(JSON.parse(xdb(['check', none, '--json']).text), { verdicts: [{ ok: false }, { ok: false }, { ok: false }] })
})

t.test('inspect shows the setup header and the table', async (t) => {
  t.match(JSON.parse(xdb(['inspect', bzImage, '--json']).text), {
    linux: {
      protocol: '2.15',
      header: { kernel_alignment: '0x200000', cmdline_size: '0x7ff' },
      loadflags: ['LOADED_HIGH'],
      xloadflags: ['XLF_KERNEL_64'],
      relocs: { bytes: 20, add32: 1, subtract32: 0, add64: 2 },
    },
  })
  t.match(xdb(['inspect', bzImage]).text, /relocation table bytes 20, add32 1, subtract32 0, add64 2/)
})

t.test('extract: the ELF and the table, byte for byte, from any container', async (t) => {
  const done = xdb(['extract', bzImage, '-o', at('elf'), '--relocs', at('relocs')])
  t.equal(done.err, '')
  t.equal(done.code, 0)
  t.ok(readFileSync(at('elf')).equals(elf))
  t.ok(readFileSync(at('relocs')).equals(relocs))
  t.same(JSON.parse(xdb(['extract', bzImage, '-o', at('elf'), '--relocs', at('relocs'), '--json']).text), {
    schema: 'xen-domain-builder/extract/1',
    output: at('elf'),
    bytes: elf.length,
    relocs: at('relocs'),
    relocsBytes: relocs.length,
  })
  t.ok(xdb(['extract', '-', '-o', '-'], gzipSync(elf)).out.equals(elf), 'from standard input to standard output')
  t.ok(xdb(['extract', file('plain', elf), '-o', '-']).out.equals(elf))
})

t.test('a UKI is a kernel for each command', async (t) => {
  const uki = file('uki.efi', buildUki({ '.cmdline': new Uint8Array(9), '.linux': readFileSync(bzImage) }))
  t.match(xdb(['inspect', uki]).text, /^kernel {3}uki, gzip payload\n.*\nnot used: \.cmdline; /s)
  t.match(JSON.parse(xdb(['inspect', uki, '--json']).text), { container: 'uki', uki: [{ name: '.cmdline' }, {}] })
  const checked = xdb(['check', uki, '--type', 'pvh'])
  t.equal(checked.code, 0)
  t.match(checked.text, /Xen itself cannot load this file; extract it with xdb extract: it is a unified kernel image/)
  t.ok(xdb(['extract', uki, '-o', '-']).out.equals(elf))
  t.equal(xdb(['build', uki, '-o', at('uki.img'), '--type', 'pvh', '--memory', '32']).code, 0)
})

t.test('a damaged kernel is shown, and refused by all else', async (t) => {
  const damaged = file('damaged', buildElf({ ...spec, header: { e_phentsize: 7 } }))
  const shown = xdb(['inspect', damaged])
  t.equal(shown.code, 0)
  t.match(shown.text, /^kernel {3}elf\ndamage {3}bad-elf: e_phentsize is not .*\nelf {6}ELF64 x86-64 EXEC/)
  const json = JSON.parse(xdb(['inspect', damaged, '--json']).text) as unknown
  t.match(json, { fault: { code: 'bad-elf' }, elf: { entry: '0x1000000' } })
  t.match(xdb(['check', damaged]), {
    code: 1,
    text: /^pv {5}no: bad-elf: .*\npvh {4}no: bad-elf: .*\nlinux {2}no: bad-elf: /,
  })
  for (const args of [
    ['build', damaged, '-o', at('x')],
    ['extract', damaged, '-o', at('x')],
  ])
    t.match(xdb(args), { code: 1, err: /^xen-domain-builder: bad-elf: / })
  const lost = file(
    'lost',
    buildElf({ ...spec, notes: [...(spec.notes ?? []), { owner: 'a', type: 1, desc: 1, descsz: 99 }] }),
  )
  t.match(xdb(['check', lost]).text, /^notes from offset 0x[0-9a-f]+ are unreadable: a descriptor has 0x63 bytes/m)
  t.match(JSON.parse(xdb(['check', lost, '--json']).text), { unreadableNotes: [{ reason: /descriptor/ }] })
})

t.test('extract refuses, and leaves nothing behind', async (t) => {
  const empty = file('no-elf', buildBzImage({ payload: patternBytes(100), header: { payload_length: 0 } }))
  const before = readdirSync(folder)
  for (const [args, code, text] of [
    [['extract', empty, '-o', at('x')], 1, 'xen-domain-builder: not-a-kernel: the bzImage holds no ELF'],
    [['extract', none, '-o', at('x'), '--relocs', at('y')], 1, 'nothing follows the ELF'],
    [['extract', bzImage, '-o', at('no/such/folder')], 2, 'cannot-write'],
    [['extract', bzImage], 2, 'extract needs -o FILE'],
    [['extract', bzImage, '-o', '-', '--json'], 2, 'cannot take both an ELF and JSON'],
    [['extract', bzImage, '-o', at('x'), '--relocs', '-'], 2, '--relocs needs a name'],
  ] as const) {
    const ran = xdb(args)
    t.equal(ran.code, code, args.join(' '))
    t.match(ran.err, text)
    const isUsage = !/: [a-z-]+: /.test(ran.err)
    t.equal(ran.err.trimEnd().split('\n').length, isUsage ? 2 : 1, 'one line, and a second for usage')
  }
  t.same(readdirSync(folder), before)
  t.notOk(existsSync(at('x')))
})
