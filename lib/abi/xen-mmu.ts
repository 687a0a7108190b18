/**
 * What Xen lets a PV guest put into its page tables, and where Xen itself lives in its address space.
 *
 * Source: xen/include/public/arch-x86/xen-x86_64.h and xen-x86_32.h (HYPERVISOR_VIRT_START); the flags that are refused
 * were read off Xen's messages and xen/arch/x86/mm.c, "base_disallow_mask".
 * Gotcha: NX and the bits left to software are allowed everywhere but in a PAE guest's L3.
 */
import { levelShift, PTE_ACCESSED, PTE_DIRTY, PTE_GLOBAL, PTE_PRESENT, PTE_RW, PTE_USER } from './x86.js'
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START } from './xen-x86-64.js'

/** Bits 9 to 11 and 52 to 62: the processor leaves them to software. */
const AVAILABLE_LOW = 0xe00n
const AVAILABLE_HIGH = 0x7ffn << 52n
const NX = 1n << 63n
const COMMON = BigInt(PTE_PRESENT | PTE_RW | PTE_USER | PTE_ACCESSED | PTE_DIRTY)

/** Flags that an entry of a level may have; L3 differs between the two kinds of guest. */
export const ALLOWED_PTE_FLAGS = {
  l1: COMMON | BigInt(PTE_GLOBAL) | AVAILABLE_LOW | AVAILABLE_HIGH | NX,
  table: COMMON | AVAILABLE_LOW | AVAILABLE_HIGH | NX,
  paeL3: COMMON | AVAILABLE_LOW,
} as const

const l4Slot = (vaddr: bigint): number => Number((vaddr >> BigInt(levelShift(4))) & 511n)
/** L4 slots that are Xen's, half-open. */
export const XEN_L4_SLOTS = { start: l4Slot(HYPERVISOR_VIRT_START), end: l4Slot(HYPERVISOR_VIRT_END) } as const

/** From here up a PAE guest's address space is Xen's; its L2 lies in slot 3. */
export const HYPERVISOR_VIRT_START_PAE = 0xf5800000
export const PAE_XEN_L3_SLOT = 3
/** L3 entries that a PAE processor has. */
export const PAE_L3_ENTRIES = 4
/** Without extended cr3 a PAE guest's L3 must lie below this frame. */
export const PAE_L3_MFN_END = 0x100000
