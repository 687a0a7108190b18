/**
 * Descriptors: a segment in a GDT is the segment that a processor loads from it.
 *
 * Source: Intel SDM vol. 3, 3.4.5.
 * Gotcha: with the granularity bit the limit counts pages, and its low 12 bits are set.
 */
import t from 'tap'
import { encodeGdt, loadedSegment } from '../../lib/guest/gdt.js'

const FLAT_CODE = { base: 0n, limit: 0xffffffff, attributes: 0xc9b }

t.test('descriptors lie at their selectors, and null ones are zero', async (t) => {
  const gdt = encodeGdt([
    { selector: 0x10, descriptor: FLAT_CODE },
    { selector: 0x18, descriptor: { base: 0x12345678n, limit: 0xabcde, attributes: 0x093 } },
    { selector: 0 },
  ])
  t.equal(
    Buffer.from(gdt).toString('hex'),
    `${'00'.repeat(16)}ffff0000009bcf00debc785634930a12`,
    'the bytes of every flat-model boot loader first',
  )
})

t.test('a segment that no descriptor can say is refused', async (t) => {
  const bad = (descriptor: typeof FLAT_CODE, found: string) =>
    t.throws(() => encodeGdt([{ selector: 8, descriptor }]), {
      code: 'bad-range',
      message: `the segment is not representable in a descriptor: expected a base below 4 GiB, and a limit of 20 bits, in bytes or pages, found ${found}`,
    })
  bad({ base: 1n << 32n, limit: 0, attributes: 0x93 }, 'base 0x100000000, limit 0x0')
  bad({ base: 0n, limit: 0x100000, attributes: 0x93 }, 'base 0x0, limit 0x100000')
})

t.test('a loaded segment has the attributes of the high half, and a null one has no descriptor', async (t) => {
  t.same(loadedSegment(0x10, 0n, 0xffffffff, 0x00cf9b00), { selector: 0x10, descriptor: FLAT_CODE })
  t.same(loadedSegment(0x10018, 5n, 0, 0), { selector: 0x18, descriptor: { base: 5n, limit: 0, attributes: 0 } })
  t.same(loadedSegment(3, 0n, 0, 0), { selector: 3 })
})
