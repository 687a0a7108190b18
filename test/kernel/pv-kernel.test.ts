/** A kernel's claims as a PV guest: accepted values, defaults, and every refusal by its cause. */
import t from 'tap'
import { type Kernel, readKernel } from '../../lib/kernel/kernel.js'
import { pvKernel } from '../../lib/kernel/pv-kernel.js'
import { buildElf, type ElfSpec, type NoteDesc, xenNotes } from '../../lib/testing/index.js'
import { refuses } from './refusal.js'

type Notes = Parameters<typeof xenNotes>[0]
const good = {
  XEN_VERSION: 'xen-3.0',
  LOADER: 'generic',
  ENTRY: 0x401000n,
  VIRT_BASE: 0x400000n,
  PADDR_OFFSET: 0n,
} as const
const segments = [{ paddr: 0x1000, data: new Uint8Array(0x1800) }]

async function read(changes: Partial<ElfSpec> = {}): Promise<Kernel> {
  return readKernel(buildElf({ class: 64, entry: 0x401000, segments, notes: xenNotes(good), ...changes }))
}
async function pv(notes: { readonly [K in keyof Notes]: NoteDesc | undefined } = {}, changes: Partial<ElfSpec> = {}) {
  const kept = Object.entries({ ...good, ...notes }).filter(([, desc]) => desc !== undefined)
  return pvKernel(await read({ notes: xenNotes(Object.fromEntries(kept)), ...changes }))
}
const guest = (text: string, changes: Partial<ElfSpec> = {}) =>
  read({ notes: [], sections: [{ name: '__xen_guest', data: Buffer.from(`${text}\0`) }], ...changes }).then(pvKernel)

t.test('p != v: placed by p_paddr and the two bases', async (t) => {
  const { elf, params, ...layout } = await pv({ PADDR_OFFSET: 0x1000n, ENTRY: 0x400000n })
  t.same(layout, {
    abi: 'x86_64',
    virtBase: 0x400000n,
    paddrOffset: 0x1000n,
    virtOffset: 0x3ff000n,
    pstart: 0x1000n,
    pend: 0x2800n,
    vstart: 0x400000n,
    vend: 0x401800n,
    entry: 0x400000n,
  })
  t.equal(elf.class, 64)
  t.equal(params.loader, 'generic')
})

t.test('defaults', async (t) => {
  t.match(await pv({ VIRT_BASE: undefined, PADDR_OFFSET: undefined, ENTRY: 0x1000n }), {
    virtBase: 0n,
    paddrOffset: 0n,
    vstart: 0x1000n,
  })
  t.match(await pv({ PADDR_OFFSET: undefined }), { paddrOffset: 0n, vstart: 0x401000n })
  t.match(await pv({ ENTRY: undefined }), { entry: 0x401000n })
  const old = { segments: [{ paddr: 0x401000, data: new Uint8Array(0x1000) }] }
  t.match(await guest('LOADER=generic,XEN_VER=xen-3.0,VIRT_BASE=0x400000', old), {
    paddrOffset: 0x400000n,
    vstart: 0x401000n,
    entry: 0x401000n,
  })
  t.match(await guest('GUEST_OS=linux,XEN_VER=xen-3.0', { entry: 0x1000 }), { virtBase: 0n, paddrOffset: 0n })
})

t.test('an image from VIRT_BASE to its end is no larger than the address space', async (t) => {
  const at = (paddr: bigint) =>
    pv({ VIRT_BASE: 0n, PADDR_OFFSET: 0n, ENTRY: paddr }, { segments: [{ paddr, data: new Uint8Array(0x1000) }] })
  t.match(await at((1n << 48n) - 0x1000n), { vend: 1n << 48n })
  await refuses(t, () => at(1n << 48n), 'wrong-layout', 'at most 256 TiB, found 256.0 TiB')
  const high = { segments: [{ paddr: 0xffffffff80000000n, data: new Uint8Array(16) }] }
  await refuses(
    t,
    () => pv({ VIRT_BASE: 0x40000000n, PADDR_OFFSET: 0x40000000n, ENTRY: 0xffffffff80000000n }, high),
    'wrong-layout',
    'larger than the address space: expected at most 256 TiB, found 16777216.0 TiB',
    'GNU Mach from sid',
  )
})

