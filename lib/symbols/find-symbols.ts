/**
 * findSymbols: the symbols that a running Linux has in its own memory, by its page tables.
 *
 * Source: Linux Documentation/arch/x86/x86_64/mm.rst for the place of the image; ./kallsyms.ts.
 * Gotcha: with page-table isolation, cr3 names a table without the kernel while a process runs. The kernel's is the page
 * before it (Linux arch/x86/entry/calling.h).
 */
import { PTI_USER_CR3 } from '../abi/kallsyms.js'
import { defined } from '../defined.js'
import type { Domain } from '../guest/domain.js'
import { hasPageTables, pagingLevels } from '../guest/translate.js'
import { paddrOf, type Vaddr } from '../units.js'
import { doSlices, type Slices, type WorkOptions } from '../work.js'
import { kallsymsIn } from './kallsyms.js'
import { kernelPages, type Mapped } from './kernel-pages.js'
import { type KernelSymbol, type SymbolTable, symbolTable } from './symbol-table.js'

/**
 * Returns the symbols that a guest's Linux has in its memory, with the addresses at which it runs; undefined for a guest
 * without them, such as one whose kernel has not yet turned paging on.
 * @throws the signal's reason.
 *
 * @example
 * ```ts
 * import { findSymbols } from 'xen-domain-builder'
 * import { openSnapshotFile } from 'xen-domain-builder/node'
 *
 * const { domain } = await openSnapshotFile('guest.xl')
 * const symbols = await findSymbols(domain)
 * console.log(symbols?.near(domain.vcpus[0]?.registers.rip ?? 0n)?.symbol.name)
 * ```
 */
export async function findSymbols(domain: Domain, options: WorkOptions = {}): Promise<SymbolTable | undefined> {
  const symbols = await doSlices(symbolsInMemory(domain), defined({ signal: options.signal }))
  return symbols && symbolTable(symbols)
}

/** The most tables that are searched. A guest has hundreds of vcpus, and most of them run the same kernel. */
const MAX_TABLES = 8
/** Bytes that are searched together, and those that two such windows share: no table is larger. */
const WINDOW = 64 << 20
const OVERLAP = 16 << 20

function* symbolsInMemory(domain: Domain): Slices<KernelSymbol[] | undefined> {
  for (const cr3 of kernelTables(domain)) {
    const [vcpu] = domain.vcpus
    const view = vcpu === undefined ? domain : { ...domain, vcpus: [{ ...vcpu, cr3 }] }
    if (!hasPageTables(view)) continue
    const word = pagingLevels(view) === 4 ? 8 : 4
    for (const area of areas(kernelPages(view))) {
      for (const { vaddr, bytes } of windows(view, area)) {
        yield
        const symbols = yield* kallsymsIn({ bytes, vaddr, word })
        if (symbols) return symbols
      }
    }
  }
  return undefined
}

/** Returns the values of cr3 to try: those of the vcpus, and the tables of the kernel that belong to them. */
function kernelTables({ type, vcpus }: Domain): Set<bigint> {
  const online = vcpus.filter((vcpu) => vcpu.online).map(({ cr3 }) => cr3)
  const isolated = type === 'pv' ? [] : online.filter((cr3) => cr3 & PTI_USER_CR3).map((cr3) => cr3 & ~PTI_USER_CR3)
  return new Set([...online, ...isolated].slice(0, MAX_TABLES))
}

/** Joins pages whose addresses follow each other. */
function* areas(pages: Iterable<Mapped>): Iterable<readonly Mapped[]> {
  let area: Mapped[] = []
  let end = 0n
  for (const page of pages) {
    if (area.length > 0 && page.vaddr !== end) {
      yield area
      area = []
    }
    area.push(page)
    end = page.vaddr + BigInt(paddrOf(page.pages))
  }
  if (area.length > 0) yield area
}

/** Yields the bytes of an area in windows that overlap. */
function* windows({ memory }: Domain, area: readonly Mapped[]): Iterable<{ vaddr: Vaddr; bytes: Uint8Array }> {
  const start = (area[0] as Mapped).vaddr
  const length = area.reduce((sum, { pages }) => sum + paddrOf(pages), 0)
  for (let from = 0; from === 0 || from + OVERLAP < length; from += WINDOW - OVERLAP) {
    const bytes = new Uint8Array(Math.min(WINDOW, length - from))
    for (const { vaddr, pfn, pages } of area) {
      const at = Number(vaddr - start) - from
      const [first, last] = [Math.max(0, at), Math.min(bytes.length, at + paddrOf(pages))]
      if (first < last) memory.readInto(paddrOf(pfn) + first - at, bytes.subarray(first, last))
    }
    yield { vaddr: start + BigInt(from), bytes }
  }
}
