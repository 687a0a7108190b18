/**
 * HVM parameters: numbered values that Xen and a toolstack exchange about an HVM or PVH guest. Most of them name
 * special pages.
 *
 * Source: xen/include/public/hvm/params.h; the pages' places, tools/libs/guest/xg_dom_x86.c (X86_HVM_*_SPECIAL_*); the
 * hole below 4 GiB, tools/libs/light/libxl_arch.h (ACPI_INFO_PHYSICAL_ADDRESS).
 * Gotcha: only names that end in PFN are frame numbers: IDENT_PT, a special page too, is an address.
 */
import { pad, struct, u16, u32, u64 } from './struct.js'

/** hvm_op's first argument (xen/include/public/hvm/hvm_op.h); the second points to struct xen_hvm_param. */
export const HVMOP = { set_param: 0, get_param: 1 } as const
export const XenHvmParam = struct('xen_hvm_param', 16, { domid: u16, _pad: pad(2), index: u32, value: u64 })

/**
 * HVM_PARAM_* of x86, by name. `*_PFN` are frame numbers and `*_EVTCHN` event channels. IDENT_PT, VM86_TSS and
 * VM_GENERATION_ID_ADDR are guest-physical addresses; VM86_TSS_SIZED is one in its low 32 bits and a size in the others.
 * CALLBACK_IRQ has the kind of interrupt in its highest byte. The rest are flags, modes, counts and sets of features.
 */
export const HVM_PARAM = {
  CALLBACK_IRQ: 0,
  STORE_PFN: 1,
  STORE_EVTCHN: 2,
  IOREQ_PFN: 5,
  BUFIOREQ_PFN: 6,
  VIRIDIAN: 9,
  TIMER_MODE: 10,
  HPET_ENABLED: 11,
  IDENT_PT: 12,
  ACPI_S_STATE: 14,
  VM86_TSS: 15,
  VPT_ALIGN: 16,
  CONSOLE_PFN: 17,
  CONSOLE_EVTCHN: 18,
  ACPI_IOPORTS_LOCATION: 19,
  PAGING_RING_PFN: 27,
  MONITOR_RING_PFN: 28,
  SHARING_RING_PFN: 29,
  TRIPLE_FAULT_REASON: 31,
  IOREQ_SERVER_PFN: 32,
  NR_IOREQ_SERVER_PAGES: 33,
  VM_GENERATION_ID_ADDR: 34,
  ALTP2M: 35,
  X87_FIP_WIDTH: 36,
  VM86_TSS_SIZED: 37,
  MCA_CAP: 38,
} as const
/** A parameter of HVM_PARAM, by its name. */
export type HvmParamName = keyof typeof HVM_PARAM

/** The special pages end here, in the order of SPECIAL_PAGES. */
export const END_SPECIAL_REGION_PFN = 0xff000

/** Names of the special pages, lowest first, each with the parameter that holds its place. */
export const SPECIAL_PAGES: readonly { readonly name: string; readonly param: HvmParamName }[] = [
  { name: 'paging_ring', param: 'PAGING_RING_PFN' },
  { name: 'monitor_ring', param: 'MONITOR_RING_PFN' },
  { name: 'sharing_ring', param: 'SHARING_RING_PFN' },
  { name: 'bufioreq', param: 'BUFIOREQ_PFN' },
  { name: 'xenstore', param: 'STORE_PFN' },
  { name: 'ioreq', param: 'IOREQ_PFN' },
  { name: 'ident_pt', param: 'IDENT_PT' },
  { name: 'console', param: 'CONSOLE_PFN' },
]

/** The end of a Xen PVH guest's low RAM; the rest of its memory starts at 4 GiB. */
export const PVH_LOW_RAM_END = 0xfc000000
/** The start of its ACPI tables. The page before them holds what AML asks the toolstack for. */
export const PVH_ACPI_TABLES = 0xfc001000
