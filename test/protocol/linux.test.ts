/**
 * The Linux entries as in boot.rst: the content of boot_params, the layout, and the refusals.
 *
 * Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst.
 * Gotcha: the builder's own records could repeat its errors, so this reads guest memory, through registers and page
 * tables.
 */
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { BootParams, CAN_USE_HEAP, E820_TYPE, KEEP_SEGMENTS, SetupData } from '../../lib/abi/boot-params.js'
import { readCommandLine } from '../../lib/guest/boot-params.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  DomainBuilderError,
  type ErrorCode,
  type LinuxBoot,
  type LinuxConfig,
  readBootParams,
  readKernel,
  readStartInfo,
  readVirtual,
  translate,
  walkPageTables,
} from '../../lib/index.js'
import { type BzImageSpec, buildBzImage, buildElf, patternBytes } from '../../lib/testing/index.js'
import { PAGE_SIZE } from '../../lib/units.js'
import { openPair, sidecarOf } from '../fixtures/snapshots.js'

const MiB = 2 ** 20
const GiB = 2 ** 30
const INIT_SIZE = 8 * MiB

const image = (spec: Partial<BzImageSpec> = {}): Uint8Array =>
  buildBzImage({
    payload: patternBytes(3 * PAGE_SIZE),
    trailing: patternBytes(PAGE_SIZE, 2),
    ...spec,
    header: { init_size: INIT_SIZE, payload_length: 0, ...spec.header },
  })

async function build(config: Partial<LinuxConfig> = {}, file = image()): Promise<Domain<LinuxBoot>> {
  return buildDomain(await readKernel(file), { memory: 128 * MiB, ...config, type: 'linux' })
}

async function refused(t: Test, code: ErrorCode, pattern: RegExp, config: Partial<LinuxConfig>, file = image()) {
  try {
    await build(config, file)
    t.fail(`not refused: ${pattern}`)
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    t.equal(error.code, code, error.message)
    t.match(error.message, pattern)
  }
}

const header = (domain: Domain) => readBootParams(domain).hdr
const region = (domain: Domain, name: string) => domain.regions.find((r) => r.name === name)
const bytesAt = (domain: Domain, paddr: number, length: number) => domain.memory.read(paddr, length)

t.test('the 32-bit entry is what boot.rst says', async (t) => {
  const ramdisk = patternBytes(5000, 3)
  const domain = await build({ entry: 32, cmdline: 'quiet', ramdisk })
  const [vcpu] = domain.vcpus
  t.equal(domain.abi, 'x86_32')
  t.equal(vcpu?.registers.rip, 0x1000000n, 'the load address')
  t.equal(vcpu?.registers.rsi, BigInt(domain.boot.bootParams))
  for (const name of ['rbx', 'rbp', 'rdi', 'rax'] as const) t.equal(vcpu?.registers[name], 0n, name)
  t.equal(vcpu?.registers.rflags, 2n, 'interrupts are off')
  t.equal(vcpu?.cr0, 0x11n, 'protected mode without paging')
  t.equal(vcpu?.cr4, 0n)
  t.equal(vcpu?.efer, 0n)
  t.same(vcpu?.segments.cs, { selector: 0x10, descriptor: { base: 0n, limit: 0xffffffff, attributes: 0xc9b } })
  for (const name of ['ds', 'es', 'ss'] as const) {
    t.same(vcpu?.segments[name], { selector: 0x18, descriptor: { base: 0n, limit: 0xffffffff, attributes: 0xc93 } })
  }
  const gdt = bytesAt(domain, Number(vcpu?.gdtr?.base), 32)
  t.equal(vcpu?.gdtr?.limit, 31)
  // The descriptor bytes of every flat-model boot loader.
  t.equal(Buffer.from(gdt).toString('hex', 16), 'ffff0000009bcf00ffff00000093cf00')

  const params = readBootParams(domain)
  t.equal(params.sentinel, 0)
  t.equal(params.hdr.type_of_loader, 0xff)
  t.equal(params.hdr.loadflags, 1 | CAN_USE_HEAP)
  t.equal(params.hdr.heap_end_ptr, 0xde00)
  t.equal(params.hdr.code32_start, 0x1000000)
  t.equal(readCommandLine(domain), 'quiet')
  t.equal(params.hdr.ramdisk_size, 5000)
  t.same(bytesAt(domain, params.hdr.ramdisk_image, 5000), ramdisk)
  t.equal(params.hdr.ramdisk_image, 128 * MiB - 2 * PAGE_SIZE, 'as high as there is memory')
  t.equal(params.ext_ramdisk_image, 0)
  t.same(bytesAt(domain, 0x1000000 + 0x40, 3 * PAGE_SIZE), patternBytes(3 * PAGE_SIZE), 'the protected-mode code')
  t.same(params.e820_table.slice(0, params.e820_entries), [
    { addr: 0n, size: 0xa0000n, type: E820_TYPE.RAM },
    { addr: 0x100000n, size: BigInt(127 * MiB), type: E820_TYPE.RAM },
  ])
  t.equal(translate(domain, 0x1234n)?.paddr, 0x1234, 'an address is itself')
  t.equal(translate(domain, 0xa0000n), undefined, 'there is no memory in the hole')
  t.same([...walkPageTables(domain)], [])
})

