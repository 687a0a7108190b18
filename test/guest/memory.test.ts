/**
 * Compares GuestMemory with a flat array: the last placement wins, byte by byte.
 *
 * Source: lib/guest/memory.ts.
 * Gotcha: a flat array of 4 GiB would be too large, so the model is small; a separate test has sizes from 4 GiB up.
 */
import fc from 'fast-check'
import t from 'tap'
import { DomainBuilderError } from '../../lib/errors.js'
import { BLOCK_BYTES, GuestMemory, pagesOfEither } from '../../lib/guest/memory.js'
import { PAGE_SIZE } from '../../lib/units.js'

const PAGES = 6
const SIZE = PAGES * PAGE_SIZE

type Step = { kind: 'place' | 'write' | 'generate' | 'clear'; at: number; length: number; seed: number }

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('place' as const, 'write' as const, 'generate' as const, 'clear' as const),
  at: fc.nat(SIZE - 1),
  length: fc.nat(2 * PAGE_SIZE),
  seed: fc.nat(255),
})

/** A byte that depends on its address, so that a shifted copy differs. */
const byteAt = (seed: number, offset: number): number => (seed * 31 + offset * 7 + (offset >> 8)) & 0xff

function apply(memory: GuestMemory, model: Uint8Array, { kind, at, length, seed }: Step): void {
  if (kind === 'generate') {
    const start = Math.floor(at / PAGE_SIZE) * PAGE_SIZE
    const size = Math.min(Math.ceil((length + 1) / PAGE_SIZE) * PAGE_SIZE, SIZE - start)
    memory.generate(start, size, (offset, out) => {
      for (let i = 0; i < out.length; i++) out[i] = byteAt(seed, offset + i)
    })
    for (let i = 0; i < size; i++) model[start + i] = byteAt(seed, i)
    return
  }
  const size = Math.min(length, SIZE - at)
  const bytes = Uint8Array.from({ length: size }, (_, i) => byteAt(seed, i))
  if (kind === 'clear') {
    memory.clear(at, size)
    model.fill(0, at, at + size)
    return
  }
  if (kind === 'place') memory.place(at, bytes)
  else memory.write(at, bytes)
  model.set(bytes, at)
}

t.test('any sequence of placing, writing, generating and clearing reads as a flat memory does', async (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), fc.nat(SIZE - 1), fc.nat(SIZE), (steps, at, length) => {
      const memory = new GuestMemory(PAGES)
      const model = new Uint8Array(SIZE)
      for (const one of steps) apply(memory, model, one)
      const part = Math.min(length, SIZE - at)
      const found = new Uint8Array(part).fill(0xaa)
      memory.readInto(at, found)
      if (Buffer.compare(found, model.subarray(at, at + part)) !== 0) return false
      const fromChunks = new Uint8Array(SIZE)
      let last = 0
      for (const { paddr, bytes } of memory.chunks()) {
        if (paddr < last) return false
        fromChunks.set(bytes, paddr)
        last = paddr + bytes.length
      }
      if (Buffer.compare(fromChunks, model) !== 0) return false
      const touched = new Set(
        [...memory.pages()].flatMap((run) => Array.from({ length: run.pages }, (_, i) => run.pfn + i)),
      )
      for (let i = 0; i < SIZE; i++) if (model[i] !== 0 && !touched.has(Math.floor(i / PAGE_SIZE))) return false
      return true
    }),
    { numRuns: 400 },
  )
  t.pass('400 sequences')
})

t.test('runs of pages are sorted and disjoint', async (t) => {
  const memory = new GuestMemory(100)
  memory.write(5 * PAGE_SIZE + 10, Uint8Array.of(1))
  memory.write(6 * PAGE_SIZE - 1, Uint8Array.of(1, 2))
  memory.place(50 * PAGE_SIZE, new Uint8Array(3 * PAGE_SIZE))
  t.same(
    [...memory.pages()],
    [
      { pfn: 5, pages: 2 },
      { pfn: 50, pages: 3 },
    ],
  )
})

