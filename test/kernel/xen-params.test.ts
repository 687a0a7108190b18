/** A kernel's claims to Xen: each note, each key of __xen_guest, and the FEATURES string. */

import t from 'tap'
import { STRING_FEATURES, XENFEAT } from '../../lib/abi/features.js'
import { parseFeatures } from '../../lib/kernel/feature-string.js'
import { xenParams } from '../../lib/kernel/xen-notes.js'
import { buildElf, type ElfSpec, type NoteSpec, xenNotes } from '../../lib/testing/index.js'
import { parseElf, readNotes } from '../fixtures/elf-at-once.js'
import { refuses } from './refusal.js'

const read = (changes: Partial<ElfSpec>) => {
  const segments = [{ paddr: 0x1000, data: new Uint8Array(16) }]
  const elf = parseElf(buildElf({ class: 64, entry: 0x1000, segments, ...changes }))
  return xenParams(elf, readNotes(elf))
}
const readNote = (...notes: NoteSpec[]) => read({ notes })
const guest = (text: string) => read({ sections: [{ name: '__xen_guest', data: Buffer.from(text, 'latin1') }] })
const nothing = { modStartPfn: false, pae: 'no', bsdSymtab: false, suspendCancel: false, supported: 0, required: 0 }

t.test('every note', async (t) => {
  const notes = xenNotes({
    GUEST_OS: 'linux',
    GUEST_VERSION: '2.6',
    XEN_VERSION: 'xen-3.0',
    LOADER: 'generic',
    VIRT_BASE: 0xffffffff80000000n,
    ENTRY: 0xffffffff81c00000n,
    HYPERCALL_PAGE: 0xffffffff81001000n,
    PADDR_OFFSET: 0n,
    INIT_P2M: 0x8000000000n,
    HV_START_LOW: 0xf5800000n,
    MOD_START_PFN: 1n,
    PAE_MODE: 'yes',
    BSD_SYMTAB: 'yes',
    SUSPEND_CANCEL: 1n,
    L1_MFN_VALID: new Uint8Array(16),
    FEATURES: '!writable_page_tables|pae_pgdir_above_4gb',
    SUPPORTED_FEATURES: 0x8801,
    PHYS32_ENTRY: 0x1000370n,
    PHYS32_RELOC: [0x200000, 0x1000000, 0xffffffff],
  })
  t.same(read({ notes }), {
    source: 'PT_NOTE',
    guestOs: 'linux',
    guestVersion: '2.6',
    xenVersion: 'xen-3.0',
    loader: 'generic',
    virtBase: 0xffffffff80000000n,
    entry: 0xffffffff81c00000n,
    hypercallPage: 0xffffffff81001000n,
    paddrOffset: 0n,
    initP2m: 0x8000000000n,
    hvStartLow: 0xf5800000n,
    modStartPfn: true,
    pae: 'extended-cr3',
    bsdSymtab: true,
    suspendCancel: true,
    supported: 0x8811,
    required: 1,
    physEntry: 0x1000370,
    physReloc: { align: 0x200000, min: 0x1000000, max: 0xffffffff },
  })
})

t.test('absent is absent, and no number means absent', async (t) => {
  t.equal(read({}), undefined)
  t.equal(read({ notes: [{ owner: 'GNU', type: 1, desc: 0 }] }), undefined)
  t.same(readNote({ type: 'L1_MFN_VALID', desc: 1 }), { source: 'PT_NOTE', ...nothing })
  const ones = (1n << 64n) - 1n
  t.equal(readNote({ type: 'ENTRY', desc: ones })?.entry, ones)
  t.equal(read({ notes: xenNotes({ ENTRY: 1n }), notesIn: 'section' })?.source, 'SHT_NOTE')
})

t.test('PAE_MODE', async (t) => {
  const pae = (...modes: string[]) => readNote(...modes.map((desc): NoteSpec => ({ type: 'PAE_MODE', desc })))?.pae
  t.equal(pae('yes'), 'extended-cr3')
  t.equal(pae('no'), 'no')
  t.equal(pae('yes[extended-cr3]'), 'no')
  t.equal(pae('bimodal'), 'bimodal')
  t.equal(pae('very bimodal!'), 'bimodal')
  t.equal(pae('yes', 'no'), 'extended-cr3', 'what was said stays said')
})

t.test('PHYS32_ENTRY: 4 or 8 bytes, but 32 bits; PHYS32_RELOC: as many as there are', async (t) => {
  const entry = (desc: NoteSpec['desc']) => readNote({ type: 'PHYS32_ENTRY', desc })?.physEntry
  t.equal(entry([0xfffffff0]), 0xfffffff0)
  t.equal(entry(0xfffffff0n), 0xfffffff0)
  t.equal(entry(0), 0)
  await refuses(
    t,
    () => entry(1n << 32n),
    'bad-note',
    'PHYS32_ENTRY is not a 32-bit physical address: expected at most 0xffffffff, found 0x100000000',
  )
  const reloc = (desc: number[]) => readNote({ type: 'PHYS32_RELOC', desc })?.physReloc
  t.same(reloc([]), {})
  t.same(reloc([0x1000]), { align: 0x1000 })
  t.same(reloc([0x1000, 2]), { align: 0x1000, min: 2 })
  t.same(reloc([0x1000, 2, 3, 4]), { align: 0x1000, min: 2, max: 3 })
})