t.test('the 64-bit entry finds everything at its own address', async (t) => {
  const ramdisk = patternBytes(5000, 3)
  for (const memory of [64 * MiB, 6 * GiB]) {
    const domain = await build({ cmdline: 'quiet', ramdisk, memory })
    const [vcpu] = domain.vcpus
    t.equal(domain.abi, 'x86_64')
    t.equal(vcpu?.registers.rip, 0x1000200n, 'load address + 0x200')
    t.equal(vcpu?.cr0, 0x80000011n)
    t.equal(vcpu?.cr4, 0x20n)
    t.equal(vcpu?.efer, 0x500n)
    t.equal(vcpu?.segments.cs.descriptor?.attributes, 0xa9b)
    const rsi = vcpu?.registers.rsi ?? 0n
    const params = BootParams.decode(readVirtual(domain, rsi, BootParams.size))
    t.equal(Buffer.from(readVirtual(domain, BigInt(params.hdr.cmd_line_ptr), 6)).toString(), 'quiet\0')
    t.same(readVirtual(domain, BigInt(params.hdr.ramdisk_image), 5000), ramdisk)
    for (const { name, pfn, pages } of domain.regions) {
      for (const at of [pfn * PAGE_SIZE, (pfn + pages) * PAGE_SIZE - 1]) {
        const found = translate(domain, BigInt(at))
        t.equal(found?.paddr, at, `${name} at ${at.toString(16)}`)
        t.ok(found?.writable)
      }
    }
  }
})

t.test('the kernel tables are few, however large the guest', async (t) => {
  const domain = await build({ memory: 2 ** 40, ramdisk: patternBytes(100) })
  t.ok((domain.boot.pageTables?.pages ?? 99) <= 7, `${domain.boot.pageTables?.pages} pages`)
  const { e820_table } = readBootParams(domain)
  t.same(e820_table[2], { addr: BigInt(4 * GiB), size: 2n ** 40n - BigInt(3 * GiB), type: E820_TYPE.RAM })
})

t.test('fields appear with the protocol version that has them', async (t) => {
  // The last byte of each version's header, by boot.rst's table of fields.
  const ends = { 512: 0x224, 513: 0x226, 514: 0x22c, 515: 0x230, 517: 0x235, 518: 0x23c, 522: 0x264, 527: 0x26c }
  for (const [version, end] of Object.entries(ends)) {
    const protocol = Number(version)
    const file = image({ protocol, header: { payload_offset: 0 } })
    const before = file.slice()
    const domain = await build({ entry: 32, cmdline: 'quiet', ramdisk: patternBytes(9) }, file)
    const page = bytesAt(domain, domain.boot.bootParams, PAGE_SIZE)
    const view = new DataView(page.buffer)
    t.equal(page[0x210], 0xff, `${version}: type_of_loader`)
    const heap = protocol >= 0x202 ? 0xde00 : 0x8e00
    t.equal(view.getUint16(0x224, true), protocol >= 0x201 ? heap : 0, `${version}: heap_end_ptr`)
    t.equal(page[0x211], protocol >= 0x201 ? 0x81 : 0x01, `${version}: loadflags`)
    t.same(page.subarray(end, 0x290), new Uint8Array(0x290 - end), `${version}: nothing after its header`)
    t.equal(readCommandLine(domain), 'quiet')
    if (protocol < 0x202) {
      t.equal(view.getUint16(0x20, true), 0xa33f)
      t.equal(domain.boot.bootParams, 0x90000)
      const at = 0x90000 + view.getUint16(0x22, true)
      t.equal(Buffer.from(bytesAt(domain, at, 6)).toString(), 'quiet\0')
    }
    t.same(file, before, 'the file is as it was')
  }
})