t.test('what is accepted though it looks odd, because Xen does', async (t) => {
  t.ok(await pv({ ENTRY: 0x402800n }), 'an entry at the very end')
  t.ok(await pv({ LOADER: 'generic something' }))
  t.ok(await pv({ LOADER: 'grub', GUEST_OS: 'linux-ish' }))
  t.ok(await pv({ XEN_VERSION: 'xen-3.0-anything' }))
  t.ok(await pv({ HYPERCALL_PAGE: 7n, HV_START_LOW: 1n, SUPPORTED_FEATURES: 0xffffffff }))
  t.ok(await pv({}, { machine: 62, class: 32 }), 'the machine decides, not the class')
  t.match(await pv({ PAE_MODE: 'bimodal' }, { machine: 3 }), { abi: 'x86_32p' })
  const odd = Array.from({ length: 2 }, () => ({ paddr: 0x1000, data: new Uint8Array(0x1800) }))
  t.ok(await pv({}, { segments: odd }), 'the same segment twice')
})

t.test('INIT_P2M', async (t) => {
  const initP2m = async (value: bigint, notes: Notes = {}, changes: Partial<ElfSpec> = {}) =>
    (await pv({ INIT_P2M: value, ...notes }, changes)).initP2m
  t.equal(await initP2m(0x3ff000n), 0x3ff000n)
  t.equal(await initP2m(0n), 0n)
  t.equal(await initP2m(0x3ff001n), undefined, 'not page aligned: ignored')
  t.equal(await initP2m(0x400000n), undefined, 'not below VIRT_BASE: ignored')
  t.equal(await initP2m(0x402800n), undefined, 'after the image: ignored')
  t.equal(await initP2m(0x3ff000n, { PAE_MODE: 'yes' }, { class: 32 }), undefined, '32-bit: ignored')
  await refuses(
    t,
    () => initP2m(0x401000n),
    'wrong-layout',
    'INIT_P2M is inside of the image: expected outside of [0x401000, 0x402800), found 0x401000',
  )
  const high = { VIRT_BASE: 0xffffffff80000000n, ENTRY: 0xffffffff80001000n }
  await refuses(
    t,
    () => initP2m(0x0001_ffff_8000_1000n, high),
    'wrong-layout',
    /INIT_P2M is inside of the image/,
    'the same place except for the bits above 48',
  )
})

