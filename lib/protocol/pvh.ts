/**
 * The PVH boot convention: Kernel + configuration -> Domain, entered at PHYS32_ENTRY without paging.
 *
 * Source: docs/misc/pvh.pandoc; xen/include/public/elfnote.h (PHYS32_ENTRY, PHYS32_RELOC);
 * xen/include/public/arch-x86/hvm/start_info.h.
 * Gotcha: everything the guest is told of must lie below 4 GiB, where its first instructions can reach it.
 */

import { E820_TYPE } from '../abi/boot-params.js'
import { LOW_HOLE } from '../abi/pc.js'
import { type XenRelease, xenHas } from '../abi/xen-release.js'
import { DomainBuilderError } from '../errors.js'
import { acpiBytes, acpiTables } from '../guest/acpi.js'
import type { Domain, PvhBoot } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import type { ReservedRange } from '../guest/memory-map.js'
import type { Region } from '../guest/region.js'
import type { Kernel } from '../kernel/kernel.js'
import { type PvhKernel, pvhKernel } from '../kernel/pvh-kernel.js'
import { alignDown, alignUp, hex, PAGE_SIZE, type Paddr, pagesFor, pfnOf, type Range, showRange } from '../units.js'
import { markConsole } from './console-page.js'
import { loadSegments } from './load-segments.js'
import { type LoadedModule, loadedModules, type Module } from './modules.js'
import { Placement } from './placement.js'
import { hvmStartInfo, type PlacedModule, pvhDomain, type StartInfoContent, startInfoBytes } from './pvh-boot.js'
import type { PvhOptions } from './pvh-config.js'
import {
  acpiRange,
  framesOf,
  identPage,
  SPECIAL_RANGE,
  specialParams,
  specialRegions,
  withReserved,
} from './pvh-platform.js'

/** Nothing lies in page 0: address 0 means absent. */
const REACHABLE: Range<Paddr> = { start: PAGE_SIZE, end: 2 ** 32 }

/**
 * Builds a PVH guest: everything is placed, and only generated parts are copied.
 * @throws DomainBuilderError when the kernel is not a PVH kernel, or the guest cannot be laid out as asked.
 */
export function buildPvh(kernel: Kernel, options: PvhOptions): Domain<PvhBoot> {
  const pvh = pvhKernel(kernel)
  requireNotes(pvh, options.xen)
  const given = loadedModules(options.modules, options.xen)
  const { map } = options
  const isXen = options.platform === 'xen'
  const placement = new Placement(map)

  const delta = placeKernel(placement, pvh, options)
  const kernelEnd = placement.end
  const acpi = placeAcpi(placement, kernelEnd, options, options.vcpus)
  const extra = isXen ? [...(acpi ? [acpi.range] : []), SPECIAL_RANGE] : []
  const contentWith = (modules: readonly PlacedModule[]): StartInfoContent => ({
    version: options.startInfoVersion,
    cmdline: options.cmdline,
    modules,
    memmap: withReserved(map, acpi && !isXen ? [acpi.range] : extra).entries,
    rsdp: acpi?.tables.rsdp ?? 0,
  })
  const infoBytes = startInfoBytes(contentWith(given.map((module) => placed(0, module))))
  const placeInfo = () => placeStartInfo(placement, kernelEnd, infoBytes, !isXen)
  // MOD_START_PFN has no meaning without page tables; Xen's builder puts the ramdisk of such a kernel last all the
  // same.
  const first = pvh.params.modStartPfn ? placeInfo() : undefined
  const modules = given.map((module, i) => placeModule(placement, kernelEnd, module, i))
  const startInfo = first ?? placeInfo()
  const content = contentWith(modules)

  const memory = new GuestMemory(framesOf(map, extra))
  loadSegments(memory, pvh, (paddr) => Number(paddr) + delta)
  modules.forEach(({ paddr }, i) => {
    memory.place(paddr, (given[i] as Module).bytes)
  })
  memory.write(startInfo, hvmStartInfo(content, startInfo))
  if (acpi) memory.write(acpi.range.start, acpi.tables.bytes)
  const special = isXen ? specialRegions() : []
  for (const { name, pfn } of special) {
    if (name === 'ident_pt') memory.write(pfn * PAGE_SIZE, identPage())
    if (name === 'console') markConsole(memory, pfn, options.purpose, options.xen)
  }

  return pvhDomain(kernel, options, {
    memory,
    entry: pvh.entry + delta,
    hvmStartInfo: startInfo,
    hvmParams: isXen ? specialParams() : [],
    regions: [
      ...placement.regions(false).filter(({ pages }) => pages > 0),
      ...(isXen && acpi ? [acpi.region] : []),
      ...special,
    ],
  })
}

/** @throws DomainBuilderError `wrong-layout` for a kernel that this Xen refuses, or loads at another address. */
function requireNotes({ params: { paddrOffset, virtBase } }: PvhKernel, xen: XenRelease): void {
  const refuse = (expected: string): never => {
    throw new DomainBuilderError('wrong-layout', `Xen ${xen} does not start this PVH kernel, by its PADDR_OFFSET`, {
      expected,
      found: hex(paddrOffset as bigint),
    })
  }
  if (paddrOffset !== undefined && virtBase === undefined && xenHas(xen, 'pvh-paddr-offset-needs-virt-base')) {
    refuse('VIRT_BASE as well, or neither')
  }
  if (paddrOffset && xenHas(xen, 'pvh-follows-paddr-offset')) refuse('0, or a later Xen, which ignores it')
}

