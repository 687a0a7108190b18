/**
 * The wire protocol of xenstore: a header and a body, for requests, replies and events.
 *
 * Source: xen/include/public/io/xs_wire.h; xen/docs/misc/xenstore.txt.
 * Gotcha: xenstored drops a connection that sends a longer body than it allows.
 */
import { bytes, struct, u32 } from './struct.js'

/** XS_*: the types of messages. */
export const XS = {
  directory: 1,
  read: 2,
  watch: 4,
  unwatch: 5,
  transaction_start: 6,
  transaction_end: 7,
  introduce: 8,
  release: 9,
  write: 11,
  mkdir: 12,
  rm: 13,
  set_perms: 14,
  watch_event: 15,
  error: 16,
  resume: 18,
  directory_part: 22,
} as const
/** A type, by its name in the header file. */
export type XsType = keyof typeof XS

/** struct xsd_sockmsg. `tx_id` is 0 outside a transaction, and `len` is the length of the body. */
export const XsdSockmsg = struct('xsd_sockmsg', 16, { type: u32, req_id: u32, tx_id: u32, len: u32 })

/** XENSTORE_PAYLOAD_MAX: the longest body, in bytes. */
export const XENSTORE_PAYLOAD_MAX = 4096

/** Bytes of each ring of xenstore's page. */
export const XENSTORE_RING_BYTES = 1024
/** struct xenstore_domain_interface, as far as every release has it. */
export const XenstoreInterface = struct('xenstore_domain_interface', 2064, {
  req: bytes(XENSTORE_RING_BYTES),
  rsp: bytes(XENSTORE_RING_BYTES),
  req_cons: u32,
  req_prod: u32,
  rsp_cons: u32,
  rsp_prod: u32,
})
