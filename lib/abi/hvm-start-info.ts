/**
 * hvm_start_info: the structure a PVH guest finds through %ebx at its first instruction, and the lists it points to.
 *
 * Source: xen/include/public/arch-x86/hvm/start_info.h.
 * Gotcha: version 0 ends before memmap_paddr, at 40 bytes; a reader must not read further.
 */
import { type Infer, struct, u32, u64 } from './struct.js'

/** "xEn3" with the high bit of the E set. */
export const XEN_HVM_START_MAGIC_VALUE = 0x336ec578

/** Version 1, 56 bytes. */
export const HvmStartInfo = struct('hvm_start_info', 56, {
  magic: u32,
  version: u32,
  /** SIF_* */
  flags: u32,
  nr_modules: u32,
  modlist_paddr: u64,
  cmdline_paddr: u64,
  rsdp_paddr: u64,
  memmap_paddr: u64,
  memmap_entries: u32,
  reserved: u32,
})

/** The size of version 0, in bytes. */
export const HVM_START_INFO_V0_SIZE = HvmStartInfo.offsetOf('memmap_paddr')

export const HvmModlistEntry = struct('hvm_modlist_entry', 32, {
  paddr: u64,
  size: u64,
  cmdline_paddr: u64,
  reserved: u64,
})

export const HvmMemmapTableEntry = struct('hvm_memmap_table_entry', 24, {
  addr: u64,
  size: u64,
  /** XEN_HVM_MEMMAP_TYPE_*: the same numbers as E820_TYPE. */
  type: u32,
  reserved: u32,
})

/** hvm_start_info, its fields named as in Xen; u64 are bigint. */
export type HvmStartInfoFields = Infer<typeof HvmStartInfo>
