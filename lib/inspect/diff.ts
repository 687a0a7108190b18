/**
 * diff: the differences between two guests, by vcpu register, field of a boot structure, region, page-table entry,
 * page, and saved record.
 *
 * Source: our own design; names are those of the ABI.
 * Gotcha: a page that is a hole in one and zero in the other is the same page. Memory is compared in pieces, and holes
 * in both are skipped, so the work depends on the guests' content alone.
 */
import { equal } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { type Domain, LIBVIRT_XML } from '../guest/domain.js'
import { pagesOfEither } from '../guest/memory.js'
import type { Region } from '../guest/region.js'
import { runBefore, runEndingAfter } from '../guest/runs.js'
import { readStartInfo } from '../guest/start-info.js'
import { entryVaddr, type TablePage, walkPageTables } from '../guest/table-reader.js'
import { printable, printableLines } from '../printable.js'
import { hex, PAGE_SIZE, type Pfn } from '../units.js'
import { Work, type WorkOptions } from '../work.js'
import { showFlags } from './explain.js'
import { structMaps } from './fields.js'
import { regionAt } from './frames.js'
import { savedSettings, savedUuid } from './saved-config.js'

/** A register, field or region that differs, as text for people. */
export interface Difference {
  /** Such as `vcpu 0 rip`, `start_info.flags`, `memory`. */
  readonly what: string
  /** The value of the first, for people: numbers in hex. */
  readonly a: string
  /** The value of the second. */
  readonly b: string
}

/** Runs of pages that differ, with the region and the first differing byte. */
export interface PageDifference {
  /** The first frame, as the guest counts them. */
  readonly pfn: Pfn
  /** The number of consecutive pages of 4096 bytes that differ. */
  readonly pages: number
  /** Name of their region, in the first guest or else the second; `free memory` in neither. */
  readonly region: string
  /** Bytes from the start of the first page to the first byte that differs. */
  readonly firstByte: number
  /** The symbol that this byte lies in, where the kernel maps it; nameDifferences() adds it. Untrusted text. */
  readonly symbol?: string
}

/** An entry of a page table that both guests have in the same frame and at the same level. */
export interface EntryDifference {
  /** The level of the table: 1 maps pages, 4 (or 3, PAE) is the top. */
  readonly level: number
  /** Frame of the table, as the guest counts them. */
  readonly pfn: Pfn
  /** The index of the entry in its table, 0 to 511. */
  readonly index: number
  /** The virtual address that the entry translates. */
  readonly vaddr: string
  /** The symbol at that address; nameDifferences() adds it. Untrusted text. */
  readonly symbol?: string
  /** The entry of the first: all 64 bits, hex. */
  readonly a: string
  /** The entry of the second. */
  readonly b: string
}

/** The differences between two guests; all lists are empty where they are the same. */
export interface DomainDiff {
  /** The named values: registers, boot information, names, sizes. */
  readonly fields: readonly Difference[]
  /** The first differing entries; `entriesFound` counts all of them. */
  readonly entries: readonly EntryDifference[]
  /** The number of page-table entries that differ, listed or not. */
  readonly entriesFound: number
  /** Pages of ordinary memory that differ, in runs, by region. */
  readonly pages: readonly PageDifference[]
}

const CHUNK_PAGES = 256

/**
 * Returns the differences between two guests: registers, fields of the boot structures, regions, page-table entries,
 * pages. Holes in both are not read, and tables are compared by entry only where their pages differ. Progress counts
 * the bytes compared.
 * @throws DomainBuilderError where a guest's file proves damaged as it is read; the signal's reason.
 */
export function diffDomains(a: Domain, b: Domain, options: WorkOptions = {}): DomainDiff {
  const pages = pageDifferences(a, b, options)
  return { fields: [...fieldDifferences(a, b)], ...entryDifferences(a, b, pages), pages }
}

/** Returns differences as text, a line for each. */
export const differencesText = (differences: readonly Difference[]): string[] =>
  printableLines(differences.map(({ what, a, b }) => `${what}: ${a} | ${b}`))

/** Returns the differences between two guests as text. */
export function diffText(diff: DomainDiff): string[] {
  return printableLines([
    ...differencesText(diff.fields),
    ...diff.entries.map(
      ({ level, pfn, index, vaddr, symbol, a, b }) =>
        `L${level} at pfn ${hex(pfn)}, entry ${index} (${vaddr}${symbol === undefined ? '' : ` ${symbol}`}): ${a} ${showFlags(BigInt(a))} | ${b} ${showFlags(BigInt(b))}`,
    ),
    ...(diff.entriesFound > diff.entries.length
      ? [`and ${diff.entriesFound - diff.entries.length} more page-table entries`]
      : []),
    ...diff.pages.map(
      ({ pfn, pages, region, firstByte, symbol }) =>
        `pfn ${hex(pfn)}${pages > 1 ? ` to ${hex(pfn + pages - 1)}` : ''} (${region}): from byte ${hex(firstByte)} on${symbol === undefined ? '' : `, ${symbol}`}`,
    ),
  ])
}

