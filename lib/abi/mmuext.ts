/**
 * mmuext_op: how a page table is pinned, so that Xen keeps its type.
 *
 * Source: xen/include/public/xen.h; test/peer/domctl.test.ts.
 * Gotcha: the commands are numbered from 0, the levels of the tables from 1.
 */
import { pad, struct, u32, u64 } from './struct.js'

/** MMUEXT_PIN_L1_TABLE to MMUEXT_PIN_L4_TABLE, by level. */
export const MMUEXT_PIN = { 1: 0, 2: 1, 3: 2, 4: 3 } as const

/** struct mmuext_op; arg1 is a frame for these commands, and arg2 is not used. */
export const MmuextOp = struct('mmuext_op', 24, { cmd: u32, _pad: pad(4), mfn: u64, arg2: u64 })
