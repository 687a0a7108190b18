/** Entries that count up, against BigUint64Array. */
import t from 'tap'
import { CountingList, fillCounting } from '../../lib/guest/counting.js'
import { Random } from '../fixtures/random.js'

const FIRSTS = [0n, 5n, 2n ** 32n - 3n, (0xen << 60n) | (2n ** 32n - 1n), 2n ** 64n - 2n]

t.test('filled: any length, any alignment, across 2^32 and 2^64', (t) => {
  for (const first of FIRSTS) {
    for (const [offset, count] of [
      [0, 0],
      [0, 1],
      [3, 7],
      [1, 8192],
      [0, 8193],
      [5, 20_000],
    ] as const) {
      const all = new Uint8Array(offset + 8 * count + 9).fill(0xaa)
      fillCounting(all.subarray(offset, offset + 8 * count), first)
      const wanted = BigUint64Array.from({ length: count }, (_, i) => BigInt.asUintN(64, first + BigInt(i)))
      t.ok(Buffer.from(wanted.buffer).equals(all.subarray(offset, offset + 8 * count)), `${count} from ${first}`)
      t.ok(
        all.subarray(0, offset).every((byte) => byte === 0xaa) &&
          all.subarray(offset + 8 * count).every((byte) => byte === 0xaa),
      )
    }
  }
  t.end()
})

t.test('followed: as far as each entry is one more than the entry before it', (t) => {
  const random = new Random(5)
  const list = new CountingList()
  for (let round = 0; round < 300; round++) {
    const count = random.integer(1, round % 10 === 0 ? 20_000 : 40)
    const entries = new BigUint64Array(count)
    let next = random.pick(FIRSTS)
    for (let i = 0; i < count; i++) {
      if (random.oneIn(9)) next ^= 1n << BigInt(random.below(64))
      entries[i] = next
      next = BigInt.asUintN(64, next + 1n)
    }
    list.room(count).set(new Uint8Array(entries.buffer))
    for (let i = 0; i < count; ) {
      let end = i + 1
      while (end < count && entries[end] === BigInt.asUintN(64, (entries[end - 1] as bigint) + 1n)) end++
      const found = list.endOfRun(i, count)
      const word = entries[i] as bigint
      if (found !== end || BigInt(list.low(i)) !== (word & 0xffffffffn) || BigInt(list.high(i)) !== word >> 32n) {
        t.fail(`round ${round}, entry ${i}: ${found}, not ${end}`)
        return t.end()
      }
      if (list.endOfRun(i, i + 1) !== i + 1) t.fail(`round ${round}, entry ${i}: a run past the last entry`)
      i = end
    }
  }
  t.end()
})
