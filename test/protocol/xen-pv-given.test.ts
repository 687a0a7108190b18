/**
 * Further options of a PV guest: dom0's console, module packages, the hypercall page, a p2m in ranges, symbols.
 *
 * Source: xen/include/public/xen.h; arch-x86/xen-x86_{32,64}.h.
 * Gotcha: none of this is libxenguest's default, so most of it is checked against the text of the headers instead.
 */
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { SIF_INITDOMAIN, SIF_MOD_START_PFN, SIF_MULTIBOOT_MOD, SIF_PRIVILEGED } from '../../lib/abi/start-info.js'
import { requirePv } from '../../lib/guest/domain.js'
import {
  buildDomain,
  type Domain,
  type PvConfig,
  readKernel,
  readStartInfo,
  readVirtual,
  validate,
} from '../../lib/index.js'
import { PAGE_SIZE } from '../../lib/units.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'

const MiB = 2 ** 20
const SUPPORTED_DOM0 = 1 << 11

async function build(file: Uint8Array, config: Partial<PvConfig> = {}): Promise<Domain> {
  return buildDomain(await readKernel(file), { type: 'pv', memory: 32 * MiB, ...config })
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

t.test('dom0: privileged, no rings, a console block after start_info on its page', async (t) => {
  const text_mode_3 = { font_height: 16, cursor_x: 3, cursor_y: 24, rows: 25, columns: 80 }
  for (const elfClass of [64, 32] as const) {
    const file = pvKernelFile({ class: elfClass, notes: { FEATURES: '!dom0|writable_page_tables' } })
    const domain = await build(file, { dom0: { console: { text_mode_3 } }, flags: 0x300 })
    const info = readStartInfo(domain)
    t.equal(info.flags, SIF_PRIVILEGED | SIF_INITDOMAIN | 0x300)
    t.equal(info.store_mfn, 0n)
    const size = elfClass === 64 ? 1168 : 1112
    const page = readVirtual(domain, domain.vcpus[0]?.registers.rsi ?? 0n, PAGE_SIZE)
    const at = elfClass === 64 ? 72 : 52
    t.equal(view(page).getUint32(at, true), size, 'console.dom0.info_off')
    t.equal(view(page).getUint32(at + 4, true), 40, 'console.dom0.info_size')
    t.equal(page[size], 3, 'VGA text mode 3')
    t.same(
      [4, 6, 8, 10, 12].map((offset) => view(page).getUint16(size + offset, true)),
      [16, 3, 24, 25, 80],
    )
    t.same(
      domain.regions.map((region) => region.name).filter((name) => name !== 'pad'),
      ['kernel', 'p2m', 'start_info', 'page_tables', 'boot_stack'],
    )
    t.same(requirePv(domain).grants, [])
    t.same(validate(domain), [])
  }
})

t.test('dom0: a framebuffer above 4 GiB, or no screen at all', async (t) => {
  const colours = {
    red_pos: 16,
    red_size: 8,
    green_pos: 8,
    green_size: 8,
    blue_pos: 0,
    blue_size: 8,
    rsvd_pos: 24,
    rsvd_size: 8,
  }
  const screen = {
    width: 1920,
    height: 1080,
    bytes_per_line: 7680,
    bits_per_pixel: 32,
    lfb_base: 0xe0000000,
    lfb_size: 127,
    ...colours,
  }
  const efi_lfb = { ...screen, gbl_caps: 0, mode_attrs: 0, ext_lfb_base: 0x40 }
  const domain = await build(pvKernelFile(), { dom0: { console: { efi_lfb } } })
  const page = readVirtual(domain, domain.vcpus[0]?.registers.rsi ?? 0n, PAGE_SIZE)
  t.equal(page[1168], 0x70)
  t.equal(view(page).getUint32(1168 + 36, true), 0x40)
  const vesa_lfb = { ...screen, gbl_caps: 0, mode_attrs: 0x9b, ext_lfb_base: 0 }
  const vesa = await build(pvKernelFile(), { dom0: { console: { vesa_lfb } } })
  const block = readVirtual(vesa, vesa.vcpus[0]?.registers.rsi ?? 0n, PAGE_SIZE)
  t.equal(block[1168], 0x23, 'VESA, by its number')
  t.equal(view(block).getUint16(1168 + 4, true), 1920)
  const blind = await build(pvKernelFile(), { dom0: {} })
  t.equal(readStartInfo(blind).console_mfn, 0n)
})

t.test('dom0: who may be it, and who must', async (t) => {
  await t.rejects(
    build(pvKernelFile({ notes: { FEATURES: '!dom0' } })),
    { code: 'unsupported-feature' },
    'it does not build as domU',
  )
  await t.rejects(build(pvKernelFile({ notes: { SUPPORTED_FEATURES: 1 } }), { dom0: {} }), {
    code: 'unsupported-feature',
  })
  t.ok(await build(pvKernelFile({ notes: { SUPPORTED_FEATURES: SUPPORTED_DOM0 } }), { dom0: {} }))
  await t.rejects(build(pvKernelFile({ notes: { SUPPORTED_FEATURES: 0 } }), { dom0: {} }), {
    message: 'the kernel cannot be dom0: expected dom0 in SUPPORTED_FEATURES, found no feature',
  })
})

t.test("dom0: a module is as it is, and Xen allocates an INIT_P2M list's tables before the list", async (t) => {
  const gzipped = new Uint8Array(gzipSync(pattern(5000, 3)))
  const domain = await build(pvKernelFile({ notes: { INIT_P2M: 0xffffea0000000000n } }), {
    dom0: {},
    ramdisk: gzipped,
  })
  const info = readStartInfo(domain)
  t.equal(info.mod_len, BigInt(gzipped.length))
  t.same(readVirtual(domain, info.mod_start, gzipped.length), gzipped, 'Xen does not decompress it')
  t.equal(info.mfn_list, 0xffffea0000000000n)
  const pfnOf = (name: string) => domain.regions.find((region) => region.name === name)?.pfn ?? -1
  t.ok(pfnOf('p2m_page_tables') >= 0 && pfnOf('p2m_page_tables') < pfnOf('p2m'))
  t.same(validate(domain), [])
})

t.test('modules as one package: offsets count from its first byte', async (t) => {
  const given = [
    { bytes: pattern(5000, 1), cmdline: 'first one' },
    { bytes: pattern(3, 2) },
    { bytes: pattern(PAGE_SIZE, 3), cmdline: 'third' },
  ]
  for (const unmapped of [false, true]) {
    const file = pvKernelFile({ notes: unmapped ? { MOD_START_PFN: 1n } : {} })
    const domain = await build(file, { ramdisk: given, multibootModules: true })
    const info = readStartInfo(domain)
    t.equal(
      info.flags & (SIF_MULTIBOOT_MOD | SIF_MOD_START_PFN),
      SIF_MULTIBOOT_MOD | (unmapped ? SIF_MOD_START_PFN : 0),
    )
    const length = Number(info.mod_len)
    const found = unmapped
      ? domain.memory.read(Number(info.mod_start) * PAGE_SIZE, length)
      : readVirtual(domain, info.mod_start, length)
    given.forEach(({ bytes, cmdline = '' }, i) => {
      const [start, end, text] = [0, 4, 8].map((field) => view(found).getUint32(i * 16 + field, true)) as [
        number,
        number,
        number,
      ]
      t.same(found.subarray(start, end + 1), bytes)
      t.equal(start % PAGE_SIZE, 0)
      t.equal(Buffer.from(found).toString('latin1', text, found.indexOf(0, text)), cmdline)
    })
    t.equal(view(found).getUint32(given.length * 16, true), 0, 'a descriptor of zero ends the list')
  }
})

t.test('a package ends within its 32-bit offsets', async (t) => {
  // Two views of the same pages of zeros, which are never read.
  const large = new Uint8Array(2 ** 31)
  await t.rejects(build(pvKernelFile(), { ramdisk: [large, large], multibootModules: true }), {
    code: 'does-not-fit',
    message: /^the modules are too large for a multiboot package: expected at most 0xffffffff bytes, found 0x1000/,
  })
})

t.test('a module that is no valid gzip file is loaded as it is', async (t) => {
  const gzipped = new Uint8Array(gzipSync(pattern(5000, 3)))
  const claims = (size: number) => {
    const file = gzipped.slice()
    view(file).setUint32(file.length - 4, size, true)
    return file
  }
  const moduleOf = async (ramdisk: Uint8Array) => {
    const domain = await build(pvKernelFile(), { ramdisk, xen: '4.17' })
    const info = readStartInfo(domain)
    return readVirtual(domain, info.mod_start, Number(info.mod_len))
  }
  t.same((await moduleOf(gzipped)).subarray(0, 5000), pattern(5000, 3))
  for (const file of [Uint8Array.of(0x1f, 0x8b, 8), pattern(100, 1), claims(2 ** 30 + 1)]) {
    t.same((await moduleOf(file)).subarray(0, file.length), file)
  }
})

t.test('several modules apart: all placed, start_info tells of the first', async (t) => {
  const domain = await build(pvKernelFile(), { ramdisk: [pattern(100, 1), pattern(200, 2)] })
  const info = readStartInfo(domain)
  t.same(readVirtual(domain, info.mod_start, Number(info.mod_len)), pattern(100, 1))
  const second = domain.regions.find((region) => region.name === 'module1')
  t.same(readVirtual(domain, second?.vaddr ?? 0n, 200), pattern(200, 2))
})

t.test('the hypercall page: filled on request, for each ABI', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const base = elfClass === 64 ? 0xffffffff80102000n : 0xc0102000n
    const HYPERCALL_PAGE = elfClass === 64 ? base : Number(base)
    const file = pvKernelFile({ class: elfClass, notes: { HYPERCALL_PAGE } })
    t.same(
      readVirtual(await build(file), base, 8),
      pattern(3 * PAGE_SIZE).subarray(0x2000, 0x2008),
      'left alone otherwise',
    )
    const page = readVirtual(await build(file, { purpose: 'vmm' }), base, PAGE_SIZE)
    const slot = (number: number) => Buffer.from(page.subarray(number * 32, number * 32 + 16)).toString('hex')
    if (elfClass === 64) {
      t.match(slot(29), /^514153b81d0000000f05415b59c3cccc/)
      t.match(slot(23), /^51415350b8170000000f05cccccccc/)
    } else {
      t.match(slot(29), /^b81d000000cd82c3cccccccc/)
      t.match(slot(23), /^50b817000000cd82cccccccc/)
    }
  }
  await t.rejects(build(pvKernelFile({ notes: { HYPERCALL_PAGE: 0xffffffff90000000n } })), { code: 'wrong-layout' })
})

