/**
 * libxc streams made record by record: the records that are kept, each rule's two sides, and the last page of a range.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc; the streams are written here, without our writer.
 * Gotcha: a refusal must name the offset of its record, or a damaged file of 100 GB cannot be examined.
 */
import t from 'tap'
import { LIBXC_RECORD, type LibxcRecordName } from '../../lib/abi/save-stream.js'
import { bytesSource } from '../../lib/index.js'
import { readLibxcStream } from '../../lib/snapshot/libxc-reader.js'

const concat = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))
const u32s = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer)
const u64s = (...values: readonly bigint[]): Uint8Array => new Uint8Array(BigUint64Array.from(values).buffer)
const none = new Uint8Array(0)

type Made = readonly [type: LibxcRecordName | number, body: Uint8Array]

function headers({ version = 3, type = 1, shift = 12, options = 0, marker = 0xff, id = 0x58454e46 } = {}): Uint8Array {
  const image = new DataView(new ArrayBuffer(40))
  for (let i = 0; i < 8; i++) image.setUint8(i, marker)
  image.setUint32(8, id)
  image.setUint32(12, version)
  image.setUint16(16, options)
  image.setUint32(24, type, true)
  image.setUint16(28, shift, true)
  return new Uint8Array(image.buffer)
}

/** Returns a stream, with some bytes before it. */
function streamOf(records: readonly Made[], header = headers(), before = 0): Uint8Array {
  const made = records.map(([type, body]) => {
    const number = typeof type === 'number' ? type : LIBXC_RECORD[type]
    return concat(u32s(number, body.length), body, new Uint8Array(-body.length & 7))
  })
  return concat(new Uint8Array(before).fill(0xee), header, ...made)
}
const read = (records: readonly Made[], header?: Uint8Array, before = 0) =>
  readLibxcStream(bytesSource(streamOf(records, header, before)), before)

const info = (width = 8, levels = 4): Made => ['X86_PV_INFO', Uint8Array.of(width, levels, 0, 0, 0, 0, 0, 0)]
const frames = (start: number, end: number, ...list: readonly number[]): Made => [
  'X86_PV_P2M_FRAMES',
  concat(u32s(start, end), u64s(...list.map(BigInt))),
]
const page = (type: number, pfn: number | bigint): bigint => (BigInt(type) << 60n) | BigInt(pfn)
const pages = (entries: readonly bigint[], contents = 0, count = entries.length): Made => [
  'PAGE_DATA',
  concat(u32s(count, 0), u64s(...entries), new Uint8Array(contents * 4096).fill(7)),
]
const [NOTAB, L1, L4_PINNED, BROKEN, XALLOC, XTAB] = [0, 1, 12, 13, 14, 15]
const STATIC_END: Made = ['STATIC_DATA_END', none]
const SHARED: Made = ['SHARED_INFO', new Uint8Array(4096)]
const VCPU: Made = ['X86_PV_VCPU_BASIC', Uint8Array.of(9, 9, 9)]
const END: Made = ['END', none]

const PV: readonly Made[] = [info(), STATIC_END, frames(0, 0x3ff, 5, 6), pages([page(NOTAB, 1)], 1), SHARED, VCPU, END]
const HVM: readonly Made[] = [
  STATIC_END,
  pages([page(NOTAB, 1)], 1),
  ['HVM_PARAMS', u32s(0, 0)],
  ['HVM_CONTEXT', Uint8Array.of(1)],
  END,
]
const hvm = headers({ type: 2 })

/** Returns records with some in another's place, and the offset of each record in the stream. */
const instead = (records: readonly Made[], name: Made[0], ...others: readonly Made[]): readonly Made[] =>
  records.flatMap((one) => (one[0] === name ? others : [one]))
const offsetOf = (records: readonly Made[], index: number): number => streamOf(records.slice(0, index)).length