function* fieldDifferences(a: Domain, b: Domain): Iterable<Difference> {
  const differ = function* (what: string, x: unknown, y: unknown): Iterable<Difference> {
    const show = (v: unknown): string => (typeof v === 'bigint' || typeof v === 'number' ? hex(v) : String(v ?? 'none'))
    if (show(x) !== show(y)) yield { what, a: show(x), b: show(y) }
  }
  for (const field of ['type', 'abi', 'name'] as const) yield* differ(field, a[field], b[field])
  yield* differ('pages', a.memory.pageCount, b.memory.pageCount)
  yield* differ('vcpus', a.vcpus.length, b.vcpus.length)
  for (let i = 0; i < Math.min(a.vcpus.length, b.vcpus.length); i++) {
    const [x, y] = [a.vcpus[i], b.vcpus[i]]
    yield* differ(`vcpu ${i} online`, x?.online, y?.online)
    for (const name of Object.keys(x?.registers ?? {}) as (keyof NonNullable<typeof x>['registers'])[]) {
      yield* differ(`vcpu ${i} ${name}`, x?.registers[name], y?.registers[name])
    }
    for (const name of ['cr0', 'cr3', 'cr4', 'efer'] as const) yield* differ(`vcpu ${i} ${name}`, x?.[name], y?.[name])
  }
  if (hasStartInfo(a) && hasStartInfo(b)) {
    const other: Readonly<Record<string, unknown>> = { ...readStartInfo(b) }
    for (const [name, value] of Object.entries(readStartInfo(a)))
      yield* differ(`start_info.${name}`, value, other[name])
  }
  yield* structDifferences(a, b)
  yield* regionDifferences(a, b)
  yield* settingDifferences(a, b)
  yield* keptDifferences(a, b)
}

/** Yields the settings that differ, and the uuid where both guests have a saved configuration. */
function* settingDifferences(a: Domain, b: Domain): Iterable<Difference> {
  const [x, y] = [a.saved?.config, b.saved?.config]
  const hasUuids = x !== undefined && y !== undefined
  const byName = (config = '{}') => {
    const settings = new Map(savedSettings(config).map(({ name, value }) => [name, value]))
    const uuid = hasUuids ? savedUuid(config) : undefined
    return uuid === undefined ? settings : settings.set('uuid', uuid)
  }
  const [ours, others] = [byName(x), byName(y)]
  for (const name of new Set([...ours.keys(), ...others.keys()])) {
    const [one = 'none', other = 'none'] = [ours.get(name), others.get(name)]
    if (one !== other) yield { what: `kept ${printable(name)}`, a: printable(one), b: printable(other) }
  }
}

/** Returns every saved record in its order, by name. */
function keptParts({ saved }: Domain): Map<string, Uint8Array> {
  const parts = new Map<string, Uint8Array>()
  const counts = new Map<string, number>()
  for (const { name, body } of saved?.records ?? []) {
    const before = counts.get(name) ?? 0
    counts.set(name, before + 1)
    parts.set(before === 0 ? name : `${name} ${before}`, body)
  }
  return parts
}

/** Yields differences between saved records: sizes and the first differing byte, since only their writer knows more. */
function* keptDifferences(a: Domain, b: Domain): Iterable<Difference> {
  const [ours, others] = [keptParts(a), keptParts(b)]
  for (const name of new Set([...ours.keys(), ...others.keys()])) {
    const [x, y] = [ours.get(name), others.get(name)]
    if (x && y && equal(x, y)) continue
    // A guest gets libvirt's description when it becomes a file of libvirt.
    if (name === LIBVIRT_XML && !(x && y)) continue
    const show = (bytes: Uint8Array | undefined): string => (bytes ? `${bytes.length} bytes` : 'none')
    const first = x && y ? x.findIndex((byte, i) => byte !== y[i]) : -1
    yield {
      what: `kept ${printable(name)}`,
      a: show(x),
      b: `${show(y)}${first < 0 ? '' : `, first difference at ${hex(first)}`}`,
    }
  }
}

/** Yields regions with the same name and another place or size, where the name is unique. */
function* regionDifferences(a: Domain, b: Domain): Iterable<Difference> {
  const single = ({ regions }: Domain) => {
    const byName = new Map<string, Region | undefined>()
    for (const region of regions) byName.set(region.name, byName.has(region.name) ? undefined : region)
    return byName
  }
  const others = single(b)
  const show = ({ pfn, pages }: Region) => `pfn ${hex(pfn)}, ${pages} pages`
  for (const [name, region] of single(a)) {
    const other = others.get(name)
    if (region && other && show(region) !== show(other)) {
      yield { what: `region ${printable(name)}`, a: show(region), b: show(other) }
    }
  }
}

