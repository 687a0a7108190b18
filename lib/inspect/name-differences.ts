/**
 * nameDifferences: the symbols at the addresses in which two guests differ.
 *
 * Source: our own design; ../symbols/kernel-pages.ts tells where the kernel maps a page.
 * Gotcha: each guest may run at another address (KASLR), so each has a table.
 */
import { defined } from '../defined.js'
import type { Domain } from '../guest/domain.js'
import { runEndingAfter } from '../guest/runs.js'
import { kernelPages } from '../symbols/kernel-pages.js'
import { type SymbolTable, symbolAt } from '../symbols/symbol-table.js'
import { type Pfn, paddrOf, type Vaddr } from '../units.js'
import type { Difference, DomainDiff } from './diff.js'

/** A guest, and the names of its addresses. */
export interface NamedGuest {
  readonly domain: Domain
  readonly symbols?: SymbolTable | undefined
}

/** Returns the differences with the names of addresses: those of the first guest, except for the second's registers. */
export function nameDifferences(diff: DomainDiff, a: NamedGuest, b: NamedGuest): DomainDiff {
  const addressOf = a.symbols === undefined ? () => undefined : kernelAddresses(a.domain)
  return {
    ...diff,
    fields: diff.fields.map((field) => (/^vcpu \d+ rip$/.test(field.what) ? namedRip(field, a, b) : field)),
    entries: diff.entries.map((entry) => ({
      ...entry,
      ...defined({ symbol: symbolAt(a.symbols, BigInt(entry.vaddr)) }),
    })),
    pages: diff.pages.map((page) => {
      const start = addressOf(page.pfn)
      const symbol = start === undefined ? undefined : symbolAt(a.symbols, start + BigInt(page.firstByte))
      return { ...page, ...defined({ symbol }) }
    }),
  }
}

function namedRip(field: Difference, a: NamedGuest, b: NamedGuest): Difference {
  const named = (value: string, { symbols }: NamedGuest): string => {
    const symbol = symbolAt(symbols, BigInt(value))
    return symbol === undefined ? value : `${value} ${symbol}`
  }
  return { ...field, a: named(field.a, a), b: named(field.b, b) }
}

/** Returns the function from a frame to the address at which the kernel maps it, if it does. */
function kernelAddresses(domain: Domain): (pfn: Pfn) => Vaddr | undefined {
  const mapped = [...kernelPages(domain)].sort((x, y) => x.pfn - y.pfn)
  return (pfn) => {
    const run = mapped[runEndingAfter(mapped, pfn)]
    return run && run.pfn <= pfn ? run.vaddr + BigInt(paddrOf(pfn - run.pfn)) : undefined
  }
}
