/**
 * The PVH boot convention as a guest sees it: this reads only memory that a guest finds through %ebx.
 *
 * Source: docs/misc/pvh.pandoc; xen/include/public/arch-x86/hvm/start_info.h, whose offsets are written out here.
 * Gotcha: code shared with the writer would hide its errors, so readers here share none.
 */
import fc from 'fast-check'
import t from 'tap'
import {
  buildDomain,
  type Domain,
  domainText,
  type Kernel,
  type PvhBoot,
  type PvhConfig,
  readAcpi,
  readHvmStartInfo,
  readKernel,
  translate,
} from '../../lib/index.js'
import { PAGE_SIZE } from '../../lib/units.js'
import { pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const [MiB, GiB, TiB] = [2 ** 20, 2 ** 30, 2 ** 40]

async function build(config: Partial<PvhConfig> = {}, file = pvhKernelFile()): Promise<Domain<PvhBoot>> {
  return buildDomain(await readKernel(file), { memory: 64 * MiB, ...config, type: 'pvh' })
}

/** Reads hvm_start_info by the offsets that its header documents. */
function follow(domain: Domain) {
  const { memory } = domain
  const at = Number(domain.vcpus[0]?.registers.rbx ?? 0n)
  const view = (paddr: number, length: number) => new DataView(memory.read(paddr, length).buffer)
  const info = view(at, 40)
  const u32 = (offset: number) => info.getUint32(offset, true)
  const u64 = (offset: number) => Number(info.getBigUint64(offset, true))
  const text = (paddr: number) => {
    if (paddr === 0) return undefined
    const bytes = memory.read(paddr, 200)
    return Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString()
  }
  const modules = Array.from({ length: u32(12) }, (_, i) => {
    const entry = view(u64(16) + 32 * i, 32)
    const [paddr, size, cmdline] = [0, 8, 16].map((offset) => Number(entry.getBigUint64(offset, true)))
    return { paddr: paddr ?? 0, size: size ?? 0, cmdline: text(cmdline ?? 0) }
  })
  const tail = u32(4) === 0 ? undefined : view(at, 56)
  const memmap = Array.from({ length: tail?.getUint32(48, true) ?? 0 }, (_, i) => {
    const entry = view(Number(tail?.getBigUint64(40, true)) + 24 * i, 24)
    const [addr = 0, size = 0] = [0, 8].map((offset) => Number(entry.getBigUint64(offset, true)))
    return [addr, addr + size, entry.getUint32(16, true)] as const
  })
  return { magic: u32(0), version: u32(4), flags: u32(8), cmdline: text(u64(24)), rsdp: u64(32), modules, memmap }
}

t.test('the machine state is that of pvh.pandoc', async (t) => {
  for (const platform of ['xen', 'pc'] as const) {
    const { vcpus, boot, abi, type } = await build({ platform, vcpus: 3 })
    const [vcpu, ...others] = vcpus
    if (!vcpu) return t.fail('no vcpu')
    t.same([type, abi], ['pvh', 'x86_32'])
    t.equal(vcpu.registers.rip, 0x1000850n)
    t.equal(vcpu.registers.rbx, BigInt(boot.hvmStartInfo ?? -1))
    t.equal(vcpu.cr0, 0x11n, 'PE, and ET, which no processor clears')
    t.equal(vcpu.cr4, 0n)
    t.equal(vcpu.registers.rflags & 0x20300n, 0n, 'VM, IF and TF are clear')
    t.same(vcpu.segments.cs.descriptor, { base: 0n, limit: 0xffffffff, attributes: 0xc9b })
    for (const name of ['ds', 'es', 'ss'] as const)
      t.same(vcpu.segments[name].descriptor, { base: 0n, limit: 0xffffffff, attributes: 0xc93 })
    t.same(vcpu.tr?.descriptor, { base: 0n, limit: 0x67, attributes: 0x8b })
    t.same(
      others.map(({ online, id }) => [id, online]),
      [
        [1, false],
        [2, false],
      ],
    )
  }
})

t.test('what %ebx points to leads to everything else', async (t) => {
  for (const platform of ['xen', 'pc'] as const) {
    const ramdisk = [pattern(5000, 9), { bytes: pattern(4096, 2), cmdline: 'second é' }, pattern(1), pattern(8192, 3)]
    const five = [...ramdisk, { bytes: pattern(777, 4), cmdline: 'last' }]
    const domain = await build({ platform, ramdisk: five, cmdline: 'console=hvc0' })
    const found = follow(domain)
    t.same([found.magic, found.version, found.flags], [0x336ec578, 1, 0])
    t.equal(found.cmdline, 'console=hvc0')
    t.same(
      found.modules.map(({ cmdline }) => cmdline),
      [undefined, 'second é', undefined, undefined, 'last'],
    )
    five.forEach((module, i) => {
      const bytes = module instanceof Uint8Array ? module : module.bytes
      const at = found.modules[i]
      t.same(domain.memory.read(at?.paddr ?? 0, at?.size ?? 0), bytes, `module ${i}`)
      t.equal((at?.paddr ?? 1) % PAGE_SIZE, 0)
    })
    const kernel = domain.memory.read(0x1000000, 3 * PAGE_SIZE)
    t.same(kernel.subarray(0, 2 * PAGE_SIZE + 100), Buffer.concat([pattern(2 * PAGE_SIZE), pattern(100, 5)]))
    t.ok(kernel.subarray(2 * PAGE_SIZE + 100).every((byte) => byte === 0))
    t.equal(translate(domain, 0x1000850n)?.paddr, 0x1000850, 'paging is off')
    t.ok(readAcpi(domain.memory, found.rsdp).every(({ checksumOk }) => checksumOk))
    const text = domainText(domain).join('\n')
    for (const shown of ['0x336ec578', '"console=hvc0"', '"second é"', 'acpi', 'paging is off']) t.match(text, shown)
    t.same(
      await build({ platform })
        .then(follow)
        .then(({ cmdline, modules }) => [cmdline, modules]),
      [undefined, []],
    )
  }
})

t.test('memory map, tables and five modules, for memory of every size', async (t) => {
  const five = [1, 2, 3, 4, 5].map((i) => ({ bytes: pattern(i * 3000, i), cmdline: `module ${i}` }))
  const [ram, reserved, acpi] = [1, 2, 3]
  const xenHole = (pages: number) => [
    [0xfc001000, 0xfc001000 + pages * PAGE_SIZE, acpi],
    [0xfeff8000, 0xff000000, reserved],
  ]
  for (const [memory, low, end] of [
    [64 * MiB, 64 * MiB, 0],
    [3 * GiB, 3 * GiB, 0],
    [5 * GiB, 0xfc000000, 9 * GiB - 0xfc000000],
    [1 * TiB, 0xfc000000, TiB + 4 * GiB - 0xfc000000],
  ] as const) {
    for (const [vcpus, pages] of [
      [1, 2],
      [2, 2],
      [128, 2],
    ] as const) {
      const domain = await build({ memory, vcpus, ramdisk: five })
      const high = end ? [[4 * GiB, end, ram]] : []
      const { memmap, modules, rsdp } = follow(domain)
      t.same(memmap, [[0, low, ram], ...xenHole(pages), ...high])
      t.same(
        modules.map(({ paddr, size, cmdline }) => ({ bytes: domain.memory.read(paddr, size), cmdline })),
        five,
      )
      const tables = readAcpi(domain.memory, rsdp)
      t.same(tables.map(({ signature }) => signature.trim()).sort(), [
        'APIC',
        'DSDT',
        'FACP',
        'FACS',
        'RSD PTR',
        'XSDT',
      ])
      t.ok(tables.every(({ checksumOk }) => checksumOk))
      t.equal(localApics(tables.find(({ signature }) => signature === 'APIC')?.bytes), vcpus)
      t.equal(domain.memory.pageCount * PAGE_SIZE, memory + (pages + 8) * PAGE_SIZE, 'and its special pages')
    }
    const found = follow(await build({ memory, platform: 'pc' }))
    const tables = Math.floor(found.rsdp / PAGE_SIZE) * PAGE_SIZE
    const pcLow = Math.min(memory, 0xc0000000)
    t.same(found.memmap, [
      [0, 0xa0000, ram],
      [0x100000, tables, ram],
      [tables, tables + PAGE_SIZE, acpi],
      [tables + PAGE_SIZE, pcLow, ram],
      ...(memory > pcLow ? [[4 * GiB, 4 * GiB + memory - pcLow, ram]] : []),
    ])
  }
  await t.rejects(build({ memory: 2 ** 52 }), { code: 'bad-config', message: /the memory is too large/ })
})

t.test('nothing that is made grows with memory', async (t) => {
  const made = async (memory: number) => {
    const domain = await build({ memory, vcpus: 2 })
    return [...domain.memory.chunks()].reduce((sum, { bytes }) => sum + bytes.length, 0)
  }
  // One more entry of the memory map, in an existing page.
  const least = await made(64 * MiB)
  t.ok(least > PAGE_SIZE, `${least} bytes`)
  t.equal((await made(3 * GiB)) - least, 0)
  for (const memory of [5 * GiB, TiB]) t.equal((await made(memory)) - least, 24)
})

t.test("Xen's special pages and parameters", async (t) => {
  const domain = await build()
  const byIndex = Object.fromEntries(domain.boot.hvmParams.map(({ index, value }) => [index, value]))
  t.same(byIndex, {
    1: 0xfeffcn,
    5: 0xfeffdn,
    6: 0xfeffbn,
    12: 0xfeffe000n,
    17: 0xfefffn,
    27: 0xfeff8n,
    28: 0xfeff9n,
    29: 0xfeffan,
  })
  const ident = new Uint32Array(domain.memory.read(0xfeffe000, PAGE_SIZE).buffer)
  t.same([ident[0], ident[1], ident[1023]], [0xe7, 0x4000e7, 0xffc000e7])
  t.same((await build({ platform: 'pc' })).boot.hvmParams, [])
})

t.test('version 0 ends before the memory map', async (t) => {
  const domain = await build({ startInfoVersion: 0, cmdline: 'x', ramdisk: pattern(9) })
  const found = follow(domain)
  t.same([found.version, found.cmdline, found.memmap, found.modules.length], [0, 'x', [], 1])
  t.equal(
    domain.memory.read((domain.boot.hvmStartInfo ?? 0) + 40, 1)[0],
    'x'.charCodeAt(0),
    'the command line follows 40 bytes',
  )
  t.equal(readHvmStartInfo(domain).fields.memmap_entries, 0)
})

t.test('without ACPI there is no RSDP', async (t) => {
  const domain = await build({ acpi: 'none' })
  t.equal(follow(domain).rsdp, 0)
  t.notOk(domain.regions.some(({ name }) => name === 'acpi'))
  t.equal(follow(domain).memmap.length, 2)
})

t.test('PHYS32_RELOC: alignment, lowest and highest address', async (t) => {
  const file = (...reloc: number[]) => pvhKernelFile({ notes: { PHYS32_RELOC: reloc } })
  const at = async (config: Partial<PvhConfig>, kernel: Uint8Array) => {
    const domain = await build(config, kernel)
    const start = (domain.regions[0]?.pfn ?? 0) * PAGE_SIZE
    t.equal(domain.vcpus[0]?.registers.rip, BigInt(start + 0x850), 'the entry moves along')
    t.same(domain.memory.read(start, 100), pattern(100))
    return start
  }
  t.equal(await at({}, file(0x200000)), 0x1000000, 'where it is linked, if it can be')
  t.equal(await at({ memory: 8 * MiB }, file(0x200000)), 0x200000, 'else the lowest multiple')
  t.equal(await at({ memory: 8 * MiB }, file(0x200000, 0x500000)), 0x600000)
  const reserve = [{ start: 0x1001000, end: 0x1002000 }]
  t.equal(await at({ reserve }, file(0x400000, 0x1000000)), 0x1400000, 'around what is reserved')
  t.equal(await at({ loadAddress: 0x2200000 }, file(0x200000)), 0x2200000)
  t.equal(await at({ loadAddress: 0x1000000 }, pvhKernelFile()), 0x1000000, 'the link address needs no note')
  const refused = async (config: Partial<PvhConfig>, kernel: Uint8Array, code: string, message: RegExp) =>
    t.rejects(build(config, kernel), { code, message })
  await refused(
    { loadAddress: 0x2000000 },
    pvhKernelFile(),
    'does-not-fit',
    /0x1000000, since the kernel has no PHYS32_RELOC/,
  )
  await refused({ loadAddress: 0x2100000 }, file(0x200000), 'does-not-fit', /a multiple of 0x200000/)
  await refused({ loadAddress: 0x400000 }, file(0x200000, 0x800000), 'does-not-fit', /within \[0x800000, 0x100000000\)/)
  const short = file(0x1000, 0, 0x2002ffe)
  await refused({ loadAddress: 0x2000000 }, short, 'does-not-fit', /within \[0x0, 0x2002fff\), by the PHYS32_RELOC/)
  t.equal(await at({ loadAddress: 0x2000000 }, file(0x1000, 0, 0x2002fff)), 0x2000000, 'the last byte may be used')
  await refused({ memory: 8 * MiB }, file(0x200000, 0x800000), 'memory-too-small', /room for its kernel/)
  await refused({ memory: 8 * MiB }, pvhKernelFile(), 'memory-too-small', /room for its kernel/)
})

t.test('hvm_start_info lies where the kernel can read it', async (t) => {
  const at = async (config: Partial<PvhConfig>, MOD_START_PFN = 0) =>
    (await build({ ramdisk: pattern(5000), ...config }, pvhKernelFile({ notes: { MOD_START_PFN } }))).boot.hvmStartInfo
  t.equal(await at({}), 0x1005000, "after the modules, as Xen's builder has it")
  t.equal(await at({}, 1), 0x1003000, 'before them, where the kernel says MOD_START_PFN')
  t.equal(await at({ platform: 'pc' }), 0x1000, 'where every VMM has it')
  const reserve = [{ start: 0, end: 0xa0000 }]
  t.equal(await at({ platform: 'pc', reserve }), 0x1006000, 'unless there is no room')
})

t.test('refusals name what was wanted and what there is', async (t) => {
  await t.rejects(build({ ramdisk: new Uint8Array(63 * MiB) }), {
    code: 'does-not-fit',
    message: /room for its ramdisk/,
  })
  await t.rejects(build({ reserve: [{ start: 0x1002000, end: 0x1003000 }] }), { code: 'overlap' })
  await t.rejects(build({ platform: 'pc' }, pvhKernelFile({ paddr: 0x9f000 })), { code: 'does-not-fit' })
  t.ok(await build({}, pvhKernelFile({ paddr: 0x9f000 })), 'on Xen there is memory there')
  await t.rejects(build({}, pvKernelFile()), { code: 'not-pvh' })
  for (const wrong of [{ platform: 'vax' }, { acpi: 'yes' }, { startInfoVersion: 2 }, { loadAddress: 2 ** 32 }])
    await t.rejects(build(wrong as Partial<PvhConfig>), { code: 'bad-config' })
  const pv = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 32 * MiB })
  t.throws(() => readHvmStartInfo(pv), { code: 'bad-config', message: /expected pvh, found pv/ })
})