/** Yields differing fields of the other boot structures that both guests have. */
function* structDifferences(a: Domain, b: Domain): Iterable<Difference> {
  const others = new Map(structMaps(b).map((struct) => [struct.name, struct]))
  for (const struct of structMaps(a)) {
    const other = others.get(struct.name)
    // start_info is compared when it is read: its texts are longer than a view shows.
    if (other === undefined || struct.name === 'start_info') continue
    const fields = new Map(other.fields.map(({ name, value }) => [name, value]))
    for (const { name, value, offset, length } of struct.fields) {
      const found = fields.get(name)
      if (found === undefined) continue
      const part = ({ bytes }: typeof struct) => bytes.slice(2 * offset, 2 * (offset + length))
      if (found !== value) yield { what: `${struct.name}.${name}`, a: value, b: found }
      else if (value === 'bytes' && part(struct) !== part(other))
        yield { what: `${struct.name}.${name}`, a: part(struct), b: part(other) }
    }
  }
}

/** The most entries that are listed; more of them have one cause. */
const MAX_ENTRIES = 1024

/** Returns the tables of a guest by their frames; no tables where they cannot be read. */
function tablesByPfn(domain: Domain, wanted: readonly PageDifference[]): Map<Pfn, TablePage> {
  const found = new Map<Pfn, TablePage>()
  const last = wanted.at(-1)
  if (last === undefined) return found
  try {
    for (const table of walkPageTables(domain)) {
      // The runs are sorted, as they were compared.
      const run = wanted[runEndingAfter(wanted, table.pfn)]
      if (run && run.pfn <= table.pfn && !found.has(table.pfn)) found.set(table.pfn, table)
    }
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
  }
  return found
}

/** Compares the tables in differing pages entry by entry; no other table is compared. */
function entryDifferences(
  a: Domain,
  b: Domain,
  pages: readonly PageDifference[],
): Pick<DomainDiff, 'entries' | 'entriesFound'> {
  const entries: EntryDifference[] = []
  let entriesFound = 0
  const others = tablesByPfn(b, pages)
  for (const [pfn, table] of tablesByPfn(a, pages)) {
    const other = others.get(pfn)
    if (other?.level !== table.level) continue
    for (let index = 0; index < table.entries.length; index++) {
      const [x, y] = [table.entries[index] ?? 0n, other.entries[index] ?? 0n]
      if (x === y || ++entriesFound > MAX_ENTRIES) continue
      const vaddr = hex(entryVaddr(a, table, index))
      entries.push({ level: table.level, pfn, index, vaddr, a: hex(x, 16), b: hex(y, 16) })
    }
  }
  return { entries, entriesFound }
}

const hasStartInfo = ({ boot }: Domain): boolean => 'startInfo' in boot && boot.startInfo !== undefined

function pageDifferences(a: Domain, b: Domain, options: WorkOptions): PageDifference[] {
  const out: { pfn: Pfn; pages: number; region: string; firstByte: number }[] = []
  const buffers = [new Uint8Array(CHUNK_PAGES * PAGE_SIZE), new Uint8Array(CHUNK_PAGES * PAGE_SIZE)] as const
  const load = (domain: Domain, pfn: Pfn, pages: number, buffer: Uint8Array): Uint8Array => {
    const bytes = buffer.subarray(0, pages * PAGE_SIZE)
    domain.memory.readFrames(pfn, bytes)
    return bytes
  }
  const runs = [...pagesOfEither(a.memory, b.memory, CHUNK_PAGES)]
  const work = new Work(
    runs.reduce((sum, { pages }) => sum + pages * PAGE_SIZE, 0),
    options,
  )
  for (const { pfn, pages } of runs) {
    work.step(pages * PAGE_SIZE)
    const [x, y] = [load(a, pfn, pages, buffers[0]), load(b, pfn, pages, buffers[1])]
    if (equal(x, y)) continue
    for (let i = 0; i < pages; i++) {
      const page = x.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE)
      const other = y.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE)
      if (equal(page, other)) continue
      const region = regionAt(a, pfn + i)?.name ?? regionAt(b, pfn + i)?.name ?? 'free memory'
      const last = runBefore(out, pfn + i)
      if (last?.region === region) last.pages++
      else out.push({ pfn: pfn + i, pages: 1, region, firstByte: page.findIndex((byte, at) => byte !== other[at]) })
    }
  }
  return out
}