t.test('a PV stream, from an offset on', async (t) => {
  const stream = read(PV, undefined, 24)
  t.match(stream, { pv: true, version: 3, width: 8, p2mEnd: 0x3ff, p2mFrames: [5, 6] })
  t.same(
    stream.records.map(({ name, body, offset }) => [name, body.length, offset]),
    [
      ['SHARED_INFO', 4096, offsetOf(PV, 4) + 24],
      ['X86_PV_VCPU_BASIC', 3, offsetOf(PV, 5) + 24],
    ],
  )
  t.same(
    [...stream.pages.runs()],
    [{ pfn: 1, pages: 1, type: 0, offset: offsetOf(PV, 3) + 24 + 8 + 8 + 8 }],
    'the content lies after headers and entries',
  )
  t.match(stream.last, { name: 'END', end: streamOf(PV).length + 24 })
})

t.test('an HVM stream, and the versions', async (t) => {
  const stream = read(HVM, hvm)
  t.match(stream, { pv: false, version: 3, width: 8, p2mFrames: [], p2mEnd: 2 ** 40 - 1 })
  t.same(
    stream.records.map(({ name }) => name),
    ['HVM_PARAMS', 'HVM_CONTEXT'],
  )
  t.match(read(PV.slice(0, 1).concat(PV.slice(2)), headers({ version: 2 })), { version: 2 }, 'no static part before 3')
  t.throws(() => read(PV.slice(0, 1).concat(PV.slice(2))), { message: /^X86_PV_P2M_FRAMES record: .*STATIC_DATA_END/ })
  t.match(read(instead(HVM, 'HVM_CONTEXT', ['HVM_CONTEXT', none], ['TOOLSTACK', u32s(1)], ['VERIFY', none]), hvm), {
    records: { length: 2 },
  })
})

t.test('the headers: each field is checked, at its offset', async (t) => {
  const bad = (header: Uint8Array, message: RegExp, offset: number) =>
    t.throws(() => read(PV, header, 8), { code: 'bad-snapshot', message, offset: offset + 8 })
  bad(headers({ marker: 0xfe }), /marker is missing/, 0)
  bad(headers({ id: 0x58454e47 }), /id is wrong/, 8)
  for (const version of [0, 1, 4]) bad(headers({ version }), /version is unknown/, 12)
  bad(headers({ options: 1 }), /big-endian/, 16)
  t.ok(read(PV, headers({ options: 2 })), 'other options are ignored')
  for (const type of [0, 3]) bad(headers({ type }), /type is unknown/, 24)
  for (const shift of [0, 11, 13]) bad(headers({ shift }), /page shift is wrong/, 28)
  t.throws(() => readLibxcStream(bytesSource(headers().subarray(0, 39)), 0), { code: 'truncated' })
})

t.test('a record that is unknown may be ignored only if it says so', async (t) => {
  t.equal(read([[0x80000000, none], ...PV]).records.length, 2)
  t.equal(read([[0xffffffff, none], ...PV]).records.length, 2)
  t.throws(() => read([[0x7fffffff, none], ...PV]), { message: /^unknown \(0x7fffffff\) record/, offset: 40 })
  t.throws(() => read([...PV.slice(0, 4), ['CHECKPOINT', none], ...PV.slice(4)]), {
    message: /^CHECKPOINT record: the type is not supported/,
    offset: offsetOf(PV, 4),
  })
})