t.test('what cannot be placed is refused with both figures', async (t) => {
  await refused(
    t,
    'memory-too-small',
    /room for its kernel: expected memory up to 0x1800000 .* found memory up to 0x1700000/,
    {
      memory: 23 * MiB,
      loadAddress: 0x1000000,
    },
  )
  await refused(t, 'does-not-fit', /ramdisk: expected 0x7000000 bytes within .* found 0x6800000 in a row/, {
    ramdisk: new Uint8Array(112 * MiB),
  })
  await refused(t, 'does-not-fit', /too long for the kernel: expected at most 2047 bytes.* found 2048/, {
    cmdline: 'x'.repeat(2048),
  })
  await refused(
    t,
    'overlap',
    /ramdisk overlaps the kernel: expected none of \[0x1000000, 0x1800000\), found \[0x1700000, 0x1701000\)/,
    {
      ramdisk: new Uint8Array(9),
      ramdiskAddress: 0x1700000,
    },
  )
  await refused(
    t,
    'does-not-fit',
    /too high: expected its last byte at 0x3ffffff.* found 0x4000008/,
    {
      ramdisk: new Uint8Array(9),
      ramdiskAddress: 0x4000000,
    },
    image({ header: { initrd_addr_max: 0x3ffffff, xloadflags: 1 } }),
  )
  await refused(
    t,
    'overlap',
    /kernel overlaps the reserved range: .*none of \[0x1200000, 0x1201000\), found \[0x1000000, 0x1800000\)/,
    {
      loadAddress: 0x1000000,
      reserve: [{ start: 0x1200000, end: 0x1201000 }],
    },
  )
  await refused(t, 'overlap', /two reserved ranges.*\[0x1000, 0x3000\).*\[0x2000, 0x4000\)/, {
    reserve: [
      { start: 0x1000, end: 0x3000 },
      { start: 0x2000, end: 0x4000 },
    ],
  })
  await refused(t, 'does-not-fit', /below 1 MiB: expected at least 0x100000, found 0x80000/, { loadAddress: 0x80000 })
  await refused(
    t,
    'does-not-fit',
    /not relocatable: expected 0x100000, found 0x2000000/,
    { loadAddress: 0x2000000 },
    image({ header: { relocatable_kernel: 0 } }),
  )
  await refused(t, 'does-not-fit', /above 4 GiB/, { memory: 8 * GiB, loadAddress: 0x120000000 })
  await refused(
    t,
    'not-linux',
    /does not claim the 64-bit entry: expected 64-bit, found 32-bit, 16-bit/,
    { entry: 64 },
    image({ header: { xloadflags: 0 } }),
  )
  await refused(t, 'does-not-fit', /kernel is outside the RAM of the guest.*found \[0xbfe00000, 0xc0600000\)/, {
    memory: 8 * GiB,
    loadAddress: 0xbfe00000,
  })
  await refused(t, 'bad-config', /entry cannot be used: expected 16 or 32 or 64, found 8/, { entry: 8 as 16 })
  await refused(t, 'bad-config', /real mode has no privilege levels/, { entry: 16, subarch: 'xen', ring: 3 })
  await refused(t, 'bad-config', /ring/, { ring: 3 })
})

const fixedImage = (header: BzImageSpec['header'] = {}) =>
  image({ header: { relocatable_kernel: 0, pref_address: 0n, init_size: 0, ...header } })
/** The size of fixedImage in bytes, without boot sector and setup code. */
const CODE_BYTES = 0x40 + 4 * PAGE_SIZE

