/**
 * Compares the page-table writer with the walker, which shares no code with it, and with the expected number of tables.
 *
 * Source: lib/guest/page-tables.ts, lib/guest/translate.ts.
 * Gotcha: an identity p2m would hide a frame left unconverted; the walker's reverse p2m shows it with any other.
 */
import fc from 'fast-check'
import t from 'tap'
import type { Domain } from '../../lib/guest/domain.js'
import { GuestMemory } from '../../lib/guest/memory.js'
import { makeP2m, type P2m } from '../../lib/guest/p2m.js'
import { type Mapping, PAGING, PageTables, vpnOf } from '../../lib/guest/page-tables.js'
import { translate } from '../../lib/guest/translate.js'
import { PAGE_SIZE } from '../../lib/units.js'

const GUEST_PAGES = 1 << 16

/** The parts of a Domain that the walker needs. */
function guestOf(abi: 'x86_64' | 'x86_32p', tables: PageTables, p2m: P2m): Domain {
  const memory = new GuestMemory(GUEST_PAGES)
  for (const run of tables.runs) {
    memory.generate(run.pfn * PAGE_SIZE, run.count * PAGE_SIZE, (offset, out) =>
      tables.fill(p2m, run.pfn + offset / PAGE_SIZE, out),
    )
  }
  const mfn = p2m.mfn(tables.top) as number
  const cr3 = abi === 'x86_64' ? BigInt(mfn * PAGE_SIZE) : BigInt(((mfn << 12) | (mfn >>> 20)) >>> 0)
  return { type: 'pv', abi, memory, p2m, vcpus: [{ cr3 }] } as unknown as Domain
}

const vaddrOf = (abi: string, vpn: number): bigint => {
  const vaddr = BigInt(vpn) * BigInt(PAGE_SIZE)
  return abi === 'x86_64' ? BigInt.asUintN(64, BigInt.asIntN(48, vaddr)) : vaddr
}

const p2mSpec = fc.oneof(
  fc.constant('identity' as const),
  fc.integer({ min: 1, max: 2 ** 33 }).map((offset) => ({ offset })),
  fc.constant({ function: (pfn: number) => GUEST_PAGES - 1 - pfn }),
)

for (const abi of ['x86_64', 'x86_32p'] as const) {
  const vpnBits = PAGING[abi].vaddrBits - 12
  const mapping = fc.record({
    vpn: fc.nat(2 ** 15 - 1).map((n) => n * 2 ** (vpnBits - 15)),
    shift: fc.nat(600),
    pages: fc.integer({ min: 1, max: 3000 }),
    pfn: fc.nat(1000),
  })
  t.test(`${abi}: every mapped page is found where it was put, its neighbours are not mapped`, async (t) => {
    fc.assert(
      fc.property(mapping, fc.option(mapping), p2mSpec, (first, second, spec) => {
        const tables = new PageTables(PAGING[abi])
        const given: Mapping[] = []
        let next = 20000
        for (const m of second ? [first, second] : [first]) {
          const one = { vpn: m.vpn + m.shift, pages: m.pages, pfn: m.pfn }
          const taken = given.some((g) => one.vpn <= g.vpn + g.pages && g.vpn <= one.vpn + one.pages)
          if (taken || one.vpn + one.pages > 2 ** vpnBits) continue
          const before = tables.count
          tables.map(one, next)
          next += tables.count - before
          given.push(one)
        }
        if (given.length === 0) return true
        if (abi === 'x86_32p' && typeof spec === 'object' && 'offset' in spec) return true
        const p2m = makeP2m(spec, GUEST_PAGES)
        const guest = guestOf(abi, tables, p2m)
        for (const m of given) {
          for (const i of [0, 1, m.pages >> 1, m.pages - 1].filter((n) => n < m.pages)) {
            const found = translate(guest, vaddrOf(abi, m.vpn + i))
            if (found?.pfn !== m.pfn + i || found.pageSize !== PAGE_SIZE) return false
            if (found.mfn !== p2m.mfn(m.pfn + i) || found.path.length !== PAGING[abi].levels) return false
          }
          for (const vpn of [m.vpn - 1, m.vpn + m.pages].filter((v) => v >= 0 && v < 2 ** vpnBits)) {
            if (given.some((g) => vpn >= g.vpn && vpn < g.vpn + g.pages)) continue
            if (translate(guest, vaddrOf(abi, vpn)) !== undefined) return false
          }
        }
        return tables.count === next - 20000
      }),
      { numRuns: 150 },
    )
    t.pass('150 pairs of mappings')
  })
}

