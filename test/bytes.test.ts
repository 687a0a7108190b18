/**
 * Compares lib/bytes.ts with Node's Buffer on the same bytes.
 *
 * Source: https://nodejs.org/api/buffer.html, the peer.
 * Gotcha: aligned views alone would miss errors, since words are compared in unaligned bytes too.
 */
import fc from 'fast-check'
import { test } from 'tap'
import * as bytes from '../lib/bytes.js'

/** A view of some bytes, at any offset in its buffer. */
const views = fc
  .tuple(fc.uint8Array({ maxLength: 200 }), fc.nat(9))
  .map(([data, at]) => new Uint8Array([...new Array(at).fill(7), ...data, 7]).subarray(at, at + data.length))

test('joined and compared', async (t) => {
  fc.assert(
    fc.property(fc.array(views), views, views, (parts, a, b) => {
      t.same(bytes.concat(parts), new Uint8Array(Buffer.concat(parts)))
      return bytes.equal(a, b) === (Buffer.compare(a, b) === 0) && bytes.equal(a, new Uint8Array(a))
    }),
  )
})

test('one byte that differs is found at every position, alignment and length', async (t) => {
  const wrong: string[] = []
  for (const length of [1, 7, 8, 31, 32, 33, 100, 65536, 65537, 70000]) {
    for (const [shift, other] of [
      [0, 0],
      [0, 3],
      [1, 1],
      [5, 8],
    ] as const) {
      const a = new Uint8Array(length + 8).subarray(shift, shift + length)
      const b = new Uint8Array(length + 8).subarray(other, other + length)
      if (!bytes.equal(a, b) || !bytes.isZero(b)) wrong.push(`${length} zeros at ${shift}, ${other}`)
      for (const at of [0, length >> 1, length - 1]) {
        b[at] = 0x80
        if (bytes.equal(a, b) || bytes.isZero(b)) wrong.push(`${length} bytes at ${shift}, ${other}: byte ${at}`)
        b[at] = 0
      }
    }
  }
  t.same(wrong, [])
  const buffer = Buffer.alloc(100)
  t.ok(bytes.isZero(buffer.subarray(3)), 'a Buffer, whose slice() is no copy')
  t.ok(bytes.equal(buffer.subarray(3, 50), buffer.subarray(6, 53)))
  t.ok(bytes.isZero(new Uint8Array(0)))
  t.notOk(bytes.equal(new Uint8Array(1), new Uint8Array(2)))
})

test('searched', async (t) => {
  const few = fc.uint8Array({ max: 2, maxLength: 40 })
  const part = fc.uint8Array({ max: 2, minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(few, part, fc.nat(5), (a, b, from) => bytes.indexOf(a, b, from) === Buffer.from(a).indexOf(b, from)),
  )
  t.equal(bytes.indexOf(new Uint8Array([1, 2]), new Uint8Array([2, 3])), -1)
})

test('as text', async (t) => {
  fc.assert(
    fc.property(views, fc.string({ unit: 'binary' }), (a, text) => {
      const node = Buffer.from(a)
      t.equal(bytes.toHex(a), node.toString('hex'))
      t.equal(bytes.toBase64(a), node.toString('base64'))
      t.equal(bytes.decodeLatin1(a), node.toString('latin1'))
      t.equal(bytes.decodeUtf8(a), node.toString('utf8'))
      t.same(bytes.fromBase64(bytes.toBase64(a)), new Uint8Array(a))
      t.same(bytes.encodeLatin1(bytes.decodeLatin1(a)), new Uint8Array(a))
      t.same(bytes.encodeUtf8(text), new Uint8Array(Buffer.from(text)))
      return bytes.utf8Length(text) === Buffer.byteLength(text)
    }),
  )
  t.equal(bytes.decodeUtf8(new Uint8Array([0xef, 0xbb, 0xbf, 0x41])), '\ufeffA')
  const long = new Uint8Array(100_000).map((_, index) => index)
  t.equal(bytes.toBase64(long), Buffer.from(long).toString('base64'))
  t.equal(bytes.fromBase64('not base64!'), undefined)
  t.same(bytes.fromBase64('AQI'), new Uint8Array([1, 2]))
})
