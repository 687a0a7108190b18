/**
 * AML in bytes: lengths and integers of every width, and names.
 *
 * Source: ACPI 6.5, 20.2.4 (package length), 20.2.3 (data objects), 19.3.4 (EISA ids). test/peer/acpi.test.ts gives whole
 * tables to iasl.
 * Gotcha: a package length counts its own bytes.
 */
import t from 'tap'
import { eisaId, integer, name, scope } from '../../lib/guest/aml.js'

t.test('an integer has the narrowest width', async (t) => {
  t.same(integer(0), [0x00])
  t.same(integer(1), [0x01])
  t.same(integer(2), [0x0a, 2])
  t.same(integer(0xff), [0x0a, 0xff])
  t.same(integer(0x100), [0x0b, 0, 1])
  t.same(integer(0xffff), [0x0b, 0xff, 0xff])
  t.same(integer(0x10000), [0x0c, 0, 0, 1, 0])
  t.same(integer(0xfee00000), [0x0c, 0, 0, 0xe0, 0xfe])
})

t.test('a length has one, two or three bytes, itself included', async (t) => {
  /** A scope whose terms make the given length, and the bytes after its opcode. */
  const lengthOf = (bytes: number) => {
    const [opcode, ...rest] = scope('\\_SB', new Array<number>(bytes).fill(0xa3))
    t.equal(opcode, 0x10)
    return { first: rest.slice(0, 3), total: rest.length }
  }
  // The name has 4 bytes.
  t.match(lengthOf(0x3f - 1 - 4), { first: [0x3f, 0x5c, 0x5f], total: 0x3f })
  t.match(lengthOf(0x40 - 1 - 4), { first: [0x41, 0x04, 0x5c], total: 0x41 })
  t.match(lengthOf(0xfff - 2 - 4), { first: [0x4f, 0xff, 0x5c], total: 0xfff })
  t.match(lengthOf(0x1000 - 2 - 4), { first: [0x81, 0x00, 0x01], total: 0x1001 })
})

t.test('names', async (t) => {
  t.same(name('_UID', integer(5)), [0x08, 0x5f, 0x55, 0x49, 0x44, 0x0a, 5])
  t.same(eisaId('PNP0501'), [0x0c, 0x41, 0xd0, 0x05, 0x01])
})
