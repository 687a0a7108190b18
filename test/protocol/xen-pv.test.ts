/**
 * The PV layout as a guest sees it: memory that a guest finds through %rsi, cr3 and its own tables.
 *
 * Source: xen/include/public/xen.h. test/peer compares every byte with libxenguest's.
 * Gotcha: code shared with the writer would hide its errors, so readers here share only the ABI's numbers.
 */
import t from 'tap'
import { SIF_MOD_START_PFN } from '../../lib/abi/start-info.js'
import { topTable } from '../../lib/guest/translate.js'
import {
  buildDomain,
  type Domain,
  type PvBoot,
  type PvConfig,
  readKernel,
  readStartInfo,
  readVirtual,
  translate,
  validate,
} from '../../lib/index.js'
import { buildElf } from '../../lib/testing/index.js'
import { PAGE_SIZE } from '../../lib/units.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'

const MiB = 2 ** 20

async function build(file: Uint8Array, config: Partial<PvConfig> = {}): Promise<Domain<PvBoot>> {
  return buildDomain(await readKernel(file), { memory: 32 * MiB, ...config, type: 'pv' })
}

t.test('what %rsi points to leads to everything else', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const ramdisk = pattern(4095, 9)
    const domain = await build(pvKernelFile({ class: elfClass }), {
      ramdisk,
      cmdline: 'quiet',
      p2m: { offset: 0x1000 },
    })
    const [vcpu] = domain.vcpus
    const rsi = vcpu?.registers.rsi ?? 0n
    const page = readVirtual(domain, rsi, PAGE_SIZE)
    t.equal(Buffer.from(page).toString('latin1', 0, 12), 'xen-3.0-x86_')
    const info = readStartInfo(domain)
    t.equal(info.nr_pages, BigInt((32 * MiB) / PAGE_SIZE))
    t.equal(info.cmd_line, 'quiet')
    t.same(readVirtual(domain, info.mod_start, Number(info.mod_len)), ramdisk, 'the ramdisk, by its virtual address')
    t.equal(
      translate(domain, info.pt_base)?.mfn,
      Number(BigInt.asUintN(32, vcpu?.cr3 ?? 0n) >> 12n),
      'pt_base is the table in cr3',
    )
    const entryBytes = elfClass / 8
    const list = readVirtual(domain, info.mfn_list, Number(info.nr_pages) * entryBytes)
    const view = new DataView(list.buffer)
    for (const pfn of [0, 1, 4095, 8191]) {
      const mfn = elfClass === 64 ? Number(view.getBigUint64(pfn * 8, true)) : view.getUint32(pfn * 4, true)
      t.equal(mfn, pfn + 0x1000, `mfn_list[${pfn}]`)
    }
    const kernel = domain.regions.find((region) => region.name === 'kernel')
    t.same(
      readVirtual(domain, kernel?.vaddr ?? 0n, 3 * PAGE_SIZE),
      pattern(3 * PAGE_SIZE),
      'the kernel, where it is linked',
    )
    t.ok(translate(domain, (vcpu?.registers.rsp ?? 0n) - 8n)?.writable, 'the stack can be pushed to')
    t.equal(domain.pageType(domain.boot.pageTables.top).level, elfClass === 64 ? 4 : 3)
    t.ok(domain.pageType(domain.boot.pageTables.top).pinned)
  }
})

t.test('no page table is mapped writable, 512 KiB after the last page are mapped', async (t) => {
  const domain = await build(pvKernelFile(), { memory: 64 * MiB })
  const end = domain.vcpus[0]?.registers.rsp ?? 0n
  for (let i = 0n; i < 128n; i++) {
    if (!translate(domain, end + i * 4096n)?.writable) t.fail(`spare page ${i}`)
  }
  const { regions } = domain
  const tables = regions.find((region) => region.name === 'page_tables')
  for (let i = 0; i < (tables?.pages ?? 0); i++) {
    const found = translate(domain, (tables?.vaddr ?? 0n) + BigInt(i * PAGE_SIZE))
    t.equal(found?.writable, false)
  }
})