t.test('addresses above 4 GiB and in several ranges', async (t) => {
  const memory = new GuestMemory([
    { start: 0, end: 256 },
    { start: 256, end: 512 },
    { start: 2 ** 28, end: 2 ** 28 + 16 },
  ])
  memory.write(2 ** 40 + 5, Uint8Array.of(7))
  t.same([...memory.read(2 ** 40 + 4, 3)], [0, 7, 0])
  memory.write(256 * PAGE_SIZE - 1, Uint8Array.of(1, 2))
  t.same([...memory.read(256 * PAGE_SIZE - 1, 2)], [1, 2], 'ranges that touch are one')
  t.equal(memory.pageCount, 528)
  t.ok(memory.has(2 ** 28 + 15))
  t.notOk(memory.has(512))
  for (const [at, length] of [
    [512 * PAGE_SIZE, 1],
    [512 * PAGE_SIZE - 1, 2],
    [2 ** 40 + 16 * PAGE_SIZE, 1],
    [-1, 1],
  ] as const) {
    t.throws(() => memory.read(at, length), { name: 'DomainBuilderError', code: 'not-mapped' })
    t.throws(() => memory.write(at, new Uint8Array(length)), DomainBuilderError)
  }
})

t.test('placed bytes are not copied, written ones are', async (t) => {
  const memory = new GuestMemory(2)
  const placed = Uint8Array.of(1, 2, 3)
  const written = Uint8Array.of(4, 5, 6)
  memory.place(0, placed)
  memory.write(PAGE_SIZE, written)
  placed[0] = 9
  written[0] = 9
  t.equal(memory.read(0, 1)[0], 9)
  t.equal(memory.read(PAGE_SIZE, 1)[0], 4)
  memory.write(0, Uint8Array.of(8))
  t.equal(placed[0], 9, 'writing over placed bytes leaves the input alone')
})

const KIB64 = 1 << 16
const MIB4 = 4 << 20

/** A Fill whose bytes differ from their neighbours, and from those 256 bytes on. */
const fill =
  (seed = 1) =>
  (offset: number, out: Uint8Array): void => {
    for (let i = 0; i < out.length; i++) out[i] = byteAt(seed, offset + i)
  }

/** The same bytes. */
const bytesOf = (length: number, seed = 1): Uint8Array => {
  const out = new Uint8Array(length)
  fill(seed)(0, out)
  return out
}

t.test('the frames that a guest has', async (t) => {
  const memory = new GuestMemory([
    { start: 2, end: 4 },
    { start: 4, end: 6 },
    { start: 10, end: 11 },
  ])
  t.equal(memory.pageCount, 5)
  t.equal(memory.endPfn, 11)
  t.equal(new GuestMemory([]).endPfn, 0)
  t.same(new GuestMemory(3).ranges, [{ start: 0, end: 3 }])
  t.same(
    [1, 2, 3, 4, 5, 6, 9, 10, 11].map((pfn) => memory.has(pfn)),
    [false, true, true, true, true, false, false, true, false],
  )
  t.same(
    [1, 2, 3, 4, 5, 6, 9, 10, 11].map((pfn) => memory.pagesFrom(pfn)),
    [0, 4, 3, 2, 1, 0, 0, 1, 0],
  )
  const within = (pfn: number, pages: number) => [...memory.within(pfn, pages)].map(({ start, end }) => [start, end])
  t.same(within(0, 20), [
    [2, 4],
    [4, 6],
    [10, 11],
  ])
  t.same(within(3, 2), [
    [3, 4],
    [4, 5],
  ])
  t.same(within(5, 5), [[5, 6]], 'up to a range')
  t.same(within(5, 6), [
    [5, 6],
    [10, 11],
  ])
  t.same(within(6, 4), [])
  const covers = (paddr: number, length: number) => memory.covers(paddr, length)
  t.equal(covers(2 * PAGE_SIZE, 4 * PAGE_SIZE), true)
  t.equal(covers(2 * PAGE_SIZE, 4 * PAGE_SIZE + 1), false)
  t.equal(covers(6 * PAGE_SIZE - 1, 1), true)
  t.equal(covers(6 * PAGE_SIZE - 1, 2), false)
  t.equal(covers(6 * PAGE_SIZE, 0), false, 'not even nothing, outside')
  t.equal(covers(2 * PAGE_SIZE - 1, 1), false)
})

