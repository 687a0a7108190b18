/**
 * The written libxc stream, record by record: types, lengths, padding, and the p2m list around each limit.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc; the records are read here, without our reader.
 * Gotcha: our own reader accepts records in more orders than xl does, so the order is compared as a whole.
 */
import t from 'tap'
import { LIBXC_RECORD, type LibxcRecordName } from '../../lib/abi/save-stream.js'
import { SharedInfo32, SharedInfo64 } from '../../lib/abi/shared-info.js'
import type { Domain, PvBoot, PvhBoot } from '../../lib/guest/domain.js'
import { GuestMemory } from '../../lib/guest/memory.js'
import { asPfns } from '../../lib/guest/pfn-view.js'
import { encodePvContext } from '../../lib/guest/pv-context.js'
import { buildDomain, readKernel } from '../../lib/index.js'
import { libxcHvmStream, libxcPvStream, record } from '../../lib/snapshot/libxc-stream.js'
import { SnapshotFile } from '../../lib/snapshot/snapshot-file.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf } from '../fixtures/snapshots.js'

const OPTIONS = { version: 3, xen: '4.17' } as const
const NAMES = new Map(Object.entries(LIBXC_RECORD).map(([name, type]) => [type as number, name as LibxcRecordName]))

const pvGuest = async (elfClass: 32 | 64 = 64, vcpus = 1): Promise<Domain<PvBoot>> =>
  asPfns(
    buildDomain(await readKernel(pvKernelFile({ class: elfClass })), {
      ...{ type: 'pv', memory: 16 << 20, vcpus, p2m: { offset: 9 } },
    }),
  )
const pvhGuest = async (): Promise<Domain<PvhBoot>> =>
  buildDomain(await readKernel(pvhKernelFile()), { type: 'pvh', memory: 20 << 20 })

interface Found {
  readonly name: LibxcRecordName
  readonly body: Buffer
}

/** Returns the headers and the records; padding must be zero, and as short as possible. */
function recordsOf(parts: ReturnType<typeof libxcPvStream>): { headers: Buffer; records: readonly Found[] } {
  const all = Buffer.from(bytesOf(new SnapshotFile('', parts)))
  const records: Found[] = []
  for (let at = 40; at < all.length; ) {
    const [type, length] = [all.readUInt32LE(at), all.readUInt32LE(at + 4)]
    const end = at + 8 + Math.ceil(length / 8) * 8
    const name = NAMES.get(type)
    if (name === undefined || end > all.length) throw new Error(`no record at ${at}`)
    if (all.subarray(at + 8 + length, end).some((byte) => byte !== 0)) throw new Error(`padding of ${name}`)
    records.push({ name, body: all.subarray(at + 8, at + 8 + length) })
    at = end
  }
  return { headers: all.subarray(0, 40), records }
}
const names = (records: readonly Found[]): string[] => records.map(({ name }) => name)
const bodyOf = (records: readonly Found[], name: LibxcRecordName): Buffer =>
  records.find((one) => one.name === name)?.body ?? Buffer.alloc(0)

t.test('a record is padded to 8 bytes', async (t) => {
  for (const [length, padded] of [
    [0, 0],
    [1, 8],
    [4, 8],
    [7, 8],
    [8, 8],
    [9, 16],
  ] as const) {
    const expected = new Uint8Array(8 + padded)
    expected[0] = 0x78
    expected[1] = 0x56
    expected[4] = length
    expected.fill(0xaa, 8, 8 + length)
    t.same(record(0x5678, new Uint8Array(length).fill(0xaa)), expected, `${length} bytes`)
  }
})

t.test('the headers: the image header big-endian, the domain header little-endian', async (t) => {
  const hex = (parts: ReturnType<typeof libxcPvStream>) => recordsOf(parts).headers.toString('hex')
  const image = (version: number) => `ffffffffffffffff58454e460000000${version}0000000000000000`
  t.equal(hex(libxcPvStream(await pvGuest(), OPTIONS)), `${image(3)}010000000c0000000400000011000000`)
  const old = { version: 2, xen: '4.19' } as const
  t.equal(hex(libxcHvmStream(await pvhGuest(), old)), `${image(2)}020000000c0000000400000013000000`)
})

