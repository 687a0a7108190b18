/**
 * xencons_interface: the page through which a PV guest's console flows.
 *
 * Source: xen/include/public/io/console.h.
 * Gotcha: an index is no offset into the ring until it is masked: it runs through all of u32.
 */
import { bytes, struct, u32 } from './struct.js'

const CONSOLE_IN_BYTES = 1024
export const CONSOLE_OUT_BYTES = 2048

export const XenconsInterface = struct('xencons_interface', 3088, {
  in: bytes(CONSOLE_IN_BYTES),
  out: bytes(CONSOLE_OUT_BYTES),
  in_cons: u32,
  in_prod: u32,
  out_cons: u32,
  out_prod: u32,
})
/** The u8 `connection`, which Xen 4.21 added after these fields. In a page of zeros, somebody reads the ring. */
export const XENCONS_CONNECTION_OFFSET = XenconsInterface.size
export const XENCONSOLE_DISCONNECTED = 1
