/**
 * moveSymbols: the symbols of a kernel file at the addresses at which a guest runs it.
 *
 * Source: Linux Documentation/arch/x86/kaslr: the whole image moves by one distance.
 * Gotcha: an address below the kernel's half, such as the offset of a per-CPU variable, does not move.
 */
import { KERNEL_HALF_32 } from '../abi/linux-memory.js'
import type { Domain } from '../guest/domain.js'
import type { Vaddr } from '../units.js'
import type { WorkOptions } from '../work.js'
import { findSymbols } from './find-symbols.js'
import { type SymbolTable, symbolTable } from './symbol-table.js'

/** The first symbols of an image; some kernel has each of them. */
const ANCHORS = ['_text', '_stext', 'startup_64', 'startup_32']

/**
 * Returns the table at the addresses of a guest that runs the same kernel: Linux may have moved itself to a random place
 * (KASLR). The distance is that of `_text` in the guest's own symbols. Without those, the table is returned unchanged.
 * @throws the signal's reason.
 */
export async function moveSymbols(table: SymbolTable, domain: Domain, options: WorkOptions = {}): Promise<SymbolTable> {
  const own = await findSymbols(domain, options)
  const distance = own && distanceOf(table, own)
  if (!distance) return table
  return symbolTable(
    table.symbols.map((symbol) =>
      symbol.address < KERNEL_HALF_32 ? symbol : { ...symbol, address: symbol.address + distance },
    ),
  )
}

function distanceOf(from: SymbolTable, to: SymbolTable): Vaddr | undefined {
  for (const name of ANCHORS) {
    const [a, b] = [from.named(name)[0], to.named(name)[0]]
    if (a && b) return b.address - a.address
  }
  return undefined
}
