/**
 * Readers of a guest's boot information: which guest has which, and what makes it invalid.
 *
 * Source: xen/include/public/xen.h and hvm/start_info.h; Linux boot.rst; ACPI 6.5, 5.2.
 * Gotcha: a guest may have written anything there, so each number in it is untrusted.
 */
import t from 'tap'
import { BootParams, SETUP_HEADER_OFFSET, SetupHeader } from '../../lib/abi/boot-params.js'
import { HVM_SAVE_CODE } from '../../lib/abi/hvm-save.js'
import { HvmStartInfo } from '../../lib/abi/hvm-start-info.js'
import { DOM0_PAE_MAGIC, SIF_INITDOMAIN, StartInfo64 } from '../../lib/abi/start-info.js'
import { CR0_PG, CR4_LA57, CR4_PAE, EFER_LME } from '../../lib/abi/x86.js'
import { readCommandLine } from '../../lib/guest/boot-params.js'
import { readCString } from '../../lib/guest/c-string.js'
import { requirePv } from '../../lib/guest/domain.js'
import { decodeHvmContext, encodeHvmContext, hvmRecords } from '../../lib/guest/hvm-context.js'
import { isPvhDom0 } from '../../lib/guest/hvm-start-info.js'
import { domainUuid } from '../../lib/guest/libxl-config.js'
import { GuestMemory } from '../../lib/guest/memory.js'
import { walkPageTables, walkTo } from '../../lib/guest/table-reader.js'
import { hasPageTables, pagingLevels } from '../../lib/guest/translate.js'
import {
  buildDomain,
  type Domain,
  PAGE_SIZE,
  readAcpi,
  readBootParams,
  readHvmStartInfo,
  readKernel,
  readStartInfo,
  translate,
} from '../../lib/index.js'
import { buildBzImage, patternBytes } from '../../lib/testing/index.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'

const MIB = 2 ** 20
const memory = 64 * MIB
const pv = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory })
const pvh = buildDomain(await readKernel(pvhKernelFile()), {
  type: 'pvh',
  memory,
  cmdline: 'quiet',
  ramdisk: patternBytes(100),
})
const image = buildBzImage({
  payload: patternBytes(3 * PAGE_SIZE),
  protocol: 0x201,
  header: { payload_length: 0, payload_offset: 0, relocatable_kernel: 0 },
})
const linux = buildDomain(await readKernel(image), { type: 'linux', memory, cmdline: 'quiet' })

/** The guest with other bytes at an address. */
function written(domain: Domain, paddr: number, bytes: Uint8Array): Domain {
  const memory = domain.memory.copy()
  memory.write(paddr, bytes)
  return { ...domain, memory }
}
const u32 = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer)

t.test('each kind of guest has its own boot information', async (t) => {
  const bad = (act: () => unknown, message: string) => t.throws(act, { code: 'bad-config', message })
  bad(() => readBootParams(pv), 'the guest has no boot_params: expected linux, found pv')
  bad(() => readHvmStartInfo(pv), 'the guest has no hvm_start_info: expected pvh, found pv')
  bad(
    () => readStartInfo(pvh),
    'the guest has no start_info: expected a PV guest, or one whose hardware_subarch_data points to it, found pvh',
  )
  bad(() => requirePv(pvh), 'the guest is not a PV guest: expected pv, found pvh')
  t.equal(requirePv(pv), pv.boot)
  const ran = { ...pvh, boot: { kind: 'hvm_start_info', hvmParams: [] } } as unknown as Domain
  bad(() => readHvmStartInfo(ran), 'hvm_start_info is missing: the guest has run, and may have reused its memory')
  t.notOk(isPvhDom0(ran))
  t.notOk(isPvhDom0(pv))
  t.notOk(isPvhDom0(pvh))
})

t.test('start_info has the magic of its guest, of a dom0 too', async (t) => {
  const at = requirePv(pv).startInfo.pfn * PAGE_SIZE
  t.throws(() => readStartInfo(written(pv, at, Buffer.from('xen-9.9'))), {
    code: 'bad-snapshot',
    message: "start_info has the wrong magic: expected 'xen-3.0-x86_64', found 'xen-9.9-x86_64'",
  })
})

const found = readHvmStartInfo(pvh)

