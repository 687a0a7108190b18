/**
 * Compares GuestMemory with a flat array: the last placement wins, byte by byte.
 *
 * Source: lib/guest/memory.ts.
 * Gotcha: a flat array of 4 GiB would be too large, so the model is small; a separate test has sizes from 4 GiB up.
 */
import fc from 'fast-check'
import t from 'tap'
import { DomainBuilderError } from '../../lib/errors.js'
import { GuestMemory } from '../../lib/guest/memory.js'
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
      if (Buffer.compare(memory.read(at, part), model.subarray(at, at + part)) !== 0) return false
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
