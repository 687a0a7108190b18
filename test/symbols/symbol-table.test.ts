/** A table of symbols finds names by address and addresses by name. */
import t from 'tap'
import { showSymbol, symbolTable } from '../../lib/symbols/symbol-table.js'

const table = symbolTable([
  { name: 'end', address: 0x3000n, type: 'B' },
  { name: 'start', address: 0x1000n, type: 'T' },
  { name: '_stext', address: 0x1000n, type: 'T' },
  { name: 'static', address: 0x1100n, type: 't', bytes: 16 },
  { name: 'static', address: 0x1200n, type: 't' },
])
const near = (vaddr: bigint): string | undefined => {
  const found = table.near(vaddr)
  return found && showSymbol(found)
}

t.test('by address', async (t) => {
  t.equal(near(0xfffn), undefined, 'below the first')
  t.equal(near(0x1000n), 'start', 'the first of two')
  t.equal(near(0x10ffn), 'start+0xff')
  t.equal(near(0x110fn), 'static+0xf')
  t.equal(near(0x1110n), undefined, 'after the end of a symbol with a size')
  t.equal(near(0x2fffn), 'static+0x1dff')
  t.equal(near(0x3000n), 'end')
  t.equal(near(0x3001n), undefined, 'after the end of the kernel')
})

t.test('by name', async (t) => {
  t.same(
    table.named('static').map((symbol) => symbol.address),
    [0x1100n, 0x1200n],
  )
  t.same(table.named('absent'), [])
  t.same(table.named('constructor'), [])
})
