/**
 * boot_params byte by byte, for each version of the setup header: the page, the header in setup code, setup_data.
 *
 * Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst.
 * Gotcha: a byte that neither kernel nor loader sets must be zero, so the whole page is compared, never one field.
 */
import t from 'tap'
import { BOOT_FLAG, BootParams, E820_TYPE, HDRS_MAGIC, SETUP_HEADER_OFFSET } from '../../lib/abi/boot-params.js'
import type { MapEntry } from '../../lib/guest/memory-map.js'
import { parseBzImage } from '../../lib/kernel/bzimage.js'
import {
  bootParamsPage,
  type LoaderSays,
  setupCode,
  setupDataBytes,
  setupDataChain,
  setupDataNodes,
} from '../../lib/protocol/linux-boot-params.js'
import type { LinuxLoad } from '../../lib/protocol/linux-image.js'
import { buildBzImage } from '../../lib/testing/index.js'

const GiB = 2 ** 30
const RAM: MapEntry = { start: 0, end: 0x9fc00, type: E820_TYPE.RAM }
const HIGH: MapEntry = { start: 0x100000, end: 0x2000000, type: E820_TYPE.RAM }

const SAYS: LoaderSays = { cmdline: 0x91000, heapEndPtr: 0xde00, subarch: 0, subarchData: 0n, keepSegments: false }

const LOAD: LinuxLoad = {
  ...{ address: 0x1000000, entry: 0x1000200, mode: 64, pieces: [], mappings: [] },
  ...{ cmdlineSize: 2047, initrdAddrMax: 0x7fffffff, above4G: true },
}

/** A kernel whose setup code is 0x5a after the header. */
function imageLoad(protocol: number, jump?: number): LinuxLoad & { readonly setup: { readonly bytes: Uint8Array } } {
  const file = buildBzImage({ protocol, payload: new Uint8Array(64), header: { payload_length: 0, payload_offset: 0 } })
  const bzImage = parseBzImage(file)
  const bytes = file.slice(0, bzImage.setupBytes)
  bytes.fill(0x5a, SETUP_HEADER_OFFSET + 0x6b + 0x10)
  // Next to fields that the loader sets, and the kernel's own.
  put(bytes, [0x212, 2, 0x1234], [0x226, 2, 0x5678])
  if (jump !== undefined) bytes[0x201] = jump
  return { ...LOAD, setup: { bzImage, bytes } }
}

/** Returns the bytes of a page that are not zero, by their offset in hex. */
const nonZero = (page: Uint8Array): Record<string, number> =>
  Object.fromEntries([...page.entries()].filter(([, byte]) => byte !== 0).map(([at, byte]) => [at.toString(16), byte]))

type Field = readonly [at: number, bytes: number, value: number | bigint]

/** Writes little-endian numbers into bytes. */
function put(page: Uint8Array, ...fields: readonly Field[]): Uint8Array {
  for (const [at, bytes, value] of fields) {
    for (let i = 0; i < bytes; i++) page[at + i] = Number((BigInt(value) >> BigInt(8 * i)) & 0xffn)
  }
  return page
}
const pageOf = (...fields: readonly Field[]): Uint8Array => put(new Uint8Array(4096), ...fields)

/** The fields of a PC: a text screen of 80 by 25. */
const SCREEN = [
  [0x06, 1, 3],
  [0x07, 1, 80],
  [0x0e, 1, 25],
  [0x0f, 1, 1],
  [0x10, 2, 16],
] as const
/** The header of a vmlinux. */
const MINIMAL = [
  [0x1fe, 2, BOOT_FLAG],
  [0x202, 4, HDRS_MAGIC],
  [0x206, 2, 0x20f],
  [0x210, 1, 0xff],
  [0x211, 1, 0x81],
  [0x224, 2, 0xde00],
] as const
const entry = (i: number, { start, end, type }: MapEntry) =>
  [
    [0x2d0 + 20 * i, 8, start],
    [0x2d0 + 20 * i + 8, 8, end - start],
    [0x2d0 + 20 * i + 16, 4, type],
  ] as const

t.test('the page of a vmlinux on a PC, every byte', async (t) => {
  const page = bootParamsPage(LOAD, SAYS, [RAM, HIGH])
  const expected = pageOf(
    ...SCREEN,
    [0x02, 2, 31 * 1024],
    [0x1e0, 4, 31 * 1024],
    [0x1e8, 1, 2],
    ...MINIMAL,
    [0x228, 4, 0x91000],
    ...entry(0, RAM),
    ...entry(1, HIGH),
  )
  t.same(nonZero(page), nonZero(expected))
})