t.test('a kernel that cannot move goes to 0x100000, or is moved there by a hook', async (t) => {
  const free = await build({ entry: 32 }, fixedImage())
  t.equal(free.vcpus[0]?.registers.rip, 0x100000n)
  t.equal(region(free, 'hook'), undefined)

  const reserve = [{ start: 0x100000, end: 0x101000 }]
  for (const [protocol, entry] of [
    [0x20f, undefined],
    [0x20f, 32],
    [0x204, 32],
    [0x204, 16],
    [0x200, 32],
  ] as const) {
    const file = image({
      protocol,
      header: { relocatable_kernel: 0, pref_address: 0n, init_size: 0, payload_offset: 0 },
    })
    const domain = await build({ reserve, ...(entry === undefined ? {} : { entry }) }, file)
    t.match(region(domain, 'kernel'), { pfn: 0x200, bytes: CODE_BYTES })
    t.match(region(domain, 'hook'), { pfn: 0x205, pages: 1 }, 'right after it')
    t.same(region(domain, 'kernel destination'), { name: 'kernel destination', pfn: 0x100, pages: 5 })
    t.equal(header(domain).code32_start, 0x205000)
    if (entry !== 16) t.equal(domain.vcpus[0]?.registers.rip, 0x205000n)
    t.equal(
      bytesAt(domain, 0x100000, 5 * PAGE_SIZE).every((byte) => byte === 0),
      true,
      'nothing is there yet',
    )
  }
  const runsElsewhere = await build({ reserve }, fixedImage({ pref_address: 0x1000000n, init_size: INIT_SIZE }))
  t.match(region(runsElsewhere, 'kernel init_size'), { pfn: 0x1000 })
  const higher = await build({ reserve: [{ start: 0x100000, end: 0x300000 }] }, fixedImage())
  t.match(region(higher, 'kernel'), { pfn: 0x300 }, 'the first room from 0x200000 on')

  await refused(
    t,
    'does-not-fit',
    /hook has no 64-bit entry: .*found \[0x100000, 0x101000\) reserved/,
    { entry: 64, reserve },
    fixedImage(),
  )
  await refused(
    t,
    'does-not-fit',
    /no code32_start.*expected \[0x100000, 0x104040\) free, found \[0x100000, 0x101000\) reserved/,
    { reserve },
    fixedImage({ code32_start: 0 }),
  )
  await refused(
    t,
    'does-not-fit',
    /room for its kernel and hook: expected 0x6000 bytes within \[0x200000, .*found 0x5000 in a row/,
    { memory: 0x206000, reserve: [{ start: 0x100000, end: 0x201000 }] },
    fixedImage(),
  )
  await refused(
    t,
    'overlap',
    /running kernel overlaps.*expected none of \[0x200000, 0x201000\), found \[0x100000, 0x900000\)/,
    { reserve: [...reserve, { start: 0x200000, end: 0x201000 }] },
    fixedImage({ init_size: INIT_SIZE }),
  )
  await refused(
    t,
    'memory-too-small',
    /room for its kernel destination: expected memory up to 0x900000/,
    { memory: 4 * MiB, reserve },
    fixedImage({ init_size: INIT_SIZE }),
  )
  await refused(t, 'overlap', /kernel overlaps the reserved range/, { loadAddress: 0x100000, reserve }, fixedImage())
})

t.test('the 16-bit entry is what boot.rst says', async (t) => {
  const file = image({ setupSects: 0, version: '6.0' })
  for (const [protocol, base, sp] of [
    [0x20f, 0x10000, 0xe000],
    [0x202, 0x10000, 0xe000],
    [0x201, 0x90000, 0x9000],
    [0x200, 0x90000, 0x9000],
  ] as const) {
    const old = image({ setupSects: 0, protocol, header: { payload_offset: 0, relocatable_kernel: 0 } })
    const domain = await build(
      { entry: 16, cmdline: 'quiet', ramdisk: patternBytes(9) },
      protocol === 0x20f ? file : old,
    )
    const [vcpu] = domain.vcpus
    t.equal(domain.boot.bootParams, base)
    t.equal(vcpu?.cr0, 0x10n, 'real mode')
    t.equal(vcpu?.registers.rip, 0n)
    t.equal(vcpu?.registers.rsp, BigInt(sp), 'the top of the heap')
    t.equal(vcpu?.registers.rflags, 2n, 'interrupts are off')
    t.equal(vcpu?.segments.cs.selector, base / 16 + 0x20)
    for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) t.equal(vcpu?.segments[name].selector, base / 16, name)
    const setup = bytesAt(domain, base, 5 * 512)
    const view = new DataView(setup.buffer)
    t.equal(setup[0x1f1], 0, 'setup_sects as the file has it: it means 4')
    t.equal(setup[0x210], 0xff)
    t.equal(setup[0x211], protocol >= 0x201 ? 0x81 : 0x01)
    if (protocol >= 0x201) t.equal(view.getUint16(0x224, true), sp - 0x200, 'heap_end_ptr')
    t.equal(view.getUint32(0x214, true), protocol === 0x20f ? 0x1000000 : 0x100000, 'code32_start')
    t.equal(readCommandLine(domain), 'quiet')
    if (protocol < 0x202) {
      t.equal(view.getUint16(0x20, true), 0xa33f)
      t.equal(Buffer.from(bytesAt(domain, 0x90000 + view.getUint16(0x22, true), 6)).toString(), 'quiet\0')
    }
    const { pfn = 0, pages = 0 } = region(domain, 'cmdline') ?? {}
    t.ok(pfn * PAGE_SIZE >= base + sp && (pfn + pages) * PAGE_SIZE <= 0x9a000, 'after the heap, below 0x9a000')
    t.equal(readBootParams(domain).e820_entries, 0, 'the BIOS says what memory there is')
    t.ok((region(domain, 'ramdisk')?.pfn ?? 0) < (127 * MiB) / PAGE_SIZE, 'the top of memory is the BIOS’s')

    const bytes = new Uint8Array(128 * MiB)
    for (const chunk of domain.memory.chunks()) bytes.set(chunk.bytes, chunk.paddr)
    const json = sidecarOf(domain, 'raw')
    const back = openPair(json, bytesSource(bytes))
    t.same(back.vcpus, domain.vcpus, 'written and read back')
    t.equal(sidecarOf(back, 'raw'), json)
    t.equal(readCommandLine(back), 'quiet')
  }
  await refused(
    t,
    'does-not-fit',
    /setup code is too large.*at most 0x8000 bytes, found 0x8200/,
    { entry: 16 },
    image({ setupSects: 64 }),
  )
  t.equal((await build({}, image({ header: { code32_start: 0, xloadflags: 0 } }))).vcpus[0]?.cr0, 0x10n, 'the only one')
})

