/**
 * Page tables of guests without a hypervisor, entry by entry, and their refusals.
 *
 * Source: Intel SDM vol. 3, 4.4 (PAE) and 4.5 (4-level).
 * Gotcha: the walker would accept a table that is never reached, so every entry of every table is compared here.
 */
import t from 'tap'
import { LARGE_PAGE_SIZE, type LinearMapping, LinearTables } from '../../lib/guest/linear-tables.js'

const MiB = 2 ** 20
const GiB = 2 ** 30

/** Returns each table's entries that are not zero, by `pfn` and then by index. */
function entriesOf(tables: LinearTables): Record<number, Record<number, string>> {
  const { top, count } = tables
  const out = new Uint8Array((count + 2) * 4096).fill(0xaa)
  tables.fill(top - 1, out)
  const words = new BigUint64Array(out.buffer)
  const found: Record<number, Record<number, string>> = {}
  words.forEach((entry, i) => {
    if (entry === 0n) return
    const table = Math.floor(i / 512) + top - 1
    found[table] = { ...found[table], [i % 512]: `0x${entry.toString(16)}` }
  })
  return found
}

const large = (from: number, to: number, flags = 0xe3): Record<number, string> =>
  Object.fromEntries(
    Array.from({ length: to - from }, (_, i) => [
      (from + i) % 512,
      `0x${((from + i) * LARGE_PAGE_SIZE + flags).toString(16)}`,
    ]),
  )

t.test('four levels: low memory in 2 MiB pages, a mapping in 4 KiB pages', async (t) => {
  const mapping: LinearMapping = { vaddr: 0xffffffff801ff000n, paddr: 0x5000, bytes: 0x1001 }
  const tables = new LinearTables(4, 0x100, 5 * MiB + 1, [mapping])
  t.equal(LARGE_PAGE_SIZE, 2 * MiB)
  t.equal(tables.count, 7)
  t.equal(tables.top, 0x100)
  t.same(tables.frames, {
    top: 0x100,
    pages: 7,
    runs: [
      { level: 4, pfn: 0x100, pages: 1 },
      { level: 3, pfn: 0x101, pages: 1 },
      { level: 3, pfn: 0x102, pages: 1 },
      { level: 2, pfn: 0x103, pages: 1 },
      { level: 2, pfn: 0x104, pages: 1 },
      { level: 1, pfn: 0x105, pages: 2 },
    ],
  })
  t.same(entriesOf(tables), {
    256: { 0: '0x101023', 511: '0x102023' },
    257: { 0: '0x103023' },
    258: { 510: '0x104023' },
    259: large(0, 3),
    260: { 0: '0x105023', 1: '0x106023' },
    261: { 511: '0x5063' },
    262: { 0: '0x6063' },
  })
})

t.test('more than 1 GiB of low memory: the large pages go on in the next table', async (t) => {
  const tables = new LinearTables(4, 0x100, GiB + 4 * MiB)
  t.same(entriesOf(tables), {
    256: { 0: '0x101023' },
    257: { 0: '0x102023', 1: '0x103023' },
    258: large(0, 512),
    259: large(512, 514),
  })
})

t.test('PAE: an L3 entry is only present, the others have their flags', async (t) => {
  const mapping: LinearMapping = { vaddr: 0xc0000000n, paddr: 0x1000, bytes: 4096 }
  const tables = new LinearTables(3, 0x20, 2 * MiB, [mapping])
  t.same(entriesOf(tables), {
    32: { 0: '0x21001', 3: '0x22001' },
    33: large(0, 1),
    34: { 0: '0x23023' },
    35: { 0: '0x1063' },
  })
})

t.test('with user, code outside ring 0 may use every entry', async (t) => {
  const mapping: LinearMapping = { vaddr: 0x40000000n, paddr: 0x1000, bytes: 1 }
  const user = new LinearTables(4, 0x100, 2 * MiB, [mapping], { user: true })
  t.same(entriesOf(user), {
    256: { 0: '0x101027' },
    257: { 0: '0x102027', 1: '0x103027' },
    258: large(0, 1, 0xe7),
    259: { 0: '0x104027' },
    260: { 0: '0x1067' },
  })
})

t.test('only the frames asked for are written', async (t) => {
  const tables = new LinearTables(4, 0x100, 2 * MiB)
  const all = new Uint8Array(3 * 4096)
  tables.fill(0x100, all)
  for (const i of [0, 1, 2]) {
    const one = new Uint8Array(4096).fill(0xff)
    tables.fill(0x100 + i, one)
    t.same(one, all.subarray(i * 4096, (i + 1) * 4096), `table ${i}`)
  }
  t.equal(tables.count, 3)
})

