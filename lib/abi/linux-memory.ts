/**
 * Where Linux puts itself in virtual memory, and how a crash dump tells of it.
 *
 * Source: Linux Documentation/arch/x86/x86_64/mm.rst (the kernel text mapping);
 * Documentation/admin-guide/kdump/vmcoreinfo.rst; arch/x86/include/asm/page_32_types.h (PAGE_OFFSET).
 * Gotcha: with KASLR the kernel moves within its mapping, and the mapping itself stays.
 */

/** The kernel's own mapping of x86-64: an address in it is `phys_base` below its physical address. */
export const START_KERNEL_MAP = 0xffffffff80000000n
/** The part of it that may hold the kernel: 1 GiB, with KASLR. */
export const KERNEL_IMAGE_SIZE = 1n << 30n
/** The addresses for the image of a 64-bit kernel. Source: Linux Documentation/arch/x86/x86_64/mm.rst. */
export const KERNEL_IMAGE_64 = { start: START_KERNEL_MAP, end: START_KERNEL_MAP + KERNEL_IMAGE_SIZE } as const
/** The lowest PAGE_OFFSET that a 32-bit kernel can be configured with. Source: Linux arch/x86/Kconfig. */
export const KERNEL_HALF_32 = 0x40000000n
/** The start of linux_banner. */
export const LINUX_BANNER = 'Linux version '
/** The start of the linear map of i386, unless it was built with another split. */
export const PAGE_OFFSET_32 = 0xc0000000n

/** Lines of vmcoreinfo, each `key=value`: symbols are hexadecimal, numbers decimal. */
export const VMCOREINFO = {
  /** The page tables of the kernel itself, by either of their names. */
  tables: ['SYMBOL(swapper_pg_dir)', 'SYMBOL(init_top_pgt)', 'SYMBOL(init_level4_pgt)'],
  physBase: 'NUMBER(phys_base)',
  fiveLevels: 'NUMBER(pgtable_l5_enabled)',
  pae: 'CONFIG_X86_PAE',
  /** The names of the kernel: its first uts_namespace, and the place of new_utsname in it. */
  uts: 'SYMBOL(init_uts_ns)',
  utsName: 'OFFSET(uts_namespace.name)',
} as const