t.test('addresses above 4 GiB: the low words in the header, the high ones outside it', async (t) => {
  const says: LoaderSays = {
    ...SAYS,
    cmdline: 5 * 2 ** 32 + 0x80001000,
    ramdisk: { start: 6 * 2 ** 32 + 0xffffe000, bytes: 7 * 2 ** 32 + 0xfffffff3 },
    setupData: 8 * 2 ** 32 + 0x4000,
    subarch: 2,
    subarchData: 0x1122334455667788n,
    keepSegments: true,
  }
  const page = bootParamsPage({ ...LOAD, code32Start: 0xffffffff }, says, [])
  const expected = pageOf(
    ...MINIMAL,
    [0x211, 1, 0xc1],
    [0x0c0, 4, 6],
    [0x0c4, 4, 7],
    [0x0c8, 4, 5],
    [0x214, 4, 0xffffffff],
    [0x218, 4, 0xffffe000],
    [0x21c, 4, 0xfffffff3],
    [0x228, 4, 0x80001000],
    [0x23c, 4, 2],
    [0x240, 8, 0x1122334455667788n],
    [0x250, 8, 8n * 2n ** 32n + 0x4000n],
  )
  t.same(nonZero(page), nonZero(expected), 'without the screen, which another subarchitecture does not have')
  const far = bootParamsPage({ ...LOAD, code32Start: 2 ** 32 + 5 }, SAYS, [])
  t.same([...far.subarray(0x214, 0x218)], [0, 0, 0, 0], 'an address that code32_start cannot hold is omitted')
})

t.test('alt_mem_k and ext_mem_k: the RAM after 1 MiB up to the first hole', async (t) => {
  const kib = (...map: readonly MapEntry[]) => {
    const { screen_info, alt_mem_k } = BootParams.decode(bootParamsPage(LOAD, SAYS, map))
    return [screen_info.ext_mem_k, alt_mem_k]
  }
  const ram = (start: number, end: number): MapEntry => ({ start, end, type: E820_TYPE.RAM })
  const reserved = (start: number, end: number): MapEntry => ({ start, end, type: E820_TYPE.RESERVED })
  const MiB = 2 ** 20
  t.same(kib(), [0, 0])
  t.same(kib(RAM), [0, 0], 'memory below 1 MiB')
  t.same(kib(ram(MiB, MiB + 1023)), [0, 0])
  t.same(kib(ram(MiB, MiB + 1024)), [1, 1])
  t.same(kib(ram(0, 3 * MiB)), [2048, 2048], 'across 1 MiB')
  t.same(kib(ram(MiB, 64 * MiB)), [0xfc00, 0xfc00])
  t.same(kib(ram(MiB, 64 * MiB + 1024)), [0xfc00, 0xfc01], 'ext_mem_k goes up to 63 MiB')
  t.same(kib(ram(MiB + 1, 5 * MiB)), [0, 0], 'a hole at 1 MiB')
  t.same(kib(ram(MiB, 2 * MiB), ram(2 * MiB, 3 * MiB)), [2048, 2048], 'ranges that touch')
  t.same(kib(ram(MiB, 2 * MiB), ram(2 * MiB + 1, 3 * MiB)), [1024, 1024], 'a hole')
  t.same(kib(ram(MiB, 2 * MiB), reserved(2 * MiB, 3 * MiB), ram(3 * MiB, 4 * MiB)), [3072, 3072], 'reserved in between')
  t.same(kib(ram(MiB, 2 * MiB), reserved(2 * MiB, 3 * MiB)), [1024, 1024], 'reserved at the end')
  t.same(kib(ram(MiB, 4 * MiB), ram(2 * MiB, 3 * MiB)), [3072, 3072], 'a range inside another')
  t.same(kib(ram(MiB, 2 ** 42 + MiB)), [0xfc00, 0xffffffff], 'no more than 32 bits')
  t.same(kib(ram(MiB, 2 ** 42 + MiB - 1024)), [0xfc00, 0xffffffff])
  t.same(kib(ram(MiB, 2 ** 42 + MiB - 2048)), [0xfc00, 0xfffffffe])
})