t.test('a mapping inside the identity mapping needs no table; one page more does', async (t) => {
  const inside = (bytes: number) => new LinearTables(4, 0, 2 * MiB, [{ vaddr: 0x1ff000n, paddr: 0x1ff000, bytes }])
  t.equal(inside(0x1000).count, 3)
  t.throws(() => inside(0x1001), { code: 'overlap' })
  t.throws(() => new LinearTables(4, 0, 2 * MiB, [{ vaddr: 0x1000n, paddr: 0x2000, bytes: 1 }]), { code: 'overlap' })
  t.equal(new LinearTables(4, 0, 2 * MiB, [{ vaddr: 0x200000n, paddr: 0x200000, bytes: 1 }]).count, 4, 'next to it')
})

t.test('two mappings may share pages only if they are the same', async (t) => {
  const pair = (second: LinearMapping) => () =>
    new LinearTables(4, 0, 2 * MiB, [{ vaddr: 0x40001000n, paddr: 0x8000, bytes: 0x2000 }, second])
  t.equal(pair({ vaddr: 0x40002000n, paddr: 0x9000, bytes: 0x2000 })().count, 5, 'the same frames')
  t.equal(pair({ vaddr: 0x40003000n, paddr: 0x1000, bytes: 1 })().count, 5, 'right after')
  t.equal(pair({ vaddr: 0x40000000n, paddr: 0x1000, bytes: 0x1000 })().count, 5, 'right before')
  for (const vaddr of [0x40001000n, 0x40002000n]) {
    t.throws(pair({ vaddr, paddr: 0x1000, bytes: 1 }), {
      code: 'overlap',
      expected: 'none of [0x40001000, 0x40003000)',
    })
  }
})

t.test('page offsets of both addresses must be equal', async (t) => {
  t.throws(() => new LinearTables(4, 0, 0, [{ vaddr: 0x1001n, paddr: 0x1000, bytes: 1 }]), {
    code: 'wrong-layout',
    expected: '0x0',
    found: '0x1',
  })
  const crossing = new LinearTables(4, 0, 0, [{ vaddr: 0x1fffffn, paddr: 0xfff, bytes: 2 }])
  t.equal(crossing.count, 5, 'two bytes at the end of a page are on two pages')
})

t.test('tables of neighbouring mappings are one run, and each table is made once', async (t) => {
  const tables = new LinearTables(4, 0, 2 * MiB, [
    { vaddr: 0x40200000n, paddr: 0x3000, bytes: 1 },
    { vaddr: 0x40000000n, paddr: 0x1000, bytes: 1 },
    { vaddr: 0x40001000n, paddr: 0x2000, bytes: 1 },
    { vaddr: 0x40600000n, paddr: 0x4000, bytes: 1 },
  ])
  t.same(
    tables.frames.runs.filter(({ level }) => level === 1),
    [
      { level: 1, pfn: 4, pages: 2 },
      { level: 1, pfn: 6, pages: 1 },
    ],
  )
})

t.test('the number of tables at each boundary', async (t) => {
  const runs = (identityEnd: number, ...mappings: LinearMapping[]) =>
    new LinearTables(4, 5, identityEnd, mappings).frames.runs.map(({ level, pages }) => [level, pages])
  const one = [
    [4, 1],
    [3, 1],
    [2, 1],
  ]
  t.same(runs(GiB), one, '1 GiB is one L2')
  t.same(runs(GiB + 1), [...one.slice(0, 2), [2, 2]])
  const mapping = (bytes: number) => ({ vaddr: 0x40000000n, paddr: 0, bytes })
  t.same(runs(0, mapping(2 * MiB)), [...one, [1, 1]], '2 MiB are one L1')
  t.same(runs(0, mapping(2 * MiB + 1)), [...one, [1, 2]])
  t.same(runs(0, mapping(GiB)), [...one, [1, 512]])
  t.same(runs(0, mapping(0)), [], 'no pages need no table')
  const none = new LinearTables(4, 5, 0)
  t.same([none.count, none.top], [0, 0])
})

t.test('PAE translates 32 bits; page 0 belongs to the identity mapping', async (t) => {
  const high = new LinearTables(3, 0x20, 2 * MiB, [{ vaddr: 0xffffffffc0000000n, paddr: 0x1000, bytes: 4096 }])
  t.same(entriesOf(high)[0x20], { 0: '0x21001', 3: '0x22001' })
  t.throws(() => new LinearTables(4, 0, 2 * MiB, [{ vaddr: 0n, paddr: 0x1000, bytes: 1 }]), { code: 'overlap' })
})
