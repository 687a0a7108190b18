/** Compares buildElf with binutils: readelf must read the values that we give. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'tap'
import { PT_NOTE } from '../../lib/abi/elf.js'
import { DomainBuilderError } from '../../lib/errors.js'
import {
  buildElf,
  type ElfSpec,
  gnuPropertyNote,
  patternBytes,
  symbolSections,
  xenNotes,
} from '../../lib/testing/index.js'
import { findCommand } from '../peer/command.js'
import { requirePeer } from '../peer/require-peer.js'

const findReadelf = () => findCommand('readelf', 'binutils')

function readelf(file: Uint8Array, ...args: readonly string[]): string {
  const dir = mkdtempSync(join(tmpdir(), 'build-elf-'))
  try {
    writeFileSync(join(dir, 'kernel'), file)
    const run = spawnSync('readelf', [...args, join(dir, 'kernel')], { encoding: 'utf8', env: { LC_ALL: 'C' } })
    if (run.error) throw run.error
    return run.stdout + run.stderr
  } finally {
    rmSync(dir, { recursive: true })
  }
}

const tiny: ElfSpec = {
  class: 64,
  entry: 0xffffffff80001000n,
  segments: [
    { paddr: 0x1000, vaddr: 0xffffffff80001000n, data: patternBytes(0x234), memsz: 0x3000 },
    { paddr: 0x200010, vaddr: 0xffffffff80200010n, data: patternBytes(0x10, 7), flags: 4, align: 0x200000 },
  ],
  notes: xenNotes({
    XEN_VERSION: 'xen-3.0',
    ENTRY: 0xffffffff80001000n,
    VIRT_BASE: 0xffffffff80000000n,
    SUPPORTED_FEATURES: 0x801,
    PHYS32_RELOC: [0x200000, 0, 0xffffffff],
  }),
}

test('what readelf says of a tiny kernel', async (t) => {
  if (!(await requirePeer(t, findReadelf))) return
  // A readelf that does not know the owner Xen shows type 1 as NT_VERSION; only the bytes matter.
  const said = readelf(buildElf(tiny), '-hlnW')
  t.match(said, /Class:\s+ELF64/)
  t.match(said, /Type:\s+EXEC/)
  t.match(said, /Machine:\s+Advanced Micro Devices X86-64/)
  t.match(said, /Entry point address:\s+0xffffffff80001000/)
  t.match(said, /LOAD\s+0x001000 0xffffffff80001000 0x0+1000 0x0*234 0x0*3000 RWE 0x1000/)
  t.match(said, /LOAD\s+0x002010 0xffffffff80200010 0x0+200010 0x0*10 0x0*10 R {3}0x200000/)
  t.match(said, /NOTE\s+0x\w+ 0x0+ 0x0+ 0x\w+ 0x\w+ R {3}0x4/)
  t.match(said, /Xen\s+0x00000008\s+Unknown note type: \(0x00000005\)\s+description data: 78 65 6e 2d 33 2e 30 00/)
  t.match(said, /Xen\s+0x00000008\s+NT_VERSION \(version\)\s+description data: 00 10 00 80 ff ff ff ff/)
  t.match(said, /Xen\s+0x00000004\s+Unknown note type: \(0x00000011\)\s+description data: 01 08 00 00/)
  t.match(said, /Xen\s+0x0000000c\s+Unknown note type: \(0x00000013\)\s+description data: 00 00 20 00 00 00 00 00 ff/)
  t.notMatch(said, /Warning|Error/)
})

test('the same in the 32-bit class: numbers are words of four bytes', async (t) => {
  if (!(await requirePeer(t, findReadelf))) return
  const file = buildElf({
    class: 32,
    entry: 0xc0100000,
    segments: [{ paddr: 0x100000, vaddr: 0xc0100000, data: patternBytes(64) }],
    notes: xenNotes({ ENTRY: 0xc0100000, PAE_MODE: 'yes' }),
  })
  const said = readelf(file, '-hlnW')
  t.match(said, /Class:\s+ELF32/)
  t.match(said, /Machine:\s+Intel 80386/)
  t.match(said, /LOAD\s+0x001000 0xc0100000 0x00100000 0x00040 0x00040 RWE 0x1000/)
  t.match(said, /Xen\s+0x00000004\s+NT_VERSION \(version\)\s+description data: 00 00 10 c0/)
  t.notMatch(said, /Warning|Error/)
})

test('notes only in a section, and sections with symbols', async (t) => {
  if (!(await requirePeer(t, findReadelf))) return
  const file = buildElf({
    ...tiny,
    notesIn: 'section',
    sections: [
      { name: '__xen_guest', data: new TextEncoder().encode('XEN_VER=xen-3.0,LOADER=generic\0') },
      ...symbolSections(64, [{ name: '_start', value: 0xffffffff80001000n, size: 4 }]),
    ],
  })
  const said = readelf(file, '-SlsnW', '-p', '__xen_guest')
  t.notMatch(said, /^ +NOTE /m, 'no PT_NOTE segment')
  t.match(said, /\.note\.Xen\s+NOTE/)
  t.match(said, /Unknown note type: \(0x00000003\)/)
  t.match(said, /XEN_VER=xen-3\.0,LOADER=generic/)
  t.match(said, /ffffffff80001000\s+4 NOTYPE\s+GLOBAL DEFAULT\s+1 _start/)
  t.notMatch(said, /Warning|Error/)
})

test("a linker's merged segment: GNU's notes at 8, Xen's at 4, all in one", async (t) => {
  if (!(await requirePeer(t, findReadelf))) return
  // 12 + 4 + 4 bytes: the next note is at 4 modulo 8, which a reader of 8-aligned notes misses.
  const [first, ...others] = xenNotes({ SUSPEND_CANCEL: [1], ENTRY: 0x1000n, LOADER: 'generic' })
  t.ok(first)
  if (!first) return
  const file = buildElf({ ...tiny, notes: [gnuPropertyNote, first, gnuPropertyNote, ...others], notesAlign: 8 })
  const said = readelf(file, '-lW')
  t.match(said, /NOTE\s.*0x8$/m)
  const gnuFirst = readelf(buildElf({ ...tiny, notes: [gnuPropertyNote], notesAlign: 8 }), '-nW')
  t.match(gnuFirst, /GNU\s+0x00000010\s+NT_GNU_PROPERTY_TYPE_0\s+Properties: x86 feature:/)
})

test('claims that are not true are written as asked', async (t) => {
  const file = buildElf({
    ...tiny,
    header: { e_phnum: 0xffff, e_entry: 5, ei_magic: Uint8Array.of(1, 2, 3, 4) },
    notesHeader: { p_filesz: 0xffffffffffffffffn },
    trailing: Uint8Array.of(0xaa, 0xbb),
  })
  const view = new DataView(file.buffer)
  t.equal(view.getUint16(56, true), 0xffff)
  t.equal(view.getBigUint64(24, true), 5n)
  t.same([...file.subarray(0, 4)], [1, 2, 3, 4])
  t.same([...file.subarray(-2)], [0xaa, 0xbb])
  t.equal(view.getUint32(64 + 2 * 56, true), PT_NOTE)
  t.equal(view.getBigUint64(64 + 2 * 56 + 32, true), 0xffffffffffffffffn)
})

test('two builds are equal, and data keeps its bytes', async (t) => {
  const file = buildElf(tiny)
  t.same(file, buildElf(tiny))
  t.same(file.subarray(0x1000, 0x1234), patternBytes(0x234))
  t.notSame(patternBytes(16), patternBytes(16, 2))
})

test('numbers that no field can hold are refused', async (t) => {
  const code = (spec: Partial<ElfSpec>): string | undefined => {
    try {
      buildElf({ ...tiny, ...spec })
      return undefined
    } catch (error) {
      return error instanceof DomainBuilderError ? error.code : String(error)
    }
  }
  t.equal(code({ class: 32, entry: 0x100000000n, segments: [], notes: [] }), 'bad-range')
  t.equal(code({ notes: xenNotes({ ENTRY: 1n << 64n }) }), 'bad-config')
  t.equal(code({ notes: xenNotes({ ENTRY: -1 }) }), 'bad-config')
  t.equal(code({ class: 32, entry: 0, segments: [], notes: xenNotes({ ENTRY: 1n << 32n }) }), 'bad-config')
  t.equal(code({ sections: [{ name: 'a', data: new Uint8Array(1), link: 'b' }] }), 'bad-config')
})

test('it is what a user imports', async (t) => {
  const published = await import('xen-domain-builder/testing')
  const spec = { class: 64, entry: 0x1000n, segments: [{ paddr: 0x1000n, data: patternBytes(100) }] } as const
  t.same(published.buildElf(spec), buildElf(spec))
})