/**
 * Places the image at its link address, at the address asked for, or, if its PHYS32_RELOC allows, at the lowest free
 * address. Returns the distance it was moved.
 */
function placeKernel(placement: Placement, pvh: PvhKernel, { loadAddress, xen }: PvhOptions): number {
  const { image } = pvh
  const reloc = xenHas(xen, 'phys32-reloc') ? pvh.reloc : undefined
  const length = image.end - image.start
  const put = (start: Paddr): number => {
    const first = alignDown(start, PAGE_SIZE)
    placement.at('kernel', first, start - first + length)
    return start - image.start
  }
  if (loadAddress !== undefined) {
    requireAllowed(pvh, { start: loadAddress, end: loadAddress + length }, xen)
    return put(loadAddress)
  }
  const link = { start: alignDown(image.start, PAGE_SIZE), end: alignUp(image.end, PAGE_SIZE) }
  if (
    reloc &&
    placement.find(link.end - link.start, { within: link, align: PAGE_SIZE, from: 'bottom' }) === undefined
  ) {
    const align = Math.max(reloc.align, PAGE_SIZE)
    const within = { start: Math.max(reloc.within.start, REACHABLE.start), end: reloc.within.end }
    const found = placement.find(length, { within, align, from: 'bottom' })
    if (found !== undefined) return put(found)
  }
  return put(image.start)
}

/** @throws DomainBuilderError `does-not-fit` unless the kernel may lie there. */
function requireAllowed({ image, reloc }: PvhKernel, wanted: Range<Paddr>, xen: XenRelease): void {
  if (wanted.start === image.start) return
  const expected = xenHas(xen, 'phys32-reloc')
    ? whatIsAllowed(reloc, image.start, wanted)
    : `${hex(image.start)}, since Xen ${xen} does not move a PVH kernel`
  if (expected === undefined) return
  throw new DomainBuilderError('does-not-fit', 'the load address is invalid', {
    expected,
    found: showRange(wanted),
  })
}

/** Returns a description of what PHYS32_RELOC would allow instead, or undefined where it allows the range. */
function whatIsAllowed(reloc: PvhKernel['reloc'], link: Paddr, { start, end }: Range<Paddr>): string | undefined {
  if (!reloc) return `${hex(link)}, since the kernel has no PHYS32_RELOC note`
  if (start % reloc.align !== 0) return `a multiple of ${hex(reloc.align)}, by the PHYS32_RELOC note`
  const inside = start >= reloc.within.start && end <= reloc.within.end
  return inside ? undefined : `within ${showRange(reloc.within)}, by the PHYS32_RELOC note`
}

/** Places a part after the kernel, as Xen's builder does; where there is no room, anywhere below 4 GiB. */
function placeAfter(placement: Placement, kernelEnd: Paddr, name: string, bytes: number): Paddr {
  const where = { align: PAGE_SIZE, from: 'bottom' } as const
  const afterKernel = { ...where, within: { start: kernelEnd, end: REACHABLE.end } }
  const fits = placement.find(bytes, afterKernel) !== undefined
  return placement.somewhere(name, bytes, fits ? afterKernel : { ...where, within: REACHABLE })
}

/**
 * Places start_info as Xen's builder does, or below 640 KiB, as all VMMs do. It must never follow a large ramdisk: a
 * 32-bit Linux reads it through first tables that map little after its image.
 */
function placeStartInfo(placement: Placement, kernelEnd: Paddr, bytes: number, low: boolean): Paddr {
  const where = { within: { start: REACHABLE.start, end: LOW_HOLE.start }, align: PAGE_SIZE, from: 'bottom' } as const
  if (low && placement.find(bytes, where) !== undefined) return placement.somewhere('start_info', bytes, where)
  return placeAfter(placement, kernelEnd, 'start_info', bytes)
}

function placeModule(placement: Placement, kernelEnd: Paddr, module: LoadedModule, i: number): PlacedModule {
  return placed(placeAfter(placement, kernelEnd, i === 0 ? 'ramdisk' : `module${i}`, module.length), module)
}

const placed = (paddr: Paddr, { length, cmdline = '' }: LoadedModule): PlacedModule => ({
  paddr,
  size: length,
  cmdline,
})

/** Xen's tables lie in its hole; a VMM's guest has them in its memory, in a range it is told of. */
function placeAcpi(placement: Placement, kernelEnd: Paddr, { acpi, platform }: PvhOptions, vcpus: number) {
  if (acpi === 'none') return undefined
  const length = acpiBytes(acpi, vcpus)
  const range: ReservedRange =
    platform === 'xen'
      ? acpiRange(length)
      : { ...pageRange(placeAfter(placement, kernelEnd, 'acpi', length), length), type: E820_TYPE.ACPI }
  const region: Region = { name: 'acpi', pfn: pfnOf(range.start), pages: pagesFor(length), bytes: length }
  return { range, region, tables: acpiTables(acpi, vcpus, range.start) }
}

const pageRange = (start: Paddr, length: number): Range<Paddr> => ({ start, end: start + alignUp(length, PAGE_SIZE) })