t.test('a copy changes alone, and so does the original', async (t) => {
  const memory = new GuestMemory(4)
  const placed = bytesOf(10)
  memory.place(0, placed)
  memory.write(PAGE_SIZE, bytesOf(10, 2))
  memory.generate(2 * PAGE_SIZE, PAGE_SIZE, fill(3))
  const copy = memory.copy()
  copy.write(PAGE_SIZE + 2, Uint8Array.of(99))
  t.equal(memory.read(PAGE_SIZE + 2, 1)[0], byteAt(2, 2))
  memory.write(PAGE_SIZE + 3, Uint8Array.of(98))
  t.equal(copy.read(PAGE_SIZE + 3, 1)[0], byteAt(2, 3))
  copy.clear(0, PAGE_SIZE)
  t.same(memory.read(0, 10), placed)
  t.same(copy.read(2 * PAGE_SIZE, PAGE_SIZE), bytesOf(PAGE_SIZE, 3))
  t.equal([...memory.copy().chunks()][0]?.bytes.buffer, placed.buffer, 'placed bytes are shared')
})

t.test('nothing is placed by no bytes, and a negative length is outside', async (t) => {
  const memory = new GuestMemory(2)
  memory.write(5, bytesOf(10))
  memory.place(7, new Uint8Array(0))
  memory.write(8, new Uint8Array(0))
  t.equal([...memory.chunks()].length, 1, 'the extent is whole')
  memory.place(5 * PAGE_SIZE, new Uint8Array(0))
  t.throws(() => memory.clear(PAGE_SIZE, -1), { code: 'not-mapped' })
  t.throws(() => memory.readInto(2 * PAGE_SIZE - 1, new Uint8Array(2)), { code: 'not-mapped' })
  t.throws(() => [...memory.parts(2 * PAGE_SIZE - 1, 2)], { code: 'not-mapped' })
  t.throws(() => memory.clear(2 * PAGE_SIZE - 1, 2), {
    code: 'not-mapped',
    expected: 'within [0x0, 0x2000)',
    found: '[0x1fff, 0x2001)',
  })
})

t.test('a write inside written bytes changes them in place; one that reaches out does not', async (t) => {
  const extents = (memory: GuestMemory) => [...memory.placed()].map(({ paddr, length }) => [paddr, length])
  const memory = new GuestMemory(2)
  memory.write(100, bytesOf(50))
  memory.write(100, Uint8Array.of(1))
  memory.write(149, Uint8Array.of(2))
  memory.write(120, Uint8Array.of(3, 4))
  t.same(extents(memory), [[100, 50]])
  t.same([memory.read(100, 1)[0], memory.read(149, 1)[0], ...memory.read(120, 2)], [1, 2, 3, 4])
  memory.write(149, Uint8Array.of(5, 6))
  t.same(extents(memory), [
    [100, 49],
    [149, 2],
  ])
  memory.write(99, Uint8Array.of(7, 8))
  t.same(extents(memory), [
    [99, 2],
    [101, 48],
    [149, 2],
  ])
  const placed = new GuestMemory(2)
  placed.place(0, new Uint8Array(10))
  placed.write(5, Uint8Array.of(1))
  t.same(extents(placed), [
    [0, 5],
    [5, 1],
    [6, 4],
  ])
})

t.test('extents that touch are not cut', async (t) => {
  const memory = new GuestMemory(2)
  memory.place(10, bytesOf(10))
  memory.place(30, bytesOf(10))
  memory.place(20, bytesOf(10))
  memory.clear(40, 10)
  memory.clear(0, 10)
  t.same(
    [...memory.placed()].map(({ paddr, length }) => [paddr, length]),
    [
      [10, 10],
      [20, 10],
      [30, 10],
    ],
  )
  t.equal(memory.placedBytes, 30)
  memory.clear(15, 20)
  t.same(
    [...memory.placed()].map(({ paddr, length, content }) => [paddr, length, content]),
    [
      [10, 5, bytesOf(10).subarray(0, 5)],
      [35, 5, bytesOf(10).subarray(5)],
    ],
  )
})

t.test('an extent over the beginning or the end of another leaves nothing empty', async (t) => {
  for (const [at, length] of [
    [0, 5],
    [5, 5],
    [0, 10],
  ] as const) {
    const memory = new GuestMemory(1)
    memory.place(0, bytesOf(10))
    memory.place(at, bytesOf(length, 2))
    const lengths = [...memory.placed()].map((one) => one.length)
    t.same(lengths, length === 10 ? [10] : [5, 5])
  }
})

