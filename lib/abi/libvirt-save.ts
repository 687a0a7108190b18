/**
 * libvirt's save file of a QEMU guest (virsh save): a header, the guest's XML and QEMU's stream.
 *
 * Source: libvirt src/qemu/qemu_saveimage.h and qemu_saveimage.c, and files of libvirt 9.0.
 * Gotcha: the header is in the byte order of its host. `data_len` has the XML, the cookie after it and zeros.
 */
import { PAGE_SIZE } from '../units.js'
import { array, bytes, struct, u32 } from './struct.js'

export const LIBVIRT_MAGIC = 'LibvirtQemudSave'
/** The magic of a file that libvirt has not finished. */
export const LIBVIRT_PARTIAL = 'LibvirtQemudPart'
/** Version 1 has no `compressed`. */
export const LIBVIRT_VERSIONS = [1, 2] as const

export const LibvirtHeader = struct('virQEMUSaveHeader', 92, {
  magic: bytes(16),
  version: u32,
  data_len: u32,
  was_running: u32,
  compressed: u32,
  cookieOffset: u32,
  unused: array(u32, 14),
})

/** The programs that compress the stream, by `compressed`. */
export const LIBVIRT_COMPRESSION = ['raw', 'gzip', 'bzip2', 'xz', 'lzop', 'zstd'] as const

/** Zeros after the XML, so that virsh save-image-edit can lengthen it. */
export const LIBVIRT_PADDING = 16 * PAGE_SIZE