t.test('records of the other type of guest, repeated ones, early ones', async (t) => {
  const refused = (records: readonly Made[], index: number, message: RegExp, header = headers()) =>
    t.throws(
      () => read(records, header),
      { code: 'bad-snapshot', message, offset: offsetOf(records, index) },
      `${message}`,
    )
  refused(
    instead(PV, 'SHARED_INFO', ['HVM_PARAMS', none]),
    4,
    /^HVM_PARAMS record: .* not allowed .* record of pv guests/,
  )
  refused(instead(HVM, 'HVM_PARAMS', SHARED), 2, /^SHARED_INFO record: .* not allowed .* record of hvm guests/, hvm)
  for (const one of [info(), SHARED] as const) {
    const twice = instead(PV, one[0], one, one)
    refused(twice, twice.findIndex(([name]) => name === one[0]) + 1, /the record is repeated/)
  }
  for (const [name, body] of [
    ['X86_CPUID_POLICY', u32s(1)],
    ['X86_MSR_POLICY', u32s(1)],
    ['STATIC_DATA_END', none],
  ] as const) {
    const head: readonly Made[] = name === 'STATIC_DATA_END' ? [] : [[name, body]]
    t.ok(read([...head, ...PV]), `${name}, before the end of the static part`)
    refused([...head, [name, body], STATIC_END, ...PV], head.length === 0 ? 1 : 1, /the record is repeated/)
  }
  refused([info(), ['X86_TSC_INFO', none], ...PV.slice(1)], 1, /too early: expected STATIC_DATA_END before it/)
  const tsc: Made = ['X86_TSC_INFO', none]
  refused(instead(PV, 'SHARED_INFO', SHARED, tsc, tsc), 6, /the record is repeated/)
  refused([STATIC_END, frames(0, 0x1ff, 5), ...PV.slice(3)], 1, /too early: expected X86_PV_INFO before it/)
  refused([info(), STATIC_END, pages([page(NOTAB, 1)], 1), END], 2, /too early: expected X86_PV_P2M_FRAMES before it/)
  for (const name of ['BASIC', 'EXTENDED', 'XSAVE', 'MSRS'] as const) {
    const record: Made = [`X86_PV_VCPU_${name}`, Uint8Array.of(1)]
    refused([...PV.slice(0, 3), record, ...PV.slice(3)], 3, /too early: expected PAGE_DATA before it/)
    const twice = read(instead(PV, 'SHARED_INFO', SHARED, record, record)).records
    t.equal(twice.length, 4, `${record[0]}: one for each vcpu, kept`)
  }
  refused([STATIC_END, ['HVM_CONTEXT', none], ...HVM.slice(1)], 1, /too early: expected PAGE_DATA before it/, hvm)
  refused(instead(HVM, 'HVM_CONTEXT', ['HVM_CONTEXT', none], ['HVM_CONTEXT', none]), 4, /is repeated/, hvm)
})

t.test('every kept record has its whole body', async (t) => {
  const policies: readonly Made[] = [
    ['X86_CPUID_POLICY', u32s(1, 2)],
    ['X86_MSR_POLICY', u32s(3)],
  ]
  const stream = read([...policies, ...instead(PV, 'SHARED_INFO', SHARED, ['X86_TSC_INFO', u32s(4)])])
  t.same(
    stream.records.map(({ name, body }) => [name, body.length]),
    [
      ['X86_CPUID_POLICY', 8],
      ['X86_MSR_POLICY', 4],
      ['SHARED_INFO', 4096],
      ['X86_TSC_INFO', 4],
      ['X86_PV_VCPU_BASIC', 3],
    ],
  )
})

t.test('lengths: each record that has one length has no other', async (t) => {
  for (const [name, length] of [
    ['X86_PV_INFO', 8],
    ['STATIC_DATA_END', 0],
    ['SHARED_INFO', 4096],
    ['END', 0],
  ] as const) {
    for (const wrong of [length - 1, length + 1]) {
      if (wrong < 0) continue
      const index = PV.findIndex(([one]) => one === name)
      t.throws(() => read(instead(PV, name, [name, new Uint8Array(wrong)])), {
        message: new RegExp(`^${name} record: the body has the wrong length: expected ${length} bytes, found ${wrong}`),
        offset: offsetOf(PV, index),
      })
    }
  }
  t.throws(() => read(instead(PV, 'SHARED_INFO', SHARED, ['VERIFY', u32s(0)])), {
    message: /expected 0 bytes, found 4/,
  })
})

