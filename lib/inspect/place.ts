/**
 * A place: an address of a guest as people write it, by number, register, region or symbol, and an offset from it.
 *
 * Source: our own grammar: `0x1000`, `16M`, `rsi`, `vcpu1:rip`, `cr3`, `start_info`, `region:kernel`, `start_kernel`,
 * `symbol:start_kernel`, each with `+` or `-` and a number after it.
 * Gotcha: the same name may be a register, a region and a symbol. The one that was meant cannot be known, so a name with
 * two meanings is refused.
 */
import { PTE_ADDR_MASK } from '../abi/x86.js'
import { didYouMean } from '../closest.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { PTE_BYTES, pagingLevels, topEntry, topTable } from '../guest/translate.js'
import { GENERAL_REGISTERS, inRealMode, type SegmentRegister, type Vcpu } from '../guest/vcpu.js'
import type { SymbolTable } from '../symbols/symbol-table.js'
import { hex, narrow, type Paddr, paddrOf, parseBytes, shown, U32_MAX, type Vaddr } from '../units.js'

/** An address of a guest, in one of its two spaces. */
export type Place =
  | { readonly space: 'physical'; readonly paddr: Paddr }
  | {
      readonly space: 'virtual'
      readonly vaddr: Vaddr
      /** The number of the vcpu whose page tables translate it. */
      readonly vcpu: number
    }

/** How a place is resolved. */
export interface PlaceOptions {
  /** The symbols of the guest. */
  readonly symbols?: SymbolTable
  /** The space of a plain number, which does not tell: `physical` by default. Every name tells its own. */
  readonly numbers?: Place['space']
}

/** A place that was parsed: a number or a name, and the distance from it. */
interface Parsed {
  readonly base: bigint | string
  readonly offset: bigint
}

const NUMBER = '0x[0-9a-f]{1,16}|\\d{1,20}(?:\\.\\d{1,6})?[BKMGT]?'
const IS_NUMBER = new RegExp(`^(?:${NUMBER})$`, 'i')
const WITH_OFFSET = new RegExp(`^(.+?)\\s*([+-])\\s*(${NUMBER})$`, 'i')
/** A name that says what it is. */
const PREFIXED = /^(vcpu\d{1,4}|region|symbol):(.+)$/s

const numberOf = (text: string): bigint =>
  /^(?:0x[0-9a-f]+|\d+)$/i.test(text) ? BigInt(text) : BigInt(parseBytes(text))

/** Splits off the offset; a name is everything before it. A region may have a name such as `module-1`. */
function parse(domain: Domain, text: string): Parsed {
  const whole = text.trim()
  if (meaningsOf(domain, whole, {}).length > 0) return { base: whole, offset: 0n }
  const [, before = whole, sign, distance = '0'] = WITH_OFFSET.exec(whole) ?? []
  const base = before.trim()
  const offset = numberOf(distance)
  return { base: IS_NUMBER.test(base) ? numberOf(base) : base, offset: sign === '-' ? -offset : offset }
}

/**
 * Returns whether a place can only be resolved with symbols: it is neither a number nor a register or a region.
 * A caller can then look for them, which takes a moment.
 */
export function needsSymbols(domain: Domain, text: string): boolean {
  const { base } = parse(domain, text)
  if (typeof base !== 'string') return false
  return meaningsOf(domain, base, {}).length === 0 && !/^(vcpu\d+|region):/.test(base)
}

/**
 * Returns the address that a text names.
 *
 * - A number (`0x1000`, `4096`, `16M`) is in the space that `numbers` says.
 * - A register (`rip`, `rsi`, `esi`, `gdtr`, or `vcpu1:rsi`) is a virtual address where paging is on, else a physical one.
 *   `cr3` is the physical address of the top page table.
 * - A region (`start_info`, or `region:start_info`) is physical: its first byte.
 * - A symbol (`start_kernel`, or `symbol:start_kernel`) is virtual.
 * - `+` or `-` and a number after any of them is added to it.
 *
 * @throws DomainBuilderError `bad-config` for a name that is unknown or has two meanings, `bad-range` for an address that
 * does not exist, `not-mapped` for the cr3 of a guest whose page tables are missing.
 *
 * @example
 * ```ts
 * const place = resolvePlace(guest, 'rsi+0x10')
 * if (place.space === 'virtual') console.log(readVirtual(guest, place.vaddr, 16))
 * ```
 */
export function resolvePlace(domain: Domain, text: string, options: PlaceOptions = {}): Place {
  const { base, offset } = parse(domain, text)
  if (typeof base === 'bigint') return moved(numbered(base, options.numbers ?? 'physical'), offset, text)
  const meanings = meaningsOf(domain, base, options)
  const [meaning, other] = meanings
  if (meaning === undefined) {
    throw new DomainBuilderError('bad-config', 'the address is unknown', {
      expected: 'a number, a register, a region or a symbol',
      found: shown(base) + didYouMean(base, knownNames(domain)),
    })
  }
  if (other !== undefined) {
    throw new DomainBuilderError('bad-config', `the address ${shown(base)} has ${meanings.length} meanings`, {
      expected: `one of them: ${meanings
        .slice(0, 8)
        .map(({ unique }) => unique)
        .join(', ')}`,
    })
  }
  return moved(meaning.place(), offset, text)
}

