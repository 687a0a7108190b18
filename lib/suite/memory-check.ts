/**
 * A check of a guest's memory: bytes or a text at an address, a register, a region or a symbol.
 *
 * Source: ../inspect/place.ts for the address; ../search/pattern.ts for hex digits with wildcards.
 * Gotcha: a number is a physical address, except with `virtual`; every name tells by itself.
 */
import { encodeUtf8, toHex } from '../bytes.js'
import type { Domain } from '../guest/domain.js'
import { readVirtual } from '../guest/translate.js'
import { needsSymbols, resolvePlace, seenBy } from '../inspect/place.js'
import type { ByteSet, PatternNode } from '../search/byte-tree.js'
import { hexPattern, textPattern } from '../search/pattern.js'
import type { SymbolTable } from '../symbols/symbol-table.js'
import { ROW_BYTES } from '../testing/assert.js'
import type { Difference } from '../testing/expectation.js'
import { hex } from '../units.js'

/** Memory that a guest must have. */
export interface MemoryCheck {
  /** An address: a number, a register, a region or a symbol. */
  readonly at: string
  /** Whether a number is a virtual address. */
  readonly virtual: boolean
  readonly bytes: ExpectedBytes
}

/** The allowed values of each byte. */
interface ExpectedBytes {
  /** For messages: two digits for each byte, or as the test has them. */
  readonly shown: readonly string[]
  readonly sets: readonly ByteSet[]
}

/** Returns the bytes of hex digits such as `48 8b ?? 05`. @throws DomainBuilderError `bad-config` for others. */
export function hexBytes(text: string): ExpectedBytes {
  const digits = text.trim().replace(/0x/gi, '').replace(/\s+/g, '').toLowerCase()
  return { shown: digits.match(/../g) ?? [], sets: setsOf(hexPattern(text).root) }
}

/** Returns the bytes of a text in UTF-8. @throws DomainBuilderError `bad-config` for an empty or a long one. */
export function textBytes(text: string): ExpectedBytes {
  const { root } = textPattern(text)
  return { shown: byteWords(encodeUtf8(text)), sets: setsOf(root) }
}

const byteWords = (bytes: Uint8Array): string[] => toHex(bytes).match(/../g) ?? []

const setsOf = (node: PatternNode): ByteSet[] => {
  if (node.kind === 'set') return [node.set]
  return node.kind === 'sequence' ? node.parts.flatMap(setsOf) : []
}

/**
 * Returns the first row of memory that is not as expected, if there is one.
 * @param symbolsOf returns the symbols of the guest; it is called only for an address that needs them.
 * @throws DomainBuilderError for an address that the guest does not have.
 */
export async function checkMemory(
  domain: Domain,
  { at, virtual, bytes: { shown, sets } }: MemoryCheck,
  symbolsOf: (domain: Domain) => Promise<SymbolTable | undefined>,
): Promise<Difference[]> {
  const symbols = needsSymbols(domain, at) ? await symbolsOf(domain) : undefined
  const numbers = virtual ? 'virtual' : 'physical'
  const place = resolvePlace(domain, at, { numbers, ...(symbols && { symbols }) })
  const found =
    place.space === 'virtual'
      ? readVirtual(seenBy(domain, place.vcpu), place.vaddr, sets.length)
      : domain.memory.read(place.paddr, sets.length)
  const first = sets.findIndex((set, i) => set[found[i] ?? 0] !== 1)
  if (first < 0) return []
  const row = first - (first % ROW_BYTES)
  const address = place.space === 'virtual' ? place.vaddr + BigInt(row) : BigInt(place.paddr + row)
  const name = /^\d/.test(at) ? '' : ` (${at}${row === 0 ? '' : ` + ${hex(row)}`})`
  const rowOf = (bytes: readonly string[]): string => bytes.slice(row, row + ROW_BYTES).join(' ')
  return [
    {
      at: `${place.space} memory at ${hex(address)}${name}`,
      expected: rowOf(shown),
      found: rowOf(byteWords(found)),
    },
  ]
}