t.test('a page table that is mapped is mapped read-only', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  tables.map({ vpn: 0x80000, pages: 1024, pfn: 0 }, 600)
  const guest = guestOf('x86_64', tables, makeP2m('identity', GUEST_PAGES))
  for (let pfn = 0; pfn < 1024; pfn++) {
    const found = translate(guest, BigInt((0x80000 + pfn) * PAGE_SIZE))
    if (found?.writable !== (pfn < 600 || pfn >= 600 + tables.count)) t.fail(`pfn ${pfn}`)
  }
  t.equal(tables.count, 1 + 1 + 1 + 2)
})

t.test('PAE: the L2 of slot 3 always exists', async (t) => {
  const low = new PageTables(PAGING.x86_32p)
  low.map({ vpn: 0, pages: 1, pfn: 0 }, 100)
  t.equal(low.runs.find((run) => run.level === 2)?.count, 4, 'from address 0: all four')
  const high = new PageTables(PAGING.x86_32p)
  high.map({ vpn: 0xc0000, pages: 1, pfn: 0 }, 100)
  t.equal(high.runs.find((run) => run.level === 2)?.count, 1, 'from 0xc0000000: that one')
})

t.test('two mappings of the same address are refused', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  tables.map({ vpn: 100, pages: 10, pfn: 0 }, 600)
  t.throws(() => tables.map({ vpn: 109, pages: 1, pfn: 0 }, 700), { code: 'overlap' })
})

t.test('addresses that are not canonical are not mapped', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  tables.map({ vpn: 0xffff80000000 / PAGE_SIZE, pages: 10, pfn: 0 }, 600)
  const guest = guestOf('x86_64', tables, makeP2m('identity', GUEST_PAGES))
  t.ok(translate(guest, 0xffffffff80000000n))
  t.notOk(translate(guest, 0x0000ffff80000000n))
})

/** Returns the entries of every table that are not zero, by frame and index, from a buffer that held other bytes. */
function entriesOf(tables: PageTables, p2m: P2m): Record<number, Record<number, string>> {
  const first = Math.min(...tables.runs.map(({ pfn }) => pfn)) - 1
  const end = Math.max(...tables.runs.map(({ pfn, count }) => pfn + count)) + 1
  const out = new Uint8Array((end - first) * PAGE_SIZE).fill(0xaa)
  tables.fill(p2m, first, out)
  const found: Record<number, Record<number, string>> = {}
  new BigUint64Array(out.buffer).forEach((entry, i) => {
    if (entry === 0n) return
    const pfn = Math.floor(i / 512) + first
    found[pfn] = { ...found[pfn], [i % 512]: `0x${entry.toString(16)}` }
  })
  return found
}
const identity = makeP2m('identity', GUEST_PAGES)

t.test('every entry of a small tree: flags, frames, and the tables among the pages read-only', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  tables.map({ vpn: 0x1fe, pages: 4, pfn: 0x10 }, 0x11)
  t.same(tables.runs, [
    { level: 4, index: 0, count: 1, pfn: 0x11 },
    { level: 3, index: 0, count: 1, pfn: 0x12 },
    { level: 2, index: 0, count: 1, pfn: 0x13 },
    { level: 1, index: 0, count: 2, pfn: 0x14 },
  ])
  t.same(tables.frames, {
    top: 0x11,
    pages: 5,
    runs: [
      { level: 4, pfn: 0x11, pages: 1 },
      { level: 3, pfn: 0x12, pages: 1 },
      { level: 2, pfn: 0x13, pages: 1 },
      { level: 1, pfn: 0x14, pages: 2 },
    ],
  })
  t.same(entriesOf(tables, identity), {
    17: { 0: '0x12067' },
    18: { 0: '0x13067' },
    19: { 0: '0x14067', 1: '0x15067' },
    20: { 510: '0x10023', 511: '0x11021' },
    21: { 0: '0x12021', 1: '0x13021' },
  })
  const offset = makeP2m({ offset: 2 ** 32 }, GUEST_PAGES)
  t.same(entriesOf(tables, offset)[0x14], { 510: '0x100000010023', 511: '0x100000011021' }, 'frames above 16 TiB')
})

