/**
 * The Linux boot protocol in bytes: the setup header that a bzImage has at 0x1f1, and boot_params around it.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (https://docs.kernel.org/arch/x86/boot.html), "Details of Header
 * Fields"; Documentation/arch/x86/zero-page.rst; the uapi headers asm/bootparam.h, linux/screen_info.h, linux/edd.h.
 * Gotcha: in an older header, a newer field reads as code or padding. Older headers end earlier, at 0x202 + the byte at
 * 0x201, and have gaps. SETUP_FIELD_SINCE says which version has which field.
 */
import { array, bytes, type Infer, pad, struct, u8, u16, u32, u64 } from './struct.js'

/** Offset of the header, in the file and in boot_params. */
export const SETUP_HEADER_OFFSET = 0x1f1
/** The header ends at this offset plus the byte at 0x201, the operand of the jump at 0x200. */
export const SETUP_JUMP_END = 0x202

export const BOOT_FLAG = 0xaa55
/** `header`: "HdrS", present since protocol 2.00. */
export const HDRS_MAGIC = 0x53726448
/** Opcode of the two-byte jump at 0x200. */
export const SETUP_JUMP_OPCODE = 0xeb
export const SECTOR_SIZE = 512
/** setup_sects 0 means this many. */
export const DEFAULT_SETUP_SECTS = 4
/** Offset that kernel_version counts from: the second sector. */
export const KERNEL_VERSION_BASE = 0x200
/** The unit of syssize, in bytes. */
export const PARAGRAPH_SIZE = 16

/** Protocol versions that a reader must distinguish. */
export const PROTOCOL_OLDEST = 0x200
/** cmd_line_ptr, anywhere below 4 GiB. */
export const PROTOCOL_CMD_LINE_PTR = 0x202
/** The setup code has heap_end_ptr: where its heap ends. */
export const PROTOCOL_HEAP = 0x201
/** syssize has 32 bits. */
export const PROTOCOL_SYSSIZE_32 = 0x204
export const PROTOCOL_NEWEST = 0x20f

/** loadflags: the protected-mode code is loaded at 0x100000 (bzImage), not at 0x10000 (zImage). */
export const LOADED_HIGH = 1 << 0
/** Kernel-internal: KASLR was done. */
export const KASLR_FLAG = 1 << 1
export const QUIET_FLAG = 1 << 5
export const KEEP_SEGMENTS = 1 << 6
/** heap_end_ptr is set. */
export const CAN_USE_HEAP = 1 << 7

/** xloadflags, a claim each: a 64-bit entry at load address + 0x200; may be loaded above 4 GiB; and so on. */
export const XLF = {
  XLF_KERNEL_64: 1 << 0,
  XLF_CAN_BE_LOADED_ABOVE_4G: 1 << 1,
  XLF_EFI_HANDOVER_32: 1 << 2,
  XLF_EFI_HANDOVER_64: 1 << 3,
  XLF_EFI_KEXEC: 1 << 4,
  XLF_5LEVEL: 1 << 5,
  XLF_5LEVEL_ENABLED: 1 << 6,
  XLF_MEM_ENCRYPTION: 1 << 7,
} as const
export const { XLF_KERNEL_64, XLF_CAN_BE_LOADED_ABOVE_4G } = XLF

/** Selectors of the flat segments at the 32-bit and 64-bit entries. */
export const BOOT_CS = 0x10
export const BOOT_DS = 0x18
/** The most bytes of setup code, from its segment; its heap and its stack begin there. */
export const SETUP_MAX_BYTES = 0x8000
/** The end of heap and stack, from that segment. */
export const HEAP_END = 0xe000
/** The same end if setup code, heap and command line share the room below LOW_MEMORY_END. */
export const OLD_HEAP_END = 0x9000
/** Bytes before that end which heap_end_ptr leaves for the stack. */
const STACK_BYTES = 0x200
export const heapEndPtr = (heapEnd: number): number => heapEnd - STACK_BYTES
/** hardware_subarch. */
export const HARDWARE_SUBARCH = { PC: 0, LGUEST: 1, XEN: 2, INTEL_MID: 3, CE4100: 4 } as const
/**
 * Before 2.02 a kernel finds its command line by cl_magic and cl_offset in screen_info. The offset counts from this
 * address, where such a kernel's setup code is or moves itself.
 */
export const OLD_CMDLINE_MAGIC = 0xa33f
export const OLD_SETUP_ADDRESS = 0x90000
/** The end of the memory below 640 KiB that a loader may use: a BIOS keeps its own data above. */
export const LOW_MEMORY_END = 0x9a000

