/**
 * describeMap: the layout of a guest as one value, the source of the text, SVG, HTML and JSON.
 *
 * Source: ../guest/table-reader.ts; xen/include/public/xen.h, "Start-of-day memory layout".
 * Gotcha: the virtual side is read back from the tables, never from the regions. The lists are bounded for a guest of
 * any size, and `bounds` says how much was omitted.
 */
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { walkPageTables } from '../guest/table-reader.js'
import { pagingLevels, topTable } from '../guest/translate.js'
import { printable } from '../printable.js'
import { hex, PAGE_SIZE } from '../units.js'
import { type StructMap, structMaps } from './fields.js'
import { type PhysicalRange, physicalRanges } from './frames.js'
import { type MappedRun, RunCollector } from './mapped-runs.js'
import { type TableMap, tableMap } from './table-entries.js'

/** A run of the virtual address space. */
export type VirtualRun = {
  /** The address of the first page; hex. */
  readonly vaddr: string
  /** The number of pages of 4 KiB. */
  readonly pages: number
  /** The frame of the first page, as the guest counts frames. */
  readonly pfn: number
  /** Such as `rw-` or `r-x`: the access that every level of the tables grants. */
  readonly access: string
  /** Bytes that one entry maps. */
  readonly pageSize: number
  /** Name of the region; `free` or `unnamed` for frames outside all regions. */
  readonly region: string
}

/** The number that exist, and the number that are listed. */
export type Bound = {
  /** The number that exist. */
  readonly found: number
  /** The number that are listed. */
  readonly listed: number
}

/** The layout of a guest. Addresses are hex strings, frames and counts numbers. */
export type GuestMap = {
  /** The guest; memory in pages of 4096 bytes, and in bytes. */
  readonly guest: {
    readonly name: string
    readonly type: string
    readonly abi: string
    readonly pages: number
    readonly bytes: number
    readonly p2m: string
  }
  /** Nonzero registers of vcpu 0 that hold an address. */
  readonly registers: { readonly [name: string]: string }
  /** Every frame of the guest in one range, in order. */
  readonly physical: readonly PhysicalRange[]
  /** The paging of vcpu 0. */
  readonly paging: {
    /** 4, 3 (PAE), or 0 where paging is off. */
    readonly levels: number
    /** The frame of the top table; null without one. */
    readonly top: number | null
    /** The reason why the tables cannot be read, or null. */
    readonly fault: string | null
  }
  /** The mappings of the tables, in order of address. */
  readonly virtual: readonly VirtualRun[]
  /** Every table once, the top first, then level by level. */
  readonly tables: readonly TableMap[]
  /** start_info, boot_params, hvm_start_info: those that the guest has. */
  readonly structs: readonly StructMap[]
  /** The number that exist, and the number listed above. */
  readonly bounds: {
    readonly physical: Bound
    readonly virtual: Bound
    readonly tables: Bound
    /** False where there are more tables than the limit: the counts are partial then. */
    readonly complete: boolean
  }
}

/** The most entries that a page or a JSON value should hold; a guest at its first instant has far fewer. */
const MAX_RANGES = 2048
const MAX_RUNS = 4096
const MAX_ENTRY_RUNS = 12288
/** The most tables that are read: 256 MiB of them. */
const MAX_TABLES = 65536

const accessOf = (run: MappedRun): string => `r${run.writable ? 'w' : '-'}${run.executable ? 'x' : '-'}`

const virtualRun = (run: MappedRun): VirtualRun => ({
  vaddr: hex(run.vaddr),
  pages: run.pages,
  pfn: run.pfn,
  access: accessOf(run),
  pageSize: run.pageSize,
  region: run.region,
})

/** Returns the layout of a guest, just built or read back from any snapshot, even one that has run. */
export function describeMap(domain: Domain): GuestMap {
  const ranges = physicalRanges(domain)
  const { runs, tables, found, complete, ...paging } = readTables(domain, ranges)
  const physical = ranges.slice(0, MAX_RANGES)
  const virtual = runs.slice(0, MAX_RUNS).map(virtualRun)
  const { pageCount } = domain.memory
  return {
    guest: {
      name: printable(domain.name),
      type: domain.type,
      abi: domain.abi,
      pages: pageCount,
      bytes: pageCount * PAGE_SIZE,
      p2m: domain.p2m.name,
    },
    registers: registersOf(domain),
    physical,
    paging,
    virtual,
    tables,
    structs: structMaps(domain),
    bounds: {
      physical: { found: ranges.length, listed: physical.length },
      virtual: { found: runs.length, listed: virtual.length },
      tables: { found, listed: tables.length },
      complete,
    },
  }
}

function registersOf(domain: Domain): GuestMap['registers'] {
  const [vcpu] = domain.vcpus
  if (vcpu === undefined) return {}
  const { rip, rsp, rsi, rbx } = vcpu.registers
  // The register that holds the boot information: ebx in a PVH guest, esi in every other; an HVM guest has none.
  const info = { pv: { rsi }, linux: { rsi }, pvh: { rbx }, hvm: {} }[domain.type]
  const named = Object.entries({ rip, rsp, ...info, cr3: vcpu.cr3 }).filter(([, value]) => value !== 0n)
  const narrow = domain.abi !== 'x86_64' || pagingOff(domain)
  return Object.fromEntries(named.map(([name, value]) => [narrow ? name.replace(/^r/, 'e') : name, hex(value)]))
}

function pagingOff(domain: Domain): boolean {
  try {
    return pagingLevels(domain) === 0
  } catch {
    return true
  }
}

type Tables = GuestMap['paging'] & {
  readonly runs: readonly MappedRun[]
  readonly tables: readonly TableMap[]
  readonly found: number
  readonly complete: boolean
}

/** Reads the tables once. Tables of the higher levels are listed before any of the lowest. */
function readTables(domain: Domain, ranges: readonly PhysicalRange[]): Tables {
  const none = { levels: 0, top: null, fault: null, runs: [], tables: [], found: 0, complete: true }
  let levels: 0 | 3 | 4
  let top: number
  let collector: RunCollector
  try {
    levels = pagingLevels(domain)
    collector = new RunCollector(domain, ranges)
    if (levels === 0) {
      collector.addUnpaged()
      return { ...none, runs: collector.runs }
    }
    top = topTable(domain)
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    return { ...none, fault: error.message }
  }
  const byLevel = new Map<number, TableMap[]>()
  let budget = MAX_ENTRY_RUNS
  let lowest = MAX_ENTRY_RUNS
  let found = 0
  let complete = true
  for (const table of walkPageTables(domain)) {
    if (found === MAX_TABLES) {
      complete = false
      break
    }
    found++
    collector.add(table)
    const left = table.level === 1 ? lowest : budget
    if (left <= 0) continue
    const described = tableMap(domain, ranges, table, levels === 3)
    if (table.level === 1) lowest -= described.runs.length + 1
    else budget -= described.runs.length + 1
    byLevel.set(table.level, [...(byLevel.get(table.level) ?? []), described])
  }
  const tables = [...byLevel].sort(([a], [b]) => b - a).flatMap(([, list]) => list)
  return { levels, top, fault: null, runs: collector.runs, tables, found, complete }
}
