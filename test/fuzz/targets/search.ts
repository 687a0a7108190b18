/**
 * Patterns and addresses as people type them: regular expressions, bytes in hex, and places of a guest.
 *
 * Source: lib/search, lib/inspect/place.ts.
 * Gotcha: a pattern that is accepted is used as well, on memory with a hole and on the pattern itself.
 */
import {
  DomainBuilderError,
  hexPattern,
  needsSymbols,
  regexPattern,
  resolvePlace,
  symbolTable,
  textPattern,
} from '../../../lib/index.js'
import { type Piece, scan } from '../../../lib/search/scan.js'
import { pagedGuest } from '../../fixtures/paged-guest.js'
import type { Target } from '../target.js'

const SEEDS = [
  '(?:a+|[^\\x00-\\x1f]{2,5})*b?\\d\\.',
  'Linux version [0-9.]+(-[a-z0-9]+)*',
  '48 8b ?? 05 f? 0x90',
  '(a|ab)(c|bcd)(d*)|[]x-]\\\\',
  'vcpu1:rsi+0x10',
  'region:kernel-4K',
  'symbol:start_kernel + 16M',
  'cr3',
  '0xffffffff81000000+1.5K',
]

const REGIONS = [
  { name: 'kernel', pfn: 4, pages: 2 },
  { name: 'start_kernel', pfn: 6, pages: 1 },
]

/** Does work that may refuse its input. */
function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof DomainBuilderError) return undefined
    throw error
  }
}

export const searchTarget = (): Target => {
  const guest = pagedGuest(8, new Map([[0xffffffff81000000n, 4]]), REGIONS)
  const symbols = symbolTable([{ name: 'start_kernel', address: 0xffffffff81000010n, type: 'T' }])
  return {
    name: 'search',
    executions: 10_000,
    maxBytes: 256,
    tokens: [
      ...['(', ')', '(?:', '|', '*', '+', '?', '{2}', '{2,}', '{2,5}', '[', ']', '[^', '-', '.', '\\d', '\\x00'],
      ...['rip', 'vcpu0:', 'region:', 'symbol:', 'kernel', 'start_kernel', '0x', '4K', '??'],
    ],
    async seeds() {
      return SEEDS.map((text) => new TextEncoder().encode(text))
    },
    run(bytes) {
      const text = new TextDecoder().decode(bytes)
      const readInto = (offset: number, out: Uint8Array) => out.set(bytes.subarray(offset, offset + out.length))
      const length = bytes.length
      const pieces: Piece[] = [
        { address: 0n, length, readInto },
        { address: BigInt(length), length: 100_000 },
        { address: BigInt(length + 100_000), length, readInto },
      ]
      for (const make of [textPattern, hexPattern, regexPattern]) {
        const pattern = attempt(() => make(text))
        if (pattern === undefined) continue
        let end = 0n
        for (const found of scan(pattern, pieces)) {
          if (found === undefined) continue
          if (found.bytes.length < pattern.shortest || found.bytes.length > pattern.longest || found.address < end) {
            throw new Error(
              `a match at ${found.address} has ${found.bytes.length} bytes, and the last one ends at ${end}`,
            )
          }
          end = found.address + BigInt(found.bytes.length)
        }
      }
      attempt(() => needsSymbols(guest, text))
      for (const numbers of ['physical', 'virtual'] as const) {
        attempt(() => resolvePlace(guest, text, { symbols, numbers }))
      }
    },
  }
}