t.test('hvm_start_info is followed within bounds', async (t) => {
  t.equal(found.cmdline, 'quiet')
  const field = (name: 'magic' | 'nr_modules' | 'memmap_entries', value: number) =>
    written(pvh, found.paddr + HvmStartInfo.offsetOf(name), u32(value))
  const bad = (domain: Domain, message: string) =>
    t.throws(() => readHvmStartInfo(domain), { code: 'bad-snapshot', message })
  bad(field('magic', 5), 'hvm_start_info has the wrong magic: expected 0x336ec578, found 0x5')
  t.match(
    t.throws(() => readHvmStartInfo(field('nr_modules', 2 ** 31))),
    {
      code: 'bad-snapshot',
      message: /^hvm_start_info\.nr_modules is out of range: expected at most \d+, found 2147483648$/,
    },
  )
  // Many modules with one long command line.
  const modules = 100
  const text = 32 * MIB
  const list = new BigUint64Array(4 * modules)
  for (let i = 0; i < modules; i++) list[4 * i + 2] = BigInt(text)
  const domain = written(pvh, text, new Uint8Array(60_000).fill(0x61))
  domain.memory.write(48 * MIB, new Uint8Array(list.buffer))
  domain.memory.write(found.paddr + HvmStartInfo.offsetOf('nr_modules'), u32(modules))
  domain.memory.write(found.paddr + HvmStartInfo.offsetOf('modlist_paddr'), u32(48 * MIB, 0))
  t.match(
    t.throws(() => readHvmStartInfo(domain)),
    {
      code: 'bad-snapshot',
      message: /^the command lines of hvm_start_info are too long: expected at most \d+ characters in all, found more$/,
    },
  )
})

t.test('ACPI tables: a damaged one is named', async (t) => {
  const rsdp = Number(found.fields.rsdp_paddr)
  const tables = readAcpi(pvh.memory, rsdp)
  const xsdt = tables.find(({ signature }) => signature === 'XSDT')?.paddr ?? 0
  const bad = (paddr: number, bytes: Uint8Array, message: string) =>
    t.throws(() => readAcpi(written(pvh, paddr, bytes).memory, rsdp), { code: 'bad-snapshot', message })
  bad(rsdp, Buffer.from('XXX'), "ACPI: the RSDP is damaged: expected 'RSD PTR ', found 'XXX PTR '")
  bad(xsdt, Buffer.from('XXXX'), `ACPI: the XSDT is damaged: expected at most 64 entries, found 52 bytes of XXXX`)
  bad(xsdt + 4, u32(53), 'ACPI: the XSDT is damaged: expected at most 64 entries, found 53 bytes of XSDT')
  bad(xsdt + 4, u32(35), `ACPI: the table at 0x${xsdt.toString(16)} is damaged: expected 36 to 1048576 bytes, found 35`)
})

t.test('a text ends at its NUL, at the end of memory, or where a command line does', async (t) => {
  const memory = new GuestMemory(40)
  memory.write(0, new Uint8Array(30 * PAGE_SIZE).fill(0x61))
  memory.write(39 * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(0x62))
  t.equal(readCString(memory, 0), '')
  t.equal(readCString(memory, 29 * PAGE_SIZE + 5).length, PAGE_SIZE - 5)
  t.equal(readCString(memory, 28 * PAGE_SIZE).length, 2 * PAGE_SIZE, 'across pages')
  t.equal(readCString(memory, 39 * PAGE_SIZE), 'b'.repeat(PAGE_SIZE))
  t.equal(readCString(memory, 40 * PAGE_SIZE), '')
  t.equal(readCString(memory, PAGE_SIZE).length, 16 * PAGE_SIZE, 'whole pages up to the most')
})

t.test('an old command line is found by its magic', async (t) => {
  t.equal(readCommandLine(linux), 'quiet')
  const magic = BootParams.offsetOf('screen_info.cl_magic')
  t.equal(readCommandLine(written(linux, linux.boot.bootParams + magic, Uint8Array.of(0, 0))), '')
  const version = SETUP_HEADER_OFFSET + SetupHeader.offsetOf('version')
  t.equal(readBootParams(linux).hdr.version, 0x201)
  t.ok(version > magic)
})

