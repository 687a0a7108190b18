/**
 * The symbols in a core: what is written is read back, in the sections and at the addresses of the kernel.
 *
 * Source: lib/snapshot/core-symbols.ts. test/snapshot/elf-core.test.ts gives a core to gdb.
 * Gotcha: offsets of per-CPU variables look like symbols at small addresses, and lie in no section.
 */
import t from 'tap'
import { SHN_ABS, SHN_UNDEF, Sym64 } from '../../lib/abi/elf.js'
import { buildDomain, readKernel, readSymbols, writeElfCore } from '../../lib/index.js'
import { symbolTable } from '../../lib/symbols/symbol-table.js'
import { parseElf } from '../fixtures/elf-at-once.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf } from '../fixtures/snapshots.js'

const BASE = 0xffffffff80100000n
const symbols = symbolTable([
  { name: 'startup', address: BASE, type: 'T' },
  { name: 'helper', address: BASE + 0x10n, type: 't' },
  { name: 'weak_one', address: BASE + 0x20n, type: 'W' },
  { name: 'data_one', address: BASE + 0x1000n, type: 'D', bytes: 8 },
  { name: 'startup', address: BASE + 0x2000n, type: 'b' },
  { name: 'per_cpu', address: 0x20n, type: 'D' },
  { name: 'constant', address: 0x1234n, type: 'A' },
])

t.test('symbols come back from a core with their addresses and types', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const domain = buildDomain(await readKernel(pvKernelFile({ class: elfClass })), { type: 'pv', memory: 8 * 2 ** 20 })
    const core = bytesOf(writeElfCore(domain, { symbols }))
    const back = await readSymbols(core)
    for (const { name, address } of symbols.symbols) {
      t.ok(
        back.named(name).some((found) => found.address === address),
        `${elfClass}-bit: ${name} at 0x${address.toString(16)}`,
      )
    }
    t.equal(back.symbols.length, symbols.symbols.length)
    const elf = parseElf(core)
    const table = elf.sections.find(({ name }) => name === '.symtab')
    if (table === undefined) throw new Error('no .symtab')
    const sections = Array.from({ length: table.size / Sym64.size }, (_, i) => {
      const { st_shndx, st_value } = Sym64.decode(core, table.offset + i * Sym64.size)
      return { st_shndx, st_value }
    })
    t.equal(sections[0]?.st_shndx, SHN_UNDEF, 'the first is null')
    t.ok(
      sections.filter(({ st_value }) => st_value >= BASE).every(({ st_shndx }) => st_shndx > 0 && st_shndx < SHN_ABS),
    )
  }
})

t.test('a core without symbols has no sections', async (t) => {
  const domain = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 8 * 2 ** 20 })
  t.same(parseElf(bytesOf(writeElfCore(domain))).sections, [])
})

t.test('symbols that lie in no section, and ones of more sections than a file has', async (t) => {
  const domain = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 8 * 2 ** 20 })
  const through = (list: Parameters<typeof symbolTable>[0]) =>
    bytesOf(writeElfCore(domain, { symbols: symbolTable(list) }))
  const constants = [{ name: 'constant', address: 0x1234n, type: 'A' }]
  t.equal((await readSymbols(through(constants))).named('constant')[0]?.address, 0x1234n)
  const turns = Array.from({ length: 200 }, (_, i) => ({
    ...{ name: `s${i}`, address: BASE + BigInt(i * 16) },
    type: i % 2 === 0 ? 'T' : 'D',
  }))
  const core = through(turns)
  t.equal((await readSymbols(core)).symbols.length, 200)
  const named = parseElf(core).sections.filter(({ name }) => !/^$|tab$/.test(name))
  t.equal(named.length, 1, 'one section for all of them')
})