t.test('SUPPORTED_FEATURES: the first word, and FEATURES with it', async (t) => {
  const supported = (...notes: NoteSpec[]) => readNote(...notes)?.supported
  t.equal(supported({ type: 'SUPPORTED_FEATURES', desc: [0xffffffff, 1] }), 0xffffffff)
  t.equal(supported({ type: 'SUPPORTED_FEATURES', desc: [] }), 0)
  t.equal(supported({ type: 'FEATURES', desc: 'dom0' }, { type: 'SUPPORTED_FEATURES', desc: [2] }), 0x802)
  await refuses(
    t,
    () => supported({ type: 'SUPPORTED_FEATURES', desc: new Uint8Array(5) }),
    'bad-note',
    /not a list of u32/,
  )
})

t.test('the FEATURES string', async (t) => {
  t.same(parseFeatures(''), { supported: 0, required: 0 })
  t.same(parseFeatures('|||'), { supported: 0, required: 0 })
  for (const name of STRING_FEATURES) {
    const bit = 1 << XENFEAT[name]
    t.same(parseFeatures(name), { supported: bit, required: 0 })
    t.same(parseFeatures(`!${name}`), { supported: bit, required: bit })
  }
  t.same(parseFeatures('nonsense|dom0|linux_rsdp_unrestricted'), { supported: 0x800, required: 0 })
  t.same(parseFeatures('!dom0|!nonsense|writable_page_tables'), {
    supported: 0x800,
    required: 0x800,
    unknownRequired: 'nonsense',
  })
  t.same(parseFeatures('!!dom0'), { supported: 0, required: 0, unknownRequired: '!dom0' })
  t.same(parseFeatures(`${'a'.repeat(63)}dom0`), { supported: 0x800, required: 0 }, 'a name ends after 63 bytes')
  t.equal(readNote({ type: 'FEATURES', desc: '!nonsense' }, { type: 'FEATURES', desc: 'dom0' })?.supported, 0)
})

t.test('__xen_guest', async (t) => {
  t.same(
    guest(
      'GUEST_OS=linux,GUEST_VER=2.6,XEN_VER=xen-3.0,VIRT_BASE=0xC0000000,VIRT_ENTRY=0xC0100000,ELF_PADDR_OFFSET=0xC0000000,' +
        'HYPERCALL_PAGE=0x104,FEATURES=writable_page_tables|!auto_translated_physmap,PAE=yes[extended-cr3],LOADER=generic,BSD_SYMTAB=yes\0LOADER=x',
    ),
    {
      ...nothing,
      source: '__xen_guest',
      guestOs: 'linux',
      guestVersion: '2.6',
      xenVersion: 'xen-3.0',
      loader: 'generic',
      virtBase: 0xc0000000n,
      entry: 0xc0100000n,
      paddrOffset: 0xc0000000n,
      hypercallPage: 0xc0104000n,
      pae: 'extended-cr3',
      bsdSymtab: true,
      supported: 5,
      required: 4,
    },
  )
  t.same(guest(''), { source: '__xen_guest', ...nothing })
  t.same(guest('BSD_SYMTAB,,=,===,\xff=\xff,PAE=yessir'), {
    source: '__xen_guest',
    ...nothing,
    bsdSymtab: true,
    pae: 'yes',
  })
  t.equal(guest('PAE=no')?.pae, 'no')
  t.equal(guest('LOADER=a=b')?.loader, 'a=b')
  t.match(guest('FEATURES=dom0|!nonsense|writable_page_tables,LOADER=generic'), { supported: 0x800, required: 0 })
  t.equal(
    guest('FEATURES=!nonsense,LOADER=generic')?.loader,
    undefined,
    'what follows an unknown !feature is never seen',
  )
  t.equal(guest('FEATURES=!nonsense')?.unknownRequired, undefined)
  t.match(guest('HYPERCALL_PAGE=1'), { hypercallPage: 0x1000n })
  t.match(guest('HYPERCALL_PAGE=2,VIRT_BASE=0x1000'), { hypercallPage: 0x3000n })
  t.equal(
    read({ notes: xenNotes({ ENTRY: 1n }), sections: [{ name: '__xen_guest', data: Buffer.from('LOADER=x') }] })
      ?.loader,
    undefined,
  )

  t.test('long keys and values end where Xen ends them', async (t) => {
    t.equal(guest(`LOADER=${'g'.repeat(127)}GUEST_OS=linux`)?.loader, 'g'.repeat(127))
    t.equal(guest(`LOADER=${'g'.repeat(127)}GUEST_OS=linux`)?.guestOs, 'linux')
    t.equal(guest(`LOADER=${'g'.repeat(127)},GUEST_OS=linux`)?.guestOs, 'linux')
    t.equal(guest(`${'k'.repeat(31)}GUEST_OS=linux`)?.guestOs, 'linux')
    t.equal(guest(`${'k'.repeat(31)}=GUEST_OS,LOADER=x`)?.loader, 'x')
    t.ok(guest('k'.repeat(1 << 20)))
  })

  t.test('numbers as C reads them', async (t) => {
    const base = (text: string) => guest(`VIRT_BASE=${text}`)?.virtBase
    for (const [text, value] of [
      ['0', 0n],
      ['', 0n],
      ['x', 0n],
      ['0x', 0n],
      ['010', 8n],
      ['09', 0n],
      ['10', 10n],
      ['0x10', 16n],
      ['0X1fG', 31n],
      [' 12abc', 12n],
      ['+5', 5n],
      ['-1', (1n << 64n) - 1n],
      ['0xffffffffffffffff', (1n << 64n) - 1n],
      ['0x10000000000000000', (1n << 64n) - 1n],
      ['9'.repeat(100), (1n << 64n) - 1n],
    ] as const)
      t.equal(base(text), value, `'${text.slice(0, 20)}'`)
  })
})