t.test('the records of a PV guest, in order', async (t) => {
  for (const [elfClass, info] of [
    [64, '0804000000000000'],
    [32, '0403000000000000'],
  ] as const) {
    const guest = await pvGuest(elfClass, 3)
    const abi = elfClass === 64 ? 'x86_64' : 'x86_32p'
    const { records } = recordsOf(libxcPvStream(guest, OPTIONS))
    t.same(names(records), [
      'X86_PV_INFO',
      'STATIC_DATA_END',
      'X86_PV_P2M_FRAMES',
      ...Array(4).fill('PAGE_DATA'),
      'SHARED_INFO',
      'X86_PV_VCPU_BASIC',
      'END',
    ])
    t.equal(bodyOf(records, 'X86_PV_INFO').toString('hex'), info)
    t.equal(bodyOf(records, 'STATIC_DATA_END').length, 0)
    t.equal(bodyOf(records, 'END').length, 0)
    t.same(bodyOf(records, 'SHARED_INFO'), Buffer.from(guest.boot.sharedInfo))
    const vcpu = bodyOf(records, 'X86_PV_VCPU_BASIC')
    t.equal(vcpu.subarray(0, 8).toString('hex'), '0000000000000000')
    const [first] = guest.vcpus
    if (first === undefined) return t.fail('no vcpu')
    const rdx = BigInt(guest.boot.startInfo.pfn)
    const expected = encodePvContext({ ...first, registers: { ...first.registers, rdx } }, abi)
    t.same(vcpu.subarray(8), Buffer.from(expected), 'with the frame of start_info in %edx')
    const start = guest.regions.find(({ name }) => name === 'p2m')?.pfn ?? -1
    const list = bodyOf(records, 'X86_PV_P2M_FRAMES')
    const frames = Array.from({ length: 4096 / (elfClass === 64 ? 512 : 1024) }, (_, i) => BigInt(start + i))
    t.equal(list.readUInt32LE(0), 0)
    t.equal(list.readUInt32LE(4), 0xfff, 'the last pfn, not the end')
    t.same([...new BigUint64Array(Uint8Array.from(list.subarray(8)).buffer)], frames)
  }
})

t.test('every vcpu that runs has a record; only the first one names start_info', async (t) => {
  const guest = await pvGuest(64, 3)
  const [first, second, third] = guest.vcpus
  if (!first || !second || !third) return t.fail('three vcpus')
  const running = { ...second, online: true, registers: { ...second.registers, rdx: 77n } }
  const { records } = recordsOf(libxcPvStream({ ...guest, vcpus: [first, running, third] }, OPTIONS))
  const contexts = records.filter(({ name }) => name === 'X86_PV_VCPU_BASIC')
  t.equal(contexts.length, 2)
  t.equal(contexts[1]?.body.readUInt32LE(0), 1)
  t.same(contexts[1]?.body.subarray(8), Buffer.from(encodePvContext(running, 'x86_64')))
})

t.test('saved records: each at its place, and no others', async (t) => {
  const saved = (names: readonly string[]) => ({
    records: names.map((name, i) => ({ name, body: Uint8Array.of(i + 1) })),
  })
  const guest = await pvGuest()
  const all = [
    'X86_PV_VCPU_MSRS',
    'X86_PV_VCPU_XSAVE',
    'X86_PV_VCPU_EXTENDED',
    'X86_TSC_INFO',
    'X86_MSR_POLICY',
    'X86_CPUID_POLICY',
    'EMULATOR_CONTEXT',
  ]
  const { records } = recordsOf(libxcPvStream({ ...guest, saved: saved(all) }, OPTIONS))
  t.same(
    names(records).filter((name) => name !== 'PAGE_DATA'),
    [
      'X86_PV_INFO',
      'X86_MSR_POLICY',
      'X86_CPUID_POLICY',
      'STATIC_DATA_END',
      'X86_PV_P2M_FRAMES',
      'X86_TSC_INFO',
      'SHARED_INFO',
      'X86_PV_VCPU_BASIC',
      'X86_PV_VCPU_MSRS',
      'X86_PV_VCPU_XSAVE',
      'X86_PV_VCPU_EXTENDED',
      'END',
    ],
  )
  for (const [i, name] of all.slice(0, 6).entries()) {
    t.same([...bodyOf(records, name as LibxcRecordName)], [i + 1], name)
  }
  const pvh = await pvhGuest()
  const hvm = recordsOf(libxcHvmStream({ ...pvh, saved: saved(['X86_MSR_POLICY', 'X86_TSC_INFO']) }, OPTIONS)).records
  t.same(
    names(hvm).filter((name) => name !== 'PAGE_DATA'),
    ['X86_MSR_POLICY', 'STATIC_DATA_END', 'X86_TSC_INFO', 'HVM_PARAMS', 'HVM_CONTEXT', 'END'],
  )
})