t.test('auto takes PVH where a kernel is no PV kernel', async (t) => {
  const auto = async (file: Uint8Array) => buildDomain(await readKernel(file), { memory: 32 * MiB }).type
  t.equal(await auto(pvhKernelFile()), 'pvh')
  t.equal(await auto(pvKernelFile()), 'pv')
  t.equal(await auto(pvKernelFile({ notes: { PHYS32_ENTRY: 0x100000 } })), 'pv', 'the better of two')
})

t.test('the guest is whole for any configuration', async () => {
  const kernels = await Promise.all(
    [
      pvhKernelFile(),
      pvhKernelFile({ class: 32, paddr: 0x100000 }),
      pvhKernelFile({ notes: { PHYS32_RELOC: [0x1000] } }),
    ].map((file) => readKernel(file)),
  )
  const config = fc.record({
    memory: fc.integer({ min: 0x1400, max: 2 ** 28 }).map((pages) => pages * PAGE_SIZE),
    vcpus: fc.integer({ min: 1, max: 128 }),
    platform: fc.constantFrom('xen' as const, 'pc' as const),
    acpi: fc.constantFrom('xen' as const, 'pc' as const, 'reduced' as const, 'none' as const),
    startInfoVersion: fc.constantFrom(0 as const, 1 as const),
    cmdline: fc.string().filter((text) => !text.includes('\0')),
    ramdisk: fc.array(fc.integer({ min: 1, max: 3 * PAGE_SIZE }).map((length) => pattern(length, length))),
    reserve: fc
      .array(fc.integer({ min: 0x1100, max: 0x1300 }), { maxLength: 3 })
      .map((pfns) => [...new Set(pfns)].map((pfn) => ({ start: pfn * PAGE_SIZE, end: (pfn + 1) * PAGE_SIZE }))),
  })
  fc.assert(
    fc.property(fc.nat(kernels.length - 1), config, (which, asked) => {
      const kernel = kernels[which] as Kernel
      const domain = buildDomain(kernel, { ...asked, type: 'pvh' })
      const { modules, memmap, cmdline = '', rsdp } = follow(domain)
      const regions = [...domain.regions].sort((a, b) => a.pfn - b.pfn)
      regions.forEach(({ pfn, pages, name }, i) => {
        const next = regions[i + 1]
        if (next && pfn + pages > next.pfn) throw new Error(`${name} lies over ${next.name}`)
        if (pfn < 1 || (pfn + pages) * PAGE_SIZE > 4 * GiB) throw new Error(`${name} is out of reach`)
        const taken = asked.reserve.find(({ start, end }) => start < (pfn + pages) * PAGE_SIZE && end > pfn * PAGE_SIZE)
        if (taken) throw new Error(`${name} lies in a reserved range`)
      })
      memmap.forEach(([start, end], i) => {
        const next = memmap[i + 1]
        if (start >= end || (next && end > next[0])) throw new Error('the memory map is not sorted')
      })
      modules.forEach(({ paddr, size }, i) => {
        if (Buffer.compare(domain.memory.read(paddr, size), asked.ramdisk[i] ?? pattern(0)) !== 0)
          throw new Error(`module ${i} is not what was given`)
      })
      if (cmdline !== Buffer.from(asked.cmdline).toString()) throw new Error('the command line is not what was given')
      if (asked.startInfoVersion === 1) {
        const told = memmap.filter(([, , type]) => type !== 2).reduce((sum, [start, end]) => sum + end - start, 0)
        const extra = asked.platform === 'xen' && asked.acpi !== 'none' ? acpiPages(domain) * PAGE_SIZE : 0
        const hidden = asked.reserve.length * PAGE_SIZE + (asked.platform === 'pc' ? 0x60000 : 0)
        if (told !== asked.memory + extra - hidden) throw new Error(`${told} bytes of ${asked.memory} are in the map`)
      }
      if (asked.acpi === 'none') return
      const tables = readAcpi(domain.memory, rsdp)
      if (tables.some(({ checksumOk }) => !checksumOk)) throw new Error('a checksum is wrong')
      if (localApics(tables.find(({ signature }) => signature === 'APIC')?.bytes) !== asked.vcpus)
        throw new Error('the MADT has not the vcpus')
    }),
    { numRuns: 150 },
  )
})

const acpiPages = (domain: Domain): number => domain.regions.find(({ name }) => name === 'acpi')?.pages ?? 0

/** Counts entries of type 0 with different ids, walking them by their lengths. */
function localApics(madt: Uint8Array = new Uint8Array(0)): number {
  const ids = new Set<number>()
  for (let at = 44; at < madt.length; at += madt[at + 1] || 1) if (madt[at] === 0) ids.add(madt[at + 3] ?? 0)
  return ids.size
}
