/**
 * start_info: the page a PV guest finds through %rsi (%esi) at its first instruction.
 *
 * Source: xen/include/public/xen.h, struct start_info; sizes from tools/include/xen-foreign/reference.size.
 * Gotcha: the two ABIs differ in more than field size: only on x86_64 does padding follow the u32 fields.
 */
import { cstring, type Infer, pad, struct, u8, u16, u32, u64 } from './struct.js'

/** `magic`: xen-<version>-<platform>. */
export const START_INFO_MAGIC = { x86_64: 'xen-3.0-x86_64', x86_32p: 'xen-3.0-x86_32p' } as const
/** The same for a dom0 whose kernel has a PAE_MODE other than `no`: Xen appends the p (arch/x86/pv/dom0_build.c). */
export const DOM0_PAE_MAGIC = { x86_64: 'xen-3.0-x86_64p', x86_32p: 'xen-3.0-x86_32p' } as const

/** Bytes of cmd_line with its NUL (MAX_GUEST_CMDLINE). */
export const MAX_GUEST_CMDLINE = 1024

export const SIF_PRIVILEGED = 1 << 0
export const SIF_INITDOMAIN = 1 << 1
/** mod_start is the address of a multiboot module list instead of the module. */
export const SIF_MULTIBOOT_MOD = 1 << 2
/** mod_start is a pfn: the module is not mapped. mod_len counts bytes all the same. */
export const SIF_MOD_START_PFN = 1 << 3
/** The toolstack understands a p2m that is mapped in the guest's address space, so the three-level tree is not needed. */
export const SIF_VIRT_P2M_4TOOLS = 1 << 4

export const StartInfo64 = struct('start_info', 1168, {
  magic: cstring(32),
  nr_pages: u64,
  shared_info: u64,
  flags: u32,
  _pad0: pad(4),
  store_mfn: u64,
  store_evtchn: u32,
  _pad1: pad(4),
  console_mfn: u64,
  console_evtchn: u32,
  _pad2: pad(4),
  pt_base: u64,
  nr_pt_frames: u64,
  mfn_list: u64,
  mod_start: u64,
  mod_len: u64,
  cmd_line: cstring(MAX_GUEST_CMDLINE),
  first_p2m_pfn: u64,
  nr_p2m_frames: u64,
})

export const StartInfo32 = struct('start_info', 1112, {
  magic: cstring(32),
  nr_pages: u32,
  shared_info: u32,
  flags: u32,
  store_mfn: u32,
  store_evtchn: u32,
  console_mfn: u32,
  console_evtchn: u32,
  pt_base: u32,
  nr_pt_frames: u32,
  mfn_list: u32,
  mod_start: u32,
  mod_len: u32,
  cmd_line: cstring(MAX_GUEST_CMDLINE),
  first_p2m_pfn: u32,
  nr_p2m_frames: u32,
})

/** console.dom0 shares console.domU's bytes: info_off the low half of mfn, info_size right after it, both u32. */
export const StartInfoDom0Console = struct('start_info.console.dom0', 8, { info_off: u32, info_size: u32 })

/** The description of the screen for a dom0's kernel: VGA text (dom0_vga_console_info, u.text_mode_3)... */
export const XEN_VGATYPE_TEXT_MODE_3 = 0x03
export const Dom0TextConsole = struct('dom0_vga_console_info', 40, {
  video_type: u8,
  _pad0: pad(3),
  font_height: u16,
  cursor_x: u16,
  cursor_y: u16,
  rows: u16,
  columns: u16,
  _pad1: pad(26),
})

/** ...or a linear framebuffer (u.vesa_lfb). */
export const XEN_VGATYPE_VESA_LFB = 0x23
export const XEN_VGATYPE_EFI_LFB = 0x70
export const Dom0VesaConsole = struct('dom0_vga_console_info', 40, {
  video_type: u8,
  _pad0: pad(3),
  width: u16,
  height: u16,
  bytes_per_line: u16,
  bits_per_pixel: u16,
  lfb_base: u32,
  lfb_size: u32,
  red_pos: u8,
  red_size: u8,
  green_pos: u8,
  green_size: u8,
  blue_pos: u8,
  blue_size: u8,
  rsvd_pos: u8,
  rsvd_size: u8,
  gbl_caps: u32,
  mode_attrs: u16,
  _pad1: pad(2),
  ext_lfb_base: u32,
})

/** A module of a SIF_MULTIBOOT_MOD package: offsets into it, mod_end the last byte. mod_start 0 ends the list. */
export const XenMultibootModList = struct('xen_multiboot_mod_list', 16, {
  mod_start: u32,
  mod_end: u32,
  cmdline: u32,
  _pad: pad(4),
})

export type StartInfo64Fields = Infer<typeof StartInfo64>
export type StartInfo32Fields = Infer<typeof StartInfo32>