t.test('a hole is overwritten with zeros: before, between and after content', async (t) => {
  const memory = new GuestMemory(1)
  memory.place(10, bytesOf(10, 2))
  memory.place(30, bytesOf(10, 2))
  const out = new Uint8Array(60).fill(0xaa)
  memory.readInto(0, out)
  const expected = new Uint8Array(60)
  for (const at of [10, 30]) expected.set(bytesOf(10, 2), at)
  t.same(out, expected)
})

t.test('whole pages are made in the memory of the reader, and no others are made', async (t) => {
  const memory = new GuestMemory(8)
  const made: [number, boolean][] = []
  const out = new Uint8Array(PAGE_SIZE)
  for (const pfn of [1, 3]) {
    memory.generate(pfn * PAGE_SIZE, PAGE_SIZE, (_, page) => made.push([pfn, page.buffer === out.buffer]))
  }
  memory.readInto(0, out)
  t.same(made, [], 'the page before')
  memory.readInto(PAGE_SIZE, out)
  t.same(made, [[1, true]])
  memory.readInto(2 * PAGE_SIZE, out)
  t.same(made, [[1, true]], 'the page between')
  memory.readInto(PAGE_SIZE + 1, out)
  t.same(made.slice(1), [[1, false]], 'a part comes from a whole page')
  memory.readInto(3 * PAGE_SIZE, out.subarray(1))
  t.same(made.slice(2), [[3, false]])
})

t.test('generated bytes are asked for in whole pages', async (t) => {
  const asked: number[][] = []
  const memory = new GuestMemory(8)
  memory.generate(PAGE_SIZE, 4 * PAGE_SIZE, (offset, out) => {
    asked.push([offset, out.length])
    fill()(offset, out)
  })
  const read = (at: number, length: number) => {
    asked.length = 0
    t.same(memory.read(PAGE_SIZE + at, length), bytesOf(4 * PAGE_SIZE).subarray(at, at + length))
    return asked.slice()
  }
  t.same(read(PAGE_SIZE, PAGE_SIZE), [[PAGE_SIZE, PAGE_SIZE]])
  t.same(read(PAGE_SIZE, 1), [[PAGE_SIZE, PAGE_SIZE]])
  t.same(read(1, PAGE_SIZE), [[0, 2 * PAGE_SIZE]])
  t.same(read(PAGE_SIZE - 1, 1), [[0, PAGE_SIZE]])
  t.same(read(PAGE_SIZE - 1, 2), [[0, 2 * PAGE_SIZE]])
  t.same(read(0, 2 * PAGE_SIZE), [[0, 2 * PAGE_SIZE]])
})

t.test('chunks: placed bytes whole, generated ones in blocks of 256 KiB', async (t) => {
  t.equal(BLOCK_BYTES, 1 << 18)
  const memory = new GuestMemory(4096)
  memory.place(5, bytesOf(300_000))
  memory.generate(MIB4, 2 * BLOCK_BYTES + PAGE_SIZE, fill(2))
  memory.write(2 * MIB4, bytesOf(BLOCK_BYTES + 1, 3))
  const chunks = [...memory.chunks()]
  t.same(
    chunks.map(({ paddr, bytes }) => [paddr, bytes.length]),
    [
      [5, 300_000],
      [MIB4, BLOCK_BYTES],
      [MIB4 + BLOCK_BYTES, BLOCK_BYTES],
      [MIB4 + 2 * BLOCK_BYTES, PAGE_SIZE],
      [2 * MIB4, BLOCK_BYTES],
      [2 * MIB4 + BLOCK_BYTES, 1],
    ],
  )
  const block = new GuestMemory(64)
  block.generate(0, BLOCK_BYTES, fill())
  t.equal([...block.chunks()].length, 1, 'a block is one chunk')
  for (const { paddr, bytes } of chunks) t.equal(Buffer.compare(bytes, memory.read(paddr, bytes.length)), 0)
  t.equal(memory.placedBytes, 300_000 + 2 * BLOCK_BYTES + PAGE_SIZE + BLOCK_BYTES + 1)
  const seen: number[] = []
  for (const _ of memory.chunks({ onProgress: ({ done, total }) => seen.push(done / total) })) _
  t.equal(seen.at(-1), 1, 'all of it is reported')
})

