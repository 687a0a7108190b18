/**
 * The suspend image of xenopsd, which XCP-ng and XenServer keep a suspended VM in: a signature, then records, one of
 * which is a libxc stream.
 *
 * Source: xapi-project xen-api doc/content/xenopsd/design/suspend-image-framing-format.md; the numbers are those of
 * its ocaml/xenopsd/xc/suspend_image.ml.
 * Gotcha: the length of the libxc record is 0: only the stream's own END record ends it.
 */
import { struct, u64 } from './struct.js'

export const SUSPEND_SIGNATURE = 'XenSavedDomv2-\n'
/** Before XenServer 6.5.1: a stream of Xen 4.4 follows. */
export const SUSPEND_SIGNATURE_LEGACY = 'XenSavedDomain\n'

/** Before each record; both are little-endian s64. */
export const SuspendHeader = struct('suspend image header', 16, { type: u64, length: u64 })

export const SUSPEND_RECORD = {
  Xenops: 0x000f,
  Libxc: 0x00f0,
  Libxl: 0x00f1,
  Libxc_legacy: 0x00f2,
  Qemu_trad: 0x0f00,
  Qemu_xen: 0x0f01,
  Demu: 0x0f10,
  End_of_image: 0xffff,
} as const
