/**
 * SymbolTable: the names of a kernel's addresses.
 *
 * Source: nm(1) for the letters of the types; Linux kernel/kallsyms.c for `symbol+offset`.
 * Gotcha: a name may be there several times, since each object file has static names.
 */
import { hex, type Vaddr } from '../units.js'

/** One symbol. */
export interface KernelSymbol {
  /** The name, such as `start_kernel`. Untrusted: it may contain any byte. */
  readonly name: string
  /** The virtual address of its first byte. */
  readonly address: Vaddr
  /** The letter of nm(1): `T` and `t` are code, `D` and `d` data, `B` and `b` zeroed data, `R` and `r` read-only data. */
  readonly type: string
  /** Its size in bytes, where the source of the symbols tells it. */
  readonly bytes?: number
}

/** A symbol, and the distance of an address from its first byte. */
export interface NearSymbol {
  readonly symbol: KernelSymbol
  /** In bytes. */
  readonly offset: bigint
}

/** The symbols of one kernel, in order of address. */
export interface SymbolTable {
  /** All symbols, in order of address; those at one address in the order in which they were given. */
  readonly symbols: readonly KernelSymbol[]
  /** The symbols of that name, in order of address; none is an empty list. */
  named(name: string): readonly KernelSymbol[]
  /** The symbol that an address lies in. Undefined below the first symbol, and after the end of the nearest one. */
  near(vaddr: Vaddr): NearSymbol | undefined
}

/** The most bytes that a symbol without a size covers, up to the next one. */
const SYMBOL_BYTES = 2n << 20n

/** Returns the table of those symbols, given in any order. */
export function symbolTable(given: Iterable<KernelSymbol>): SymbolTable {
  const symbols = [...given].sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0))
  let byName: Map<string, KernelSymbol[]> | undefined
  return {
    symbols,
    named(name) {
      if (byName === undefined) {
        byName = new Map()
        for (const symbol of symbols) {
          const same = byName.get(symbol.name)
          if (same) same.push(symbol)
          else byName.set(symbol.name, [symbol])
        }
      }
      return byName.get(name) ?? []
    },
    near(vaddr) {
      let [low, high] = [0, symbols.length]
      while (low < high) {
        const middle = (low + high) >>> 1
        if ((symbols[middle] as KernelSymbol).address > vaddr) high = middle
        else low = middle + 1
      }
      const last = symbols[low - 1]
      if (last === undefined) return undefined
      // Of several symbols at one address, the first is shown.
      let first = low - 1
      while (symbols[first - 1]?.address === last.address) first--
      const symbol = symbols[first] as KernelSymbol
      const offset = vaddr - symbol.address
      // The last one is the end of the kernel: the boot structures after it are no part of it.
      const bytes = symbol.bytes ?? (symbols[low] === undefined ? 0 : SYMBOL_BYTES)
      return offset >= BigInt(bytes) && offset > 0n ? undefined : { symbol, offset }
    },
  }
}

/** Returns `start_kernel` or `start_kernel+0x10`, as Linux prints it; the name is untrusted. */
export function showSymbol({ symbol, offset }: NearSymbol): string {
  return offset === 0n ? symbol.name : `${symbol.name}+${hex(offset)}`
}

/** Returns the symbol of an address as showSymbol() shows it; undefined without one. */
export function symbolAt(table: SymbolTable | undefined, vaddr: Vaddr): string | undefined {
  const found = table?.near(vaddr)
  return found && showSymbol(found)
}
