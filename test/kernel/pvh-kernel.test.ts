/** A kernel's claims as a PVH guest. */
import t from 'tap'
import { readKernel } from '../../lib/kernel/kernel.js'
import { pvhKernel } from '../../lib/kernel/pvh-kernel.js'
import { buildElf, type ElfSpec, type NoteDesc, xenNotes } from '../../lib/testing/index.js'
import { refuses } from './refusal.js'

type Notes = { readonly [K in keyof Parameters<typeof xenNotes>[0]]: NoteDesc }
const segments = [
  { paddr: 0x300000, data: new Uint8Array(0x1800) },
  { paddr: 0x100000, vaddr: 0xc0100000, data: new Uint8Array(0x100), memsz: 0x1000 },
]
const pvh = async (notes: Notes = { PHYS32_ENTRY: [0x100010] }, changes: Partial<ElfSpec> = {}) =>
  pvhKernel(await readKernel(buildElf({ class: 32, entry: 0, segments, notes: xenNotes(notes), ...changes })))

t.test('one note is enough', async (t) => {
  const { elf, params, ...kernel } = await pvh()
  t.same(kernel, { entry: 0x100010, image: { start: 0x100000, end: 0x301800 } })
  t.equal(elf.class, 32)
  t.equal(params.physEntry, 0x100010)
  t.equal((await pvh({ PHYS32_ENTRY: 0x100010n }, { class: 64 })).entry, 0x100010, 'eight bytes, as Linux writes it')
  t.equal((await pvh({ PHYS32_ENTRY: [0x301800] })).entry, 0x301800, 'the end is allowed')
  const claims = {
    PHYS32_ENTRY: [0x200000],
    VIRT_BASE: 0xdead0000,
    PADDR_OFFSET: 7,
    ENTRY: 1,
    LOADER: 'none',
    XEN_VERSION: 'x',
  }
  t.equal((await pvh(claims)).entry, 0x200000, 'what PV asks for is not looked at; neither is a gap between segments')
  t.ok(await pvh(undefined, { notesIn: 'section' }))
})

t.test('PHYS32_RELOC and its defaults', async (t) => {
  const reloc = async (desc?: number[], align?: number) =>
    (
      await pvh(
        { PHYS32_ENTRY: [0x100010], ...(desc ? { PHYS32_RELOC: desc } : {}) },
        { segments: segments.map((s) => ({ ...s, ...(align === undefined ? {} : { align }) })) },
      )
    ).reloc
  const all = { start: 0, end: 0x100000000 }
  t.equal(await reloc(), undefined, 'without the note it stays where it is')
  t.same(await reloc([]), { align: 0x1000, within: all }, "the segments' own alignment")
  t.same(await reloc([], 0x400000), { align: 0x400000, within: all })
  t.same(await reloc([], 16), { align: 0x200000, within: all }, 'less than a page counts as no range')
  t.same(await reloc([0x10000]), { align: 0x10000, within: all })
  t.same(await reloc([0x10000, 0x1000000]), { align: 0x10000, within: { start: 0x1000000, end: 0x100000000 } })
  t.same(await reloc([0x10000, 0x1000000, 0x3fffffff]), {
    align: 0x10000,
    within: { start: 0x1000000, end: 0x40000000 },
  })
  for (const align of [0, 3, 0xc0000000])
    await refuses(t, () => reloc([align]), 'bad-note', `expected a power of two, found 0x${align.toString(16)}`)
})

t.test('refusals', async (t) => {
  const bad = (notes: Notes, code: Parameters<typeof refuses>[2], text: string, changes: Partial<ElfSpec> = {}) =>
    refuses(t, () => pvh(notes, changes), code, text)
  await refuses(
    t,
    () => pvhKernel({ container: 'bzImage', sha256: '', notes: [], unreadableNotes: [] }),
    'not-pvh',
    'the bzImage holds no ELF',
  )
  await bad({}, 'not-pvh', 'the ELF has no Xen note, so no PHYS32_ENTRY')
  await bad({ LOADER: 'generic' }, 'not-pvh', 'expected note PHYS32_ENTRY, found other Xen notes')
  await bad({}, 'not-pvh', 'found a __xen_guest section alone', {
    notes: [],
    sections: [{ name: '__xen_guest', data: Buffer.from('LOADER=generic') }],
  })
  await bad({ PHYS32_ENTRY: [0x100010] }, 'not-pvh', 'expected e_machine 3 or 62, found 40', { machine: 40 })
  for (const entry of [0xfffff, 0x301801, 0xffffffff]) {
    await bad(
      { PHYS32_ENTRY: [entry] },
      'wrong-layout',
      `PHYS32_ENTRY is outside of the image: expected [0x100000, 0x301800), found 0x${entry.toString(16)}`,
    )
  }
  await bad({ PHYS32_ENTRY: [0x100010], FEATURES: '!nonsense' }, 'unknown-feature', "found '!nonsense'")
  await bad({ PHYS32_ENTRY: [0x100010], FEATURES: '!dom0' }, 'unsupported-feature', 'can only run as dom0')
  await bad({ PHYS32_ENTRY: [0x100010], INIT_P2M: 0x200000 }, 'wrong-layout', 'INIT_P2M is inside of the image')
  await bad({ PHYS32_ENTRY: [0x100000] }, 'wrong-layout', 'the image is empty', {
    segments: [{ paddr: 0x100000, data: new Uint8Array(0) }],
  })
  await bad({ PHYS32_ENTRY: [0x100010] }, 'wrong-layout', 'no segment of the kernel is loadable', {
    segments: [{ paddr: 0, flags: 0 }],
  })
  await bad(
    { PHYS32_ENTRY: [0x100010] },
    'wrong-layout',
    'the image lies above 4 GiB, out of reach of its entry: expected 0x100000000, found 0x100000001',
    {
      class: 64,
      segments: [...segments, { paddr: 0xfffff000, data: new Uint8Array(0x1001) }],
    },
  )
  await bad({ PHYS32_ENTRY: [0x100010] }, 'truncated', 'section headers', { header: { e_shoff: 1 << 20 } })
})
