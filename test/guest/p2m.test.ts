/**
 * The p2m and its list, in both directions.
 *
 * Source: lib/guest/p2m.ts.
 * Gotcha: frames do not fit in 32 bits: 16 TiB hosts have frames above 2^32.
 */
import t from 'tap'
import { fillP2mList, makeP2m, p2mListBytes, withMoved } from '../../lib/guest/p2m.js'
import { PAGE_SIZE } from '../../lib/units.js'

t.test('identity, offset, table and function, forwards and backwards', async (t) => {
  const table = BigUint64Array.of(5n, 0xffffffffffffffffn, 7n)
  const specs = [
    'identity',
    { offset: 2 ** 33 },
    { table },
    { function: (pfn: number) => (pfn === 1 ? undefined : 9 - pfn) },
  ] as const
  const expected = [
    [0, 1, 2],
    [2 ** 33, 2 ** 33 + 1, 2 ** 33 + 2],
    [5, undefined, 7],
    [9, undefined, 7],
  ]
  specs.forEach((spec, i) => {
    const p2m = makeP2m(spec, 3)
    t.same([0, 1, 2].map(p2m.mfn), expected[i])
    for (const pfn of [0, 1, 2]) {
      const mfn = p2m.mfn(pfn)
      if (mfn !== undefined) t.equal(p2m.pfn(mfn), pfn)
    }
  })
})

t.test('the reverse of any p2m finds each of its frames and no other', async (t) => {
  // Frames that differ only in high bits, only in low bits, and in all; unordered, with holes.
  const step = [1, 2 ** 16, 2 ** 30, 2 ** 16 + 1, 3 * 2 ** 20 + 7]
  for (const distance of step) {
    const pages = 1000
    const p2m = makeP2m({ function: (pfn) => (pfn % 10 === 3 ? undefined : ((pfn * 7) % pages) * distance) }, pages)
    for (let pfn = 0; pfn < pages; pfn++) {
      const mfn = p2m.mfn(pfn)
      if (mfn !== undefined && p2m.pfn(mfn) !== pfn) t.fail(`frame ${mfn} of pfn ${pfn}: ${p2m.pfn(mfn)}`)
    }
    const missing = ((13 * 7) % pages) * distance
    t.equal(p2m.pfn(missing), undefined, 'the frame of a hole')
    t.equal(p2m.pfn(pages * distance), undefined, 'a frame beyond all')
    t.equal(p2m.pfn(0), 0, 'frame 0')
  }
})

t.test('the reverse of a p2m serves more frames than a Map can hold', async (t) => {
  const pages = 2 ** 24 + 1
  const p2m = makeP2m({ function: (pfn) => pages - pfn }, pages)
  t.equal(p2m.pfn(1), pages - 1)
  t.equal(p2m.pfn(pages), 0)
})

t.test('the list: u64 or u32 entries, holes all ones, zero after the last', async (t) => {
  const p2m = makeP2m({ function: (pfn) => (pfn === 1 ? undefined : pfn === 2 ? 2 ** 34 + 3 : pfn) }, 700)
  t.equal(p2mListBytes(700, 8), 2 * PAGE_SIZE)
  t.equal(p2mListBytes(700, 4), PAGE_SIZE)
  const list = new Uint8Array(2 * PAGE_SIZE).fill(0xaa)
  fillP2mList(p2m, 700, 8, 0, list)
  const view = new DataView(list.buffer)
  t.equal(view.getBigUint64(8, true), 0xffffffffffffffffn)
  t.equal(view.getBigUint64(16, true), 2n ** 34n + 3n)
  t.equal(view.getBigUint64(699 * 8, true), 699n)
  t.ok(list.subarray(700 * 8).every((byte) => byte === 0))
  const second = new Uint8Array(PAGE_SIZE)
  fillP2mList(p2m, 700, 8, PAGE_SIZE, second)
  t.same(second, list.subarray(PAGE_SIZE), 'a part of the list is the same as that part of the whole')
  const askew = new Uint8Array(PAGE_SIZE + 3).subarray(3).fill(0xaa)
  fillP2mList(p2m, 700, 8, PAGE_SIZE, askew)
  t.same([...askew], [...second], 'at any start of the buffer')
  const narrow = new Uint8Array(PAGE_SIZE)
  fillP2mList(makeP2m('identity', 700), 700, 4, 0, narrow)
  t.equal(new DataView(narrow.buffer).getUint32(699 * 4, true), 699)
})

t.test('a moved frame answers for itself, its old one no longer', async (t) => {
  const p2m = withMoved(makeP2m({ offset: 100 }, 10), new Map([[3, 7]]))
  t.equal(p2m.mfn(3), 7)
  t.equal(p2m.pfn(7), 3)
  t.equal(p2m.pfn(103), undefined)
  t.equal(p2m.pfn(104), 4)
})

t.test('what cannot be used is refused', async (t) => {
  t.throws(() => makeP2m({ table: new BigUint64Array(3) }, 4), {
    code: 'bad-config',
    expected: '4 entries',
    found: '3',
  })
  t.throws(() => makeP2m({ offset: 2 ** 40 }, 4), { code: 'bad-config' })
  t.throws(() => makeP2m({ offset: -1 }, 4), { code: 'bad-config' })
  t.throws(() => makeP2m({ table: BigUint64Array.of(2n ** 60n) }, 1).mfn(0), { code: 'bad-config' })
})

t.test('a range begins and ends where it says, in both directions', async (t) => {
  const ranges = [
    { pfn: 4, mfn: 100, pages: 2 },
    { pfn: 8, mfn: 50, pages: 1 },
  ]
  const p2m = makeP2m({ ranges }, 10)
  t.same(
    Array.from({ length: 10 }, (_, pfn) => p2m.mfn(pfn)),
    [undefined, undefined, undefined, undefined, 100, 101, undefined, undefined, 50, undefined],
  )
  t.same([49, 50, 51, 99, 100, 101, 102].map(p2m.pfn), [undefined, 8, undefined, undefined, 4, 5, undefined])
})

t.test('a 32-bit list has its own hole', async (t) => {
  const p2m = makeP2m({ function: (pfn) => (pfn === 1 ? undefined : 9 - pfn) }, 3)
  const out = new Uint8Array(4 * 4).fill(7)
  fillP2mList(p2m, 3, 4, 0, out)
  t.same([...new Uint32Array(out.buffer)], [9, 0xffffffff, 7, 0], 'after the list it is zero')
})

t.test('moved frames are found in both directions, and none moved is the same p2m', async (t) => {
  const p2m = makeP2m({ offset: 100 }, 10)
  t.equal(withMoved(p2m, new Map()), p2m)
  t.same([99, 100].map(p2m.pfn), [undefined, 0])
  const moved = withMoved(p2m, new Map([[3, 7]]))
  t.same([2, 3, 4].map(moved.mfn), [102, 7, 104])
  t.same([102, 103, 7].map(moved.pfn), [2, undefined, 3])
})
