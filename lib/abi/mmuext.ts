/**
 * mmuext_op and mmu_update: how a guest changes its page tables, and how one is pinned so that Xen keeps its type.
 *
 * Source: xen/include/public/xen.h; test/peer/domctl.test.ts.
 * Gotcha: the commands are numbered from 0, the levels of the tables from 1.
 */
import { pad, struct, u32, u64 } from './struct.js'

/** MMUEXT_PIN_L1_TABLE to MMUEXT_PIN_L4_TABLE, by level. */
export const MMUEXT_PIN = { 1: 0, 2: 1, 3: 2, 4: 3 } as const
/** The other commands (MMUEXT_*). */
export const MMUEXT = {
  UNPIN_TABLE: 4,
  NEW_BASEPTR: 5,
  TLB_FLUSH_LOCAL: 6,
  INVLPG_LOCAL: 7,
  TLB_FLUSH_MULTI: 8,
  INVLPG_MULTI: 9,
  TLB_FLUSH_ALL: 10,
  INVLPG_ALL: 11,
  FLUSH_CACHE: 12,
  SET_LDT: 13,
  NEW_USER_BASEPTR: 15,
  CLEAR_PAGE: 16,
  COPY_PAGE: 17,
} as const
/** The low bits of mmu_update's `ptr`: the address of an entry, of a frame whose pfn is told, or an entry again. */
export const MMU = { NORMAL_PT_UPDATE: 0, MACHPHYS_UPDATE: 1, PT_UPDATE_PRESERVE_AD: 2 } as const
export const MmuUpdate = struct('mmu_update', 16, { ptr: u64, val: u64 })

/** struct mmuext_op; arg1 is a frame for these commands, and arg2 is not used. */
export const MmuextOp = struct('mmuext_op', 24, { cmd: u32, _pad: pad(4), mfn: u64, arg2: u64 })