t.test('the memory map: 128 entries in the page, the others in setup_data', async (t) => {
  const map = (count: number): MapEntry[] =>
    Array.from({ length: count }, (_, i) => ({ start: 2 * i * GiB, end: (2 * i + 1) * GiB, type: 1 + (i % 2) }))
  for (const [count, inPage] of [
    [127, 127],
    [128, 128],
    [129, 128],
    [131, 128],
  ] as const) {
    const { e820_entries, e820_table } = BootParams.decode(bootParamsPage(LOAD, SAYS, map(count)))
    t.equal(e820_entries, inPage)
    const expected = map(inPage).map(({ start, end, type }) => ({
      addr: BigInt(start),
      size: BigInt(end - start),
      type,
    }))
    t.same(e820_table.slice(0, e820_entries), expected, `${count} entries`)
    const given = [{ type: 9, data: Uint8Array.of(1) }]
    const [first, ...others] = setupDataNodes(given, map(count))
    if (count <= 128) {
      t.same([first, ...others], given)
      continue
    }
    t.equal(first?.type, 1, 'SETUP_E820_EXT')
    t.equal(first?.data.length, 20 * (count - 128))
    const view = new DataView((first?.data ?? new Uint8Array(0)).slice().buffer)
    for (let i = 128; i < count; i++) {
      t.equal(view.getBigUint64(20 * (i - 128), true), BigInt(2 * i * GiB))
      t.equal(view.getBigUint64(20 * (i - 128) + 8, true), BigInt(GiB))
      t.equal(view.getUint32(20 * (i - 128) + 16, true), 1 + (i % 2))
    }
    t.same(others, given)
  }
})

t.test('setup_data: nodes at multiples of 8, each with the address of the next', async (t) => {
  const nodes = [0, 1, 8, 9].map((length, i) => ({ type: i + 1, data: new Uint8Array(length).fill(0x10 + i) }))
  t.equal(setupDataBytes(nodes), 16 + 24 + 24 + 32)
  t.equal(setupDataBytes([]), 0)
  const bytes = setupDataChain(nodes, 0x123000)
  const at = [0, 16, 40, 64, 96]
  const expected = new Uint8Array(96)
  const view = new DataView(expected.buffer)
  for (const [i, { type, data }] of nodes.entries()) {
    const start = at[i] as number
    view.setBigUint64(start, i === 3 ? 0n : BigInt(0x123000 + (at[i + 1] as number)), true)
    view.setUint32(start + 8, type, true)
    view.setUint32(start + 12, data.length, true)
    expected.set(data, start + 16)
  }
  t.same(bytes, expected)
})

t.test("a kernel's own header: as long as its jump says, with the loader's fields", async (t) => {
  for (const [jump, end] of [
    [0x6a, 0x26c],
    [0x8d, 0x28f],
    [0x8e, 0x290],
    [0x8f, 0x290],
    [0xff, 0x290],
    [0x50, 0x252],
  ] as const) {
    const load = imageLoad(0x20f, jump)
    const page = bootParamsPage(load, SAYS, [])
    const own = load.setup.bytes
    const expected = new Uint8Array(4096)
    expected.set(own.subarray(SETUP_HEADER_OFFSET, end), SETUP_HEADER_OFFSET)
    put(expected, ...SCREEN, [0x210, 1, 0xff], [0x211, 1, 0x81], [0x224, 2, 0xde00], [0x228, 4, 0x91000])
    t.same(nonZero(page), nonZero(expected), `a jump of 0x${jump.toString(16)}`)
  }
})

t.test('older headers: only the fields that they have are set', async (t) => {
  const says: LoaderSays = { ...SAYS, ramdisk: { start: 0x800000, bytes: 0x1234 }, keepSegments: true }
  for (const protocol of [0x200, 0x201, 0x202, 0x206, 0x207, 0x208, 0x209, 0x20f]) {
    const load = imageLoad(protocol)
    const before = load.setup.bytes.slice()
    const code = setupCode(load, says)
    t.same(load.setup.bytes, before, 'the input is unchanged')
    const expected = before.slice()
    put(expected, [0x210, 1, 0xff], [0x211, 1, protocol >= 0x201 ? 0xc1 : 0x41])
    put(expected, [0x218, 4, 0x800000], [0x21c, 4, 0x1234])
    if (protocol >= 0x201) put(expected, [0x224, 2, 0xde00])
    if (protocol >= 0x202) put(expected, [0x228, 4, 0x91000])
    else put(expected, [0x20, 2, 0xa33f], [0x22, 2, 0x1000])
    t.same(nonZero(code), nonZero(expected), `protocol 0x${protocol.toString(16)}`)
    const needs = (more: Partial<LoaderSays>, since: number) => {
      const set = () => setupCode(load, { ...SAYS, ...more })
      if (protocol >= since) t.ok(set())
      else t.throws(set, { code: 'does-not-fit', expected: `protocol 0x${since.toString(16)} or newer` })
    }
    needs({ subarch: 1 }, 0x207)
    needs({ setupData: 0x1000 }, 0x209)
  }
})
