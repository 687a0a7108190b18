/**
 * The soundness of a snapshot: whether the file has every page, and whether Xen would accept a PV guest's page tables.
 *
 * Source: ./validate.ts, ./hypercalls.ts.
 * Gotcha: opening a snapshot reads no page. Only reading each one shows that the file has them.
 */
import type { Domain } from '../guest/domain.js'
import { printableLines } from '../printable.js'
import type { SymbolTable } from '../symbols/symbol-table.js'
import { PAGE_SIZE } from '../units.js'
import { breathe, type WorkOptions } from '../work.js'
import { findHypercallPage, hypercallText } from './hypercalls.js'
import { showPath, type Violation, violationSymbol } from './validate.js'

/** Reads every page. Returns the bytes that the snapshot has of them. @throws the errors of the guest's memory. */
export async function readPages(domain: Domain, options: WorkOptions = {}): Promise<number> {
  let bytes = 0
  for (const chunk of domain.memory.chunks(options)) {
    bytes += chunk.bytes.length
    await breathe()
  }
  return bytes
}

/** Returns the text for a guest without tables that Xen checks. @param bytes the result of readPages(). */
export const soundText = ({ memory }: Domain, bytes: number): string[] => [
  `${memory.pageCount} pages, ${bytes / PAGE_SIZE} of them with content: the snapshot is sound`,
]

/** Returns the violations of a PV guest's tables as text, or that it has none, and any warning. */
export function violationsText(domain: Domain, violations: readonly Violation[], symbols?: SymbolTable): string[] {
  const lines = violations.map((violation) => {
    const { rule, message, path } = violation
    const name = violationSymbol(domain, violation, symbols)
    return `${rule}: ${message} (${showPath(path)})${name === undefined ? '' : ` at ${name}`}`
  })
  return [
    ...(lines.length === 0 ? ['Xen would accept these page tables'] : printableLines(lines)),
    ...hypercallText(findHypercallPage(domain)),
  ]
}
