/**
 * The save file of xl: its header, libxl's stream in it, and the libxc stream in that.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc (version 3) and libxl-migration-stream.pandoc (version 2); xl's
 * own header is undocumented and was taken from files of Xen 4.17; XEN_DOMCTL_PFINFO_* from
 * xen/include/public/domctl.h.
 * Gotcha: the two image headers are always big-endian; everything after them is little-endian.
 */
import { struct, u8, u16, u32, u64 } from './struct.js'

/** xl's file: this text, four u32, then optional data, which begins with the length of the configuration. */
export const XL_MAGIC = 'Xen saved domain, xl format\n \0 \r'
export const XlHeader = struct('xl header', 16, {
  byteorder: u32,
  mandatory_flags: u32,
  optional_flags: u32,
  optional_data_len: u32,
})
export const XL_BYTEORDER = 0x01020304
/** The configuration is JSON. */
export const XL_MANDATORY_JSON = 1 << 0
/** libxl's stream follows, not libxc's alone. */
export const XL_MANDATORY_STREAM_V2 = 1 << 1

/** libxl's image header, big-endian: ident, version, options. */
export const LIBXL_IDENT = 'LibxlFmt'
export const LIBXL_VERSION = 2
export const LIBXL_HEADER_BYTES = 16
export const LIBXL_OPTION_BIG_ENDIAN = 1 << 0

export const LIBXL_RECORD = {
  END: 0,
  LIBXC_CONTEXT: 1,
  EMULATOR_XENSTORE_DATA: 2,
  EMULATOR_CONTEXT: 3,
  CHECKPOINT_END: 4,
  CHECKPOINT_STATE: 5,
} as const

/** libxc's image header, big-endian: marker (u64 of ones), id, version, options and reserved (u16, u16, u32). */
export const LIBXC_MARKER = 0xffffffffffffffffn
export const LIBXC_ID = 0x58454e46
export const LIBXC_VERSIONS = [2, 3] as const
export const LIBXC_HEADER_BYTES = 24
export const LIBXC_OPTION_BIG_ENDIAN = 1 << 0

export const DomainHeader = struct('libxc domain header', 16, {
  type: u32,
  page_shift: u16,
  reserved: u16,
  xen_major: u32,
  xen_minor: u32,
})
export const DOMAIN_TYPE_X86_PV = 1
/** Both HVM and PVH: only the configuration tells them apart. */
export const DOMAIN_TYPE_X86_HVM = 2

/** The record header of both streams. The body is padded to a multiple of 8 bytes. */
export const RecordHeader = struct('record header', 8, { type: u32, body_length: u32 })
export const RECORD_ALIGN = 8
/** A reader may ignore an unknown record with this bit. */
export const RECORD_OPTIONAL = 0x80000000
/** The longest body that libxc accepts, in bytes (REC_LENGTH_MAX). */
export const RECORD_LENGTH_MAX = 128 << 20

export const LIBXC_RECORD = {
  END: 0x00,
  PAGE_DATA: 0x01,
  X86_PV_INFO: 0x02,
  X86_PV_P2M_FRAMES: 0x03,
  X86_PV_VCPU_BASIC: 0x04,
  X86_PV_VCPU_EXTENDED: 0x05,
  X86_PV_VCPU_XSAVE: 0x06,
  SHARED_INFO: 0x07,
  X86_TSC_INFO: 0x08,
  HVM_CONTEXT: 0x09,
  HVM_PARAMS: 0x0a,
  TOOLSTACK: 0x0b,
  X86_PV_VCPU_MSRS: 0x0c,
  VERIFY: 0x0d,
  CHECKPOINT: 0x0e,
  CHECKPOINT_DIRTY_PFN_LIST: 0x0f,
  STATIC_DATA_END: 0x10,
  X86_CPUID_POLICY: 0x11,
  X86_MSR_POLICY: 0x12,
} as const
export type LibxcRecordName = keyof typeof LIBXC_RECORD

export const X86PvInfo = struct('X86_PV_INFO', 8, { guest_width: u8, pt_levels: u8, reserved0: u16, reserved1: u32 })
/** Followed by one u64 for each frame of the p2m list. end is inclusive. */
export const X86PvP2mFrames = struct('X86_PV_P2M_FRAMES', 8, { p2m_start_pfn: u32, p2m_end_pfn: u32 })
/** The time of the guest, as XEN_DOMCTL_gettscinfo returns it. */
export const X86TscInfo = struct('X86_TSC_INFO', 24, {
  mode: u32,
  khz: u32,
  nsec: u64,
  incarnation: u32,
  reserved: u32,
})
/** The start of all records of a vcpu; its state follows. */
export const X86PvVcpu = struct('X86_PV_VCPU', 8, { vcpu_id: u32, reserved: u32 })
/** Followed by `count` u64 of type and pfn, then 4096 bytes for each page whose type has data. */
export const PageData = struct('PAGE_DATA', 8, { count: u32, reserved: u32 })
export const HvmParams = struct('HVM_PARAMS', 8, { count: u32, reserved: u32 })
export const HvmParam = struct('HVM_PARAMS entry', 16, { index: u64, value: u64 })

/** The most pages that libxc puts into a record. */
export const PAGES_PER_RECORD = 1024

/** Bits 60 to 63 of an entry of PAGE_DATA; 1 to 4 are page tables of that level. */
export const PFINFO_NOTAB = 0x0
export const PFINFO_LEVEL_MASK = 0x7
export const PFINFO_PINNED = 0x8
export const PFINFO_BROKEN = 0xd
/** Allocated, without data. */
export const PFINFO_XALLOC = 0xe
/** Absent. */
export const PFINFO_XTAB = 0xf
/** The type's first bit in the high word of an entry; the pfn has the bits up to 51. */
export const PFINFO_SHIFT_HIGH = 28
