/**
 * The p2m and its list, in both directions.
 *
 * Source: lib/guest/p2m.ts.
 * Gotcha: frames do not fit in 32 bits: 16 TiB hosts have frames above 2^32.
 */
import t from 'tap'
import {
  fillP2mList,
  makeP2m,
  mfnAfter,
  mfnOf,
  P2M_MARKED32,
  type P2m,
  p2mListBytes,
  withMoved,
} from '../../lib/guest/p2m.js'
import { FRAMES_MAX, PAGE_SIZE } from '../../lib/units.js'

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

t.test('the last frame is the one before 2^40, in every form', async (t) => {
  t.equal(FRAMES_MAX, 2 ** 40)
  const last = FRAMES_MAX - 1
  const bad = { code: 'bad-config', expected: 'an mfn below 0x10000000000' }
  t.equal(makeP2m({ offset: FRAMES_MAX - 4 }, 4).mfn(3), last)
  t.throws(() => makeP2m({ offset: FRAMES_MAX - 3 }, 4), bad)
  t.equal(makeP2m({ offset: last }, 1).mfn(0), last)
  t.throws(() => makeP2m({ offset: FRAMES_MAX }, 1), bad)
  t.throws(() => makeP2m({ offset: FRAMES_MAX + 1 }, 0), bad)
  t.throws(() => makeP2m({ offset: 0.5 }, 1), { ...bad, found: '0.5' })
  t.equal(makeP2m({ offset: 0 }, 1).mfn(0), 0)
  t.throws(() => makeP2m({ offset: -1 }, 4), { message: /machine frame for pfn 0x0 in/ })
  t.throws(() => makeP2m({ offset: FRAMES_MAX - 3 }, 4), { message: /machine frame for pfn 0x3 in/ })
  const table = (mfn: bigint) => makeP2m({ table: BigUint64Array.of(0n, mfn) }, 2).mfn(1)
  t.equal(table(BigInt(last)), last)
  t.throws(() => table(BigInt(FRAMES_MAX)), { ...bad, message: /machine frame for pfn 0x1 in/ })
  t.throws(() => table(0xfffffffffffffffen), bad, 'not quite a hole')
  const called = (mfn: number) => makeP2m({ function: () => mfn }, 1).mfn(0)
  t.equal(called(last), last)
  for (const mfn of [FRAMES_MAX, -1, 1.5, Number.NaN]) t.throws(() => called(mfn), bad)
})

t.test('an offset has a distance and goes backwards from its first frame', async (t) => {
  const p2m = makeP2m({ offset: 100 }, 10)
  t.match(p2m, { name: 'offset:100', distance: 100 })
  t.equal(p2m.pfn(100), 0)
  t.equal(p2m.pfn(99), undefined)
  t.match(makeP2m('identity', 10), { name: 'identity', distance: 0 })
  t.equal(makeP2m({ function: (pfn) => pfn }, 1).name, 'function')
  t.equal(makeP2m({ function: (pfn) => pfn, name: 'mine' }, 1).name, 'mine')
  const table = makeP2m({ table: BigUint64Array.of(7n, 0xffffffffffffffffn) }, 2)
  t.equal(table.name, 'table')
  t.equal(table.mfn(2), undefined, 'past its end')
  t.equal(table.pfn(0), undefined, 'a hole is no frame 0')
})

t.test('the frame after the highest', async (t) => {
  t.equal(mfnAfter('identity', 10), 10)
  t.equal(mfnAfter({ offset: 5 }, 10), 15)
  const ranges = [
    { pfn: 0, mfn: 100, pages: 5 },
    { pfn: 5, mfn: 50, pages: 60 },
  ]
  t.equal(mfnAfter({ ranges }, 65), 110)
  t.equal(mfnAfter({ ranges: [] }, 0), 0)
  t.equal(mfnAfter({ function: (pfn) => pfn }, 10), FRAMES_MAX - 1, 'of a function it is unknown')
  const hole = 0xffffffffffffffffn
  t.equal(mfnAfter({ table: BigUint64Array.of(3n, 9n, hole, 4n) }, 4), 10)
  t.equal(mfnAfter({ table: BigUint64Array.of(hole) }, 1), 0)
  t.equal(mfnAfter({ table: BigUint64Array.of(0n) }, 1), 1)
  t.equal(mfnAfter({ table: BigUint64Array.of(0x1_0000_0002n, 0xffff_ffffn) }, 2), 0x1_0000_0003)
  t.equal(mfnAfter({ table: BigUint64Array.of(1n, 2n, 99n).subarray(1, 2) }, 1), 3, 'a part of a larger array')
})

