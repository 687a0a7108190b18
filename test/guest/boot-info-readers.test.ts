/**
 * The readers of boot information, over memory written here: magics, versions, limits, and addresses that lead nowhere.
 *
 * Source: xen/include/public/xen.h; xen/include/public/arch-x86/hvm/start_info.h; Linux
 * Documentation/arch/x86/zero-page.rst.
 * Gotcha: the builder's own guests have none of the faults that a snapshot may have, so no builder is used.
 */
import t from 'tap'
import { BootParams, SetupHeader } from '../../lib/abi/boot-params.js'
import { HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo } from '../../lib/abi/hvm-start-info.js'
import { StartInfo32, StartInfo64 } from '../../lib/abi/start-info.js'
import { readBootParams, readCommandLine } from '../../lib/guest/boot-params.js'
import type { Domain } from '../../lib/guest/domain.js'
import { isPvhDom0, readHvmStartInfo } from '../../lib/guest/hvm-start-info.js'
import { GuestMemory } from '../../lib/guest/memory.js'
import { readStartInfo } from '../../lib/guest/start-info.js'
import { waitingVcpu } from '../../lib/guest/vcpu.js'

const text = (value: string): Uint8Array => Buffer.from(value, 'latin1')

/** A guest of 64 pages with that content. */
function guest(boot: object, contents: readonly (readonly [number, Uint8Array])[], more: object = {}): Domain {
  const memory = new GuestMemory(64)
  for (const [at, bytes] of contents) memory.write(at, bytes)
  return { type: 'pv', abi: 'x86_64', memory, boot, vcpus: [], ...more } as unknown as Domain
}

t.test('start_info: the magic of the ABI, or that of a dom0 with its flag', async (t) => {
  const at = { startInfo: { pfn: 3, vaddr: 0n } }
  const of64 = (magic: string, flags = 0) =>
    guest(at, [[3 * 4096, StartInfo64.encode({ ...StartInfo64.zero, magic, flags, nr_pages: 5n })]])
  const of32 = (magic: string, flags = 0) =>
    guest(at, [[3 * 4096, StartInfo32.encode({ ...StartInfo32.zero, magic, flags, nr_pages: 5 })]], { abi: 'x86_32p' })
  t.match(readStartInfo(of64('xen-3.0-x86_64')), { magic: 'xen-3.0-x86_64', nr_pages: 5n, flags: 0 })
  t.match(readStartInfo(of32('xen-3.0-x86_32p')), { magic: 'xen-3.0-x86_32p', nr_pages: 5n, flags: 0 })
  t.throws(() => readStartInfo(of64('xen-3.0-x86_32p')), {
    code: 'bad-snapshot',
    expected: "'xen-3.0-x86_64'",
    found: "'xen-3.0-x86_32p'",
  })
  t.throws(() => readStartInfo(of32('xen-3.0-x86_64')), { code: 'bad-snapshot', expected: "'xen-3.0-x86_32p'" })
  t.match(readStartInfo(of64('xen-3.0-x86_64p', 2)), { flags: 2 }, "Xen's own magic of a dom0 with a PAE_MODE")
  for (const flags of [0, 1, 4]) t.throws(() => readStartInfo(of64('xen-3.0-x86_64p', flags)), { code: 'bad-snapshot' })
  t.throws(() => readStartInfo(of64('xen-3.0-x86_32p', 2)), { code: 'bad-snapshot' })
})

t.test('start_info of a 32-bit guest: words become bigint, u32 of both ABIs stay numbers', async (t) => {
  const value = { ...StartInfo32.zero, magic: 'xen-3.0-x86_32p', shared_info: 0x1000, store_evtchn: 1, cmd_line: 'a' }
  const bytes = StartInfo32.encode({ ...value, flags: 1, mod_len: 7, first_p2m_pfn: 8 })
  const { magic, shared_info, store_evtchn, flags, mod_len, first_p2m_pfn, cmd_line, ...others } = readStartInfo(
    guest({ startInfo: { pfn: 3, vaddr: 0n } }, [[3 * 4096, bytes]], { abi: 'x86_32p' }),
  )
  t.strictSame(
    { magic, shared_info, store_evtchn, flags, mod_len, first_p2m_pfn, cmd_line },
    {
      magic: value.magic,
      shared_info: 0x1000n,
      store_evtchn: 1,
      flags: 1,
      mod_len: 7n,
      first_p2m_pfn: 8n,
      cmd_line: 'a',
    },
  )
  t.equal('console_evtchn' in others ? others.console_evtchn : undefined, 0)
})

