/**
 * findSymbols: the symbols that a running Linux has in its own memory, by its page tables.
 *
 * Source: Linux Documentation/arch/x86/x86_64/mm.rst for the place of the image; ./kallsyms.ts.
 * Gotcha: with page-table isolation, cr3 names a table without the kernel while a process runs. The kernel's is the page
 * before it (Linux arch/x86/entry/calling.h).
 */
import { KERNEL_HALF_32, KERNEL_IMAGE_64, PTI_USER_CR3 } from '../abi/kallsyms.js'
import { levelShift } from '../abi/x86.js'
import { defined } from '../defined.js'
import type { Domain } from '../guest/domain.js'
import { type Run, runEndingAfter } from '../guest/runs.js'
import { entryPfn, entryVaddr, type TablePage, walkPageTables, walkTables, walkTo } from '../guest/table-reader.js'
import { hasPageTables, isLarge, isPresent, pagingLevels } from '../guest/translate.js'
import { type Pfn, paddrOf, type Vaddr } from '../units.js'
import { doSlices, type Slices, type WorkOptions } from '../work.js'
import { kallsymsIn } from './kallsyms.js'
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

/** Consecutive virtual pages with content, mapped to consecutive frames. */
interface Mapped {
  readonly vaddr: Vaddr
  readonly pfn: Pfn
  readonly pages: number
}

/** The most tables that are searched. A guest has hundreds of vcpus, and most of them run the same kernel. */
const MAX_TABLES = 8
/** Bytes that are searched together: no table is larger than half of them. */
const WINDOW = 64 << 20

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

/** Yields the pages with content that the kernel's part of the tables maps, in order of address. */
function* kernelPages(domain: Domain): Iterable<Mapped> {
  const content = [...domain.memory.pages()]
  // Pages may be mapped any number of times. As many as there are in all are enough.
  let room = content.reduce((sum, { pages }) => sum + pages, 0)
  for (const { table, start } of kernelTablePages(domain)) {
    for (const [index, entry] of table.entries.entries()) {
      if (!isPresent(domain, entry, table.level)) continue
      if (table.level !== 1 && !isLarge(domain, entry, table.level)) continue
      const first = entryPfn(domain, entry, table.level)
      if (first === undefined) continue
      const vaddr = start + entryVaddr(domain, table, index)
      const end = first + 2 ** (levelShift(table.level) - levelShift(1))
      for (let i = runEndingAfter(content, first); i < content.length; i++) {
        const run = content[i] as Run
        const [from, to] = [Math.max(run.pfn, first), Math.min(run.pfn + run.pages, end)]
        if (from >= to) break
        if (room < to - from) return
        room -= to - from
        yield { vaddr: vaddr + BigInt(paddrOf(from - first)), pfn: from, pages: to - from }
      }
    }
  }
}

/** Yields the tables of the kernel's part, and the address that each counts from. */
function* kernelTablePages(domain: Domain): Iterable<{ table: TablePage; start: Vaddr }> {
  if (pagingLevels(domain) !== 4) {
    for (const table of walkPageTables(domain)) if (table.vaddr >= KERNEL_HALF_32) yield { table, start: 0n }
    return
  }
  for (const { table } of walkTo(domain, KERNEL_IMAGE_64.start)) {
    if (table.level !== 2) continue
    for (const below of walkTables(domain, { pfn: table.pfn, level: 2 })) {
      yield { table: below, start: KERNEL_IMAGE_64.start }
    }
  }
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

/** Yields the bytes of an area in windows, each of which begins in the middle of the one before. */
function* windows({ memory }: Domain, area: readonly Mapped[]): Iterable<{ vaddr: Vaddr; bytes: Uint8Array }> {
  const start = (area[0] as Mapped).vaddr
  const length = area.reduce((sum, { pages }) => sum + paddrOf(pages), 0)
  for (let from = 0; from === 0 || from + WINDOW / 2 < length; from += WINDOW / 2) {
    const bytes = new Uint8Array(Math.min(WINDOW, length - from))
    for (const { vaddr, pfn, pages } of area) {
      const at = Number(vaddr - start) - from
      const [first, last] = [Math.max(0, at), Math.min(bytes.length, at + paddrOf(pages))]
      if (first < last) memory.readInto(paddrOf(pfn) + first - at, bytes.subarray(first, last))
    }
    yield { vaddr: start + BigInt(from), bytes }
  }
}
