/**
 * Tests of struct(): exact values, refused values, offsets.
 *
 * Source: lib/abi/struct.ts. The offsets of Xen's own structs are compared with a C compiler's in
 * test/peer/abi.test.ts.
 * Gotcha: buffer-layout itself would accept most of the values refused here.
 */
import fc from 'fast-check'
import t from 'tap'
import { array, bytes, cstring, pad, s32, struct, u8, u16, u32, u64 } from '../../lib/abi/struct.js'

const Inner = struct('inner', 16, { a: u32, _pad: pad(4), b: u64 })
const Outer = struct('outer', 64, {
  x: u8,
  _p: pad(1),
  y: u16,
  text: cstring(12),
  inner: Inner,
  list: array(Inner, 2).span === 32 ? array(u32, 4) : array(u32, 1),
  raw: bytes(16),
})

t.test('what is encoded is decoded', async (t) => {
  const inner = fc.record({ a: fc.nat(0xffffffff), b: fc.bigInt(0n, 2n ** 64n - 1n) })
  const value = fc.record({
    x: fc.nat(0xff),
    y: fc.nat(0xffff),
    text: fc.stringMatching(/^[a-z]{0,11}$/),
    inner,
    list: fc.array(fc.nat(0xffffffff), { minLength: 4, maxLength: 4 }),
    raw: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  })
  fc.assert(
    fc.property(value, (v) => {
      const decoded = Outer.decode(Outer.encode(v))
      t.same({ ...decoded, raw: [...decoded.raw] }, { ...v, raw: [...v.raw] })
    }),
    { numRuns: 50 },
  )
})

t.test('offsets reach into nested structs', async (t) => {
  t.equal(Outer.offsetOf('inner'), 16)
  t.equal(Outer.offsetOf('inner.b'), 24)
  t.equal(Outer.sizeOf('text'), 12)
  t.same(Outer.fieldNames, ['x', 'y', 'text', 'inner', 'list', 'raw'])
  t.throws(() => Outer.offsetOf('nope'), /no field nope/)
})

t.test('values that a field cannot hold are refused, not rounded', async (t) => {
  const good = { x: 1, y: 2, text: 'hi', inner: { a: 1, b: 2n }, list: [1, 2, 3, 4], raw: new Uint8Array(16) }
  const bad: [string, unknown][] = [
    ['x', 256],
    ['x', 1.5],
    ['x', '7'],
    ['x', undefined],
    ['text', 'twelve bytes'],
    ['text', 'a\0b'],
    ['inner', { a: 1, b: 2 ** 53 }],
    ['inner', { a: -1, b: 0n }],
    ['inner', { a: 1, b: 2n ** 64n }],
    ['list', [1, 2, 3]],
    ['raw', new Uint8Array(15)],
    ['text', 7],
    ['inner', null],
    ['inner', 'text'],
  ]
  for (const [field, value] of bad) {
    t.throws(
      () => Outer.encode({ ...good, [field]: value } as never),
      { name: 'DomainBuilderError', code: 'bad-range' },
      field,
    )
  }
  const refusal = (value: unknown) => t.throws(() => Outer.encode(value as never), { code: 'bad-range' }) as Error
  t.match(refusal({ ...good, text: 7 }), { message: 'outer.text cannot hold that value: expected a string, found 0x7' })
  t.match(refusal(7), { message: 'outer cannot hold that value: expected a outer, found 0x7' })
  t.match(refusal({ ...good, list: [1, 2, 3, -4] }), { message: /^outer\.list\[3\] .* found -0x4$/ })
})

t.test('a signed number keeps its sign', async (t) => {
  const Signed = struct('signed', 8, { low: s32, high: s32 })
  const value = { low: -0x80000000, high: 0x7fffffff }
  t.same(Signed.encode(value), Uint8Array.of(0, 0, 0, 0x80, 0xff, 0xff, 0xff, 0x7f))
  t.same(Signed.decode(Signed.encode(value)), value)
  t.throws(() => Signed.encode({ low: -0x80000001, high: 0 }), { code: 'bad-range' })
})

t.test('a text that fills its field has no NUL', async (t) => {
  const Text = struct('text', 4, { text: cstring(4) })
  t.equal(Text.decode(Uint8Array.from(Buffer.from('abcd'))).text, 'abcd')
  t.equal(Text.decode(Uint8Array.from(Buffer.from('a\0cd'))).text, 'a')
})

t.test('a wrong size is found when the struct is declared', async (t) => {
  t.throws(() => struct('wrong', 9, { a: u64 }), /8 bytes, the ABI says 9/)
})

t.test('too few bytes', async (t) => {
  t.throws(() => Inner.decode(new Uint8Array(15)), { code: 'truncated' })
  t.throws(() => Inner.decode(new Uint8Array(20), 5), { code: 'truncated', offset: 5 })
})