/** The load address of the protected-mode code of a bzImage, unless it is relocatable. */
export const LOAD_HIGH_ADDRESS = 0x100000
/** The 64-bit entry, from the load address. */
export const ENTRY_64_OFFSET = 0x200
/** The 16-bit entry, from the segment the setup code is loaded to. */
export const ENTRY_16_OFFSET = 0x200
/** type_of_loader of a loader without an assigned number; 0 makes Linux ignore the ramdisk. */
export const LOADER_TYPE_UNDEFINED = 0xff
/** initrd_addr_max and cmdline_size of protocols without such a field. */
export const DEFAULT_INITRD_ADDR_MAX = 0x37ffffff
export const DEFAULT_CMDLINE_SIZE = 255

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

/** The setup header's fields, named as in Linux Documentation/arch/x86/boot.rst. */
export type SetupHeaderFields = Infer<typeof SetupHeader>

/** The most bytes of boot_params that a newer header may take, up to the next member. */
export const SETUP_HEADER_MAX = 0x290 - SETUP_HEADER_OFFSET

/** The protocol that introduced each field; in an older header its bytes are code or padding. */
export const SETUP_FIELD_SINCE = {
  setup_sects: 0x200,
  root_flags: 0x200,
  syssize: 0x200,
  ram_size: 0x200,
  vid_mode: 0x200,
  root_dev: 0x200,
  boot_flag: 0x200,
  jump: 0x200,
  header: 0x200,
  version: 0x200,
  realmode_swtch: 0x200,
  start_sys_seg: 0x200,
  kernel_version: 0x200,
  type_of_loader: 0x200,
  loadflags: 0x200,
  setup_move_size: 0x200,
  code32_start: 0x200,
  ramdisk_image: 0x200,
  ramdisk_size: 0x200,
  bootsect_kludge: 0x200,
  heap_end_ptr: 0x201,
  ext_loader_ver: 0x202,
  ext_loader_type: 0x202,
  cmd_line_ptr: 0x202,
  initrd_addr_max: 0x203,
  kernel_alignment: 0x205,
  relocatable_kernel: 0x205,
  min_alignment: 0x20a,
  xloadflags: 0x20c,
  cmdline_size: 0x206,
  hardware_subarch: 0x207,
  hardware_subarch_data: 0x207,
  payload_offset: 0x208,
  payload_length: 0x208,
  setup_data: 0x209,
  pref_address: 0x20a,
  init_size: 0x20a,
  handover_offset: 0x20b,
  kernel_info_offset: 0x20f,
} as const satisfies Readonly<Record<keyof SetupHeaderFields, number>>

/** The header's size in bytes in a protocol version, from SETUP_HEADER_OFFSET. */
export function setupHeaderSize(protocol: number): number {
  const known = SetupHeader.fieldNames.filter((field) => SETUP_FIELD_SINCE[field] <= protocol)
  return Math.max(0, ...known.map((field) => SetupHeader.offsetOf(field) + SetupHeader.sizeOf(field)))
}

/** setup_data's node, before its `len` bytes. */
export const SetupData = struct('setup_data', 16, { next: u64, type: u32, len: u32 })
export const SETUP_DATA_TYPE = {
  SETUP_NONE: 0,
  SETUP_E820_EXT: 1,
  SETUP_DTB: 2,
  SETUP_PCI: 3,
  SETUP_EFI: 4,
  SETUP_APPLE_PROPERTIES: 5,
  SETUP_JAILHOUSE: 6,
  SETUP_CC_BLOB: 7,
  SETUP_IMA: 8,
  SETUP_RNG_SEED: 9,
} as const

export const ScreenInfo = struct('screen_info', 64, {
  orig_x: u8,
  orig_y: u8,
  ext_mem_k: u16,
  orig_video_page: u16,
  orig_video_mode: u8,
  orig_video_cols: u8,
  flags: u8,
  unused2: u8,
  orig_video_ega_bx: u16,
  unused3: u16,
  orig_video_lines: u8,
  orig_video_isVGA: u8,
  orig_video_points: u16,
  lfb_width: u16,
  lfb_height: u16,
  lfb_depth: u16,
  lfb_base: u32,
  lfb_size: u32,
  cl_magic: u16,
  cl_offset: u16,
  lfb_linelength: u16,
  red_size: u8,
  red_pos: u8,
  green_size: u8,
  green_pos: u8,
  blue_size: u8,
  blue_pos: u8,
  rsvd_size: u8,
  rsvd_pos: u8,
  vesapm_seg: u16,
  vesapm_off: u16,
  pages: u16,
  vesa_attributes: u16,
  capabilities: u32,
  ext_lfb_base: u32,
  _reserved: pad(2),
})

