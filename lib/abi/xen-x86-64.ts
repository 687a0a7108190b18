/**
 * Xen's own part of a 64-bit PV guest's address space, and the table it shows there.
 *
 * Source: xen/include/public/arch-x86/xen-x86_64.h.
 * Gotcha: a guest's own page tables do not have this range; Xen adds its L4 slots to the table that cr3 names.
 */
import { levelShift, PT_ENTRIES } from './x86.js'

/** Half-open: no guest mapping may lie in [start, end). */
export const HYPERVISOR_VIRT_START = 0xffff800000000000n
export const HYPERVISOR_VIRT_END = 0xffff880000000000n
const l4Slot = (vaddr: bigint): number => Number((vaddr >> BigInt(levelShift(4))) & BigInt(PT_ENTRIES - 1))
/** The same as slots of the top table, half-open. */
export const HYPERVISOR_L4_SLOTS = { start: l4Slot(HYPERVISOR_VIRT_START), end: l4Slot(HYPERVISOR_VIRT_END) } as const

/** machine_to_phys_mapping: one u64 for each machine frame, its pfn in its guest. Guests may read it. */
export const MACH2PHYS_VIRT_START = HYPERVISOR_VIRT_START
/** The end of the addresses that are set aside for it, and the highest frame that they have an entry for. */
export const MACH2PHYS_VIRT_END = 0xffff804000000000n
export const MACH2PHYS_MAX_MFN = (MACH2PHYS_VIRT_END - MACH2PHYS_VIRT_START) / 8n - 1n
