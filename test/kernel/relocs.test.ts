/** The relocation table after a Linux payload's ELF: its lists, whose number depends on the version. */
import t from 'tap'
import { linkAddress, parseRelocs } from '../../lib/kernel/relocs.js'
import { refuses } from './refusal.js'

const bytes = (...words: number[]) => new Uint8Array(Int32Array.from(words).buffer)
const lists = (elfClass: 32 | 64, ...words: number[]) => {
  const { add32, subtract32, add64 } = parseRelocs(bytes(...words), elfClass)
  return { add32: [...add32], subtract32: [...subtract32], add64: [...add64] }
}

t.test('valid', async (t) => {
  t.same(lists(32, 0, 1, 2), { add32: [1, 2], subtract32: [], add64: [] })
  t.same(lists(64, 0, 1, 2, 0, 3, 0, 4, 5), { add32: [4, 5], subtract32: [3], add64: [1, 2] }, 'with the inverse list')
  t.same(lists(64, 0, 1, 0, 3), { add32: [3], subtract32: [], add64: [1] }, 'without it')
  t.same(lists(64, 0, 0, 0), { add32: [], subtract32: [], add64: [] })
  t.same(lists(32, 0), { add32: [], subtract32: [], add64: [] })
})

t.test('at any offset of a larger buffer', async (t) => {
  const table = bytes(0, 0x11223344)
  const moved = new Uint8Array(table.length + 3)
  moved.set(table, 3)
  t.same([...parseRelocs(moved.subarray(3), 32).add32], [0x11223344])
})

t.test('link addresses', async (t) => {
  t.equal(linkAddress(-0x7f000000, 64), 0xffffffff81000000n)
  t.equal(linkAddress(-0x3f000000, 32), 0xc1000000n)
  t.equal(linkAddress(0x1000, 64), 0x1000n)
})

t.test('invalid', async (t) => {
  const bad = (elfClass: 32 | 64, table: Uint8Array, text: string | RegExp) =>
    refuses(t, () => parseRelocs(table, elfClass), 'bad-bzimage', text)
  await bad(32, bytes(), 'expected a multiple of 4 bytes, found 0')
  await bad(32, bytes(0, 1).subarray(1), 'found 7')
  await bad(32, bytes(1, 2), 'expected a 0 at its start, found 0x1')
  await bad(32, bytes(0, 1, 0, 2), 'at most 1 lists, each after a 0, found another 0 (file offset 0x8)')
  await bad(64, bytes(0, 1), 'expected 2 or 3 lists, found 1')
  await bad(64, bytes(0, 0, 0, 0), 'at most 3 lists')
  await bad(64, new Uint8Array(1 << 20), 'at most 3 lists')
})
