/**
 * shared_info: the page that a domain and Xen share, vcpu_info[32] first.
 *
 * Source: xen/include/public/xen.h, struct shared_info, and arch-x86/xen.h; sizes from xen-foreign/reference.size.
 * Gotcha: vcpu_info is 64 bytes in both ABIs, but its fields have different offsets.
 */
import { array, pad, struct, u8, u32, u64 } from './struct.js'

/** vcpu_info entries in shared_info; further vcpus register their own. */
const XEN_LEGACY_MAX_VCPUS = 32

const VcpuTimeInfo = struct('vcpu_time_info', 32, {
  version: u32,
  _pad0: pad(4),
  tsc_timestamp: u64,
  system_time: u64,
  tsc_to_system_mul: u32,
  tsc_shift: u8,
  flags: u8,
  _pad1: pad(2),
})

export const VcpuInfo64 = struct('vcpu_info', 64, {
  evtchn_upcall_pending: u8,
  evtchn_upcall_mask: u8,
  _pad: pad(6),
  evtchn_pending_sel: u64,
  cr2: u64,
  _arch_pad: pad(8),
  time: VcpuTimeInfo,
})

export const VcpuInfo32 = struct('vcpu_info', 64, {
  evtchn_upcall_pending: u8,
  evtchn_upcall_mask: u8,
  _pad: pad(2),
  evtchn_pending_sel: u32,
  cr2: u32,
  _arch_pad: pad(20),
  time: VcpuTimeInfo,
})

export const SharedInfo64 = struct('shared_info', 3136, {
  vcpu_info: array(VcpuInfo64, XEN_LEGACY_MAX_VCPUS),
  evtchn_pending: array(u64, 64),
  evtchn_mask: array(u64, 64),
  wc_version: u32,
  wc_sec: u32,
  wc_nsec: u32,
  wc_sec_hi: u32,
  max_pfn: u64,
  pfn_to_mfn_frame_list_list: u64,
  nmi_reason: u64,
  p2m_cr3: u64,
  p2m_vaddr: u64,
  p2m_generation: u64,
})

export const SharedInfo32 = struct('shared_info', 2344, {
  vcpu_info: array(VcpuInfo32, XEN_LEGACY_MAX_VCPUS),
  evtchn_pending: array(u32, 32),
  evtchn_mask: array(u32, 32),
  wc_version: u32,
  wc_sec: u32,
  wc_nsec: u32,
  max_pfn: u32,
  pfn_to_mfn_frame_list_list: u32,
  nmi_reason: u32,
  p2m_cr3: u32,
  p2m_vaddr: u32,
  p2m_generation: u32,
  wc_sec_hi: u32,
})
