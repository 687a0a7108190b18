/**
 * The Linux setup header: what a bzImage says of itself at 0x1f1, and what boot_params repeats at the same offset.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (https://docs.kernel.org/arch/x86/boot.html), "Details of Header Fields".
 * Gotcha: older headers end earlier, at 0x202 + the byte at 0x201; what follows there is code, not fields.
 */
import { type Infer, struct, u8, u16, u32, u64 } from './struct.js'

/** Where the header lies, in the file and in boot_params. */
export const SETUP_HEADER_OFFSET = 0x1f1
/** Offset that the byte at 0x201, the operand of the jump at 0x200, counts from: there the header ends. */
export const SETUP_JUMP_END = 0x202

export const BOOT_FLAG = 0xaa55
/** `header`: "HdrS", present since protocol 2.00. */
export const HDRS_MAGIC = 0x53726448
/** Opcode of the two-byte jump at 0x200. */
export const SETUP_JUMP_OPCODE = 0xeb
export const SECTOR_SIZE = 512
/** setup_sects 0 means this many. */
export const DEFAULT_SETUP_SECTS = 4

/** loadflags: the protected-mode code is loaded at 0x100000 (bzImage), not at 0x10000 (zImage). */
export const LOADED_HIGH = 1 << 0
export const KEEP_SEGMENTS = 1 << 6
export const CAN_USE_HEAP = 1 << 7

/** xloadflags: a 64-bit entry at load address + 0x200; may be loaded above 4 GiB. */
export const XLF_KERNEL_64 = 1 << 0
export const XLF_CAN_BE_LOADED_ABOVE_4G = 1 << 1

/** Complete as of protocol 2.15. */
export const SetupHeader = struct('setup_header', 123, {
  setup_sects: u8,
  root_flags: u16,
  syssize: u32,
  ram_size: u16,
  vid_mode: u16,
  root_dev: u16,
  boot_flag: u16,
  jump: u16,
  header: u32,
  version: u16,
  realmode_swtch: u32,
  start_sys_seg: u16,
  kernel_version: u16,
  type_of_loader: u8,
  loadflags: u8,
  setup_move_size: u16,
  code32_start: u32,
  ramdisk_image: u32,
  ramdisk_size: u32,
  bootsect_kludge: u32,
  heap_end_ptr: u16,
  ext_loader_ver: u8,
  ext_loader_type: u8,
  cmd_line_ptr: u32,
  initrd_addr_max: u32,
  kernel_alignment: u32,
  relocatable_kernel: u8,
  min_alignment: u8,
  xloadflags: u16,
  cmdline_size: u32,
  hardware_subarch: u32,
  hardware_subarch_data: u64,
  payload_offset: u32,
  payload_length: u32,
  setup_data: u64,
  pref_address: u64,
  init_size: u32,
  handover_offset: u32,
  kernel_info_offset: u32,
})

export type SetupHeaderFields = Infer<typeof SetupHeader>

/** The first field that each protocol version added behind those before it: an older header ends there. */
export const SETUP_HEADER_GREW: readonly (readonly [protocol: number, field: keyof SetupHeaderFields])[] = [
  [0x201, 'heap_end_ptr'],
  [0x202, 'ext_loader_ver'],
  [0x203, 'initrd_addr_max'],
  [0x205, 'kernel_alignment'],
  [0x206, 'cmdline_size'],
  [0x207, 'hardware_subarch'],
  [0x208, 'payload_offset'],
  [0x209, 'setup_data'],
  [0x20a, 'pref_address'],
  [0x20b, 'handover_offset'],
  [0x20f, 'kernel_info_offset'],
]
