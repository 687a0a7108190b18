/** The statistics of memory with known pages, and of a guest with holes. */
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { buildDomain, bytesSource, guestStats, openMemory, PAGE_SIZE, readKernel, statsText } from '../../lib/index.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'

const page = (fill: (i: number) => number): Uint8Array => Uint8Array.from({ length: PAGE_SIZE }, (_, i) => fill(i))
const ZEROS = page(() => 0)
const ONES = page(() => 1)
const EVERY = page((i) => i % 256)

t.test('pages by kind, entropy and deflate', async (t) => {
  const noise = pattern(PAGE_SIZE, 3)
  const image = Buffer.concat([ZEROS, ONES, ONES, EVERY, ZEROS, noise, ONES, EVERY])
  const stats = await guestStats(openMemory(bytesSource(image), {}))
  t.equal(stats.pages, 8)
  t.same(stats.kinds, { hole: 0, zero: 2, repeated: 3, unique: 3 })
  const content = Buffer.concat([ONES, ONES, EVERY, noise, ONES, EVERY])
  const counts = new Map<number, number>()
  for (const byte of content) counts.set(byte, (counts.get(byte) ?? 0) + 1)
  const bits = [...counts.values()].reduce((sum, n) => sum - (n / content.length) * Math.log2(n / content.length), 0)
  t.equal(stats.entropy, Math.round(100 * bits) / 100)
  t.match(stats.deflate, { pages: 6, bytes: content.length })
  const zlib = gzipSync(content, { level: 9 }).length
  t.ok(Math.abs(stats.deflate.compressed - zlib) < 0.02 * zlib + 40, `${stats.deflate.compressed} as zlib's ${zlib}`)
  t.same(
    stats.regions.map(({ name, pages }) => [name, pages]),
    [['unnamed', 8]],
  )
})

t.test('entropy has its bounds', async (t) => {
  const entropyOf = async (bytes: Uint8Array) => (await guestStats(openMemory(bytesSource(bytes), {}))).entropy
  t.equal(await entropyOf(ZEROS), 0, 'nothing that is not zero')
  t.equal(await entropyOf(ONES), 0)
  t.equal(await entropyOf(EVERY), 8)
})

t.test('regions, and holes that cost nothing', async (t) => {
  const ramdisk = pattern(3 * PAGE_SIZE, 9)
  const guest = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 64 * 2 ** 30, ramdisk })
  const stats = await guestStats(guest)
  t.equal(stats.pages, guest.memory.pageCount)
  const { hole, zero, repeated, unique } = stats.kinds
  t.equal(hole + zero + repeated + unique, stats.pages)
  t.ok(hole > 0.95 * stats.pages)
  const named = (wanted: string) => stats.regions.find(({ name }) => name === wanted)
  t.match(named('ramdisk'), { pages: 3, kinds: { hole: 0, zero: 0, repeated: 0, unique: 3 } })
  t.equal(named('kernel')?.pages, 3)
  t.equal(
    stats.regions.reduce((sum, { pages }) => sum + pages, 0),
    stats.pages,
    'every page is in one region',
  )
  t.match(statsText(guest, stats).join('\n'), /ramdisk +3 +0 +0 +0 +3 +8\.00/)
})

t.test('many pages: the sample is bounded, and a signal stops the count', async (t) => {
  const image = Buffer.alloc(3000 * PAGE_SIZE)
  for (let i = 0; i < 3000; i++) image.writeUInt32LE(i + 1, i * PAGE_SIZE)
  const guest = openMemory(bytesSource(image), {})
  const stats = await guestStats(guest)
  t.same(stats.kinds, { hole: 0, zero: 0, repeated: 0, unique: 3000 })
  t.ok(stats.deflate.pages >= 256 && stats.deflate.pages <= 512, `${stats.deflate.pages} pages`)
  await t.rejects(guestStats(guest, { signal: AbortSignal.abort(new Error('enough')) }), /enough/)
})
