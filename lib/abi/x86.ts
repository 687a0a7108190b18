/**
 * The processor's own numbers: page-table entries, control registers, EFLAGS.
 *
 * Source: Intel SDM vol. 3, chapters 2.5 and 4 (https://www.intel.com/sdm).
 * Gotcha: the bits of a PAE L3 entry are fewer than those of other levels on real hardware; Xen writes 0x67 there too.
 */

export const PTE_PRESENT = 1 << 0
export const PTE_RW = 1 << 1
export const PTE_USER = 1 << 2
export const PTE_PWT = 1 << 3
export const PTE_PCD = 1 << 4
export const PTE_ACCESSED = 1 << 5
export const PTE_DIRTY = 1 << 6
/** A large page, at L2 and L3. */
export const PTE_PSE = 1 << 7
export const PTE_GLOBAL = 1 << 8
/** No instruction is fetched through the entry (EFER.NXE). */
export const PTE_NX = 1n << 63n
/** Bits 12 to 51 hold the frame. */
export const PTE_ADDR_MASK = 0x000ffffffffff000n
/** Entries of a table, and the bits of the address that each level translates. */
export const PT_ENTRIES = 512
export const PT_LEVEL_BITS = 9

/** Bits of a virtual address that four-level and PAE tables translate; higher bits are ignored. */
export const X86_64_VADDR_BITS = 48
export const X86_32_VADDR_BITS = 32

/** log2 of the bytes that one entry of a level maps: L1 4 KiB, L2 2 MiB, L3 1 GiB, L4 512 GiB. */
export const levelShift = (level: number): number => 12 + PT_LEVEL_BITS * (level - 1)

export const EFLAGS_RESERVED_1 = 1 << 1
export const EFLAGS_IOPL_SHIFT = 12
export const EFLAGS_IF = 1 << 9

/** Trap, direction, nested task, resume and alignment check. */
export const EFLAGS_TF = 1 << 8
export const EFLAGS_DF = 1 << 10
export const EFLAGS_NT = 1 << 14
export const EFLAGS_RF = 1 << 16
export const EFLAGS_AC = 1 << 18

export const CR0_PE = 1 << 0
export const CR0_MP = 1 << 1
export const CR0_ET = 1 << 4
export const CR0_TS = 1 << 3
export const CR0_NE = 1 << 5
/** Ring 0 obeys read-only pages too. */
export const CR0_WP = 1 << 16
export const CR0_PG = 0x80000000
/**
 * Flat segments, 0 to 4 GiB, as descriptor attributes: the access byte, and G, D/B, L, AVL in bits 8 to 11. The
 * accessed bit is set, so that a load does not write to the table.
 */
export const FLAT_CODE32 = 0xc9b
export const FLAT_CODE64 = 0xa9b
export const FLAT_DATA = 0xc93
export const FLAT_LIMIT = 0xffffffff
/** Real mode segments: 64 KiB, the base sixteen times the selector. */
export const REAL_MODE_CODE = 0x9b
export const REAL_MODE_DATA = 0x93
export const REAL_MODE_LIMIT = 0xffff
export const REAL_MODE_SHIFT = 4
/** Bits of those attributes. */
export const DESCRIPTOR_DPL_SHIFT = 5
/** A 64-bit code segment, a 32-bit segment, a limit in pages. */
export const DESCRIPTOR_L = 1 << 9
export const DESCRIPTOR_DB = 1 << 10
export const DESCRIPTOR_G = 1 << 11
/** Bytes of a code or data descriptor. */
export const DESCRIPTOR_BYTES = 8
export const CR4_PAE = 1 << 5
/** The SSE registers, and their exception. */
export const CR4_OSFXSR = 1 << 9
export const CR4_OSXMMEXCPT = 1 << 10
/** Page tables of five levels. */
export const CR4_LA57 = 1 << 12
export const MSR_EFER = 0xc0000080
/** `syscall` is enabled. */
export const EFER_SCE = 1 << 0
export const EFER_LME = 1 << 8
export const EFER_LMA = 1 << 10
export const EFER_NXE = 1 << 11
/** Segments, entry and masked flags of `syscall`; bases of segments, KERNEL_GS_BASE that of swapgs. */
export const MSR = {
  STAR: 0xc0000081,
  LSTAR: 0xc0000082,
  FMASK: 0xc0000084,
  FS_BASE: 0xc0000100,
  GS_BASE: 0xc0000101,
  KERNEL_GS_BASE: 0xc0000102,
} as const

/** Exceptions by their vectors; those of the second list push an error code. */
export const EXCEPTIONS = 32
export const VECTOR = { DB: 1, BP: 3, OF: 4, UD: 6, NM: 7, GP: 13, PF: 14 } as const
export const VECTORS_WITH_ERROR: readonly number[] = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30]

/** DR6 and DR7 after reset. */
export const DR6_RESET = 0xffff0ff0
export const DR7_RESET = 0x400

/** The frame in a PAE guest's cr3: Xen folds the bits above 4 GiB into the low twelve (xen-x86_32.h). */
export const foldedCr3 = (mfn: number): number => ((mfn << 12) | (mfn >>> 20)) >>> 0
/** The frame such a cr3 names. */
export const unfoldedCr3 = (cr3: number): number => ((cr3 >>> 12) | (cr3 << 20)) >>> 0
/** The bits of cr3 that place PAE's four L3 entries in their page, outside Xen (Intel SDM vol. 3, 4.4.1). */
export const CR3_PAE_OFFSET = 0xfe0

/** A busy 32-bit TSS, and the offset of the last byte of the smallest one. */
export const TSS32_BUSY = 0x8b
export const TSS_BUSY_BIT = 1 << 1
export const TSS32_LIMIT = 0x67
/** A 64-bit TSS that is not busy, and the offset of its rsp0. Its descriptor takes two entries. */
export const TSS64_FREE = 0x89
export const TSS64_RSP0 = 4
/** A 64-bit interrupt gate in the IDT: its type and present bit, and its size. */
export const INTERRUPT_GATE = 0x8e
export const GATE64_BYTES = 16

/** Page directory entries without PAE that map 4 MiB each. */
export const PDE_4M_SHIFT = 22
export const PDE_4M_ENTRIES = 1024

/** The first two bytes of an option ROM, and the unit of the size in its third byte. */
export const OPTION_ROM_MAGIC = 0xaa55
export const OPTION_ROM_BLOCK = 512

/**
 * The last 64 KiB of a PC's ROM are mapped here below 1 MiB, and also end at 4 GiB. The processor fetches its first
 * instruction from the upper copy, RESET_VECTOR bytes into it, in 16-bit mode.
 */
export const ROM_START = 0xf0000
export const ROM_BYTES = 0x10000
export const RESET_VECTOR = 0xfff0
