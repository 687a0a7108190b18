/** The facts that a setup header, or a vmlinux, gives to a Linux loader. */
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { ET_CORE, ET_DYN } from '../../lib/abi/elf.js'
import { type Kernel, readKernel } from '../../lib/kernel/kernel.js'
import { linuxKernel as linuxKernelOf } from '../../lib/kernel/linux-kernel.js'
import {
  type BzImageSpec,
  buildBzImage,
  buildElf,
  type ElfSpec,
  patternBytes,
  xenNotes,
} from '../../lib/testing/index.js'
import { refuses } from './refusal.js'

const spec: ElfSpec = { class: 64, entry: 0x1000010, segments: [{ paddr: 0x1000000, data: patternBytes(5000) }] }
const linuxKernel = (kernel: Kernel) => linuxKernelOf(kernel, { byName: true })
const noPayload = { payload_length: 0, payload_offset: 0 }
const image = async (changes: Partial<BzImageSpec> = {}) =>
  linuxKernel(
    await readKernel(
      buildBzImage({ payload: patternBytes(0x400), ...changes, header: { ...noPayload, ...changes.header } }),
    ),
  ).image
const vmlinux = async (changes: Partial<ElfSpec> = {}) =>
  linuxKernel(await readKernel(buildElf({ ...spec, ...changes }))).vmlinux

t.test('a bzImage of today', async (t) => {
  const bytes = buildBzImage({
    payload: gzipSync(buildElf({ ...spec, trailing: new Uint8Array(Int32Array.of(0, 1, 0, 2).buffer) })),
  })
  const kernel = linuxKernel(await readKernel(bytes))
  t.match(kernel.image, {
    entries: [64, 32, 16],
    address: 0x1000000,
    runsAt: 0x1000000,
    reloc: { align: 0x200000, minAlign: 0x200000, above4G: false },
    cmdlineSize: 2047,
    initrdAddrMax: 0x7fffffff,
  })
  t.equal(kernel.image?.setup.length, 0x800)
  t.equal(kernel.image?.code.length, bytes.length - 0x800)
  t.match(kernel.vmlinux, {
    entryMode: 64,
    entry: 0x1000010,
    image: { start: 0x1000000, end: 0x1001388 },
    anywhere: false,
    foreign: undefined,
  })
  t.same([...(kernel.vmlinux?.relocs?.add64 ?? [])], [1])
})

t.test('older protocols: what they lack has its old meaning', async (t) => {
  t.match(await image({ protocol: 0x20b }), { entries: [32, 16] }, 'no xloadflags, no 64-bit entry')
  t.match(await image({ protocol: 0x209 }), {
    address: 0x100000,
    runsAt: 0x100000,
    reloc: { align: 0x200000, minAlign: 0x200000 },
    initSize: undefined,
  })
  t.match(await image({ protocol: 0x205 }), { cmdlineSize: 255, reloc: { align: 0x200000 } })
  t.match(await image({ protocol: 0x204 }), { reloc: undefined, address: 0x100000, initrdAddrMax: 0x7fffffff })
  t.match(await image({ protocol: 0x202 }), { initrdAddrMax: 0x37ffffff })
  t.match(await image({ protocol: 0x200 }), { entries: [32, 16], cmdlineSize: 255 })
})

t.test('claims, one by one', async (t) => {
  t.match(await image({ header: { code32_start: 0 } }), { entries: [64, 16] })
  t.match(await image({ header: { xloadflags: 0, code32_start: 0 } }), { entries: [16] }, 'iPXE')
  t.match(
    await image({ payload: patternBytes(0x100) }),
    { entries: [32, 16] },
    'no code where the 64-bit entry would be',
  )
  t.match(await image({ header: { xloadflags: 3 } }), { reloc: { above4G: true } })
  t.match(await image({ header: { min_alignment: 13 } }), { reloc: { minAlign: 0x2000 } })
  t.match(await image({ header: { min_alignment: 255 } }), { reloc: { minAlign: 0x200000 } })
  t.match(
    await image({ header: { relocatable_kernel: 0 } }),
    { reloc: undefined, address: 0x100000, runsAt: 0x1000000 },
    'it moves itself to where it prefers to be',
  )
  t.match(await image({ header: { pref_address: 0n } }), { address: 0x100000, runsAt: 0x100000 })
  for (const kernel_alignment of [0, 3]) {
    await refuses(
      t,
      () => image({ header: { kernel_alignment } }),
      'bad-bzimage',
      `expected kernel_alignment a power of two, found 0x${kernel_alignment}`,
    )
    t.ok(await image({ header: { kernel_alignment, relocatable_kernel: 0 } }))
  }
  await refuses(t, () => image({ header: { pref_address: 1n << 63n } }), 'bad-bzimage', 'pref_address is too large')
})

t.test('a vmlinux', async (t) => {
  t.match(await vmlinux(), { entryMode: 64, entry: 0x1000010, anywhere: false, relocs: undefined })
  t.match(await vmlinux(), { foreign: 'no note or section of Linux' })
  t.match(await vmlinux({ type: ET_DYN }), { anywhere: true })
  t.match(await vmlinux({ class: 32 }), { entryMode: 32 })
  t.match(await vmlinux({ notes: [{ owner: 'Linux', type: 0x100, desc: 1 }] }), { foreign: undefined })
  t.match(await vmlinux({ notes: xenNotes({ GUEST_OS: 'linux' }) }), { foreign: undefined })
  t.match(await vmlinux({ notes: xenNotes({ GUEST_OS: 'NetBSD' }) }), { foreign: "GUEST_OS 'NetBSD'" }, 'by name')
  const other = await readKernel(buildElf({ ...spec, notes: xenNotes({ GUEST_OS: 'NetBSD' }) }))
  await refuses(
    t,
    () => linuxKernelOf(other, { byName: false }),
    'not-linux',
    "does not say that it is Linux: expected a sign of Linux, or type linux by name, found GUEST_OS 'NetBSD'",
  )
  await refuses(t, () => vmlinux({ machine: 40 }), 'not-linux', 'found 40')
  await refuses(
    t,
    () => linuxKernel({ container: 'elf', sha256: '', notes: [], unreadableNotes: [] }),
    'not-linux',
    'the file holds neither a setup header nor an ELF',
  )
  await refuses(t, () => vmlinux({ type: ET_CORE }), 'not-linux', 'the ELF is not an executable')
  for (const entry of [0xffffff, 0x1001388, 0xffffffff81000000n]) {
    await refuses(
      t,
      () => vmlinux({ entry }),
      'wrong-layout',
      'e_entry is not a physical address within a segment: expected [0x1000000, 0x1001388)',
    )
  }
  await refuses(
    t,
    () => vmlinux({ segments: [{ paddr: 0, flags: 0 }] }),
    'wrong-layout',
    'no segment of the kernel is loadable',
  )
})

t.test('an image boots by its own code, with any ELF', async (t) => {
  const payload = buildElf({ ...spec, entry: 0 })
  const kernel = linuxKernel(await readKernel(buildBzImage({ payload, trailing: patternBytes(0x400) })))
  t.same(kernel.image?.entries, [64, 32, 16])
  t.equal(kernel.vmlinux, undefined)
  const trailing = buildElf({ ...spec, trailing: patternBytes(6) })
  t.match(
    linuxKernel(await readKernel(buildBzImage({ payload: trailing }))).vmlinux,
    { relocs: undefined },
    'what follows the ELF need not be a table',
  )
})