t.test('contents: views of at least 64 KiB and at most 4 MiB, the rest in copies of at most 256 KiB', async (t) => {
  const parts = (memory: GuestMemory, paddr: number, length: number) => {
    const found = [...memory.parts(paddr, length)]
    const all = new Uint8Array(length)
    let at = 0
    for (const { paddr: start, length: bytes, content } of found) {
      t.equal(start, paddr + at)
      if (typeof content === 'function') content(all.subarray(at, at + bytes))
      else all.set(content, at)
      at += bytes
    }
    t.equal(at, length)
    t.equal(Buffer.compare(all, memory.read(paddr, length)), 0)
    return found.map(({ length: bytes, content }) => [bytes, typeof content === 'function' ? 'made' : 'view'])
  }
  const long = new GuestMemory(8192)
  long.place(1000, bytesOf(2 * MIB4 + 10))
  t.same(parts(long, 0, 3 * MIB4), [
    [1000, 'made'],
    [MIB4, 'view'],
    [MIB4, 'view'],
    [BLOCK_BYTES, 'made'],
    ...Array(14).fill([BLOCK_BYTES, 'made']),
    [MIB4 - 15 * BLOCK_BYTES - 1000, 'made'],
  ])
  t.same(parts(long, 1000, KIB64), [[KIB64, 'view']])
  t.same(parts(long, 1000, KIB64 - 1), [[KIB64 - 1, 'made']], 'too short for a view')
  t.same(parts(long, 2 * MIB4, 2000), [[2000, 'made']])
  for (const [length, expected] of [
    [
      KIB64,
      [
        [500, 'made'],
        [KIB64, 'view'],
        [500, 'made'],
      ],
    ],
    [KIB64 - 1, [[KIB64 + 999, 'made']]],
  ] as const) {
    const one = new GuestMemory(64)
    one.place(500, bytesOf(length))
    t.same(parts(one, 0, length + 1000), expected, `${length} bytes`)
  }
  const written = new GuestMemory(256)
  written.write(0, bytesOf(2 * KIB64))
  t.same(parts(written, 0, 2 * KIB64), [[2 * KIB64, 'made']], 'written bytes may change')
  const generated = new GuestMemory(256)
  generated.generate(0, 2 * KIB64, fill())
  t.same(parts(generated, 0, 2 * KIB64), [[2 * KIB64, 'made']])
  const late = new GuestMemory(256)
  late.generate(PAGE_SIZE, 2 * KIB64, fill())
  t.same(parts(late, 0, BLOCK_BYTES), [[BLOCK_BYTES, 'made']], 'generated bytes begin no piece')
  const far = new GuestMemory(256)
  far.place(BLOCK_BYTES, bytesOf(KIB64))
  t.same(parts(far, 0, BLOCK_BYTES + KIB64), [
    [BLOCK_BYTES, 'made'],
    [KIB64, 'view'],
  ])
  t.same(parts(far, 0, BLOCK_BYTES + KIB64 - 1), [
    [BLOCK_BYTES, 'made'],
    [KIB64 - 1, 'made'],
  ])
  const near = new GuestMemory(256)
  near.place(BLOCK_BYTES - 1, bytesOf(KIB64))
  near.place(10, bytesOf(20))
  t.same(parts(near, 0, 2 * BLOCK_BYTES), [
    [BLOCK_BYTES - 1, 'made'],
    [KIB64, 'view'],
    [BLOCK_BYTES - KIB64 + 1, 'made'],
  ])
  const cut = new GuestMemory(256)
  cut.place(0, bytesOf(3 * KIB64))
  cut.clear(0, 5)
  t.same(parts(cut, 5, 2 * KIB64), [[2 * KIB64, 'view']], 'from the middle of its bytes')
  t.equal([...cut.contents(5, 2 * KIB64)][0]?.byteOffset, 5, 'contents() gives the same views')
})

