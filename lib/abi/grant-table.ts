/**
 * The grant table: pages of a domain that others may map.
 *
 * Source: xen/include/public/grant_table.h; test/peer/domctl.test.ts.
 * Gotcha: the reserved entries are the toolstack's. A guest begins with the ones after them.
 */
import { pad, struct, u16, u32, u64 } from './struct.js'

/** The entries that a toolstack makes for a new domain. */
export const GNTTAB_RESERVED = { CONSOLE: 0, XENSTORE: 1 } as const
/** GTF_permit_access: the domain may map the page, for reading and writing. */
export const GTF_PERMIT_ACCESS = 1

/** struct grant_entry_v1. */
export const GrantEntry = struct('grant_entry_v1', 8, { flags: u16, domid: u16, frame: u32 })

/** grant_table_op's first argument; the second points to `count` structs. */
export const GNTTABOP = { setup_table: 2, query_size: 6, set_version: 8, get_version: 10 } as const
/** GNTST_*: 0 is success. */
export const GNTST_GENERAL_ERROR = -1
/** `frame_list` is the address of `nr_frames` u64. `status` is signed. */
export const GnttabSetupTable = struct('gnttab_setup_table', 24, {
  dom: u16,
  _pad: pad(2),
  nr_frames: u32,
  status: u16,
  _pad1: pad(6),
  frame_list: u64,
})
export const GnttabQuerySize = struct('gnttab_query_size', 16, {
  dom: u16,
  _pad: pad(2),
  nr_frames: u32,
  max_nr_frames: u32,
  status: u16,
  _pad1: pad(2),
})
