/**
 * The symbols in a page: the names of mapped addresses, as one compact text.
 *
 * Source: our own: for each symbol the distance from the one before it, in base 36, a space, and the name.
 * Gotcha: a kernel has a hundred thousand symbols. The page has room for some: those of other files' use come first.
 */
import { printable } from '../printable.js'
import { type KernelSymbol, type NearSymbol, type SymbolTable, symbolTable } from '../symbols/symbol-table.js'
import { PAGE_SIZE } from '../units.js'
import type { VirtualRun } from './map-model.js'

/** The most characters of the names of all symbols, and of one. */
const TEXT_MAX = 1 << 20
const NAME_MAX = 80
const RADIX = 36
/** The characters of a line in addition to the name, about. */
const DISTANCE = 8

/** The symbols of a page. */
export interface PageSymbols {
  /** One line for each symbol. */
  readonly text: string
  /** The number of symbols that lie in mapped memory. */
  readonly found: number
  readonly listed: number
}

/** Returns the symbols that lie in mapped memory, as many as a page has room for. */
export function pageSymbols(symbols: SymbolTable | undefined, runs: readonly VirtualRun[]): PageSymbols {
  const found = mapped(symbols?.symbols ?? [], runs).map(({ name, ...rest }) => ({
    ...rest,
    name: printable(name).replaceAll(/\s/g, '_').slice(0, NAME_MAX),
  }))
  const isGlobal = ({ type }: KernelSymbol): boolean => type === type.toUpperCase()
  let room = TEXT_MAX
  const fits = ({ name }: KernelSymbol): boolean => {
    room -= name.length + DISTANCE
    return room >= 0
  }
  const globals = new Set(found.filter(isGlobal).filter(fits))
  const locals = new Set(found.filter((symbol) => !isGlobal(symbol)).filter(fits))
  const listed = found.filter((symbol) => globals.has(symbol) || locals.has(symbol))
  let last = 0n
  const lines = listed.map(({ name, address }) => {
    const line = `${(address - last).toString(RADIX)} ${name}`
    last = address
    return line
  })
  return { text: lines.join('\n'), found: found.length, listed: listed.length }
}

/** Returns those symbols that lie in one of the runs; both lists are in order. */
function mapped(symbols: readonly KernelSymbol[], runs: readonly VirtualRun[]): KernelSymbol[] {
  const ranges = runs.map(({ vaddr, pages }) => [BigInt(vaddr), BigInt(vaddr) + BigInt(pages * PAGE_SIZE)] as const)
  let at = 0
  return symbols.filter(({ address }) => {
    while (at < ranges.length && (ranges[at]?.[1] ?? 0n) <= address) at++
    return address >= (ranges[at]?.[0] ?? address + 1n)
  })
}

/** Returns the symbols that pageSymbols() wrote. */
export function readPageSymbols({ text }: PageSymbols): SymbolTable {
  let address = 0n
  return symbolTable(
    text.split('\n').flatMap((line) => {
      const [distance = '', name] = line.split(' ')
      if (name === undefined) return []
      address += fromBase36(distance)
      return [{ name, address, type: '?' }]
    }),
  )
}

const fromBase36 = (digits: string): bigint =>
  [...digits].reduce((value, digit) => value * BigInt(RADIX) + BigInt(Number.parseInt(digit, RADIX)), 0n)

/** An address that is further from a symbol belongs to something without a name, such as a module of Linux. */
const FAR = 1n << 20n

/** Returns the symbol that an address of a page lies in. */
export function symbolNear(symbols: SymbolTable, vaddr: bigint): NearSymbol | undefined {
  const near = symbols.near(vaddr)
  return near === undefined || near.offset >= FAR ? undefined : near
}