t.test('the UUID of a guest is of version 8, and another for another guest', async (t) => {
  const uuid = domainUuid(pv)
  t.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.equal(domainUuid({ ...pv }), uuid)
  const { kernel, ...unknown } = pv
  const others = [unknown, { ...pv, name: 'other' }, pvh, linux].map(domainUuid)
  t.equal(new Set([uuid, ...others]).size, 5)
})

t.test('an HVM context keeps a vcpu, with and without a task register and a descriptor table', async (t) => {
  const [vcpu] = pvh.vcpus
  if (vcpu === undefined) throw new Error('no vcpu')
  const gdtr = { base: 0x1234n, limit: 0x57 }
  const back = decodeHvmContext(encodeHvmContext([{ ...vcpu, gdtr }]))
  t.same(back.get(0)?.gdtr, gdtr)
  t.same(back.get(0)?.tr, vcpu.tr)
  t.same(back.get(0)?.registers, vcpu.registers)
  const two = encodeHvmContext([vcpu, { ...vcpu, id: 1 }])
  const apics = [...hvmRecords(two)].filter(({ typecode }) => typecode === HVM_SAVE_CODE.LAPIC)
  t.same(
    apics.map(({ instance, body }) => [instance, new DataView(body.buffer, body.byteOffset).getUint32(0, true)]),
    [
      [0, 0xfee00900],
      [1, 0xfee00800],
    ],
    'only the first is the processor that boots',
  )
  const { tr, ...rest } = vcpu
  t.equal(decodeHvmContext(encodeHvmContext([rest])).get(0)?.tr?.selector ?? 0, 0)
})

t.test('an HVM context whose records do not follow one another', async (t) => {
  const context = encodeHvmContext(pvh.vcpus)
  const bad = (change: (bytes: Uint8Array, view: DataView) => Uint8Array | undefined, message: RegExp) => {
    const bytes = context.slice()
    const changed = change(bytes, new DataView(bytes.buffer)) ?? bytes
    t.throws(() => decodeHvmContext(changed), { code: 'bad-snapshot', message })
  }
  const length = new DataView(context.buffer, context.byteOffset).getUint32(4, true)
  const cpu = 8 + length
  bad(
    (bytes) => bytes.subarray(0, 5),
    /^HVM context: the context ends within hvm_save_descriptor: expected 8 bytes, found 5$/,
  )
  bad(
    (bytes) => bytes.subarray(0, 8 + length - 1),
    new RegExp(`^HVM context: a record is truncated: expected ${length} bytes, found ${length - 1}$`),
  )
  bad(
    (_, view) => void view.setUint16(0, 5, true),
    /^HVM context: the context has no header: expected type 1, found 5$/,
  )
  bad(
    (_, view) => void view.setUint32(8, 5, true),
    /^HVM context: its header has the wrong magic: expected 0x[0-9a-f]+, found 0x5$/,
  )
  bad(
    (bytes) => Uint8Array.of(...bytes, 0),
    /^HVM context: the context continues after its end: expected \d+ bytes, found \d+$/,
  )
  bad(
    (_, view) => void view.setUint16(cpu + 2, 0xffff, true),
    /^HVM context: the vcpu number is too large: expected below \d+, found 65535$/,
  )
  bad((_, view) => void view.setUint32(4, 2, true), /^HVM context: /)
})

t.test("a dom0's start_info has the magic of PAE", async (t) => {
  const dom0 = buildDomain(await readKernel(pvKernelFile({ class: 32 })), { type: 'pv', memory, dom0: {} })
  t.equal(readStartInfo(dom0).magic, 'xen-3.0-x86_32p')
  const at = requirePv(pv).startInfo.pfn * PAGE_SIZE
  const flags = at + StartInfo64.offsetOf('flags')
  const marked = written(written(pv, flags, u32(SIF_INITDOMAIN)), at, Buffer.from(DOM0_PAE_MAGIC.x86_64))
  t.equal(readStartInfo(marked).magic, DOM0_PAE_MAGIC.x86_64)
  t.throws(() => readStartInfo(written(pv, at, Buffer.from(DOM0_PAE_MAGIC.x86_64))), { code: 'bad-snapshot' })
})

