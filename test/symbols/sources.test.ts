/**
 * Symbols of each kind of file: nm reads the same ones, and a file without symbols is refused.
 *
 * Source: nm(1); proc(5).
 * Gotcha: nm shows no size for a symbol that has none, and leaves out symbols without a name.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { DomainBuilderError, readSymbols, type SymbolTable } from '../../lib/index.js'
import { buildElf, symbolSections } from '../../lib/testing/index.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'

const text = (lines: string): Promise<SymbolTable> => readSymbols(new TextEncoder().encode(lines))
const shown = ({ symbols }: SymbolTable): string[] =>
  symbols.map(({ name, address, type, bytes }) => `${address.toString(16)} ${type} ${name} ${bytes ?? '-'}`)

t.test('System.map, /proc/kallsyms and nm', async (t) => {
  t.same(shown(await text('0000000000000000 A per_cpu\nffffffff81000000 T _text\nffffffff81000000 t other name')), [
    '0 A per_cpu -',
    'ffffffff81000000 T _text -',
    'ffffffff81000000 t other name -',
  ])
  t.same(shown(await text('c1000000 T a\r\nc2000000 t b\t[module]\r\n\r\n')), ['c1000000 T a -', 'c2000000 t b -'])
  t.same(shown(await text('                 U x\n                 w y\n0000000000000010 0000000000000004 R z\n')), [
    '10 R z 4',
  ])
})

t.test('other texts', async (t) => {
  const refused = async (lines: string, message: RegExp): Promise<void> => {
    await t.rejects(text(lines), { code: 'no-symbols', message })
  }
  await refused('ffffffff81000000 T a\nwhatever\n', /line 2 is not one of a symbol table: .* \(file offset 0x15\)/)
  await refused('0000000000000000 T a\n0000000000000000 T b\n', /every address of the symbols is zero/)
  await t.rejects(text('hello'), { code: 'not-a-kernel' })
})

for (const elfClass of [32, 64] as const) {
  t.test(`an ELF${elfClass}, as nm reads it`, async (t) => {
    const nm = await requirePeer(t, () => findCommand('nm', 'binutils'))
    if (nm === undefined) return
    const folder = mkdtempSync(join(tmpdir(), 'xdb-symbols-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    const elf = buildElf({
      class: elfClass,
      entry: 0x100000,
      segments: [{ paddr: 0x100000, data: new Uint8Array(64) }],
      sections: [
        ...symbolSections(elfClass, [
          { name: 'start', value: 0x100000, size: 16 },
          { name: 'middle', value: 0x100010 },
          { name: '', value: 0x100020 },
        ]),
      ],
    })
    const file = join(folder, 'elf')
    writeFileSync(file, elf)
    const listed = execFileSync(nm, ['-n', '-S', file], { encoding: 'latin1' })
    const ofNm = await text(listed)
    const ours = await readSymbols(elf)
    const places = (table: SymbolTable) => table.symbols.map(({ name, address, bytes }) => ({ name, address, bytes }))
    t.same(places(ours), places(ofNm))
    t.equal(ours.symbols.length, 2)
  })
}

t.test('an ELF without symbols', async (t) => {
  const elf = buildElf({ class: 64, entry: 0x100000, segments: [{ paddr: 0x100000, data: new Uint8Array(64) }] })
  await t.rejects(
    readSymbols(elf),
    new DomainBuilderError('no-symbols', 'the kernel has no symbols', {
      expected: 'a symbol table, or the kallsyms of a Linux',
      found: 'an ELF without them',
    }),
  )
})
