/**
 * The addresses that a command takes: numbers, registers, regions and symbols.
 *
 * Source: ../inspect/place.ts.
 * Gotcha: the search for a guest's symbols takes a moment, so it is only done for a name that nothing else has. The
 * symbols of --symbols always count.
 */
import type { Domain } from '../guest/domain.js'
import { needsSymbols, type Place, resolvePlace, seenBy } from '../inspect/place.js'
import type { SymbolTable } from '../symbols/symbol-table.js'
import type { Range } from '../units.js'
import { type Options, text, UsageError, type Values } from './command.js'
import type { Progress } from './progress.js'
import { symbolsOf, symbolsOption } from './symbols-option.js'

/** The forms of an address, for the help of a command. */
export const ADDRESS_HELP =
  'An address is a number (0x1000, 16M), a register (rsi, vcpu1:rip), a region (start_info) or a symbol (start_kernel), with + or - a number after it.'

/** The option that says how plain numbers are meant. */
export const virtualOption = {
  type: 'boolean',
  help: 'a number is a virtual address, by the page tables; every name tells by itself',
} as const satisfies Options[string]

/** Resolves addresses of one guest, for the options of a command. */
interface Resolver {
  /** The symbols that were needed so far. */
  readonly symbols: () => Promise<SymbolTable | undefined>
  readonly resolve: (given: string, numbers: Place['space']) => Promise<Place>
}

export function resolver(values: Values, domain: Domain, progress: Progress): Resolver {
  let found: Promise<SymbolTable | undefined> | undefined
  const symbols = () => (found ??= symbolsOf(values, domain, progress))
  return {
    symbols,
    async resolve(given, numbers) {
      const isNeeded = text(values, 'symbols') !== undefined || needsSymbols(domain, given)
      const table = isNeeded ? await symbols() : undefined
      return resolvePlace(domain, given, { numbers, ...(table && { symbols: table }) })
    },
  }
}

/** The memory that a command goes through: its options. */
export const extentOptions = {
  virtual: { type: 'boolean', help: 'virtual memory, as the page tables map it; FROM and TO are then virtual' },
  from: { type: 'string', value: 'FROM', elsewhere: ['start', 'start-address'], help: 'the first address' },
  to: {
    type: 'string',
    value: 'TO',
    elsewhere: ['end', 'stop', 'stop-address'],
    help: 'the address after the last one',
  },
  ...symbolsOption,
} as const satisfies Options

/** The memory that a command goes through. */
interface Extent {
  /** The guest as the vcpu sees it whose addresses were given. */
  readonly domain: Domain
  readonly virtual: boolean
  readonly range: Range<bigint>
}

const LAST = 2n ** 64n

/** Returns the memory that the options describe. @throws UsageError for a physical address in virtual memory. */
export async function extentOf(values: Values, domain: Domain, { resolve }: Resolver): Promise<Extent> {
  const bounds = { from: text(values, 'from'), to: text(values, 'to') }
  const resolved = async (numbers: Place['space']) => ({
    from: bounds.from === undefined ? undefined : await resolve(bounds.from, numbers),
    to: bounds.to === undefined ? undefined : await resolve(bounds.to, numbers),
  })
  const first = await resolved('physical')
  const virtual = values.virtual === true || [first.from, first.to].some((place) => place?.space === 'virtual')
  const places = virtual ? await resolved('virtual') : first
  const vcpus = new Set<number>()
  const addressOf = (name: 'from' | 'to', otherwise: bigint): bigint => {
    const place = places[name]
    if (place === undefined) return otherwise
    if (place.space === 'virtual') {
      vcpus.add(place.vcpu)
      return place.vaddr
    }
    if (!virtual) return BigInt(place.paddr)
    throw new UsageError(`--${name} '${bounds[name]}' is a physical address, and the memory is virtual`)
  }
  const range = { start: addressOf('from', 0n), end: addressOf('to', LAST) }
  const [vcpu = 0, other] = vcpus
  if (other !== undefined)
    throw new UsageError('--from and --to are addresses of two vcpus, which may have other tables')
  return { domain: seenBy(domain, vcpu), virtual, range }
}
