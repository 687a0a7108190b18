/**
 * The two machines a PVH guest can find: the ranges of their memory, and the parts of it that are not RAM.
 *
 * Source: tools/libs/guest/xg_dom_x86.c and tools/libs/light/libxl_x86.c (Xen's: special pages, memory map, ACPI); a
 * PC, for VMMs: ../guest/memory-map.ts.
 * Gotcha: Xen's special pages and ACPI tables lie in the hole below 4 GiB, in frames that the guest has in addition to
 * its memory.
 */
import { E820_TYPE } from '../abi/boot-params.js'
import {
  END_SPECIAL_REGION_PFN,
  HVM_PARAM,
  PVH_ACPI_TABLES,
  PVH_LOW_RAM_END,
  SPECIAL_PAGES,
} from '../abi/hvm-params.js'
import {
  PDE_4M_ENTRIES,
  PDE_4M_SHIFT,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_PRESENT,
  PTE_PSE,
  PTE_RW,
  PTE_USER,
} from '../abi/x86.js'
import type { HvmParam } from '../guest/domain.js'
import { type Holes, MemoryMap, memoryMap, PC_HOLES, type ReservedRange } from '../guest/memory-map.js'
import type { Region } from '../guest/region.js'
import { alignUp, PAGE_SIZE, type Pfn, paddrOf, pagesFor, pfnOf, type Range } from '../units.js'

export const PVH_PLATFORMS = ['xen', 'pc'] as const
/** The machine that a PVH guest finds: Xen's, or a PC. */
export type PvhPlatform = (typeof PVH_PLATFORMS)[number]

/** The ranges without RAM in a PVH guest of Xen: no PC adapter area, and the smallest possible hole. */
const XEN_HOLES: Holes = { device: { start: PVH_LOW_RAM_END, end: 2 ** 32 } }

export const platformMap = (platform: PvhPlatform, memory: number, reserve: readonly ReservedRange[]): MemoryMap =>
  memoryMap(memory, platform === 'xen' ? XEN_HOLES : PC_HOLES, reserve)

/** The first of the pages that Xen's guests have in addition to their memory. */
const FIRST_SPECIAL_PFN = END_SPECIAL_REGION_PFN - SPECIAL_PAGES.length

/** A range that the guest is told of. Where it is a separate page, it is a frame of the guest. */
export const SPECIAL_RANGE: ReservedRange = {
  start: paddrOf(FIRST_SPECIAL_PFN),
  end: paddrOf(END_SPECIAL_REGION_PFN),
}

export const specialRegions = (): Region[] =>
  SPECIAL_PAGES.map(({ name }, i) => ({ name, pfn: FIRST_SPECIAL_PFN + i, pages: 1 }))

/** Returns the parameters by index, as a save file lists them. */
export function specialParams(): HvmParam[] {
  return SPECIAL_PAGES.map(({ param }, i) => {
    const pfn = FIRST_SPECIAL_PFN + i
    return { index: HVM_PARAM[param], value: BigInt(param === 'IDENT_PT' ? paddrOf(pfn) : pfn) }
  }).sort((a, b) => a.index - b.index)
}

/** Returns the tables for Intel's processors while the guest has paging off: 4 GiB, each address mapped to itself. */
export function identPage(): Uint8Array {
  const flags = PTE_PRESENT | PTE_RW | PTE_USER | PTE_ACCESSED | PTE_DIRTY | PTE_PSE
  return new Uint8Array(Uint32Array.from({ length: PDE_4M_ENTRIES }, (_, i) => (i << PDE_4M_SHIFT) | flags).buffer)
}

/** Returns the range of tables of this length in the hole, where Xen's toolstack puts them. */
export const acpiRange = (bytes: number): ReservedRange => ({
  start: PVH_ACPI_TABLES,
  end: PVH_ACPI_TABLES + alignUp(bytes, PAGE_SIZE),
  type: E820_TYPE.ACPI,
})

/** Returns the frames of RAM and of ranges that may lie outside it, sorted. */
export function framesOf(map: MemoryMap, extra: readonly ReservedRange[]): Range<Pfn>[] {
  const frames = extra.map(({ start, end }) => ({ start: pfnOf(start), end: pagesFor(end) }))
  return [...map.frames, ...frames].sort((a, b) => a.start - b.start)
}

/** Returns the same map with more reserved ranges. */
export const withReserved = (map: MemoryMap, more: readonly ReservedRange[]): MemoryMap =>
  new MemoryMap(
    map.ram,
    [...map.reserved, ...more].sort((a, b) => a.start - b.start),
  )