t.test('a kernel goes where it may: above 4 GiB when it says so, elsewhere when its place is taken', async (t) => {
  const above = image({ header: { xloadflags: 3 } })
  const high = await build({ memory: 8 * GiB, loadAddress: 0x120000000 }, above)
  t.equal(high.vcpus[0]?.registers.rip, 0x120000200n)
  t.equal(translate(high, 0x120000200n)?.paddr, 0x120000200)
  const moved = await build({ reserve: [{ start: 0x1100000, end: 0x1101000 }] })
  t.equal(moved.vcpus[0]?.registers.rip, 0x1200200n, 'the next multiple of its alignment')
  const low = await build({ entry: 32, loadAddress: 0x100000 })
  t.same(region(low, 'kernel')?.pfn, 0x100)
  t.same(region(low, 'kernel init_size')?.pfn, 0x1000, 'it runs at its pref_address')
})

t.test('a ramdisk above what fits below 4 GiB is named by both halves', async (t) => {
  const reserve = [{ start: 0x4000000, end: 0xc0000000 }]
  const file = image({ header: { xloadflags: 3, initrd_addr_max: 0x7fffffff } })
  const ramdisk = new Uint8Array(80 * MiB).fill(7)
  const domain = await build({ memory: 5 * GiB, reserve, ramdisk }, file)
  const { ext_ramdisk_image, hdr, e820_table, e820_entries } = readBootParams(domain)
  const at = ext_ramdisk_image * 2 ** 32 + hdr.ramdisk_image
  t.ok(at >= 4 * GiB)
  t.same(readVirtual(domain, BigInt(at), 9), ramdisk.subarray(0, 9))
  t.ok(e820_table.slice(0, e820_entries).some(({ addr, type }) => addr === 0x4000000n && type === E820_TYPE.RESERVED))
})

t.test('setup_data is a chain; a map with no room in boot_params goes on in it', async (t) => {
  const reserve = Array.from({ length: 100 }, (_, i) => ({
    start: 0x2000000 + i * 0x2000,
    end: 0x2001000 + i * 0x2000,
  }))
  const domain = await build({ reserve, setupData: [{ type: 9, data: patternBytes(33) }] })
  const params = readBootParams(domain)
  t.equal(params.e820_entries, 128)
  let at = Number(params.hdr.setup_data)
  const first = SetupData.decode(bytesAt(domain, at, SetupData.size))
  t.equal(first.type, 1, 'SETUP_E820_EXT')
  t.equal(first.len, (202 - 128) * 20)
  at = Number(first.next)
  t.equal(at % 8, 0)
  const second = SetupData.decode(bytesAt(domain, at, SetupData.size))
  t.same(second, { next: 0n, type: 9, len: 33 })
  t.same(bytesAt(domain, at + SetupData.size, 33), patternBytes(33))
})

t.test('nothing placed overlaps anything else, for any configuration', async (t) => {
  const kernel = await readKernel(image({ header: { xloadflags: 3 } }))
  fc.assert(
    fc.property(
      fc.record({
        memory: fc.integer({ min: 5, max: 3000 }).map((pages) => pages * 4 * MiB),
        ramdisk: fc.integer({ min: 0, max: 9 * MiB }),
        entry: fc.constantFrom(32 as const, 64 as const),
        loadAddress: fc.option(
          fc.integer({ min: 0, max: 0x200000 }).map((page) => page * PAGE_SIZE),
          { nil: undefined },
        ),
        reserve: fc.array(fc.tuple(fc.integer({ min: 0, max: 0x60000 }), fc.integer({ min: 1, max: 0x4000 })), {
          maxLength: 3,
        }),
      }),
      ({ memory, ramdisk, entry, loadAddress, reserve }) => {
        const ranges = reserve.map(([pfn, pages]) => ({ start: pfn * PAGE_SIZE, end: (pfn + pages) * PAGE_SIZE }))
        let domain: Domain
        try {
          domain = buildDomain(kernel, {
            type: 'linux',
            memory,
            entry,
            reserve: ranges,
            ...(loadAddress === undefined ? {} : { loadAddress }),
            ...(ramdisk === 0 ? {} : { ramdisk: new Uint8Array(ramdisk) }),
          })
        } catch (error) {
          return error instanceof DomainBuilderError
        }
        const taken = [
          ...domain.regions.map(({ pfn, pages }) => ({ start: pfn * PAGE_SIZE, end: (pfn + pages) * PAGE_SIZE })),
          ...ranges,
        ].sort((a, b) => a.start - b.start)
        const apart = taken.every((range, i) => i === 0 || (taken[i - 1]?.end ?? 0) <= range.start)
        const inside = domain.regions.every(
          ({ pfn, pages }) => domain.memory.has(pfn) && domain.memory.has(pfn + pages - 1),
        )
        return apart && inside
      },
    ),
  )
  t.pass('no counterexample')
})