t.test('a guest without the structure is refused, by its type', async (t) => {
  for (const read of [readStartInfo, readBootParams, readCommandLine, readHvmStartInfo]) {
    t.throws(() => read(guest({ kind: 'firmware' }, [], { type: 'hvm' })), { code: 'bad-config', found: 'hvm' })
  }
  t.throws(() => readHvmStartInfo(guest({ kind: 'hvm_start_info' }, [])), { code: 'bad-config', message: /has run/ })
})

/** A guest with boot_params at 0x3000. */
function linux(header: object, page: object, contents: Parameters<typeof guest>[1] = [], more: object = {}): Domain {
  const hdr = { ...SetupHeader.zero, ...header }
  const bytes = BootParams.encode({ ...BootParams.zero, ...page, hdr })
  return guest({ kind: 'boot_params', bootParams: 0x3000 }, [[0x3000, bytes], ...contents], more)
}

t.test('the command line: by cmd_line_ptr since 2.02, by cl_magic before', async (t) => {
  const line = [[0x5000, text('quiet\0more')]] as const
  t.equal(readCommandLine(linux({ version: 0x202, cmd_line_ptr: 0x5000 }, {}, line)), 'quiet')
  t.equal(readCommandLine(linux({ version: 0x20f, cmd_line_ptr: 0 }, {}, line)), '')
  t.equal(
    readCommandLine(linux({ version: 0x20f, cmd_line_ptr: 0x5000 }, { ext_cmd_line_ptr: 1 }, line)),
    '',
    'past 4 GiB',
  )
  const boot = { kind: 'boot_params', bootParams: 0x3000 }
  const memory = new GuestMemory([
    { start: 0, end: 64 },
    { start: 0x300000, end: 0x300010 },
  ])
  memory.write(
    0x3000,
    linux({ version: 0x20f, cmd_line_ptr: 0x5000 }, { ext_cmd_line_ptr: 3 }).memory.read(0x3000, 4096),
  )
  memory.write(3 * 2 ** 32 + 0x5000, text('far\0'))
  t.equal(readCommandLine(guest(boot, [], { memory })), 'far', 'above 4 GiB')
  const old = (cl_magic: number) => {
    const screen_info = { ...BootParams.zero.screen_info, cl_magic, cl_offset: 0x1000 }
    const memory = new GuestMemory(0x100)
    const page = linux({ version: 0x201, cmd_line_ptr: 0x5000 }, { screen_info }, line).memory.read(0, 0x6000)
    memory.write(0, page)
    memory.write(0x91000, text('old\0'))
    return readCommandLine(guest(boot, [], { memory }))
  }
  t.equal(old(0xa33f), 'old')
  t.equal(old(0xa33e), '')
})

t.test('in real mode only the fields that a loader writes are read', async (t) => {
  const boot = { kind: 'boot_params', bootParams: 0x3000 }
  const ones = [[0x3000, new Uint8Array(4096).fill(0xff)]] as const
  const code = readBootParams(guest(boot, ones, { vcpus: [waitingVcpu(0)] }))
  t.equal(code.screen_info.cl_magic, 0xffff)
  t.equal(code.screen_info.cl_offset, 0xffff)
  t.equal(code.hdr.setup_sects, 0xff, 'the first byte of the header')
  t.equal(code.hdr.kernel_info_offset, 0xffffffff, 'and its last')
  const { screen_info, hdr: _, ...others } = code
  const isZero = (value: unknown): boolean =>
    typeof value === 'object' && value !== null ? Object.values(value).every(isZero) : !value
  t.ok(isZero({ ...screen_info, cl_magic: 0, cl_offset: 0 }), 'nothing else of screen_info')
  t.ok(isZero(others), 'nor of the page')
  const whole = readBootParams(guest(boot, ones, { vcpus: [{ ...waitingVcpu(0), cr0: 1n }] }))
  t.equal(whole.e820_entries, 0xff, 'in protected mode all of it is')
  t.equal(readBootParams(guest(boot, ones)).e820_entries, 0xff, 'and without a vcpu')
})

/** A PVH guest with hvm_start_info at 0x3000. */
function pvh(info: object, contents: Parameters<typeof guest>[1] = []): Domain {
  const value = { ...HvmStartInfo.zero, magic: 0x336ec578, version: 1, ...info }
  return guest({ kind: 'hvm_start_info', hvmStartInfo: 0x3000 }, [[0x3000, HvmStartInfo.encode(value)], ...contents])
}