t.test('a p2m of ranges, with holes where nothing is said', async (t) => {
  const ranges = [
    { pfn: 4096, mfn: 100, pages: 4096 },
    { pfn: 0, mfn: 1_000_000, pages: 4000 },
  ]
  const domain = await build(pvKernelFile(), { p2m: { ranges } })
  const info = readStartInfo(domain)
  const list = view(readVirtual(domain, info.mfn_list, 8192 * 8))
  t.equal(list.getBigUint64(0, true), 1_000_000n)
  t.equal(list.getBigUint64(3999 * 8, true), 1_003_999n)
  t.equal(list.getBigUint64(4000 * 8, true), 2n ** 64n - 1n)
  t.equal(list.getBigUint64(8191 * 8, true), 4195n)
  t.equal(domain.p2m.pfn(4195), 8191)
  t.same(validate(domain), [])
  const shared = [...ranges, { pfn: 3999, mfn: 5_000_000, pages: 2 }]
  await t.rejects(build(pvKernelFile(), { p2m: { ranges: shared } }), { code: 'bad-config' })
})

t.test('maxmem is what the guest may grow to', async (t) => {
  t.equal((await build(pvKernelFile(), { maxmem: 64 * MiB })).maxmem, 64 * MiB)
  await t.rejects(build(pvKernelFile(), { maxmem: 16 * MiB }), { code: 'bad-config' })
})

