/**
 * The grant table: pages of a domain that others may map.
 *
 * Source: xen/include/public/grant_table.h; test/peer/domctl.test.ts.
 * Gotcha: the reserved entries are the toolstack's. A guest begins with the ones after them.
 */
import { struct, u16, u32 } from './struct.js'

/** The entries that a toolstack makes for a new domain. */
export const GNTTAB_RESERVED = { CONSOLE: 0, XENSTORE: 1 } as const
/** GTF_permit_access: the domain may map the page, for reading and writing. */
export const GTF_PERMIT_ACCESS = 1

/** struct grant_entry_v1. */
export const GrantEntry = struct('grant_entry_v1', 8, { flags: u16, domid: u16, frame: u32 })
