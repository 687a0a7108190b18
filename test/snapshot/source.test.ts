/**
 * Sources: reading ahead returns the right bytes for every order of reads.
 *
 * Source: lib/snapshot/byte-source.ts.
 * Gotcha: only some orders of reads fail, so the seeded reads are small and large, forwards, backwards, across the end.
 */
import t from 'tap'
import { bytesSource } from '../../lib/index.js'
import { type ByteSource, readAhead } from '../../lib/snapshot/byte-source.js'
import { pattern } from '../fixtures/kernels.js'
import { Random } from '../fixtures/random.js'

/** Bytes: several times the amount that is read ahead. */
const SIZE = 700_001

t.test('reading ahead changes nothing but how often the file is read', async (t) => {
  const bytes = pattern(SIZE)
  let reads = 0
  const file: ByteSource = {
    size: SIZE,
    readInto(offset, out) {
      reads++
      bytesSource(bytes).readInto(offset, out)
    },
  }
  const ahead = readAhead(file)
  for (let at = 0; at + 8 <= SIZE; at += 8) ahead.readInto(at, new Uint8Array(8))
  t.ok(reads < 10, `${reads} reads`)
  const random = new Random(1)
  for (let i = 0; i < 3000; i++) {
    const offset = random.below(SIZE)
    const out = new Uint8Array(1 + random.below(random.oneIn(10) ? 200_000 : 9000))
    if (offset + out.length > SIZE) {
      t.throws(() => ahead.readInto(offset, out), { code: 'truncated' })
      continue
    }
    ahead.readInto(offset, out)
    if (Buffer.compare(out, bytes.subarray(offset, offset + out.length)) !== 0) t.fail(`${out.length} from ${offset}`)
  }
})
