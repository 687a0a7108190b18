/**
 * describeWalk: the target of one virtual address, with each entry on the path explained, as JSON and as text.
 *
 * Source: Intel SDM vol. 3, 4.4 (PAE) and 4.5 (4-level); schemas/walk-1.json describes the shape.
 * Gotcha: a walk that ends early must keep the steps up to the entry at fault: they answer the question.
 */
import { defined } from '../defined.js'
import type { Domain } from '../guest/domain.js'
import { type TablePage, walkTo } from '../guest/table-reader.js'
import { pagingLevels, translate } from '../guest/translate.js'
import { printableLines } from '../printable.js'
import { type SymbolTable, symbolAt } from '../symbols/symbol-table.js'
import { hex, type Vaddr } from '../units.js'
import { type EntryOrigin, entryOrigin, explainEntry } from './explain.js'

/** An entry on the path. */
export type WalkStepMap = {
  /** The level of the table: 1 maps pages, 4 (or 3, PAE) is the top. */
  readonly level: number
  /** Frame of the table, as the guest counts them. */
  readonly pfn: number
  /** The index of the entry in its table, 0 to 511. */
  readonly index: number
  /** All 64 bits of the entry, hex. */
  readonly entry: string
  /** To a table of the guest, a page of it, a frame outside the guest, or nowhere. */
  readonly leads: EntryOrigin['leads']
  /** For people: the whole step on one line. */
  readonly text: string
}

/** The target of a virtual address. */
export type WalkMap = {
  /** The address asked for, hex. */
  readonly vaddr: string
  /** The symbol that the address lies in, `start_kernel+0x10`; absent without one. Untrusted text. */
  readonly symbol?: string
  /** Levels of the page tables: 4, 3 (PAE), or 0 where paging is off. */
  readonly levels: 0 | 3 | 4
  /** The cr3 of vcpu 0, hex. */
  readonly cr3: string
  /** From the top table down, as far as the walk gets; empty where paging is off or the address is not canonical. */
  readonly steps: readonly WalkStepMap[]
  /** The byte that it maps to; null where it maps to nothing. */
  readonly found: {
    /** Guest-physical address, hex. */
    readonly paddr: string
    /** Frame of the byte, as the guest counts them. */
    readonly pfn: number
    /** Machine frame that the last entry names. */
    readonly mfn: number
    /** Whether every level grants write access. */
    readonly writable: boolean
    /** Whether every level grants access to ring 3. */
    readonly user: boolean
    /** Bytes that the last entry maps. */
    readonly pageSize: number
  } | null
}

/**
 * Returns the walk of one virtual address through the page tables of a guest.
 * @param symbols the names of the guest's addresses.
 * @throws DomainBuilderError `not-mapped` when cr3 names no frame of the guest, or its tables have two levels or five.
 */
export function describeWalk(domain: Domain, vaddr: Vaddr, symbols?: SymbolTable): WalkMap {
  const found = translate(domain, vaddr)
  return {
    vaddr: hex(vaddr),
    ...defined({ symbol: symbolAt(symbols, vaddr) }),
    levels: pagingLevels(domain),
    cr3: hex(domain.vcpus[0]?.cr3 ?? 0n),
    steps: Array.from(walkTo(domain, vaddr), ({ table, index }) => stepMap(domain, table, index)),
    found: found
      ? {
          paddr: hex(found.paddr),
          pfn: found.pfn,
          mfn: found.mfn,
          writable: found.writable,
          user: found.user,
          pageSize: found.pageSize,
        }
      : null,
  }
}

function stepMap(domain: Domain, table: TablePage, index: number): WalkStepMap {
  const entry = table.entries[index] ?? 0n
  return {
    level: table.level,
    pfn: table.pfn,
    index,
    entry: hex(entry, 16),
    leads: entryOrigin(domain, table.level, entry).leads,
    text: explainEntry(domain, table, index),
  }
}

/** Returns the walk as text for people: a line for each step, the last one with its end. */
export function walkText(domain: Domain, vaddr: Vaddr, symbols?: SymbolTable): string[] {
  const { symbol, levels, cr3, steps, found } = describeWalk(domain, vaddr, symbols)
  if (levels === 0) return ['paging is off', found ? `physical ${found.paddr}` : "outside the guest's memory"]
  const name = symbol === undefined ? [] : [`${hex(vaddr)} is ${symbol}`]
  const end = found ? `physical ${found.paddr}, machine frame ${hex(found.mfn)}` : 'not mapped'
  return printableLines([...name, `cr3 ${cr3}`, ...steps.map(({ text }) => text), end])
}
