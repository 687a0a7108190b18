/**
 * A PVH dom0: where everything lies, and what cannot be one. test/xen/dom0.xen.ts compares it with Xen's.
 *
 * Source: xen/arch/x86/hvm/dom0_build.c.
 * Gotcha: hvm_start_info is the last part, not at the start of a page.
 */
import t from 'tap'
import {
  buildDomain,
  type Domain,
  type PvhBoot,
  type PvhConfig,
  readHvmStartInfo,
  readKernel,
  writeSnapshot,
} from '../../lib/index.js'
import { patternBytes } from '../../lib/testing/index.js'
import { hex, PAGE_SIZE } from '../../lib/units.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const MiB = 2 ** 20
/** A PC's e820: its first range does not end at a page. */
const hostRam = [
  { start: 0, end: 0x9fc00 },
  { start: MiB, end: 0x7ffdf000 },
  { start: 2 ** 32, end: 2 ** 33 },
]

async function build(config: Partial<PvhConfig> = {}, file = pvhKernelFile()): Promise<Domain<PvhBoot>> {
  const whole = { memory: 64 * MiB, dom0: { hostRam }, ...config, type: 'pvh' } as PvhConfig
  return buildDomain(await readKernel(file), whole)
}

const showRegions = ({ regions }: Domain) => regions.map(({ name, pfn, pages }) => `${name} ${hex(pfn)} ${pages}`)

t.test('its memory is the RAM of the host, from the bottom', async (t) => {
  const pages = (64 * MiB) / PAGE_SIZE
  const { memory } = await build()
  t.same(memory.ranges, [
    { start: 0, end: 0x9f },
    { start: 0x100, end: pages + 0x100 - 0x9f },
  ])
  t.equal(memory.pageCount, pages)
  const large = await build({ memory: 0x80000000 })
  t.same(large.memory.ranges.at(-1), { start: 0x100000, end: 0x100000 + 0x80000 - 0x9f - (0x7ffdf - 0x100) })
  const unsorted = [...hostRam].reverse()
  t.same((await build({ dom0: { hostRam: unsorted } })).memory.ranges, memory.ranges)
})

t.test('ramdisk, its text, the command line, the list and hvm_start_info', async (t) => {
  const ramdisk = patternBytes(PAGE_SIZE + 3)
  for (const [elfClass, at] of [
    [64, 8 + 32],
    [32, 4 + 32],
  ] as const) {
    const domain = await build(
      { cmdline: 'abc', ramdisk: [{ bytes: ramdisk, cmdline: 'its text' }], vcpus: 2 },
      pvhKernelFile({ class: elfClass, paddr: 0x200000 }),
    )
    t.same(showRegions(domain), ['kernel 0x200 3', 'ramdisk 0x203 2', 'start_info 0x205 1'])
    const found = readHvmStartInfo(domain)
    t.equal(found.paddr, 0x205000 + at)
    t.match(found, { cmdline: 'abc', memmap: [], modules: [{ paddr: 0x203000n, size: 4099n, cmdline: 'its text' }] })
    t.match(found.fields, { version: 0, flags: 3, rsdp_paddr: 0n })
    t.equal(domain.vcpus[0]?.registers.rbx, BigInt(found.paddr))
    t.same(domain.memory.read(0x203000, ramdisk.length), ramdisk)
  }
})

t.test('without a ramdisk or a command line, hvm_start_info follows an empty text', async (t) => {
  const domain = await build({}, pvhKernelFile({ paddr: 0x200000 }))
  t.match(readHvmStartInfo(domain), { paddr: 0x203008, cmdline: '', modules: [], fields: { cmdline_paddr: 0x203000n } })
})

t.test('the larger part of the RAM around the kernel', async (t) => {
  const before = await build({}, pvhKernelFile({ paddr: 0x3000000 }))
  t.same(showRegions(before), ['kernel 0x3000 3', 'start_info 0x100 1'])
  const beyond = await build(
    { ramdisk: patternBytes(2 * MiB), dom0: { hostRam: [{ start: 0, end: 3 * MiB }, ...hostRam.slice(1)] } },
    pvhKernelFile({ paddr: 0x180000 }),
  ).catch((error: unknown) => error)
  t.match(beyond, { code: 'overlap' }, 'two ranges of the host share an address')
  const gap = [
    { start: 0, end: 3 * MiB },
    { start: 4 * MiB, end: 80 * MiB },
  ]
  const next = await build(
    { ramdisk: patternBytes(2 * MiB), dom0: { hostRam: gap } },
    pvhKernelFile({ paddr: 0x180000 }),
  )
  t.same(showRegions(next), ['kernel 0x180 3', 'ramdisk 0x400 513', 'start_info 0x601 1'], 'its text needs a page')
})

t.test('a kernel outside the RAM of the host moves to the top, if its PHYS32_RELOC allows', async (t) => {
  const paddr = 0x80000000
  await t.rejects(build({}, pvhKernelFile({ paddr })), { code: 'memory-too-small' })
  const moved = await build({}, pvhKernelFile({ paddr, notes: { PHYS32_RELOC: [0x200000, 0, 0x2ffffff] } }))
  t.same(showRegions(moved), ['kernel 0x2e00 3', 'start_info 0x100 1'])
  t.equal(moved.vcpus[0]?.registers.rip, BigInt(0x2e00000 + 0x850))
})

t.test('what cannot be a dom0', async (t) => {
  await t.rejects(build({ memory: 2 ** 34 }), { code: 'does-not-fit', message: /larger than hostRam/ })
  const overlapping = [...hostRam, { start: 0x9e000, end: 0xa0000 }]
  await t.rejects(build({ dom0: { hostRam: overlapping } }), { code: 'overlap' })
  const small = [{ start: MiB, end: 2 * MiB }]
  await t.rejects(
    build({ memory: MiB, dom0: { hostRam: small }, ramdisk: patternBytes(MiB) }, pvhKernelFile({ paddr: MiB })),
    { code: 'does-not-fit', message: /no room for its ramdisk and start_info/ },
  )
  const two = [patternBytes(1), patternBytes(1)]
  await t.rejects(build({ ramdisk: two }), { code: 'bad-config', message: /a dom0 has one ramdisk/ })
  const pv = await readKernel(pvKernelFile())
  t.throws(() => buildDomain(pv, { type: 'pv', memory: 64 * MiB, dom0: {}, ramdisk: two }), { code: 'bad-config' })
})

t.test('a kernel that can only be dom0 can be it', async (t) => {
  const file = pvhKernelFile({ notes: { FEATURES: '!dom0' } })
  t.ok(await build({}, file))
  const domU = { type: 'pvh', memory: 64 * MiB } as const
  const kernel = await readKernel(file)
  t.throws(() => buildDomain(kernel, domU), { code: 'unsupported-feature' })
})

t.test('formats that start a guest elsewhere refuse a dom0', async (t) => {
  const domain = await build()
  t.throws(() => writeSnapshot(domain, 'xl'), { code: 'bad-config', message: /found a dom0/ })
  t.throws(() => writeSnapshot(domain, 'qemu'), { code: 'does-not-fit', message: /found a dom0/ })
  for (const format of ['raw', 'xen-core', 'elf-core'] as const) t.ok(writeSnapshot(domain, format), format)
})