t.test('holes of the p2m: an absent page is not mapped, an absent table is refused', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  tables.map({ vpn: 0, pages: 3, pfn: 0x10 }, 0x20)
  const without = (hole: number) => makeP2m({ function: (pfn) => (pfn === hole ? undefined : pfn) }, GUEST_PAGES)
  t.same(entriesOf(tables, without(0x11))[0x23], { 0: '0x10023', 2: '0x12023' })
  for (const pfn of [0x21, 0x22, 0x23]) t.throws(() => entriesOf(tables, without(pfn)), { code: 'bad-config' })
  t.ok(entriesOf(tables, without(0x20)), 'no entry names the top table')
  const mapped = new PageTables(PAGING.x86_64)
  mapped.map({ vpn: 0, pages: 1, pfn: 0x10 }, 0x10)
  t.throws(() => entriesOf(mapped, without(0x10)), { code: 'bad-config' }, 'nor may a mapped table be absent')
})

t.test("Xen's own tables: leaves are the guest kernel's, and PAE has no such flag", async (t) => {
  const of = (paging: (typeof PAGING)['x86_64' | 'x86_32p'], vpn: number) => {
    const tables = new PageTables(paging, 'xen')
    tables.map({ vpn, pages: 2, pfn: 1 }, 2)
    return { runs: tables.runs.map(({ level, index, count, pfn }) => [level, index, count, pfn]), tables }
  }
  const long = of(PAGING.x86_64, 0)
  t.same(long.runs, [
    [4, 0, 1, 2],
    [1, 0, 1, 3],
    [2, 0, 1, 4],
    [3, 0, 1, 5],
  ])
  t.same(entriesOf(long.tables, identity), {
    2: { 0: '0x5067' },
    3: { 0: '0x10000000001027', 1: '0x10000000002025' },
    4: { 0: '0x3067' },
    5: { 0: '0x4067' },
  })
  const pae = of(PAGING.x86_32p, 0xc0000)
  t.same(pae.runs, [
    [3, 0, 1, 2],
    [1, 0x600, 1, 3],
    [2, 3, 1, 4],
  ])
  t.same(entriesOf(pae.tables, identity)[3], { 0: '0x1023', 1: '0x2021' })
  t.same(of(PAGING.x86_32p, 0).runs, [
    [3, 0, 1, 2],
    [1, 0, 1, 3],
    [2, 0, 4, 4],
  ])
})

t.test("Xen's order: each table after the first one that it names, across tables", async (t) => {
  const tables = new PageTables(PAGING.x86_64, 'xen')
  const gib = 2 ** 18
  tables.map({ vpn: gib - 512, pages: 1025, pfn: 0 }, 0x1000)
  t.same(
    tables.runs.map(({ level, index, count, pfn }) => [level, index, count, pfn - 0x1000]),
    [
      [4, 0, 1, 0],
      [1, 511, 1, 1],
      [2, 0, 1, 2],
      [3, 0, 1, 3],
      [1, 512, 1, 4],
      [2, 1, 1, 5],
      [1, 513, 1, 6],
    ],
  )
  const second = tables.plan(4 * gib, 1).map(({ level, index, count, pfn }) => [level, index, count, pfn])
  t.same(
    second,
    [
      [2, 4, 1, 0],
      [1, 2048, 1, 1],
    ],
    'later mappings begin with the highest level',
  )
})