t.test('p != v: segments lie where p_paddr says, with any p_vaddr', async (t) => {
  const file = pvKernelFile({
    notes: { VIRT_BASE: 0xffffffff80000000n, PADDR_OFFSET: 0x400000n, ENTRY: 0xffffffff80200000n },
    segments: [
      { paddr: 0x601000, vaddr: 0x1234000, data: pattern(5000, 3) },
      { paddr: 0x600000, vaddr: 0xdead0000n, data: pattern(100, 4), memsz: 200 },
    ],
  })
  const domain = await build(file)
  t.same(readVirtual(domain, 0xffffffff80201000n, 5000), pattern(5000, 3))
  t.same(readVirtual(domain, 0xffffffff80200000n, 100), pattern(100, 4))
  t.equal(domain.regions.find((region) => region.name === 'kernel')?.pfn, 0x200)
})

t.test('a later segment covers an earlier one, its bss included', async (t) => {
  const file = pvKernelFile({
    segments: [
      { paddr: 0x100000, data: pattern(8192, 5) },
      { paddr: 0x100800, data: pattern(16, 6), memsz: 4096 },
    ],
  })
  const domain = await build(file)
  const expected = pattern(8192, 5).fill(0, 0x800, 0x1800)
  expected.set(pattern(16, 6), 0x800)
  t.same(readVirtual(domain, 0xffffffff80100000n, 8192), expected)
})

t.test('INIT_P2M and MOD_START_PFN keep list and ramdisk out of the kernel mapping', async (t) => {
  const ramdisk = pattern(70001, 2)
  const file = pvKernelFile({ notes: { INIT_P2M: 0x8000000000n, MOD_START_PFN: 1n } })
  const domain = await build(file, { ramdisk, memory: 64 * MiB })
  const info = readStartInfo(domain)
  t.equal(info.mfn_list, 0x8000000000n)
  t.ok(info.flags & SIF_MOD_START_PFN)
  t.same(domain.memory.read(Number(info.mod_start) * PAGE_SIZE, ramdisk.length), ramdisk)
  t.equal(info.mod_len, BigInt(Math.ceil(ramdisk.length / PAGE_SIZE) * PAGE_SIZE))
  t.equal(translate(domain, info.mfn_list)?.pfn, Number(info.first_p2m_pfn))
  const list = readVirtual(domain, info.mfn_list, 16384 * 8)
  t.equal(new DataView(list.buffer).getBigUint64(16383 * 8, true), 16383n)
})

t.test('all vcpus but the first wait', async (t) => {
  const domain = await build(pvKernelFile(), { vcpus: 4 })
  t.same(
    domain.vcpus.map((vcpu) => vcpu.online),
    [true, false, false, false],
  )
})

t.test('a terabyte costs no more than what is in it', async (t) => {
  const before = process.memoryUsage().arrayBuffers
  const domain = await build(pvKernelFile({ notes: { INIT_P2M: 0x8000000000n } }), { memory: 2 ** 40 })
  const info = readStartInfo(domain)
  const last = readVirtual(domain, info.mfn_list + (info.nr_pages - 1n) * 8n, 8)
  t.equal(new DataView(last.buffer).getBigUint64(0, true), 2n ** 28n - 1n)
  t.ok(process.memoryUsage().arrayBuffers - before < 16 * MiB)
})