t.test('the mode of a PV guest is one of two', async (t) => {
  const pae = [info(4, 3), STATIC_END, frames(0, 0x3ff, 5), ...PV.slice(3)]
  t.match(read(pae), { width: 4, p2mFrames: [5] })
  for (const [width, levels] of [
    [8, 3],
    [4, 4],
    [8, 5],
    [4, 2],
    [2, 4],
    [0, 0],
  ] as const) {
    t.throws(() => read([info(width, levels), ...PV.slice(1)]), { message: /mode of the guest is unknown/, offset: 40 })
  }
})

t.test('the p2m list: frames for exactly its entries', async (t) => {
  const list = (...made: readonly Made[]) => read([info(), STATIC_END, ...made, ...PV.slice(3)])
  t.match(list(frames(0, 0x1ff, 5)), { p2mFrames: { length: 1 }, p2mEnd: 0x1ff })
  t.match(list(frames(0, 0x200, 5, 6)), { p2mFrames: { length: 2 }, p2mEnd: 0x200 })
  t.match(list(frames(1, 1, 1)), { p2mFrames: [1], p2mEnd: 1 }, 'one entry')
  t.throws(() => list(frames(2, 1, 1)), { message: /range ends before it starts/ })
  t.throws(() => list(frames(0, 0x1ff, 5, 6)), { message: /expected 16 bytes, found 24/ })
  t.throws(() => list(frames(0, 0x200, 5)), { message: /expected 24 bytes, found 16/ })
  t.throws(() => list(['X86_PV_P2M_FRAMES', u32s(0)]), { message: /expected at least 8 bytes, found 4/ })
  t.match(list(frames(0, 0x1ff, 0x1ff)), { p2mFrames: [0x1ff] }, 'the last page may hold it')
  t.throws(() => list(frames(0, 0x1ff, 0x200)), { message: /lies outside the guest/ })
  t.match(list(frames(0, 0x3ff, 5, 6), frames(0x200, 0x5ff, 7, 8)), { p2mFrames: [5, 7, 8], p2mEnd: 0x5ff }, 'grown')
  t.match(list(frames(0, 0x3ff, 5, 6), frames(0x3ff, 0x3ff, 9)), { p2mFrames: [5, 9] }, 'from the middle of a frame')
  t.match(list(frames(0, 0x5ff, 5, 6, 7), frames(0, 0x1ff, 9)), { p2mFrames: { length: 1 }, p2mEnd: 0x1ff }, 'shrunk')
  t.match(list(frames(0, 0x1ff, 5), frames(0x200, 0x3ff, 6)), { p2mFrames: [5, 6] }, 'right after')
  t.throws(() => list(frames(0, 0x1ff, 5), frames(0x400, 0x5ff, 6)), { message: /frames of the p2m are missing/ })
  t.throws(() => list(frames(0x200, 0x3ff, 6)), { message: /frames of the p2m are missing/ })
})

