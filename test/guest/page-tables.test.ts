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
import { type Mapping, PAGING, PageTables } from '../../lib/guest/page-tables.js'
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