t.test('ranges: their ends, both ways, and refusals', async (t) => {
  const ranges = [
    { pfn: 20, mfn: 1000, pages: 10 },
    { pfn: 0, mfn: 2000, pages: 10 },
    { pfn: 30, mfn: 1010, pages: 1 },
  ]
  const p2m = makeP2m({ ranges }, 31)
  t.equal(p2m.name, 'ranges')
  t.same(
    [0, 9, 10, 19, 20, 29, 30, 31].map((pfn) => p2m.mfn(pfn)),
    [2000, 2009, undefined, undefined, 1000, 1009, 1010, undefined],
  )
  t.same(
    [999, 1000, 1009, 1010, 1011, 1999, 2000, 2009, 2010].map((mfn) => p2m.pfn(mfn)),
    [undefined, 20, 29, 30, undefined, undefined, 0, 9, undefined],
  )
  t.same(p2m.rangeFrom?.(23), { pfn: 23, mfn: 1003, pages: 7 })
  t.same(p2m.rangeFrom?.(20), { pfn: 20, mfn: 1000, pages: 10 })
  t.equal(p2m.rangeFrom?.(10), undefined)
  const pair = (pfn: number, mfn: number) => () =>
    makeP2m(
      {
        ranges: [
          { pfn: 5, mfn: 50, pages: 5 },
          { pfn, mfn, pages: 5 },
        ],
      },
      20,
    )
  t.ok(pair(10, 55)(), 'ranges that touch')
  t.throws(pair(9, 100), { code: 'bad-config', message: /share a pfn/, found: '0x9' })
  t.throws(pair(10, 54), { code: 'bad-config', message: /share a mfn/, found: '0x36' })
  t.throws(pair(1, 46), { message: /share a pfn/ })
})

t.test("a 32-bit guest's frames have 30 bits", async (t) => {
  t.equal(P2M_MARKED32, 0x40000000)
})

t.test('moved frames: none, into a hole, and over a frame that another page has', async (t) => {
  const base = makeP2m({ function: (pfn) => (pfn === 5 ? undefined : pfn + 100) }, 10)
  t.equal(withMoved(base, new Map()), base)
  const moved = withMoved(
    base,
    new Map([
      [5, 7],
      [0, 0],
    ]),
  )
  t.equal(moved.name, 'function with 2 moved')
  t.equal(moved.mfn(5), 7)
  t.equal(moved.mfn(0), 0, 'frame 0 is a frame')
  t.equal(moved.pfn(0), 0)
  t.equal(moved.pfn(100), undefined)
  t.equal(moved.pfn(101), 1)
  t.equal(moved.pfn(999), undefined)
  const swapped = withMoved(base, new Map([[3, 104]]))
  t.equal(swapped.pfn(104), 3, 'the moved page answers first')
  t.equal(swapped.pfn(103), undefined)
})

t.test('a page table must have a machine frame', async (t) => {
  const p2m = makeP2m({ function: (pfn) => (pfn === 5 ? undefined : pfn) }, 10)
  t.equal(mfnOf(p2m, 4, 'page tables'), 4)
  t.equal(mfnOf(p2m, 0, 'page tables'), 0)
  t.throws(() => mfnOf(p2m, 5, 'page tables'), { code: 'bad-config', expected: 'a machine frame for pfn 0x5' })
})