/**
 * Returns the guest as a vcpu sees it, for everything that translates addresses by the page tables of vcpu 0.
 * @throws DomainBuilderError `bad-range` for a vcpu that the guest does not have.
 */
export function seenBy(domain: Domain, vcpu: number): Domain {
  if (vcpu === 0) return domain
  const first = vcpuOf(domain, vcpu)
  return { ...domain, vcpus: [first, ...domain.vcpus.filter((other) => other !== first)] }
}

/** A meaning of a name. */
interface Meaning {
  /** How it is written so that it means nothing else. */
  readonly unique: string
  place(): Place
}

function meaningsOf(domain: Domain, base: string, { symbols }: PlaceOptions): Meaning[] {
  const [, prefix, rest = base] = PREFIXED.exec(base) ?? []
  const found: Meaning[] = []
  if (prefix === undefined || prefix.startsWith('vcpu')) {
    const number = Number(prefix?.slice('vcpu'.length) ?? 0)
    const name = rest.toLowerCase()
    if (isRegister(name)) {
      found.push({ unique: `vcpu${number}:${name}`, place: () => registerPlace(domain, number, name) })
    }
  }
  if (prefix === undefined || prefix === 'region') {
    const region = domain.regions.find(({ name }) => name === rest)
    if (region) {
      const place = { space: 'physical', paddr: paddrOf(region.pfn) } as const
      found.push({ unique: `region:${rest}`, place: () => place })
    }
  }
  if (prefix === undefined || prefix === 'symbol') {
    const addresses = new Set(symbols?.named(rest).map(({ address }) => address))
    for (const vaddr of addresses) {
      const unique = addresses.size === 1 ? `symbol:${rest}` : hex(vaddr)
      found.push({ unique, place: () => ({ space: 'virtual', vaddr, vcpu: 0 }) })
    }
  }
  return found
}

/** 32-bit names of registers, by which `map` shows a 32-bit guest's. */
const narrowName = (name: string): string => name.replace(/^e/, 'r')
const NARROW = /^e(?:ax|bx|cx|dx|si|di|bp|sp|ip)$/

const isRegister = (name: string): boolean =>
  NARROW.test(name) || [...GENERAL_REGISTERS, 'rip', 'cr3', 'gdtr'].includes(name)

/** Names to suggest for a mistyped one; those of symbols are too many. */
const knownNames = (domain: Domain): string[] => [
  ...GENERAL_REGISTERS,
  'rip',
  'cr3',
  'gdtr',
  ...domain.regions.slice(0, 1000).map(({ name }) => name),
]

function vcpuOf(domain: Domain, number: number): Vcpu {
  const vcpu = domain.vcpus.find(({ id }) => id === number)
  if (vcpu !== undefined) return vcpu
  throw new DomainBuilderError('bad-range', 'the vcpu does not exist', {
    expected: `at most ${domain.vcpus.length - 1}`,
    found: `${number}`,
  })
}

function registerPlace(domain: Domain, number: number, name: string): Place {
  const view = seenBy(domain, number)
  const vcpu = vcpuOf(view, number)
  const isPaged = pagingLevels(view) !== 0
  if (name === 'cr3') {
    const paddr = isPaged ? paddrOf(topTable(view)) + topEntry(view) * PTE_BYTES : Number(vcpu.cr3 & PTE_ADDR_MASK)
    return { space: 'physical', paddr }
  }
  const vaddr = linear(vcpu, name)
  return isPaged ? { space: 'virtual', vaddr, vcpu: number } : { space: 'physical', paddr: narrow(vaddr, name) }
}

/** The segment of the address in a register; ds for all others. */
const SEGMENT_OF: Readonly<Record<string, SegmentRegister>> = { rip: 'cs', rsp: 'ss', rbp: 'ss' }

/** The address in a register. Only real mode adds the base of a segment to it: all others have base 0. */
function linear(vcpu: Vcpu, name: string): bigint {
  if (name === 'gdtr') {
    if (vcpu.gdtr) return vcpu.gdtr.base
    throw new DomainBuilderError('bad-config', 'the register gdtr is unknown', { expected: 'a guest with its own GDT' })
  }
  const register = narrowName(name) as keyof Vcpu['registers']
  const value = vcpu.registers[register]
  const narrowed = NARROW.test(name) ? value & BigInt(U32_MAX) : value
  if (!inRealMode(vcpu) || vcpu.pv) return narrowed
  return narrowed + (vcpu.segments[SEGMENT_OF[register] ?? 'ds'].descriptor?.base ?? 0n)
}

const numbered = (value: bigint, space: Place['space']): Place =>
  space === 'virtual' ? { space, vaddr: value, vcpu: 0 } : { space, paddr: narrow(value, 'the physical address') }

function moved(place: Place, offset: bigint, text: string): Place {
  const value = (place.space === 'virtual' ? place.vaddr : BigInt(place.paddr)) + offset
  if (value < 0n || value >= 2n ** 64n) {
    throw new DomainBuilderError('bad-range', `the address ${shown(text)} is out of range`, {
      expected: 'an address of 64 bits',
      found: value < 0n ? `-${hex(-value)}` : hex(value),
    })
  }
  if (place.space === 'virtual') return { ...place, vaddr: value }
  return { ...place, paddr: narrow(value, 'the physical address') }
}