t.test('the default of sharedInfoMfn is a frame that the guest does not have, for any p2m', async (t) => {
  const file = pvKernelFile()
  const pages = (32 * MiB) / PAGE_SIZE
  const table = BigUint64Array.from({ length: pages }, (_, pfn) => BigInt(2 * pages - pfn))
  const holed = table.slice()
  holed[pages - 1] = 2n ** 64n - 1n
  const specs: [PvConfig['p2m'], number][] = [
    ['identity', pages],
    [{ offset: 0 }, pages],
    [{ offset: 5 }, pages + 5],
    [{ offset: 2 ** 33 }, pages + 2 ** 33],
    [{ table }, 2 * pages + 1],
    [{ table: holed }, 2 * pages + 1],
    [
      {
        ranges: [
          { pfn: 0, mfn: pages, pages: 10 },
          { pfn: 10, mfn: 0, pages: pages - 10 },
        ],
      },
      pages + 10,
    ],
    [{ function: (pfn) => pfn ^ 1 }, 2 ** 40 - 1],
  ]
  for (const [p2m, expected] of specs) {
    const domain = await build(file, { ...(p2m === undefined ? {} : { p2m }) })
    const { sharedInfoMfn } = requirePv(domain)
    t.equal(sharedInfoMfn, expected)
    t.equal(domain.p2m.pfn(sharedInfoMfn) === undefined || !domain.memory.has(domain.p2m.pfn(sharedInfoMfn) ?? 0), true)
    t.equal(readStartInfo(domain).shared_info, BigInt(expected) * BigInt(PAGE_SIZE))
  }
  const mapped = await build(file, { sharedInfoMfn: 7 })
  t.equal(requirePv(mapped).sharedInfoMfn, 7, 'one that is given stands')
})