t.test('a crash kernel has a reservation, low memory, and the header of the crashed one', async (t) => {
  const within = { start: 0x4000000, end: 0x6000000 }
  const elfcorehdr = patternBytes(5000, 7)
  const domain = await build({ within, elfcorehdr, cmdline: 'quiet', ramdisk: patternBytes(9000, 4) })
  const { pfn = 0, pages = 0 } = region(domain, 'elfcorehdr') ?? {}
  t.equal(pages, 2)
  t.same(bytesAt(domain, pfn * PAGE_SIZE, 5000), elfcorehdr)
  t.equal(readCommandLine(domain), `quiet elfcorehdr=0x${(pfn * PAGE_SIZE).toString(16)}`)
  for (const { name, pfn, pages } of domain.regions) {
    const inside = pfn * PAGE_SIZE >= within.start && (pfn + pages) * PAGE_SIZE <= within.end
    t.ok(inside, `${name} lies within`)
  }
  const { e820_table, e820_entries } = readBootParams(domain)
  const header = e820_table.slice(0, e820_entries).find(({ addr }) => addr === BigInt(pfn * PAGE_SIZE))
  t.same(header, { addr: BigInt(pfn * PAGE_SIZE), size: BigInt(2 * PAGE_SIZE), type: E820_TYPE.RESERVED })

  const low = await build({ within: { start: 0, end: 0x3000000 }, elfcorehdr })
  t.ok((region(low, 'boot_params')?.pfn ?? 0) < 0xa0, 'a range with low memory has boot_params there')

  await refused(t, 'bad-config', /elfcorehdr is empty: expected bytes/, { within, elfcorehdr: new Uint8Array(0) })
  await refused(
    t,
    'does-not-fit',
    /kernel is outside the range of within: expected within \[0x4000000, 0x6000000\), found \[0x1000000, /,
    { within, loadAddress: 0x1000000 },
  )
  await refused(
    t,
    'does-not-fit',
    /within reaches above 4 GiB: expected an end of within at 0x100000000 or before, found 0x100001000/,
    { within: { start: 0, end: 0x100001000 } },
  )
  await refused(t, 'bad-config', /within is not page-aligned: expected multiples of 0x1000/, {
    within: { start: 0x10, end: 0x4000000 },
  })
})

t.test('a vmlinux of a crash kernel moves into the reservation, and says so if it cannot', async (t) => {
  const spec = {
    class: 64,
    entry: 0x1000010,
    segments: [{ paddr: 0x1000000, data: patternBytes(5000), memsz: 9000, align: 0x200000 }],
  } as const
  const within = { start: 0x4000000, end: 0x6000000 }
  const moved = await build({ within }, buildElf({ ...spec, type: 3 }))
  const address = Number(moved.vcpus[0]?.registers.rip ?? 0n) - 0x10
  t.ok(address >= within.start && address < within.end)
  t.equal(address % 0x200000, 0)
  t.same(bytesAt(moved, address, 5000), patternBytes(5000))
  await refused(
    t,
    'does-not-fit',
    /kernel is outside the range of within: .*found \[0x1000000, 0x1003000\)/,
    { within },
    buildElf(spec),
  )
  await refused(
    t,
    'does-not-fit',
    /room for its kernel/,
    { within: { start: 0x4000000, end: 0x4001000 } },
    buildElf({ ...spec, type: 3 }),
  )
})

t.test('a vmlinux that has no other place is refused where it would lie', async (t) => {
  const spec = {
    class: 64,
    type: 3,
    entry: 0x1000010,
    segments: [{ paddr: 0x1000000, data: patternBytes(5000), memsz: 9000, align: 0x200000 }],
  } as const
  await refused(
    t,
    'overlap',
    /kernel overlaps the reserved range: expected none of \[0x100000, 0x8000000\), found \[0x1000000, 0x1003000\)/,
    { reserve: [{ start: 0x100000, end: 128 * MiB }] },
    buildElf(spec),
  )
})

t.test('what a kernel lacks is refused by name', async (t) => {
  const elf = buildElf({ class: 64, entry: 0x1000000, segments: [{ paddr: 0x1000000, data: patternBytes(5000) }] })
  await refused(t, 'not-linux', /the kernel has no bzImage: expected vmlinux, found bzImage/, { image: 'bzImage' }, elf)
  await refused(t, 'not-linux', /the kernel has no vmlinux: expected bzImage, found vmlinux/, { image: 'vmlinux' })
  await refused(t, 'bad-config', /a bzImage decompresses itself: only its vmlinux can be mapped or moved/, {
    subarch: 'xen',
    paging: true,
  })
  const old = image({ protocol: 0x205, header: { payload_offset: 0 } })
  await refused(
    t,
    'does-not-fit',
    /setup header has no hardware_subarch: expected protocol 0x207 or newer, found 0x205/,
    { subarch: 'xen' },
    old,
  )
  await refused(t, 'does-not-fit', /command line does not fit start_info: expected at most 1023 bytes, found 1030/, {
    subarch: 'xen',
    cmdline: 'x'.repeat(1030),
  })
  await refused(t, 'does-not-fit', /address of the kernel is not page-aligned|is misaligned|multiple of/, {
    loadAddress: 0x1000010,
  })
})

t.test('a mapped 32-bit vmlinux moves in its physical and virtual addresses alike', async (t) => {
  const segment = { paddr: 0x1000000, vaddr: 0xc1000000, data: patternBytes(5000), memsz: 9000, align: 0x1000 }
  const trailing = new Uint8Array(Int32Array.of(0, 0xc1000010 | 0).buffer)
  const elf = { class: 32, entry: 0x1000010, segments: [segment] } as const
  const file = buildBzImage({ payload: buildElf({ ...elf, trailing }) })
  const loadAddress = 0x1400000
  const moved = await build({ image: 'vmlinux', loadAddress }, file)
  const word = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true)
  const was = patternBytes(5000)
  t.equal(word(bytesAt(moved, loadAddress, 0x20), 0x10), (word(was, 0x10) + 0x400000) >>> 0)
  t.equal(moved.vcpus[0]?.registers.rip, BigInt(loadAddress + 0x10))
  await refused(
    t,
    'bad-config',
    /virtual offset of a 32-bit kernel is not its load offset: expected 0x400000, found 0x800000/,
    { image: 'vmlinux', loadAddress, virtualOffset: 0x800000n },
    file,
  )
  await refused(
    t,
    'does-not-fit',
    /kernel has no relocation table: expected virtualOffset 0, found 0x200000/,
    { virtualOffset: 0x200000n },
    buildElf({ ...elf, class: 64, type: 3, segments: [{ ...segment, vaddr: 0xffffffff81000000n, align: 0x200000 }] }),
  )
  await refused(
    t,
    'does-not-fit',
    /a segment does not fit the address space: expected an end at 0x100000000 or before, found 0x100001/,
    { subarch: 'xen', paging: true, image: 'vmlinux', loadAddress },
    buildBzImage({
      payload: buildElf({
        ...elf,
        trailing,
        segments: [segment, { ...segment, paddr: 0x1003000, vaddr: 0xffbff000 }],
      }),
    }),
  )
})

