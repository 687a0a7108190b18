/**
 * The flags Xen allows in a PV guest's page tables, and Xen's own part of a PAE guest's address space.
 *
 * Source: xen/include/public/arch-x86/xen-x86_32.h (HYPERVISOR_VIRT_START); the refused flags are from
 * Xen's messages and xen/arch/x86/mm.c, "base_disallow_mask".
 * Gotcha: a PAE guest's L3 allows neither NX nor the high software bits, which all other tables allow.
 */
import { PTE_ACCESSED, PTE_DIRTY, PTE_GLOBAL, PTE_NX, PTE_PRESENT, PTE_RW, PTE_USER } from './x86.js'

/** Bits 9 to 11 and 52 to 62: the processor leaves them to software. */
const AVAILABLE_LOW = 0xe00n
const AVAILABLE_HIGH = 0x7ffn << 52n
const COMMON = BigInt(PTE_PRESENT | PTE_RW | PTE_USER | PTE_ACCESSED | PTE_DIRTY)

/** _PAGE_GUEST_KERNEL, an available bit by which Xen marks the pages of a 64-bit guest's kernel (asm-x86/x86_64/page.h). */
export const PTE_GUEST_KERNEL = 1n << 52n

/** The flags that an entry of a level may have; L3 differs between the two kinds of guest. */
export const ALLOWED_PTE_FLAGS = {
  l1: COMMON | BigInt(PTE_GLOBAL) | AVAILABLE_LOW | AVAILABLE_HIGH | PTE_NX,
  table: COMMON | AVAILABLE_LOW | AVAILABLE_HIGH | PTE_NX,
  paeL3: COMMON | AVAILABLE_LOW,
} as const

/** From here up a PAE guest's address space belongs to Xen; its L2 lies in slot 3. */
export const HYPERVISOR_VIRT_START_PAE = 0xf5800000
export const PAE_XEN_L3_SLOT = 3
/** The entries of an L3 in PAE. */
export const PAE_L3_ENTRIES = 4
/** Without extended cr3 a PAE guest's L3 must lie below this frame. */
export const PAE_L3_MFN_END = 0x100000