t.test('refusals', async (t) => {
  const bad = (
    notes: Parameters<typeof pv>[0],
    code: Parameters<typeof refuses>[2],
    text: string | RegExp,
    changes: Partial<ElfSpec> = {},
  ) => refuses(t, () => pv(notes, changes), code, text)
  await refuses(
    t,
    async () => pvKernel(await read({ notes: [] })),
    'not-xen-pv',
    'neither Xen notes nor a __xen_guest section',
  )
  await refuses(
    t,
    async () => pvKernel({ container: 'bzImage', sha256: '', notes: [], unreadableNotes: [] }),
    'not-xen-pv',
    'the bzImage holds no ELF',
  )
  await bad(
    { LOADER: undefined },
    'not-xen-pv',
    "expected LOADER 'generic' or GUEST_OS 'linux', found LOADER none, GUEST_OS none",
  )
  await bad({ LOADER: 'gen\neric', GUEST_OS: 'GNU' }, 'not-xen-pv', "found LOADER 'gen\\x0aeric', GUEST_OS 'GNU'")
  await bad(
    { LOADER: undefined, PHYS32_ENTRY: 0x1000n },
    'not-xen-pv',
    'the kernel is for PVH only: it has PHYS32_ENTRY',
  )
  await bad({ XEN_VERSION: undefined }, 'not-xen-pv', "expected XEN_VERSION 'xen-3.0', found none")
  await bad({ XEN_VERSION: 'xen-2.0' }, 'not-xen-pv', "found 'xen-2.0'")
  await bad({ FEATURES: 'dom0|!time_travel' }, 'unknown-feature', "'!time_travel'")
  await bad({ FEATURES: '!dom0' }, 'unsupported-feature', 'can only run as dom0')
  t.ok(pvKernel(await read({ notes: xenNotes({ ...good, FEATURES: '!dom0' }) }), { dom0: true }))
  await bad({ FEATURES: '!auto_translated_physmap' }, 'unsupported-feature', 'auto-translation')
  await bad({}, 'not-xen-pv', 'expected e_machine 3 or 62, found 40', { machine: 40 })
  await bad(
    {},
    'not-xen-pv',
    "32-bit without PAE, which Xen no longer runs: expected a PAE_MODE of 'yes' or 'bimodal'",
    { class: 32 },
  )
  await bad({ PAE_MODE: 'yes[extended-cr3]' }, 'not-xen-pv', '32-bit without PAE', { class: 32 })
  await refuses(t, () => guest('LOADER=generic,XEN_VER=xen-3.0', { class: 32 }), 'not-xen-pv', 'expected PAE=yes')
  await bad({ VIRT_BASE: undefined }, 'wrong-layout', 'PADDR_OFFSET is given without VIRT_BASE')
  for (const entry of [0x400fffn, 0x402801n, 0n, (1n << 64n) - 1n]) {
    await bad(
      { ENTRY: entry },
      'wrong-layout',
      `the entry is outside of the image: expected [0x401000, 0x402800), found 0x${entry.toString(16)}`,
    )
  }
  await bad(
    { PADDR_OFFSET: 0x2000n, ENTRY: 0x400000n },
    'wrong-layout',
    'the image begins below VIRT_BASE: expected 0x400000, found 0x3ff000',
  )
  await bad({ PADDR_OFFSET: 0x402000n }, 'wrong-layout', 'wraps around the address space')
  await bad(
    {},
    'wrong-layout',
    'the image is empty: expected a segment with a byte in memory, found [0x401000, 0x401000)',
    { segments: [{ paddr: 0x1000, data: new Uint8Array(0) }] },
  )
  await bad({ ENTRY: 0x401010n }, 'wrong-layout', 'the image is not page aligned', {
    segments: [{ paddr: 0x1010, data: new Uint8Array(0x1800) }],
  })
  await bad({ VIRT_BASE: 0x400800n, PADDR_OFFSET: 0x800n }, 'wrong-layout', 'the image is not page aligned')
  await bad({}, 'wrong-layout', 'no segment of the kernel is loadable', { segments: [{ paddr: 0x1000, flags: 0 }] })
  await bad(
    { PAE_MODE: 'yes', VIRT_BASE: 0xfffff000n, ENTRY: 0x100000000n },
    'wrong-layout',
    'above a 32-bit address space',
    { machine: 3 },
  )
  await bad({}, 'truncated', 'section headers reach past the end', { header: { e_shoff: 1 << 20 } })
  const lost = { name: '.note.Xen', type: 7, data: new Uint8Array(0), header: { sh_offset: 1 << 30, sh_size: 1 } }
  await bad({}, 'truncated', 'a section of notes lies outside the file', { notesIn: 'section', sections: [lost] })
  await bad({}, 'truncated', 'a section of notes lies outside the file', {
    notes: [],
    sections: [{ ...lost, name: '__xen_guest', type: 1 }],
  })
  t.ok(await pv({}, { sections: [lost] }), 'and where the notes are in a segment, no section is needed')
  const often = Array.from({ length: 5 }, () => ({ paddr: 0x1000, data: new Uint8Array(0x1800) }))
  await bad({}, 'wrong-layout', 'the segments overlap too much', { segments: often })
})