t.test('a ramdisk at an address asked for', async (t) => {
  const ramdisk = patternBytes(5000, 3)
  const domain = await build({ ramdisk, ramdiskAddress: 0x5000000 })
  t.equal(header(domain).ramdisk_image, 0x5000000)
  t.same(bytesAt(domain, 0x5000000, 5000), ramdisk)
  await refused(t, 'does-not-fit', /address of the ramdisk is not page-aligned: expected a multiple of 0x1000/, {
    ramdisk,
    ramdiskAddress: 0x5000010,
  })
  const config = { memory: 6 * GiB, ramdisk, ramdiskAddress: 0x120000000 }
  await refused(t, 'does-not-fit', /the ramdisk is too high: expected its last byte at 0x[0-9a-f]+ or before/, config)
  const high = await build(config, image({ header: { xloadflags: 3 } }))
  t.equal(readBootParams(high).ext_ramdisk_image, 1)
  t.same(bytesAt(high, 0x120000000, 5000), ramdisk)
})

t.test('a vmlinux is entered by its class, ET_DYN anywhere', async (t) => {
  for (const elfClass of [32, 64] as const) {
    const spec = {
      class: elfClass,
      entry: 0x1000010,
      segments: [{ paddr: 0x1000000, data: patternBytes(5000), memsz: 9000, align: 0x200000 }],
    } as const
    const fixed = await build({ cmdline: 'hello' }, buildElf(spec))
    t.equal(fixed.vcpus[0]?.registers.rip, 0x1000010n)
    t.equal(fixed.abi, elfClass === 64 ? 'x86_64' : 'x86_32')
    t.equal(header(fixed).header, 0x53726448, 'a made header')
    t.equal(readCommandLine(fixed), 'hello')
    t.same(bytesAt(fixed, 0x1000000, 5000), patternBytes(5000))
    const dyn = await build({ loadAddress: 0x1400000 }, buildElf({ ...spec, type: 3 }))
    t.equal(dyn.vcpus[0]?.registers.rip, 0x1400010n)
    t.same(bytesAt(dyn, 0x1400000, 5000), patternBytes(5000))
    const taken = await build({ reserve: [{ start: 0x1000000, end: 0x1001000 }] }, buildElf({ ...spec, type: 3 }))
    t.equal(Number(taken.vcpus[0]?.registers.rip ?? 0n) % 0x200000, 0x10)
    await refused(
      t,
      'does-not-fit',
      /the kernel is ET_EXEC and has no relocation table/,
      { loadAddress: 0x1400000 },
      buildElf(spec),
    )
    await refused(
      t,
      'does-not-fit',
      /multiple of 0x200000, found 0x100000/,
      { loadAddress: 0x1100000 },
      buildElf({ ...spec, type: 3 }),
    )
    await refused(t, 'not-linux', /not entered in/, { entry: elfClass === 64 ? 32 : 64 }, buildElf(spec))
  }
})

