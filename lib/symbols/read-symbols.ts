/**
 * readSymbols: the symbols of a file, detected by its content.
 *
 * Source: ./system-map.ts, ./elf-symtab.ts, ./kallsyms.ts.
 * Gotcha: an ELF's symbol table has more than its kallsyms, with sizes, so it is preferred. Distributions strip it.
 */
import { PT_LOAD } from '../abi/elf.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { type ElfImage, segmentBytes } from '../kernel/elf.js'
import { type Kernel, type ReadKernelOptions, readKernel } from '../kernel/kernel.js'
import { doSlices, type Slices } from '../work.js'
import { elfSymbols } from './elf-symtab.js'
import { kallsymsIn } from './kallsyms.js'
import { type KernelSymbol, type SymbolTable, symbolTable } from './symbol-table.js'
import { isSymbolText, readSymbolText } from './system-map.js'

/**
 * Returns the symbols of a kernel, or of the bytes of any file that has them: a kernel file, packed or stripped, another
 * ELF, a System.map, a /proc/kallsyms, or the output of nm. The addresses are those of the file: of a kernel file, those
 * it is linked at, which moveSymbols() turns into those of a guest.
 * @throws DomainBuilderError `no-symbols`; for a kernel file the errors of readKernel(); the signal's reason.
 *
 * @example
 * ```ts
 * import { readFile } from 'node:fs/promises'
 * import { readSymbols } from 'xen-domain-builder'
 *
 * const symbols = await readSymbols(await readFile('/boot/vmlinuz'))
 * console.log(symbols.named('linux_banner')[0]?.address)
 * ```
 */
export async function readSymbols(given: Uint8Array | Kernel, options: ReadKernelOptions = {}): Promise<SymbolTable> {
  const quietly = defined({ signal: options.signal })
  if (given instanceof Uint8Array && isSymbolText(given)) {
    return symbolTable(await doSlices(readSymbolText(given), quietly))
  }
  const { elf } = given instanceof Uint8Array ? await readKernel(given, options) : given
  const symbols = elf && (await doSlices(symbolsOfElf(elf), quietly))
  if (symbols) return symbolTable(symbols)
  throw new DomainBuilderError('no-symbols', 'the kernel has no symbols', {
    expected: 'a symbol table, or the kallsyms of a Linux',
    found: elf ? 'an ELF without them' : 'no ELF',
  })
}

function* symbolsOfElf(elf: ElfImage): Slices<KernelSymbol[] | undefined> {
  const symbols = yield* elfSymbols(elf)
  if (symbols.length > 0) return symbols
  const word = elf.class === 64 ? 8 : 4
  for (const segment of elf.segments) {
    if (segment.type !== PT_LOAD) continue
    const found = yield* kallsymsIn({ bytes: segmentBytes(elf, segment), vaddr: segment.vaddr, word })
    if (found) return found
  }
  return undefined
}
