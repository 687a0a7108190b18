/**
 * The places of a PV guest's parts: the start-of-day memory layout, step by step.
 *
 * Source: xen/include/public/xen.h, "Start-of-day memory layout"; the rules for the end of the mapping and for INIT_P2M
 * were confirmed byte for byte against libxenguest, and for a dom0 against Xen (xen/arch/x86/pv/dom0_build.c).
 * Gotcha: the page tables must map themselves, so their number is found by trying; see mapFirst().
 */
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { Allocator } from '../guest/allocator.js'
import type { GuestMemory } from '../guest/memory.js'
import { p2mListBytes } from '../guest/p2m.js'
import { PAGING, PageTables, vpnOf } from '../guest/page-tables.js'
import type { LinearRegion, Region } from '../guest/region.js'
import type { PvKernel } from '../kernel/pv-kernel.js'
import { hex, PAGE_SIZE, type Pfn, type Vaddr } from '../units.js'
import type { ModuleRegion } from './modules.js'

/** The room that the initial mapping leaves after its last page: 512 KiB and the boot stack. */
const SPARE_PAGES = (512 * 1024) / PAGE_SIZE + 1
/** The initial mapping ends at a multiple of this. */
const MAPPING_ALIGN = 4n << 20n

/** The places of all parts. */
export interface PvLayout {
  readonly regions: readonly Region[]
  readonly kernel: LinearRegion
  /** The regions of the modules, or of their package. start_info tells of the first. */
  readonly modules: readonly Region[]
  /** Whether the modules are not mapped: start_info then names the first by pfn. */
  readonly modulesUnmapped: boolean
  /** vaddr is the address where the initial page tables map the list. */
  readonly p2m: Region
  /** Data and tables at INIT_P2M, where the kernel asks for that. */
  readonly initP2mPages?: number
  /** A dom0: the pages that it has before any are allocated for INIT_P2M. */
  readonly allocatedPages?: number
  readonly startInfo: LinearRegion
  /** A dom0 has neither. */
  readonly xenstore?: LinearRegion
  readonly console?: LinearRegion
  readonly pageTables: LinearRegion
  readonly bootStack: LinearRegion
  readonly tables: PageTables
}

/** Steps of the start-of-day layout, in order. */
export function layOut(
  pv: PvKernel,
  memory: GuestMemory,
  modules: readonly ModuleRegion[],
  options: { readonly dom0: boolean; readonly mapModules: boolean },
): PvLayout {
  const allocator = new Allocator(pv.virtBase)
  const tables = new PageTables(PAGING[pv.abi], options.dom0 ? 'xen' : 'libxenguest')
  const unmapped = pv.params.modStartPfn && modules.length > 0 && !options.mapModules
  const listBytes = p2mListBytes(memory.endPfn, pv.abi === 'x86_64' ? 8 : 4)

  allocator.padTo(pv.vstart)
  const kernel = allocator.allocate('kernel', Number(pv.vend - pv.vstart))
  let placed: Region[] = unmapped ? [] : modules.map(({ name, length }) => allocator.allocate(name, length))
  let p2m: Region | undefined = pv.initP2m === undefined ? allocator.allocate('p2m', listBytes) : undefined
  const startInfo = allocator.allocate('start_info', PAGE_SIZE)
  const xenstore = options.dom0 ? undefined : allocator.allocate('xenstore', PAGE_SIZE)
  const console = options.dom0 ? undefined : allocator.allocate('console', PAGE_SIZE)
  const mappingEnd = mapFirst(pv, tables, allocator)
  const pageTables = allocator.allocate('page_tables', tables.count * PAGE_SIZE)
  const bootStack = allocator.allocate('boot_stack', PAGE_SIZE)
  allocator.padTo(mappingEnd)
  const chunk = options.dom0 ? dom0Chunk(allocator.nextPfn, placed) : undefined
  if (chunk !== undefined) allocator.skipTo(chunk)
  if (unmapped) placed = modules.map(({ name, length }) => allocator.allocateElsewhere(name, length))

  const allocatedPages = chunk === undefined ? undefined : allocator.nextPfn
  let initP2mPages: number | undefined
  if (pv.initP2m !== undefined) {
    const listPages = listBytes / PAGE_SIZE
    const before = tables.count
    const vpn = vpnOf(pv.initP2m, tables.paging)
    const planned = tables.plan(vpn, listPages).reduce((sum, { count }) => sum + count, 0)
    const tablePages = () => allocator.allocateElsewhere('p2m_page_tables', planned * PAGE_SIZE)
    // Xen allocates the tables first, libxenguest the list.
    const first = options.dom0 ? tablePages() : undefined
    p2m = allocator.allocateElsewhere('p2m', listBytes, pv.initP2m)
    tables.map({ vpn, pages: listPages, pfn: p2m.pfn }, (first ?? tablePages()).pfn)
    initP2mPages = listPages + tables.count - before
  }
  allocator.requireWithin(memory.pageCount)
  requirePresent(memory, allocator.regions)
  return defined({
    regions: allocator.regions,
    kernel,
    modules: placed,
    modulesUnmapped: unmapped,
    p2m: p2m as Region,
    initP2mPages,
    allocatedPages,
    startInfo,
    xenstore,
    console,
    pageTables,
    bootStack,
    tables,
  })
}

/**
 * Maps everything from virtBase to a 4 MiB boundary that leaves room for the tables themselves and 512 KiB more. More
 * tables may push the end over the next boundary, which may need more tables. The count is raised until it is enough.
 */
function mapFirst(pv: PvKernel, tables: PageTables, allocator: Allocator): Vaddr {
  const vpn = vpnOf(pv.virtBase, tables.paging)
  const bytes = (pages: number) => BigInt(pages) * BigInt(PAGE_SIZE)
  let pages = SPARE_PAGES
  for (;;) {
    const end = ((allocator.nextVaddr + bytes(pages)) / MAPPING_ALIGN + 1n) * MAPPING_ALIGN
    const top = pv.abi === 'x86_64' ? 1n << 64n : 1n << 32n
    if (end > top) {
      throw new DomainBuilderError('does-not-fit', 'the initial mapping runs past the end of the address space', {
        expected: `at most ${hex(top)}`,
        found: hex(end),
      })
    }
    const mapped = Number((end - pv.virtBase) / BigInt(PAGE_SIZE))
    pages = SPARE_PAGES + tables.plan(vpn, mapped).reduce((sum, run) => sum + run.count, 0)
    if (allocator.nextVaddr + bytes(pages) <= end) {
      tables.map({ vpn, pages: mapped, pfn: 0 }, allocator.nextPfn)
      return end
    }
  }
}

/**
 * Returns the end of what Xen allocates for a dom0 at once: a power of two of pages for the initial mapping, and the
 * mapped ramdisk, which lies elsewhere in the machine.
 */
function dom0Chunk(mapped: Pfn, modules: readonly Region[]): Pfn {
  const ramdisk = modules.reduce((sum, { pages }) => sum + pages, 0)
  return 2 ** Math.ceil(Math.log2(mapped - ramdisk)) + ramdisk
}

/** With memory in several ranges, no placed region may reach into a hole between them. */
function requirePresent(memory: GuestMemory, regions: readonly Region[]): void {
  for (const { name, pfn, pages } of regions) {
    const present = memory.pagesFrom(pfn)
    if (name !== 'pad' && present < pages) {
      throw new DomainBuilderError('does-not-fit', `the ${name} reaches into a hole of the guest's memory`, {
        expected: `memory at pfn ${hex(pfn)} to ${hex(pfn + pages)}`,
        found: `none at ${hex(pfn + present)}`,
      })
    }
  }
}