t.test('version 2 has no static part, and refuses a guest that would lose its policies', async (t) => {
  const guest = await pvGuest()
  const old = { ...OPTIONS, version: 2 } as const
  t.same(names(recordsOf(libxcPvStream(guest, old)).records).slice(0, 2), ['X86_PV_INFO', 'X86_PV_P2M_FRAMES'])
  const saved = { records: [{ name: 'X86_MSR_POLICY', body: Uint8Array.of(1) }] }
  t.throws(() => libxcPvStream({ ...guest, saved }, old), {
    code: 'bad-config',
    expected: 'version 3',
    found: 'X86_MSR_POLICY',
  })
  t.ok(libxcPvStream({ ...guest, saved: { records: [{ name: 'X86_TSC_INFO', body: Uint8Array.of(1) }] } }, old))
})

t.test('the p2m list: as long as the guest claims, as far as its frames are known', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const guest = await pvGuest(elfClass)
    const perFrame = elfClass === 64 ? 512 : 1024
    const known = 4096 / perFrame
    const [struct, zero] = elfClass === 64 ? [SharedInfo64, SharedInfo64.zero] : [SharedInfo32, SharedInfo32.zero]
    const claims = (max_pfn: number, more: Partial<Domain<PvBoot>> = {}) => {
      const value = { ...zero, max_pfn: elfClass === 64 ? BigInt(max_pfn) : max_pfn }
      const sharedInfo = (struct as { encode(value: unknown): Uint8Array }).encode(value)
      const changed = { ...guest, ...more, boot: { ...guest.boot, sharedInfo } }
      const list = bodyOf(recordsOf(libxcPvStream(changed, OPTIONS)).records, 'X86_PV_P2M_FRAMES')
      return [list.readUInt32LE(4) + 1, (list.length - 8) / 8]
    }
    const p2m = guest.regions.find(({ name }) => name === 'p2m')
    if (p2m === undefined) return t.fail('no p2m')
    const others = guest.regions.filter(({ name }) => name !== 'p2m')
    const longer = { regions: [...others, { ...p2m, pages: known + 2 }] }
    t.same(claims(0), [4096, known], 'no claim: the memory')
    t.same(claims(100), [4096, known], 'never shorter than the memory')
    t.same(claims(4097), [4096, known], 'a frame of the list is not known')
    t.same(claims(4097, longer), [4097, known + 1])
    t.same(claims(4096 + 2 * perFrame, longer), [4096 + 2 * perFrame, known + 2], 'all that are known')
    t.same(claims(4096 + 2 * perFrame + 1, longer), [4096, known], 'one more is not believed')
    const parts = { regions: [...others, { ...p2m, pages: known - 1 }, { ...p2m, pfn: p2m.pfn + known - 1, pages: 1 }] }
    t.same(claims(0, parts), [4096, known], 'in two runs')
    const outside = { regions: [...others, p2m, { ...p2m, pfn: 4095, pages: 2 }] }
    t.same(claims(4097, outside), [4096, known], 'a run that reaches out of the memory is ignored')
    t.same(
      claims(4097, { regions: [...others, p2m, { ...p2m, pfn: 4095, pages: 1 }] }),
      [4097, known + 1],
      'its last page',
    )
    t.throws(() => claims(0, { regions: [...others, { ...p2m, pages: known - 1 }] }), {
      code: 'bad-snapshot',
      message: /p2m list is not known/,
      expected: `${known} frames`,
      found: `${known - 1}`,
    })
    t.throws(() => claims(0, { regions: others }), { code: 'bad-snapshot', found: '0' })
  }
})

t.test('the frames of a p2m list in several runs', async (t) => {
  const guest = await pvGuest()
  const p2m = guest.regions.find(({ name }) => name === 'p2m')
  if (p2m === undefined) return t.fail('no p2m')
  const runs = [
    [3000, 3],
    [100, 1],
    [2000, 9],
  ].map(([pfn = 0, pages = 0]) => ({ ...p2m, pfn, pages }))
  const regions = [...guest.regions.filter((region) => region !== p2m), ...runs]
  const list = bodyOf(recordsOf(libxcPvStream({ ...guest, regions }, OPTIONS)).records, 'X86_PV_P2M_FRAMES')
  t.same(
    [...new BigUint64Array(Uint8Array.from(list.subarray(8)).buffer)].map(Number),
    [3000, 3001, 3002, 100, 2000, 2001, 2002, 2003],
  )
})

t.test('a guest of 2^32 pages is the largest', async (t) => {
  const guest = await pvhGuest()
  const withPages = (pages: number) =>
    libxcHvmStream({ ...guest, memory: new GuestMemory(pages), regions: [] }, OPTIONS).length
  t.equal(withPages(2 ** 32), 3)
  t.throws(() => withPages(2 ** 32 + 1), {
    code: 'does-not-fit',
    expected: 'at most 4294967296 pages',
    found: '4294967297',
  })
})