t.test('the hybrid: start_info through hardware_subarch_data, paging on or off, in or outside ring 0', async (t) => {
  for (const elfClass of [32, 64] as const) {
    const vaddr = elfClass === 64 ? 0xffffffff81000000n : 0xc1000000
    const file = buildElf({
      class: elfClass,
      entry: 0x1000010,
      segments: [{ paddr: 0x1000000, vaddr, data: patternBytes(5000), memsz: 9000 }],
    })
    for (const subarch of ['xen', 'lguest'] as const) {
      for (const [paging, ring] of [
        [false, 0],
        [true, 1],
        [true, 3],
      ] as const) {
        const domain = await build({ subarch, paging, ring, cmdline: 'hybrid' }, file)
        const hdr = header(domain)
        t.equal(hdr.hardware_subarch, subarch === 'xen' ? 2 : 1)
        t.equal((hdr.loadflags & KEEP_SEGMENTS) !== 0, paging || ring !== 0)
        const startInfo = readStartInfo(domain)
        t.match(startInfo.magic, /^xen-3\.0-x86_/)
        t.equal(startInfo.cmd_line, 'hybrid')
        t.equal(startInfo.nr_pages, BigInt(domain.memory.pageCount))
        t.equal(translate(domain, hdr.hardware_subarch_data)?.pfn, domain.boot.startInfo?.pfn)
        t.equal(domain.vcpus[0]?.segments.cs.selector, 0x10 | ring)
        t.equal(domain.vcpus[0]?.segments.ss.descriptor?.attributes, 0xc93 | (ring << 5))
        if (!paging) continue
        t.same(
          readVirtual(domain, BigInt(vaddr), 9000).subarray(0, 5000),
          patternBytes(5000),
          'where its segment asks to be',
        )
        t.equal(translate(domain, BigInt(vaddr))?.user, ring === 3)
        t.equal(translate(domain, BigInt(vaddr) + 3n * BigInt(PAGE_SIZE)), undefined)
        t.equal(startInfo.pt_base, domain.vcpus[0]?.cr3)
      }
    }
    await refused(
      t,
      'overlap',
      /two mappings overlap: expected none of \[0x0, /,
      { subarch: 'xen', paging: true },
      buildElf({
        class: elfClass,
        entry: 0x1000010,
        segments: [{ paddr: 0x1000000, vaddr: 0, data: patternBytes(5000) }],
      }),
    )
  }
})

t.test('a snapshot of it is the guest again, and the same inputs are the same bytes', async (t) => {
  const config = {
    ramdisk: patternBytes(5000, 3),
    subarch: 'xen' as const,
    ring: 3 as const,
    paging: true,
    cmdline: 'x',
  }
  const file = buildElf({
    class: 32,
    entry: 0x1000010,
    segments: [{ paddr: 0x1000000, vaddr: 0xc1000000, data: patternBytes(5000) }],
  })
  const once = async () => {
    const domain = await build({ ...config, memory: 32 * MiB }, file)
    const imageBytes = new Uint8Array(32 * MiB)
    for (const { paddr, bytes } of domain.memory.chunks()) imageBytes.set(bytes, paddr)
    return { domain, json: sidecarOf(domain, 'raw'), imageBytes }
  }
  const [first, second] = [await once(), await once()]
  t.equal(first.json, second.json)
  t.equal(Buffer.compare(first.imageBytes, second.imageBytes), 0)
  const back = openPair(first.json, bytesSource(first.imageBytes))
  t.same(back.vcpus, first.domain.vcpus)
  t.same(back.boot, first.domain.boot)
  t.same(readBootParams(back), readBootParams(first.domain))
  t.same(readStartInfo(back), readStartInfo(first.domain))
  t.equal(sidecarOf(back, 'raw'), first.json)
})