t.test('the tables of a mapping: from its first page to its last', async (t) => {
  const levels = (paging: (typeof PAGING)['x86_64' | 'x86_32p'], vpn: number, pages: number) =>
    new PageTables(paging).plan(vpn, pages).map(({ level, index, count, pfn }) => [level, index, count, pfn])
  const gib = 2 ** 18
  t.same(levels(PAGING.x86_64, 0, 512).at(-1), [1, 0, 1, 3])
  t.same(levels(PAGING.x86_64, 0, 513).at(-1), [1, 0, 2, 3])
  t.same(levels(PAGING.x86_64, 511, 2).at(-1), [1, 0, 2, 3])
  t.same(levels(PAGING.x86_64, 512, 512).at(-1), [1, 1, 1, 3])
  t.same(levels(PAGING.x86_64, 511 * gib, 2 * gib), [
    [4, 0, 1, 0],
    [3, 0, 2, 1],
    [2, 511, 2, 3],
    [1, 511 * 512, 1024, 5],
  ])
  t.same(levels(PAGING.x86_32p, 3 * gib, 1), [
    [3, 0, 1, 0],
    [2, 3, 1, 1],
    [1, 1536, 1, 2],
  ])
  t.same(levels(PAGING.x86_32p, 3 * gib - 1, 1)[1], [2, 2, 2, 1], 'up to slot 3')
  t.same(levels(PAGING.x86_32p, 3 * gib - 1, 2)[1], [2, 2, 2, 1], 'into slot 3')
  const pae = new PageTables(PAGING.x86_32p)
  pae.map({ vpn: 3 * gib, pages: 1, pfn: 0 }, 100)
  t.same(
    pae.plan(0, 1).map(({ level, index, count }) => [level, index, count]),
    [
      [2, 0, 1],
      [1, 0, 1],
    ],
    'a second mapping has only its own L2',
  )
})

t.test('tables that exist are not made again: before, between, after and around them', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  tables.map({ vpn: 512 * 10, pages: 512 * 2, pfn: 0 }, 100)
  tables.map({ vpn: 512 * 20, pages: 512, pfn: 0 }, 200)
  const l1 = (vpn: number, pages: number) =>
    tables.plan(vpn, pages).map(({ level, index, count, pfn }) => [level, index, count, pfn])
  t.same(l1(512 * 10, 512), [], 'the first')
  t.same(l1(512 * 11, 512), [], 'the second')
  t.same(l1(512 * 9, 512 * 2), [[1, 9, 1, 0]])
  t.same(l1(512 * 11, 512 * 2), [[1, 12, 1, 0]])
  t.same(l1(512 * 9, 512 * 4), [
    [1, 9, 1, 0],
    [1, 12, 1, 1],
  ])
  t.same(l1(512 * 12, 512 * 8), [[1, 12, 8, 0]], 'up to the next')
  t.same(l1(512 * 8, 512 * 20), [
    [1, 8, 2, 0],
    [1, 12, 8, 2],
    [1, 21, 7, 10],
  ])
  tables.map({ vpn: 512 * 5, pages: 1, pfn: 0 }, 300)
  t.same(
    l1(512 * 4, 512 * 7),
    [
      [1, 4, 1, 0],
      [1, 6, 4, 1],
    ],
    'in order of index, whichever was mapped first',
  )
})

t.test('mappings that touch are allowed, ones that share a page are not', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  tables.map({ vpn: 100, pages: 10, pfn: 0 }, 600)
  tables.map({ vpn: 110, pages: 5, pfn: 0 }, 700)
  tables.map({ vpn: 95, pages: 5, pfn: 0 }, 800)
  t.equal(tables.count, 4)
  t.equal(tables.mappings.length, 3)
  for (const [vpn, pages] of [
    [99, 2],
    [104, 1],
    [90, 6],
    [114, 3],
    [90, 100],
  ] as const) {
    t.throws(() => tables.map({ vpn, pages, pfn: 0 }, 900), { code: 'overlap', expected: /^none of / })
  }
  t.throws(() => tables.map({ vpn: 109, pages: 1, pfn: 0 }, 900), {
    code: 'overlap',
    expected: 'none of [0x64000, 0x6e000)',
    found: '[0x6d000, 0x6e000)',
  })
  t.equal(tables.mappings.length, 3, 'a refused mapping is not added')
})