t.test('hvm_start_info: lists and texts are followed', async (t) => {
  const module = (paddr: bigint, size: bigint, cmdline_paddr: bigint) =>
    HvmModlistEntry.encode({ paddr, size, cmdline_paddr, reserved: 0n })
  const range = (addr: bigint, size: bigint, type: number) =>
    HvmMemmapTableEntry.encode({ addr, size, type, reserved: 0 })
  const found = readHvmStartInfo(
    pvh({ nr_modules: 2, modlist_paddr: 0x5000n, cmdline_paddr: 0x6000n, memmap_paddr: 0x7000n, memmap_entries: 2 }, [
      [0x5000, Buffer.concat([module(0x8000n, 9n, 0x6100n), module(0x9000n, 1n, 0n)])],
      [0x6000, text('first\0')],
      [0x6100, text('second\0')],
      [0x7000, Buffer.concat([range(0n, 0xa0000n, 1), range(0x100000n, 5n, 2)])],
    ]),
  )
  t.equal(found.paddr, 0x3000)
  t.equal(found.cmdline, 'first')
  t.match(found.modules, [
    { paddr: 0x8000n, size: 9n, cmdline: 'second' },
    { paddr: 0x9000n, size: 1n, cmdline: '' },
  ])
  t.match(found.memmap, [
    { addr: 0n, size: 0xa0000n, type: 1 },
    { addr: 0x100000n, size: 5n, type: 2 },
  ])
  t.match([found.modules.length, found.memmap.length], [2, 2])
})

t.test('hvm_start_info: version 0 has no memory map, even if bytes follow', async (t) => {
  const rest = { memmap_paddr: 0x7000n, memmap_entries: 2 }
  t.match(readHvmStartInfo(pvh({ version: 0, ...rest })), {
    fields: { memmap_paddr: 0n, memmap_entries: 0 },
    memmap: [],
  })
  t.equal(readHvmStartInfo(pvh({ version: 0, ...rest })).memmap.length, 0)
  t.equal(readHvmStartInfo(pvh({ version: 1, ...rest })).memmap.length, 2)
  t.equal(readHvmStartInfo(pvh({ version: 2, ...rest })).memmap.length, 2)
  const end = 64 * 4096 - 40
  const boot = { kind: 'hvm_start_info', hvmStartInfo: end }
  const bytes = HvmStartInfo.encode({ ...HvmStartInfo.zero, magic: 0x336ec578 }).subarray(0, 40)
  t.match(readHvmStartInfo(guest(boot, [[end, bytes]])), { cmdline: '' }, 'it may end where memory ends')
})

t.test('hvm_start_info: the magic, and limits of lists and texts', async (t) => {
  t.throws(() => readHvmStartInfo(pvh({ magic: 0x336ec579 })), { code: 'bad-snapshot', found: '0x336ec579' })
  t.equal(readHvmStartInfo(pvh({ memmap_entries: 4096 })).memmap.length, 4096)
  for (const name of ['memmap_entries', 'nr_modules']) {
    t.throws(() => readHvmStartInfo(pvh({ [name]: 4097 })), {
      code: 'bad-snapshot',
      message: new RegExp(`${name} is out of range`),
      expected: 'at most 4096',
    })
  }
  t.throws(() => readHvmStartInfo(pvh({ memmap_entries: 1, memmap_paddr: 0x40000n })), { code: 'not-mapped' })
  // 4 texts of 65536 characters are allowed together; one character more is not.
  const longText: readonly [number, Uint8Array] = [0x10000, new Uint8Array(0x10001).fill(0x61)]
  const texts = (count: number, last: bigint) => {
    const entries = Array.from({ length: count }, (_, i) =>
      HvmModlistEntry.encode({ ...HvmModlistEntry.zero, cmdline_paddr: i === count - 1 ? last : 0x10000n }),
    )
    return pvh({ nr_modules: count, modlist_paddr: 0x5000n }, [
      longText,
      [0x5000, Buffer.concat(entries)],
      [0x6000, text('x\0')],
    ])
  }
  t.equal(readHvmStartInfo(texts(4, 0x10000n)).modules[3]?.cmdline.length, 0x10000)
  t.throws(() => readHvmStartInfo(texts(5, 0x6000n)), { code: 'bad-snapshot', message: /command lines .* too long/ })
})

t.test('a PVH dom0 is known by its flag', async (t) => {
  t.equal(isPvhDom0(pvh({ flags: 2 })), true)
  t.equal(isPvhDom0(pvh({ flags: 3 })), true)
  for (const flags of [0, 1, 4, 0xfffffffd]) t.equal(isPvhDom0(pvh({ flags })), false)
  t.equal(isPvhDom0(pvh({ flags: 2, magic: 1 })), false)
  t.equal(isPvhDom0(guest({ kind: 'firmware' }, [])), false)
  t.equal(isPvhDom0(guest({ kind: 'hvm_start_info' }, [])), false)
  const end = 64 * 4096 - 40
  const bytes = HvmStartInfo.encode({ ...HvmStartInfo.zero, magic: 0x336ec578, flags: 2 }).subarray(0, 40)
  t.equal(isPvhDom0(guest({ kind: 'hvm_start_info', hvmStartInfo: end }, [[end, bytes]])), true)
})