t.test('readFrames: frames that the guest does not have are zero', async (t) => {
  const memory = new GuestMemory([
    { start: 1, end: 3 },
    { start: 4, end: 5 },
  ])
  for (const pfn of [1, 2, 4]) memory.write(pfn * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(pfn))
  const frames = (pfn: number, pages: number) => {
    const out = new Uint8Array(pages * PAGE_SIZE).fill(0xaa)
    memory.readFrames(pfn, out)
    return Array.from({ length: pages }, (_, i) => {
      const page = out.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE)
      return page.every((byte) => byte === page[0]) ? page[0] : 'mixed'
    })
  }
  t.same(frames(1, 2), [1, 2])
  t.same(frames(0, 6), [0, 1, 2, 0, 4, 0])
  t.same(frames(2, 2), [2, 0])
  t.same(frames(3, 1), [0])
})

t.test('the pages of either memory, in runs of a limited length', async (t) => {
  const of = (...pages: readonly (readonly [pfn: number, pages: number])[]) => {
    const memory = new GuestMemory(100)
    for (const [pfn, count] of pages) memory.place(pfn * PAGE_SIZE, new Uint8Array(count * PAGE_SIZE))
    return memory
  }
  const either = (a: GuestMemory, b: GuestMemory, most: number) =>
    [...pagesOfEither(a, b, most)].map(({ pfn, pages }) => [pfn, pages])
  t.same(either(of(), of(), 8), [])
  t.same(either(of([0, 3]), of([50, 2]), 8), [
    [0, 3],
    [50, 2],
  ])
  t.same(either(of([50, 2]), of([0, 3]), 8), [
    [0, 3],
    [50, 2],
  ])
  t.same(either(of([5, 10]), of([7, 3]), 8), [
    [5, 8],
    [13, 2],
  ])
  t.same(either(of([5, 4]), of([7, 4]), 8), [
    [5, 4],
    [9, 2],
  ])
  t.same(either(of([5, 4]), of([9, 4]), 4), [
    [5, 4],
    [9, 4],
  ])
})

t.test('pages with content at every kind of end', async (t) => {
  const memory = new GuestMemory(100)
  memory.place(10 * PAGE_SIZE, new Uint8Array(PAGE_SIZE))
  memory.place(20 * PAGE_SIZE + 1, new Uint8Array(PAGE_SIZE))
  memory.place(30 * PAGE_SIZE, new Uint8Array(PAGE_SIZE + 1))
  memory.place(40 * PAGE_SIZE - 1, new Uint8Array(1))
  t.same(
    [...memory.pages()],
    [
      { pfn: 10, pages: 1 },
      { pfn: 20, pages: 2 },
      { pfn: 30, pages: 2 },
      { pfn: 39, pages: 1 },
    ],
  )
})

t.test('a memory of no frames has no end', async (t) => {
  const memory = new GuestMemory([])
  t.equal(memory.endPfn, 0)
  t.equal(memory.pageCount, 0)
  t.notOk(memory.has(0))
})

t.test('a copy changes alone', async (t) => {
  const memory = new GuestMemory(4)
  const placed = Uint8Array.of(9, 9)
  memory.write(0, Uint8Array.of(1, 2, 3))
  memory.place(PAGE_SIZE, placed)
  const copy = memory.copy()
  copy.write(1, Uint8Array.of(7))
  copy.write(PAGE_SIZE, Uint8Array.of(8))
  t.same([...memory.read(0, 3)], [1, 2, 3])
  t.same([...copy.read(0, 3)], [1, 7, 3])
  t.same([...memory.read(PAGE_SIZE, 2)], [9, 9])
  t.same([...copy.read(PAGE_SIZE, 2)], [8, 9])
  t.same([...placed], [9, 9])
})

t.test('frames that the guest does not have read as zero, between those that it has', async (t) => {
  const memory = new GuestMemory([
    { start: 0, end: 1 },
    { start: 2, end: 3 },
  ])
  memory.write(0, new Uint8Array(PAGE_SIZE).fill(1))
  memory.write(2 * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(3))
  const out = new Uint8Array(4 * PAGE_SIZE).fill(0xff)
  memory.readFrames(0, out)
  t.same(
    [0, 1, 2, 3].map((page) => [out[page * PAGE_SIZE], out[(page + 1) * PAGE_SIZE - 1]]),
    [
      [1, 1],
      [0, 0],
      [3, 3],
      [0, 0],
    ],
  )
  const one = new Uint8Array(PAGE_SIZE)
  memory.readFrames(2, one)
  t.equal(one[0], 3)
})
