/**
 * RAM and its holes: where memory ends, what a memmap may name, and the RAM of a dom0.
 *
 * Source: lib/guest/memory-map.ts.
 * Gotcha: the memory of a PC goes on above 4 GiB, so its end is not its size.
 */
import t from 'tap'
import { DEVICE_HOLE } from '../../lib/abi/pc.js'
import { dom0MemoryMap, MemoryMap, pcMemoryMap, pcMemoryUpTo } from '../../lib/guest/memory-map.js'

const MIB = 2 ** 20
const GIB = 2 ** 30

t.test('the end of RAM', async (t) => {
  t.equal(new MemoryMap([], []).end, 0)
  t.equal(pcMemoryMap(0).end, 0)
  t.equal(pcMemoryMap(64 * MIB).end, 64 * MIB)
  t.equal(pcMemoryMap(6 * GIB).end, 6 * GIB + (DEVICE_HOLE.end - DEVICE_HOLE.start))
  t.throws(() => pcMemoryMap(2 ** 52), {
    code: 'bad-config',
    message: /^the memory is too large: expected an end of at most 0x/,
  })
})

t.test('the memory of a PC whose RAM reaches to an address', async (t) => {
  const hole = DEVICE_HOLE.end - DEVICE_HOLE.start
  t.equal(pcMemoryUpTo(64 * MIB), 64 * MIB)
  t.equal(pcMemoryUpTo(DEVICE_HOLE.start + 1), DEVICE_HOLE.start)
  t.equal(pcMemoryUpTo(DEVICE_HOLE.end), DEVICE_HOLE.start)
  t.equal(pcMemoryUpTo(DEVICE_HOLE.end + MIB), DEVICE_HOLE.end + MIB - hole)
  for (const memory of [64 * MIB, 3 * GIB, 5 * GIB]) t.equal(pcMemoryUpTo(pcMemoryMap(memory).end), memory)
})

t.test('a memmap lies in the RAM of the machine', async (t) => {
  const range = { start: 16 * MIB, end: 32 * MIB }
  t.same(pcMemoryMap(64 * MIB, [], [range]).ram, [range])
  t.throws(() => pcMemoryMap(64 * MIB, [], [{ start: 32 * MIB, end: 65 * MIB }]), {
    code: 'does-not-fit',
    message:
      'a memmap range lies outside the memory of the machine: expected within [0x0, 0xa0000), [0x100000, 0x4000000), found [0x2000000, 0x4100000)',
  })
  t.throws(() => pcMemoryMap(64 * MIB, [], []), {
    code: 'bad-config',
    message: 'memmap is empty: expected a range, found none',
  })
  t.throws(() => pcMemoryMap(64 * MIB, [], [range, { start: 20 * MIB, end: 40 * MIB }]), {
    code: 'overlap',
    message: /^two memmap ranges share an address/,
  })
})

t.test('one more reserved range is in order, and the other map stays as it was', async (t) => {
  const map = pcMemoryMap(64 * MIB, [{ start: 32 * MIB, end: 33 * MIB }])
  const more = map.reserving({ start: 16 * MIB, end: 17 * MIB })
  t.same(
    more.reserved.map(({ start }) => start),
    [16 * MIB, 32 * MIB],
  )
  t.equal(map.reserved.length, 1)
  t.same(more.ram, map.ram)
})

t.test('a dom0 has whole pages of the RAM of the host', async (t) => {
  const host = [
    { start: MIB + 1, end: 2 * MIB + 1 },
    { start: 0, end: 4095 },
    { start: 4 * MIB, end: 8 * MIB },
  ]
  t.same(dom0MemoryMap(2 * MIB, host).ram, [
    { start: MIB + 4096, end: 2 * MIB },
    { start: 4 * MIB, end: 5 * MIB + 4096 },
  ])
  t.throws(() => dom0MemoryMap(8 * MIB, host), {
    code: 'does-not-fit',
    message: `the memory of the dom0 is larger than hostRam: expected at most ${5 * MIB - 4096} bytes, found ${8 * MIB}`,
  })
})
