/**
 * memory_op: the requests by which a toolstack gives a domain memory, and its memory map.
 *
 * Source: xen/include/public/memory.h; test/peer/domctl.test.ts.
 * Gotcha: populate_physmap returns how many extents it gave: too little memory is no error.
 */
import { pad, struct, u16, u32, u64 } from './struct.js'

/** XENMEM_*. */
export const XENMEM = {
  decrease_reservation: 1,
  maximum_ram_page: 2,
  current_reservation: 3,
  maximum_reservation: 4,
  populate_physmap: 6,
  memory_map: 9,
  machphys_mapping: 12,
  set_memory_map: 13,
  maximum_gpfn: 14,
  set_pod_target: 16,
} as const
/** A request, by its name in the headers. */
export type MemoryOpName = keyof typeof XENMEM

/** XENMEMF_populate_on_demand, and XENMEMF_address_bits(32): the bits of an address that limit where memory lies. */
export const XENMEMF = { populate_on_demand: 1 << 16, below_4gib: 32 } as const

/** `extent_start` is the address of `nr_extents` u64: first frames of 2^extent_order pages. */
export const MemoryReservation = struct('xen_memory_reservation', 32, {
  extent_start: u64,
  nr_extents: u64,
  extent_order: u32,
  mem_flags: u32,
  domid: u16,
  _pad: pad(6),
})
/** `buffer` is the address of e820 entries. */
export const ForeignMemoryMap = struct('xen_foreign_memory_map', 24, {
  domid: u16,
  _pad: pad(6),
  nr_entries: u32,
  _pad1: pad(4),
  buffer: u64,
})
export const PodTarget = struct('xen_pod_target', 40, {
  target_pages: u64,
  tot_pages: u64,
  pod_cache_pages: u64,
  pod_entries: u64,
  domid: u16,
  _pad: pad(6),
})
/** The argument of maximum_gpfn, a domid_t. Newer headers name the struct. */
export const MemoryDomain = struct('xen_memory_domain', 2, { domid: u16 })

/** XENMEM_resource_grant_table, and its shared frames: what a toolstack maps to fill a grant table. */
export const RESOURCE_GRANT_TABLE = 1
export const GRANT_TABLE_SHARED = 0