t.test('refusals name the cause and both figures', async (t) => {
  const cases: [string, Uint8Array, Partial<PvConfig>, object][] = [
    ['too little memory', pvKernelFile(), { memory: MiB }, { code: 'memory-too-small', found: '256 pages (1 MiB)' }],
    ['memory in half pages', pvKernelFile(), { memory: MiB + 1 }, { code: 'bad-config' }],
    [
      'a long command line',
      pvKernelFile(),
      { cmdline: 'x'.repeat(1024) },
      { code: 'bad-config', expected: 'at most 1023 bytes', found: '1024' },
    ],
    [
      'a feature the kernel has not',
      pvKernelFile(),
      { features: 'writable_page_tables' },
      { code: 'unsupported-feature', found: 'writable_page_tables' },
    ],
    ['no vcpus', pvKernelFile(), { vcpus: 0 }, { code: 'bad-config' }],
    [
      'an empty ramdisk',
      pvKernelFile(),
      { ramdisk: [new Uint8Array(0)] },
      { code: 'bad-config', expected: 'at least one byte, or none given', found: '0 bytes' },
    ],
    [
      'a NUL in the command line',
      pvKernelFile(),
      { cmdline: 'a\0b' },
      { code: 'bad-config', expected: 'text without NUL', found: 'a NUL' },
    ],
    [
      'a p2m table that is too short',
      pvKernelFile(),
      { p2m: { table: new BigUint64Array(5) } },
      { code: 'bad-config', found: '5' },
    ],
    ['a hole under start_info', pvKernelFile(), { p2m: { function: () => undefined } }, { code: 'bad-config' }],
    [
      'a mapping past the end of the address space',
      pvKernelFile(),
      { memory: 2 ** 40 },
      { code: 'does-not-fit', expected: 'at most 0x10000000000000000' },
    ],
    [
      'a segment larger than memory',
      pvKernelFile({
        segments: [{ paddr: 0x100000, data: pattern(10), memsz: 2n ** 36n }],
        notes: { VIRT_BASE: 0n, ENTRY: 0x100000n },
      }),
      {},
      { code: 'memory-too-small' },
    ],
  ]
  for (const [name, file, config, error] of cases)
    await t.rejects(build(file, config), { name: 'DomainBuilderError', ...error }, name)
})

t.test('memory in several ranges: the p2m has holes where memory has holes', async (t) => {
  const vmemranges = [
    { start: 0, end: 16 * MiB },
    { start: 64 * MiB, end: 80 * MiB },
  ]
  const domain = await build(pvKernelFile(), { vmemranges })
  const info = readStartInfo(domain)
  t.equal(info.nr_pages, 8192n)
  const list = readVirtual(domain, info.mfn_list, 20480 * 8)
  const view = new DataView(list.buffer)
  t.equal(view.getBigUint64(4095 * 8, true), 4095n)
  t.equal(view.getBigUint64(4096 * 8, true), 0xffffffffffffffffn)
  t.equal(view.getBigUint64(16384 * 8, true), 16384n)
  await t.rejects(build(pvKernelFile(), { vmemranges: vmemranges.slice(1) }), { code: 'bad-config' })
  await t.rejects(build(pvKernelFile(), { vmemranges: vmemranges.toReversed() }), {
    code: 'bad-config',
    message: `vmemranges is not in order: expected a start from ${80 * MiB}, found 0`,
  })
  const early = [
    { start: 0, end: 2 * MiB },
    { start: 64 * MiB, end: 94 * MiB },
  ]
  await t.rejects(build(pvKernelFile({ pages: 300 }), { vmemranges: early }), {
    code: 'does-not-fit',
    message:
      "the kernel reaches into a hole of the guest's memory: expected memory at pfn 0x100 to 0x22c, found none at 0x200",
  })
})

t.test('a top table below 4 GiB, for a PAE kernel without extended cr3', async (t) => {
  const text = 'LOADER=generic,XEN_VER=xen-3.0,PAE=yes,VIRT_BASE=0xc0000000,ELF_PADDR_OFFSET=0'
  const file = buildElf({
    class: 32,
    entry: 0xc0100000,
    segments: [{ paddr: 0x100000, vaddr: 0xc0100000, data: pattern(3 * PAGE_SIZE) }],
    sections: [{ name: '__xen_guest', data: Buffer.from(`${text}\0`) }],
  })
  const p2m = { offset: 2 ** 20 }
  await t.rejects(build(file, { p2m }), {
    code: 'bad-config',
    message: /^lowMfn is missing, and the kernel needs its top page table below 4 GiB/,
  })
  const domain = await build(file, { p2m, lowMfn: 5 })
  t.equal(domain.vcpus[0]?.cr3, 5n << 12n)
  t.equal(domain.p2m.pfn(5), topTable(domain))
  t.same(validate(domain), [])
  const taken = await build(pvKernelFile(), { lowMfn: (32 * MiB) / PAGE_SIZE })
  t.equal(readStartInfo(taken).shared_info, BigInt(32 * MiB + PAGE_SIZE), 'not the frame of lowMfn')
})
