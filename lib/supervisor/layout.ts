/**
 * Addresses of the supervisor: in every address space it is in Xen's slots of the top table, where no guest has a
 * mapping.
 *
 * Source: our own choice, within the slots of xen/include/public/arch-x86/xen-x86_64.h.
 * Gotcha: a guest reaches only the table of machine frames. All other entries lack the user bit in the top table.
 */
import { HYPERVISOR_VIRT_START, MACH2PHYS_VIRT_START } from '../abi/xen-x86-64.js'
import { PAGE_SIZE, type Paddr, type Vaddr } from '../units.js'

const SLOT = 1n << 39n
const slot = (index: bigint): Vaddr => HYPERVISOR_VIRT_START + index * SLOT

/** The table of machine frames again, writable: the same tables of level 3. */
export const WRITABLE_M2P = slot(1n)
/** The image: code, variables, stack, and the processor's tables. */
export const IMAGE_VIRT = slot(5n)
/** The most pages of the image. */
export const IMAGE_PAGES = 16
/** The first pages of the image; its code and variables follow. `table` maps the image and the GDT. */
export const IMAGE = { table: 0, gdt: 1, emptyGdt: 2, grants: 3, tss: 4, stack: 5, code: 6 } as const
/** Returns the virtual address of one of these pages. */
export const imageVirt = (page: keyof typeof IMAGE): Vaddr => IMAGE_VIRT + BigInt(IMAGE[page] * PAGE_SIZE)
/** The pages of the GDT, which are the guest's except the last two. */
export const GDT_VIRT = IMAGE_VIRT + BigInt(256 * PAGE_SIZE)
/** All memory of the machine, from address 0 on. */
export const DIRECT_VIRT = slot(6n)
/** The bytes that it can show: the slots up to the end of Xen's. */
export const DIRECT_BYTES = Number(10n * SLOT)

/** Returns the virtual address of a byte of the machine. */
export const direct = (paddr: Paddr): Vaddr => DIRECT_VIRT + BigInt(paddr)

export { MACH2PHYS_VIRT_START as M2P }
