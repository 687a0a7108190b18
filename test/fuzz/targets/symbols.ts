/**
 * Symbols: a System.map or the output of nm, an ELF's symbol table, and a kernel's own table in each layout.
 *
 * Source: lib/symbols.
 * Gotcha: the names of a found table must stay within the bounds of its bytes, however few bytes stand for them.
 */

import { isElf, parseElf } from '../../../lib/kernel/elf.js'
import { elfSymbols } from '../../../lib/symbols/elf-symtab.js'
import { kallsymsIn } from '../../../lib/symbols/kallsyms.js'
import { type KernelSymbol, showSymbol, symbolTable } from '../../../lib/symbols/symbol-table.js'
import { isSymbolText, readSymbolText } from '../../../lib/symbols/system-map.js'
import { buildElf, symbolSections } from '../../../lib/testing/index.js'
import { atOnce } from '../../../lib/work.js'
import { KALLSYMS_LAYOUTS, madeKallsyms, madeSymbols } from '../../symbols/made-kallsyms.js'
import { type Target, WrongAnswer } from '../target.js'

const TEXTS = [
  '0000000000000000 A fixed_percpu_data\nffffffff81000000 T _text\nffffffff81000040 t local\n',
  'c1000000 00000010 T startup_32\nc1000010 t x\t[module]\n                 U other\n',
]
const START = 0xffffffff81000000n

export const symbolsTarget = (): Target => ({
  name: 'symbols',
  executions: 4000,
  maxBytes: 1 << 17,
  tokens: ['0\x001\x002\x003\x004\x005\x006\x007\x008\x009', '\n', ' T ', '\t[x]', 'ffffffff81000000 '],
  async seeds() {
    const tables = Object.values(KALLSYMS_LAYOUTS).map((layout) =>
      madeKallsyms(madeSymbols(260, layout, layout.word === 8 ? START : 0xc1000000n), START, layout),
    )
    const elf = ([32, 64] as const).map((elfClass) =>
      buildElf({
        class: elfClass,
        entry: 0x100000,
        segments: [{ paddr: 0x100000, data: new Uint8Array(16) }],
        sections: symbolSections(elfClass, [
          { name: 'start', value: 0x100000 },
          { name: 'end', value: 0x100010, size: 4 },
        ]),
      }),
    )
    return [...tables, ...elf, ...TEXTS.map((text) => new TextEncoder().encode(text))]
  },
  run(bytes) {
    if (isSymbolText(bytes)) use(atOnce(readSymbolText(bytes)), bytes)
    else if (isElf(bytes)) use(atOnce(elfSymbols(atOnce(parseElf(bytes)))), bytes)
    else for (const word of [8, 4] as const) use(atOnce(kallsymsIn({ bytes, vaddr: START, word })) ?? [], bytes)
  },
})

function use(symbols: readonly KernelSymbol[], bytes: Uint8Array): void {
  if (symbols.length > bytes.length) throw new WrongAnswer(`${symbols.length} symbols in ${bytes.length} bytes`)
  const table = symbolTable(symbols)
  for (const { name, address } of symbols.slice(0, 100)) {
    if (!table.named(name).some((one) => one.address === address)) throw new WrongAnswer(`${name} is not found by name`)
    const near = table.near(address)
    if (near === undefined || near.symbol.address !== address) throw new WrongAnswer(`${name} is not found by address`)
    showSymbol(near)
  }
}