export const ApmBiosInfo = struct('apm_bios_info', 20, {
  version: u16,
  cseg: u16,
  offset: u32,
  cseg_16: u16,
  dseg: u16,
  flags: u16,
  cseg_len: u16,
  cseg_16_len: u16,
  dseg_len: u16,
})

export const IstInfo = struct('ist_info', 16, { signature: u32, command: u32, event: u32, perf_level: u32 })
export const SysDescTable = struct('sys_desc_table', 16, { length: u16, table: bytes(14) })
export const OlpcOfwHeader = struct('olpc_ofw_header', 16, {
  ofw_magic: u32,
  ofw_version: u32,
  cif_handler: u32,
  irq_desc_table: u32,
})
export const EdidInfo = struct('edid_info', 128, { dummy: bytes(128) })
export const EfiInfo = struct('efi_info', 32, {
  efi_loader_signature: u32,
  efi_systab: u32,
  efi_memdesc_size: u32,
  efi_memdesc_version: u32,
  efi_memmap: u32,
  efi_memmap_size: u32,
  efi_systab_hi: u32,
  efi_memmap_hi: u32,
})

/** One range of the memory map. Packed: entries are 20 bytes apart. */
export const BootE820Entry = struct('boot_e820_entry', 20, { addr: u64, size: u64, type: u32 })
/** E820_TYPE_* (ACPI specification 6.5, table 15.4). */
export const E820_TYPE = { RAM: 1, RESERVED: 2, ACPI: 3, NVS: 4, UNUSABLE: 5, PMEM: 7 } as const
export const E820_MAX_ENTRIES_ZEROPAGE = 128
export const EDD_MBR_SIG_MAX = 16
export const EDDMAXNR = 6

const EddDeviceParams = struct('edd_device_params', 74, {
  length: u16,
  info_flags: u16,
  num_default_cylinders: u32,
  num_default_heads: u32,
  sectors_per_track: u32,
  number_of_sectors: u64,
  bytes_per_sector: u16,
  dpte_ptr: u32,
  key: u16,
  device_path_info_length: u8,
  reserved2: u8,
  reserved3: u16,
  host_bus_type: bytes(4),
  interface_type: bytes(8),
  interface_path: bytes(8),
  device_path: bytes(16),
  reserved4: u8,
  checksum: u8,
})
export const EddInfo = struct('edd_info', 82, {
  device: u8,
  version: u8,
  interface_support: u16,
  legacy_max_cylinder: u16,
  legacy_max_head: u8,
  legacy_sectors_per_track: u8,
  params: EddDeviceParams,
})

/** The most that ext_mem_k holds by convention, KiB: the answer of BIOS calls is one byte short of 64 MiB. */
export const EXT_MEM_K_MAX = 0xfc00
/** screen_info of a PC without a framebuffer: VGA text of 80 by 25, characters of 16 lines (linux/screen_info.h). */
export const TEXT_SCREEN = {
  orig_video_mode: 3,
  orig_video_cols: 80,
  orig_video_lines: 25,
  orig_video_isVGA: 1,
  orig_video_points: 16,
} as const

/** The "zero page" that %esi or %rsi points to at the 32-bit and 64-bit entries. */
export const BootParams = struct('boot_params', 4096, {
  screen_info: ScreenInfo,
  apm_bios_info: ApmBiosInfo,
  _pad2: pad(4),
  tboot_addr: u64,
  ist_info: IstInfo,
  acpi_rsdp_addr: u64,
  _pad3: pad(8),
  hd0_info: bytes(16),
  hd1_info: bytes(16),
  sys_desc_table: SysDescTable,
  olpc_ofw_header: OlpcOfwHeader,
  ext_ramdisk_image: u32,
  ext_ramdisk_size: u32,
  ext_cmd_line_ptr: u32,
  _pad4: pad(112),
  cc_blob_address: u32,
  edid_info: EdidInfo,
  efi_info: EfiInfo,
  alt_mem_k: u32,
  scratch: u32,
  e820_entries: u8,
  eddbuf_entries: u8,
  edd_mbr_sig_buf_entries: u8,
  kbd_status: u8,
  secure_boot: u8,
  _pad5: pad(2),
  sentinel: u8,
  _pad6: pad(1),
  hdr: SetupHeader,
  _pad7: pad(36),
  edd_mbr_sig_buffer: array(u32, EDD_MBR_SIG_MAX),
  e820_table: array(BootE820Entry, E820_MAX_ENTRIES_ZEROPAGE),
  _pad8: pad(48),
  eddbuf: array(EddInfo, EDDMAXNR),
  _pad9: pad(276),
})

/** boot_params, its fields named as in Linux; `hdr` is the setup header. */
export type BootParamsFields = Infer<typeof BootParams>
