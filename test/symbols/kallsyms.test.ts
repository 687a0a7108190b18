/**
 * The kernel's own table is found in each of its layouts, and nothing is found in a damaged one.
 *
 * Source: ./made-kallsyms.ts; test/qemu/kallsyms.qemu.ts compares real kernels.
 * Gotcha: some damage of an address is still a table: only its order can be checked.
 */
import t from 'tap'
import { kallsymsIn } from '../../lib/symbols/kallsyms.js'
import type { KernelSymbol } from '../../lib/symbols/symbol-table.js'
import { atOnce } from '../../lib/work.js'
import { Random } from '../fixtures/random.js'
import { KALLSYMS_LAYOUTS, type KallsymsLayout, madeKallsyms, madeSymbols } from './made-kallsyms.js'

const startOf = ({ word }: KallsymsLayout): bigint => (word === 8 ? 0xffffffff81000000n : 0xc1000000n)

/** A table after other bytes, among them tokens of digits that belong to no table. */
function image(layout: KallsymsLayout, count: number) {
  const start = startOf(layout)
  const symbols = madeSymbols(count, layout, start)
  const before = new Uint8Array(4096)
  before.set(new TextEncoder().encode(Array.from('0123456789abc').join('\0')), 100)
  const table = madeKallsyms(symbols, start + BigInt(before.length), layout)
  const bytes = new Uint8Array(before.length + table.length + 64)
  bytes.set(before)
  bytes.set(table, before.length)
  return { symbols, bytes, vaddr: start, word: layout.word }
}

const found = (given: ReturnType<typeof image>): KernelSymbol[] | undefined => atOnce(kallsymsIn(given))

for (const [name, layout] of Object.entries(KALLSYMS_LAYOUTS)) {
  for (const count of [257, 700, 1024, 1025]) {
    t.test(`Linux ${name}, ${count} symbols`, async (t) => {
      const made = image(layout, count)
      t.same(found(made), made.symbols)
    })
  }
}

t.test('damage', async (t) => {
  const layout = KALLSYMS_LAYOUTS['6.15'] as KallsymsLayout
  const made = image(layout, 700)
  const random = new Random(7)
  let refused = 0
  for (let i = 0; i < 300; i++) {
    const bytes = made.bytes.slice()
    const at = 4096 + random.below(bytes.length - 4096)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8))
    const symbols = found({ ...made, bytes })
    if (symbols === undefined) refused++
    else t.equal(symbols.length, made.symbols.length)
  }
  t.ok(refused > 30, `${refused} of 300`)
  for (let length = made.bytes.length - 64; length > 4096; length -= 97) {
    const symbols = found({ ...made, bytes: made.bytes.subarray(0, length) })
    if (symbols !== undefined)
      t.equal(symbols.length, made.symbols.length, 'only the end, which is not needed, is missing')
  }
})