t.test('frames between the tables of two mappings are no tables', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  tables.map({ vpn: 512 * 4, pages: 1, pfn: 0x10 }, 100)
  tables.map({ vpn: 512 * 5, pages: 1, pfn: 0x20 }, 200)
  t.same(entriesOf(tables, identity), {
    100: { 0: '0x65067' },
    101: { 0: '0x66067' },
    102: { 4: '0x67067', 5: '0xc8067' },
    103: { 0: '0x10023' },
    200: { 0: '0x20023' },
  })
})

t.test('without a mapping there is no top table', async (t) => {
  t.throws(() => new PageTables(PAGING.x86_64).top, { code: 'wrong-layout' })
  t.equal(new PageTables(PAGING.x86_64).count, 0)
})

t.test('a part of the tables is the same as that part of the whole', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  tables.map({ vpn: 500, pages: 600, pfn: 0 }, 100)
  const whole = new Uint8Array(tables.count * PAGE_SIZE)
  tables.fill(identity, 100, whole)
  for (let i = 0; i < tables.count; i++) {
    const one = new Uint8Array(PAGE_SIZE).fill(0xff)
    tables.fill(identity, 100 + i, one)
    t.same(one, whole.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE), `table ${i}`)
  }
})

t.test('pages after the tables of their mapping are writable again', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  tables.map({ vpn: 0, pages: 8, pfn: 0x10 }, 0x12)
  t.same(Object.values(entriesOf(tables, identity)[0x15] ?? {}), [
    '0x10023',
    '0x11023',
    '0x12021',
    '0x13021',
    '0x14021',
    '0x15021',
    '0x16023',
    '0x17023',
  ])
})

t.test('the virtual page number has the bits that are translated', async (t) => {
  t.equal(vpnOf(0xffff800000000000n, PAGING.x86_64), 0x800000000)
  t.equal(vpnOf(0xffffffffffffffffn, PAGING.x86_64), 0xfffffffff)
  t.equal(vpnOf(0xffffffffc0001000n, PAGING.x86_32p), 0xc0001)
})
t.test('tables without a mapping have no top, and a frame of no table is zero', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  t.throws(() => tables.top, { code: 'wrong-layout', message: 'the page tables have no mapping' })
  tables.map({ vpn: 0, pages: 1, pfn: 5 }, 100)
  const out = new Uint8Array(PAGE_SIZE).fill(7)
  tables.fill(makeP2m('identity', 200), 104, out)
  t.ok(out.every((byte) => byte === 0))
})

t.test('a mapping around existing tables adds those before, between and after them', async (t) => {
  const tables = new PageTables(PAGING.x86_64)
  tables.map({ vpn: 512 * 2, pages: 1, pfn: 0 }, 100)
  tables.map({ vpn: 512 * 5, pages: 1, pfn: 0 }, 110)
  const leaves = tables.plan(512, 512 * 6).filter(({ level }) => level === 1)
  t.same(
    leaves.map(({ index, count }) => [index, count]),
    [
      [1, 1],
      [3, 2],
      [6, 1],
    ],
  )
})

t.test("Xen's order: the top, then leaves, each other table after the first table that it names", async (t) => {
  const order = (vpn: number, pages: number, abi: 'x86_64' | 'x86_32p' = 'x86_64') =>
    new PageTables(PAGING[abi], 'xen')
      .plan(vpn, pages)
      .map(({ level, index, count, pfn }) => [level, index, count, pfn])
  // Three leaves, the last of which is under another L2.
  t.same(order(510 * 512, 3 * 512), [
    [4, 0, 1, 0],
    [1, 510, 1, 1],
    [2, 0, 1, 2],
    [3, 0, 1, 3],
    [1, 511, 2, 4],
    [2, 1, 1, 6],
  ])
  t.same(
    order(0, 1, 'x86_32p'),
    [
      [3, 0, 1, 0],
      [1, 0, 1, 1],
      [2, 0, 4, 2],
    ],
    'the L2 tables of PAE without a leaf are the last',
  )
})