t.test('tables that a walk cannot follow', async (t) => {
  const [vcpu] = pvh.vcpus
  const state = (cr0: number, cr4: number, efer: number, cr3 = 0n): Domain =>
    ({ ...pvh, vcpus: [{ ...vcpu, cr0: BigInt(cr0), cr4: BigInt(cr4), efer: BigInt(efer), cr3 }] }) as Domain
  const two = state(CR0_PG, 0, 0)
  t.throws(() => pagingLevels(two), {
    code: 'not-mapped',
    message: /^page tables of two levels are not supported: expected cr4.PAE set, found 0x0$/,
  })
  const five = state(CR0_PG, CR4_PAE | CR4_LA57, EFER_LME)
  t.throws(() => pagingLevels(five), {
    code: 'not-mapped',
    message: /^page tables of five levels are not supported: expected cr4.LA57 clear, found 0x1020$/,
  })
  for (const domain of [two, five]) t.notOk(hasPageTables(domain))
  t.equal(pagingLevels(state(CR0_PG, CR4_PAE, EFER_LME)), 4)
  const pae = state(CR0_PG, CR4_PAE, 0)
  t.equal(pagingLevels(pae), 3)
  t.equal(translate(pae, 1n << 32n), undefined, 'an address of more than 32 bits')
  const lost = state(CR0_PG, CR4_PAE, 0, BigInt(2 * memory))
  t.throws(() => translate(lost, 0n), {
    code: 'not-mapped',
    message: /^cr3 names a frame the guest does not have: found 0x8000000$/,
  })
  t.notOk(hasPageTables(lost))
  t.equal(translate(pvh, 0x1000n)?.paddr, 0x1000, 'without paging an address is itself')
  t.equal(translate(pvh, 1n << 32n), undefined)
  t.same([...walkTo(pvh, 0x1000n)], [])
  t.same([...walkTo(pv, 1n << 47n)], [], 'an address that is not canonical')
  t.equal(pagingLevels({ ...pvh, vcpus: [] }), 0)
})

t.test("PAE's top table has four entries, anywhere in its page", async (t) => {
  const entry = (pfn: number, flags: number) =>
    new Uint8Array(BigUint64Array.of(BigInt((pfn * PAGE_SIZE) | flags)).buffer)
  const memory = new GuestMemory(16)
  const top = 3 * PAGE_SIZE + 0x40
  memory.write(top, entry(4, 1))
  memory.write(top + 8 * 3, entry(5, 1))
  memory.write(top + 8 * 4, entry(6, 1))
  memory.write(4 * PAGE_SIZE, entry(7, 3))
  memory.write(4 * PAGE_SIZE + 8, entry(99, 3))
  memory.write(7 * PAGE_SIZE + 8 * 2, entry(9, 3))
  const [vcpu] = pvh.vcpus
  const state = { cr0: BigInt(CR0_PG), cr4: BigInt(CR4_PAE), efer: 0n, cr3: BigInt(top) }
  const domain = { ...pvh, memory, vcpus: [{ ...vcpu, ...state }] } as Domain
  t.equal(pagingLevels(domain), 3)
  t.same(translate(domain, 0x2005n), {
    ...{ vaddr: 0x2005n, paddr: 9 * PAGE_SIZE + 5, pfn: 9, mfn: 9, writable: true, user: false, pageSize: PAGE_SIZE },
    path: [
      { level: 3, pfn: 3, index: 0, entry: 0x4001n },
      { level: 2, pfn: 4, index: 0, entry: 0x7003n },
      { level: 1, pfn: 7, index: 2, entry: 0x9003n },
    ],
  })
  t.equal(translate(domain, 0x200000n), undefined, 'a table that the guest does not have')
  const tables = [...walkPageTables(domain)]
  t.same(
    tables.map(({ pfn, level, vaddr }) => [pfn, level, vaddr]),
    [
      [3, 3, 0n],
      [4, 2, 0n],
      [7, 1, 0n],
      [5, 2, 0xc0000000n],
    ],
  )
  t.equal(tables[0]?.entries[0], 0x4001n)
  t.same(
    [...walkTo(domain, 0x2000n)].map(({ table, index }) => [table.pfn, table.level, index]),
    [
      [3, 3, 0],
      [4, 2, 0],
      [7, 1, 2],
    ],
  )
  t.same([...walkPageTables(pvh)], [], 'without paging a guest has no tables')
})
