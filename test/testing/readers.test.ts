/**
 * Compares the readers for users' tests with the bytes that they read, and with each other.
 *
 * Source: Linux Documentation/arch/x86/zero-page.rst and boot.rst (offsets); Intel SDM vol. 3, 4.4 and 4.5.
 * Gotcha: offsets from lib/abi would repeat its errors, so the specification's are written out here.
 */
import { test } from 'tap'
import { buildDomain, type Domain, readKernel } from '../../lib/index.js'
import { readBootParams, translate, walkPageTables } from '../../lib/testing/index.js'
import { linuxKernelFile, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { setupKernel } from '../fixtures/setup-kernel.js'
import { stateElf } from '../fixtures/state-kernel.js'

const memory = 64 << 20
const PRESENT = 1n
const FRAME = 0x000ffffffffff000n

test('readBootParams says what the bytes say', async (t) => {
  const guest = buildDomain(await readKernel(linuxKernelFile()), {
    type: 'linux',
    memory,
    cmdline: 'quiet',
    ramdisk: new Uint8Array(5000).fill(7),
  })
  if (guest.boot.kind !== 'boot_params') return t.fail('no boot_params')
  const page = guest.memory.read(guest.boot.bootParams, 4096)
  const view = new DataView(page.buffer, page.byteOffset)
  const { hdr, e820_entries, e820_table, ext_cmd_line_ptr, ext_ramdisk_size } = readBootParams(guest)
  t.equal(e820_entries, view.getUint8(0x1e8))
  t.equal(ext_cmd_line_ptr, view.getUint32(0x0c8, true))
  t.equal(ext_ramdisk_size, view.getUint32(0x0c4, true))
  t.equal(hdr.boot_flag, view.getUint16(0x1fe, true))
  t.equal(hdr.header, view.getUint32(0x202, true))
  t.equal(hdr.version, view.getUint16(0x206, true))
  t.equal(hdr.type_of_loader, view.getUint8(0x210))
  t.equal(hdr.ramdisk_image, view.getUint32(0x218, true))
  t.equal(hdr.ramdisk_size, 5000)
  t.equal(hdr.cmd_line_ptr, view.getUint32(0x228, true))
  t.equal(Buffer.from(guest.memory.read(hdr.cmd_line_ptr, 6)).toString(), 'quiet\0')
  t.same(guest.memory.read(hdr.ramdisk_image, 5000), new Uint8Array(5000).fill(7))
  e820_table.slice(0, e820_entries).forEach(({ addr, size, type }, i) => {
    t.equal(addr, view.getBigUint64(0x2d0 + 20 * i, true))
    t.equal(size, view.getBigUint64(0x2d0 + 20 * i + 8, true))
    t.equal(type, view.getUint32(0x2d0 + 20 * i + 16, true))
  })
})

test('readBootParams in real mode reads what a loader wrote, and no code after it', async (t) => {
  const image = await readKernel(setupKernel(0x20f))
  const guest = buildDomain(image, { type: 'linux', entry: 16, memory })
  const params = readBootParams(guest)
  t.equal(params.hdr.header, 0x53726448)
  t.equal(params.e820_entries, 0)
  t.ok(params.e820_table.every(({ addr, size }) => addr === 0n && size === 0n))
})

test('readBootParams refuses the guests of other conventions', async (t) => {
  for (const [type, file] of [
    ['pv', pvKernelFile()],
    ['pvh', pvhKernelFile()],
  ] as const) {
    const guest = buildDomain(await readKernel(file), { type, memory })
    t.throws(() => readBootParams(guest), { code: 'bad-config', message: /expected linux, found pv/ })
  }
})

/** Yields every 4 KiB or large page that the tables map. */
function* mapped(guest: Domain): Iterable<{ vaddr: bigint; entry: bigint; level: number; index: number; pfn: number }> {
  for (const { level, vaddr, entries, pfn } of walkPageTables(guest)) {
    for (const [index, entry] of entries.entries()) {
      const large = level > 1 && (entry & 0x80n) !== 0n
      if ((entry & PRESENT) === 0n || (level > 1 && !large)) continue
      yield {
        vaddr: BigInt.asUintN(64, vaddr + BigInt(index) * 2n ** BigInt(12 + 9 * (level - 1))),
        entry,
        level,
        index,
        pfn,
      }
    }
  }
}

const GUESTS: readonly [string, () => Promise<Domain>][] = [
  ['64-bit PV', async () => buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory })],
  [
    '64-bit PV, frames elsewhere',
    async () => buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory, p2m: { offset: 0x123456 } }),
  ],
  ['32-bit PAE PV', async () => buildDomain(await readKernel(pvKernelFile({ class: 32 })), { type: 'pv', memory })],
  ['64-bit Linux', async () => buildDomain(await readKernel(linuxKernelFile()), { type: 'linux', memory })],
  [
    'PAE, large pages',
    async () => {
      const kernel = await readKernel(stateElf({ bits: 32, address: 0x1000000, ring0: true, vaddr: 0xc1000000 }))
      return buildDomain(kernel, { type: 'linux', subarch: 'xen', paging: true, memory })
    },
  ],
]

for (const [name, build] of GUESTS) {
  test(`walkPageTables and translate agree on every page: ${name}`, async (t) => {
    const guest = await build()
    const tables = [...walkPageTables(guest)]
    if ('pageTables' in guest.boot) t.equal(tables.length, guest.boot.pageTables?.pages, 'each table once')
    t.equal(new Set(tables.map(({ pfn }) => pfn)).size, tables.length)
    const [top] = tables
    t.same(top?.path, [], 'the top first')
    for (const { path, pfn, level } of tables.slice(1)) {
      const named = path.at(-1)
      if (named?.level !== level + 1 || guest.p2m.pfn(Number((named.entry & FRAME) >> 12n)) !== pfn) {
        t.fail(`the table at ${pfn} is not the one that its path names`)
      }
    }
    let pages = 0
    for (const { vaddr, entry, level, index, pfn } of mapped(guest)) {
      pages++
      const found = translate(guest, vaddr)
      const last = found?.path.at(-1)
      if (last?.entry !== entry || last.level !== level || last.index !== index || last.pfn !== pfn) {
        t.fail(`translate(${vaddr.toString(16)}) leads elsewhere`)
      }
    }
    t.ok(pages > 5, `${pages} pages`)
  })
}

test('walkPageTables gives nothing where paging is off, and ends where tables map themselves', async (t) => {
  const off = buildDomain(await readKernel(pvhKernelFile()), { type: 'pvh', memory })
  t.same([...walkPageTables(off)], [])
  const guest = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory })
  const before = [...walkPageTables(guest)]
  const [top] = before
  if (!top) return t.fail('no tables')
  // Every entry of the top table names the top table itself.
  const own = new BigUint64Array(512).fill((BigInt(top.pfn) << 12n) | 0x67n)
  guest.memory.write(top.pfn * 4096, new Uint8Array(own.buffer))
  const looped = [...walkPageTables(guest)]
  t.same(
    looped.map(({ pfn, level }) => [pfn, level]),
    [4, 3, 2, 1].map((level) => [top.pfn, level]),
  )
  const lost = { ...guest, vcpus: guest.vcpus.map((vcpu) => ({ ...vcpu, cr3: 0xfffffff000n })) }
  t.throws(() => [...walkPageTables(lost)], { code: 'not-mapped' })
})
