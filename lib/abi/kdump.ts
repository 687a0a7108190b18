/**
 * kdump-compressed files: headers, page descriptors, and the flattened form in which they go through a pipe.
 *
 * Source: makedumpfile IMPLEMENTATION, "The kdump-compressed format" and "The flattened format"; the same structs in
 * QEMU dump/dump.c, include/sysemu/dump.h.
 * Gotcha: nothing says whether the headers are those of a 32-bit or of a 64-bit machine: only the place of block_size
 * does. The headers of the flattened form are big-endian, everything in it is little-endian.
 */
import { PAGE_SIZE } from '../units.js'
import { array, bytes, cstring, pad, struct, u32, u64 } from './struct.js'

export const KDUMP_MAGIC = 'KDUMP   '
/** The newest version, whose frame numbers have 64 bits. */
export const KDUMP_VERSION = 6
/** x86 has blocks of a page. */
export const KDUMP_BLOCK = PAGE_SIZE

/** The names that uname(2) returns. */
export const NewUtsname = struct('new_utsname', 390, {
  sysname: cstring(65),
  nodename: cstring(65),
  release: cstring(65),
  version: cstring(65),
  machine: cstring(65),
  domainname: cstring(65),
})

const DUMP_SIZES = {
  status: u32,
  block_size: u32,
  /** In blocks. */
  sub_hdr_size: u32,
  /** Of both bitmaps, in blocks. */
  bitmap_blocks: u32,
  max_mapnr: u32,
  total_ram_blocks: u32,
  device_blocks: u32,
  written_blocks: u32,
  current_cpu: u32,
  nr_cpus: u32,
} as const

export const DiskDumpHeader64 = struct('disk_dump_header', 464, {
  signature: bytes(8),
  header_version: u32,
  utsname: NewUtsname,
  _pad0: pad(6),
  timestamp: array(u64, 2),
  ...DUMP_SIZES,
})
export const DiskDumpHeader32 = struct('disk_dump_header', 452, {
  signature: bytes(8),
  header_version: u32,
  utsname: NewUtsname,
  _pad0: pad(2),
  timestamp: array(u32, 2),
  ...DUMP_SIZES,
})

/** The frame numbers without `_64` are obsolete since version 6. */
export const KdumpSubHeader64 = struct('kdump_sub_header', 104, {
  phys_base: u64,
  dump_level: u32,
  split: u32,
  start_pfn: u64,
  end_pfn: u64,
  offset_vmcoreinfo: u64,
  size_vmcoreinfo: u64,
  offset_note: u64,
  size_note: u64,
  offset_eraseinfo: u64,
  size_eraseinfo: u64,
  start_pfn_64: u64,
  end_pfn_64: u64,
  max_mapnr_64: u64,
})
export const KdumpSubHeader32 = struct('kdump_sub_header', 80, {
  phys_base: u32,
  dump_level: u32,
  split: u32,
  start_pfn: u32,
  end_pfn: u32,
  offset_vmcoreinfo: u64,
  size_vmcoreinfo: u32,
  offset_note: u64,
  size_note: u32,
  offset_eraseinfo: u64,
  size_eraseinfo: u32,
  start_pfn_64: u64,
  end_pfn_64: u64,
  max_mapnr_64: u64,
})

/** The versions in which the sub header got its fields. */
export const KDUMP_SINCE = { split: 2, vmcoreinfo: 3, note: 4, pfn64: 6 } as const

/** Pages that are zero are in no dump of this level. */
export const DUMP_LEVEL_ZERO = 1

/** One for each page whose bit is set in the second bitmap. */
export const PageDesc = struct('page_desc', 24, { offset: u64, size: u32, flags: u32, page_flags: u64 })

/** Compression of a page, and flags of the whole file in `status`. A page without any of them is stored as it is. */
export const DUMP_DH = {
  COMPRESSED_ZLIB: 0x1,
  COMPRESSED_LZO: 0x2,
  COMPRESSED_SNAPPY: 0x4,
  COMPRESSED_INCOMPLETE: 0x8,
  COMPRESSED_ZSTD: 0x20,
} as const

/** The flattened form: this header in a block, then pieces, each after its place: offset and size as big-endian s64. */
export const FLAT_MAGIC = 'makedumpfile\0\0\0\0'
export const FLAT_HEADER_BYTES = 4096
export const FLAT_PIECE_HEADER_BYTES = 16
/** The type and the version of the header, big-endian s64 after the magic. */
export const FLAT_TYPE = 1n
export const FLAT_VERSION = 1n
/** Both numbers of the last piece. */
export const FLAT_END = -1n