t.test('the list of every kind of p2m, at every part, against its frames', async (t) => {
  const ranges = [
    { pfn: 1, mfn: 2 ** 33, pages: 600 },
    { pfn: 605, mfn: 7, pages: 400 },
    { pfn: 1005, mfn: 500, pages: 300 },
  ]
  const kinds: Readonly<Record<string, P2m>> = {
    identity: makeP2m('identity', 1300),
    offset: makeP2m({ offset: 2 ** 33 + 5 }, 1300),
    ranges: makeP2m({ ranges }, 1300),
    function: makeP2m({ function: (pfn) => (pfn % 7 === 3 ? undefined : pfn * 2 ** 20) }, 1300),
  }
  for (const [name, p2m] of Object.entries(kinds)) {
    for (const pages of [1, 511, 512, 513, 1024, 1300]) {
      const bytes = p2mListBytes(pages, 8)
      const expected = new BigUint64Array(bytes / 8)
      for (let pfn = 0; pfn < pages; pfn++) {
        const mfn = p2m.mfn(pfn)
        expected[pfn] = mfn === undefined ? 0xffffffffffffffffn : BigInt(mfn)
      }
      const whole = new Uint8Array(expected.buffer)
      for (let offset = 0; offset <= bytes; offset += PAGE_SIZE) {
        for (const length of [PAGE_SIZE, 2 * PAGE_SIZE]) {
          const out = new Uint8Array(length).fill(0xaa)
          fillP2mList(p2m, pages, 8, offset, out)
          const part = new Uint8Array(length)
          part.set(whole.subarray(offset, offset + length))
          if (Buffer.compare(out, part) !== 0) t.fail(`${name}, ${pages} pages, ${length} bytes at ${offset}`)
        }
      }
    }
  }
  for (const name of ['identity', 'offset', 'ranges']) {
    const p2m = makeP2m(
      name === 'offset'
        ? { offset: 9 }
        : name === 'ranges'
          ? { ranges: [{ pfn: 1, mfn: 4, pages: 1029 }] }
          : 'identity',
      1030,
    )
    const out = new Uint8Array(2 * PAGE_SIZE).fill(0xaa)
    fillP2mList(p2m, 1030, 4, 0, out)
    const words = new Uint32Array(out.buffer)
    t.same(
      [...words.subarray(0, 3)],
      [0, 1, 2].map((pfn) => p2m.mfn(pfn) ?? 0xffffffff),
      `${name}: 32-bit entries`,
    )
    t.equal(words[1029], p2m.mfn(1029))
    t.ok(words.subarray(1030).every((word) => word === 0))
    const second = new Uint8Array(PAGE_SIZE)
    fillP2mList(p2m, 1030, 4, PAGE_SIZE, second)
    t.same(second, out.subarray(PAGE_SIZE))
  }
  t.equal(p2mListBytes(512, 8), PAGE_SIZE)
  t.equal(p2mListBytes(513, 8), 2 * PAGE_SIZE)
  t.equal(p2mListBytes(1024, 4), PAGE_SIZE)
  t.equal(p2mListBytes(0, 8), 0)
})

t.test('the reverse of frames above each digit of its sort', async (t) => {
  for (const highest of [0, 1, 2 ** 16 - 1, 2 ** 16, 2 ** 16 + 1, 2 ** 32, 2 ** 40 - 1]) {
    const frames = [highest, 2 ** 39, 5, 2 ** 17, 2 ** 17 + 2 ** 33].filter((mfn, i) => i === 0 || mfn < highest)
    const p2m = makeP2m({ function: (pfn) => frames[pfn] }, frames.length + 3)
    frames.forEach((mfn, pfn) => {
      t.equal(p2m.pfn(mfn), pfn, `frame ${mfn} of ${highest}`)
      t.equal(p2m.pfn(mfn + 2 ** 8), undefined)
    })
  }
})

t.test('backwards: holes, low bits and the end of the guest', async (t) => {
  const hole = makeP2m({ function: (pfn) => (pfn === 0 ? undefined : 5 - pfn) }, 6)
  t.equal(hole.pfn(0), 5, 'a hole before it is no frame 0')
  const pair = makeP2m({ function: (pfn) => 5 - pfn }, 2)
  t.same([pair.pfn(4), pair.pfn(5)], [1, 0], 'frames that differ in the lowest bit')
  const past = makeP2m({ function: (pfn) => (pfn === 0 ? undefined : pfn + 10) }, 3)
  t.same([past.pfn(12), past.pfn(13)], [2, undefined], 'the page after the last is not asked')
  const moved = withMoved(makeP2m({ offset: 100 }, 10), new Map([[3, 7]]))
  t.equal(moved.mfn(4), 104, 'a page that was not moved')
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