t.test('pages: types, runs and the last one of the guest', async (t) => {
  const runs = (...made: readonly Made[]) => [...read(instead(PV, 'PAGE_DATA', ...made)).pages.runs()]
  const start = offsetOf(PV, 3) + 8 + 8
  const mixed = [
    page(NOTAB, 0x10),
    page(NOTAB, 0x11),
    page(L1, 0x12),
    page(L4_PINNED, 0x13),
    page(XALLOC, 0x14),
    page(XALLOC, 0x15),
    page(BROKEN, 0x17),
    page(XTAB, 0x18),
    page(NOTAB, 0x3ff),
  ]
  const data = start + 8 * mixed.length
  t.same(runs(pages(mixed, 5)), [
    { pfn: 0x10, pages: 2, type: NOTAB, offset: data },
    { pfn: 0x12, pages: 1, type: L1, offset: data + 2 * 4096 },
    { pfn: 0x13, pages: 1, type: L4_PINNED, offset: data + 3 * 4096 },
    { pfn: 0x14, pages: 2, type: XALLOC, offset: undefined },
    { pfn: 0x17, pages: 1, type: BROKEN, offset: undefined },
    { pfn: 0x18, pages: 1, type: XTAB, offset: undefined },
    { pfn: 0x3ff, pages: 1, type: NOTAB, offset: data + 4 * 4096 },
  ])
  const refused = (made: Made, message: RegExp) =>
    t.throws(() => runs(made), { code: 'bad-snapshot', message, offset: offsetOf(PV, 3) })
  refused(
    pages([page(NOTAB, 1), page(NOTAB, 0x400)], 2),
    /page 1 lies outside the guest: expected a pfn up to 0x3ff, found 0x400/,
  )
  refused(pages([page(NOTAB, 0x3ff), page(NOTAB, 0x400)], 2), /page 1 lies outside the guest.*found 0x400/)
  refused(pages([page(NOTAB, 2 ** 32 + 1)], 1), /page 0 lies outside the guest/)
  for (const type of [5, 6, 7, 8]) refused(pages([page(NOTAB, 1), page(type, 2)], 2), /page 1 has an unknown type/)
  refused(pages([], 1), /the record has no pages/)
  refused(['PAGE_DATA', new Uint8Array(15)], /expected at least 16 bytes, found 15/)
  refused(pages([page(XALLOC, 1)], 0, 2), /expected at least 24 bytes, found 16/)
  for (const contents of [0, 2]) refused(pages([page(NOTAB, 1)], contents), /length does not match the pages/)
  refused(pages([page(XALLOC, 1)], 1), /length does not match the pages: expected 16 bytes, found 4112/)
})

t.test('of a page that was sent twice, the last one counts', async (t) => {
  const twice = read(
    instead(
      PV,
      'PAGE_DATA',
      pages([page(NOTAB, 8), page(NOTAB, 9)], 2),
      pages([page(NOTAB, 3)], 1),
      pages([page(XTAB, 8)]),
    ),
  )
  t.match(
    [...twice.pages.runs()],
    [
      { pfn: 3, pages: 1 },
      { pfn: 8, pages: 1, type: XTAB },
      { pfn: 9, pages: 1, type: NOTAB },
    ],
  )
})

t.test('an HVM guest has pages up to the last pfn, across 2^32 too', async (t) => {
  const runs = (...entries: readonly bigint[]) => [...read(instead(HVM, 'PAGE_DATA', pages(entries)), hvm).pages.runs()]
  t.match(runs(page(XALLOC, 2n ** 40n - 1n)), [{ pfn: 2 ** 40 - 1, pages: 1 }])
  t.throws(() => runs(page(XALLOC, 2n ** 40n)), { message: /page 0 lies outside the guest/ })
  t.match(runs(page(XALLOC, 0xffffffffn), page(XALLOC, 0x100000000n), page(XALLOC, 0x100000001n)), [
    { pfn: 0xffffffff, pages: 3 },
  ])
  t.throws(() => runs(page(XALLOC, 2n ** 52n)), { message: /page 0 lies outside the guest/ })
})

t.test('a stream that ends too early names what it lacks', async (t) => {
  const lacking = (name: LibxcRecordName, records: readonly Made[], header?: Uint8Array) => {
    const without = records.filter(([one]) => one !== name)
    const offset = offsetOf(without, without.length - 1)
    t.throws(() => read(without, header), {
      message: new RegExp(`^END record: the stream is incomplete: expected ${name} `),
      offset,
    })
  }
  lacking('SHARED_INFO', PV)
  lacking('X86_PV_VCPU_BASIC', PV)
  lacking('HVM_PARAMS', HVM, hvm)
  lacking('HVM_CONTEXT', HVM, hvm)
  t.throws(() => read([STATIC_END, END]), {
    message: /expected X86_PV_INFO, PAGE_DATA, SHARED_INFO, X86_PV_VCPU_BASIC/,
  })
  t.throws(() => read([STATIC_END, END], hvm), { message: /expected PAGE_DATA, HVM_PARAMS, HVM_CONTEXT/ })
})
