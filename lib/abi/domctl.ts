/**
 * domctl: the requests by which a toolstack makes, changes and reads domains. One layout of a new domain for each
 * version of the interface.
 *
 * Source: xen/include/public/domctl.h and arch-x86/xen.h (xen_arch_domainconfig) of the stable branches 4.14 to 4.22;
 * test/peer/domctl.test.ts compares with the headers that are here.
 * Gotcha: Xen refuses every request of another version than its own with EACCES. A version changes when a layout does,
 * so two releases can share one.
 */
import { U32_MAX } from '../units.js'
import { bytes, pad, type Struct, s32, struct, u8, u16, u32, u64 } from './struct.js'
import type { XenRelease } from './xen-release.js'

/** XEN_DOMCTL_*: the requests that the library makes. */
export const DOMCTL = {
  createdomain: 1,
  destroydomain: 2,
  pausedomain: 3,
  unpausedomain: 4,
  getdomaininfo: 5,
  shadow_op: 10,
  max_mem: 11,
  setvcpucontext: 12,
  getvcpucontext: 13,
  getvcpuinfo: 14,
  max_vcpus: 15,
  hypercall_init: 22,
  resumedomain: 27,
  gethvmcontext: 33,
  sethvmcontext: 34,
  set_address_size: 35,
  get_address_size: 36,
  get_ext_vcpucontext: 43,
  gettscinfo: 59,
  settscinfo: 60,
  getpageframeinfo3: 61,
  getvcpuextstate: 63,
  get_vcpu_msrs: 72,
  get_cpu_policy: 82,
  set_cpu_policy: 83,
  set_paging_mempool_size: 86,
} as const
/** A request, by its name in the headers. */
export type DomctlName = keyof typeof DOMCTL

/** struct xen_domctl, whose last member `u` depends on the request. */
export const Domctl = struct('xen_domctl', 144, {
  cmd: u32,
  interface_version: u32,
  domain: u16,
  _pad: pad(6),
  u: bytes(128),
})

/** XEN_DOMCTL_CDF_*, the flags of a new domain. */
export const CDF_HVM = 1 << 0
export const CDF_HAP = 1 << 1
export const CDF_NESTED_VIRT = 1 << 6
/** The first version with that flag. */
export const NESTED_VIRT_SINCE = 0x13
/** XEN_X86_EMU_LAPIC, the one emulated device of a PVH guest. */
export const EMU_LAPIC = 1 << 0
/** XEN_X86_MSR_RELAXED: an unknown MSR reads as 0. */
export const MSR_RELAXED = 1 << 0
/** The first version with misc_flags, which has that flag. */
export const MISC_FLAGS_SINCE = 0x13
/** The first version with altp2m_opts, whose lowest two bits are a mode; before, it is a parameter of the domain. */
export const ALTP2M_SINCE = 0x17
/** max_grant_frames and max_maptrack_frames: Xen's own default. */
export const DEFAULT_FRAMES = -1

const LIMITS = {
  ssidref: u32,
  handle: bytes(16),
  flags: u32,
  iommu_opts: u32,
  max_vcpus: u32,
  max_evtchn_port: u32,
  max_grant_frames: s32,
  max_maptrack_frames: s32,
} as const
const ARCH = { emulation_flags: u32, misc_flags: u32 } as const

/** struct xen_domctl_createdomain of each version that changed it. */
const CreateDomain12 = struct('xen_domctl_createdomain', 48, { ...LIMITS, emulation_flags: u32 })
const CreateDomain13 = struct('xen_domctl_createdomain', 56, { ...LIMITS, vmtrace_size: u32, ...ARCH })
const CreateDomain14 = struct('xen_domctl_createdomain', 60, {
  ...LIMITS,
  ...{ grant_opts: u32, vmtrace_size: u32 },
  ...ARCH,
})
const CreateDomain15 = struct('xen_domctl_createdomain', 64, {
  ...LIMITS,
  ...{ grant_opts: u32, vmtrace_size: u32, cpupool_id: u32 },
  ...ARCH,
})
const CreateDomain17 = struct('xen_domctl_createdomain', 68, {
  ...LIMITS,
  ...{ grant_opts: u32, altp2m_opts: u32, vmtrace_size: u32, cpupool_id: u32 },
  ...ARCH,
})

/** The fields of the newest version; each older one has some of them. */
type CreateDomain = typeof CreateDomain17 extends Struct<infer T> ? T : never

/** One version of the interface. */
export interface DomctlInterface {
  /** XEN_DOMCTL_INTERFACE_VERSION. */
  readonly version: number
  readonly createDomain: Pick<Struct<CreateDomain>, 'size' | 'encode' | 'offsetOf' | 'fieldNames'>
  /** Bytes of struct xen_domctl_getdomaininfo, which ends with xen_arch_domainconfig. */
  readonly domainInfoBytes: number
}

/** Every version, oldest first. */
export const DOMCTL_INTERFACES: readonly DomctlInterface[] = [
  { version: 0x12, createDomain: CreateDomain12, domainInfoBytes: 104 },
  { version: 0x13, createDomain: CreateDomain13, domainInfoBytes: 104 },
  { version: 0x14, createDomain: CreateDomain14, domainInfoBytes: 112 },
  { version: 0x15, createDomain: CreateDomain15, domainInfoBytes: 112 },
  { version: 0x16, createDomain: CreateDomain15, domainInfoBytes: 112 },
  { version: 0x17, createDomain: CreateDomain17, domainInfoBytes: 112 },
  { version: 0x18, createDomain: CreateDomain17, domainInfoBytes: 112 },
]

/** The version of each release. */
export const DOMCTL_VERSIONS: Readonly<Record<XenRelease, number>> = {
  '4.14': 0x12,
  '4.15': 0x13,
  '4.16': 0x14,
  '4.17': 0x15,
  '4.18': 0x16,
  '4.19': 0x17,
  '4.20': 0x17,
  '4.21': 0x17,
  '4.22': 0x18,
}
/** The first version with set_paging_mempool_size; before it shadow_op does that, in MiB. */
export const PAGING_MEMPOOL_SINCE = 0x15

/** The start of struct xen_domctl_getdomaininfo, which all versions share. */
export const DomainInfoStart = struct('xen_domctl_getdomaininfo', 96, {
  domain: u16,
  _pad1: pad(2),
  flags: u32,
  tot_pages: u64,
  max_pages: u64,
  outstanding_pages: u64,
  shr_pages: u64,
  paged_pages: u64,
  shared_info_frame: u64,
  cpu_time: u64,
  nr_online_vcpus: u32,
  max_vcpu_id: u32,
  ssidref: u32,
  handle: bytes(16),
  cpupool: u32,
})
/** XEN_DOMINF_*. */
export const DOMINF_DYING = 1 << 0
export const DOMINF_HVM_GUEST = 1 << 1
export const DOMINF_SHUTDOWN = 1 << 2
export const DOMINF_PAUSED = 1 << 3
export const DOMINF_BLOCKED = 1 << 4
export const DOMINF_RUNNING = 1 << 5
/** The place of SHUTDOWN_* in the flags. */
export const DOMINF_SHUTDOWN_MASK = 255
export const DOMINF_SHUTDOWN_SHIFT = 16
/** XEN_INVALID_MAX_VCPU_ID: the domain has no vcpus. */
export const INVALID_MAX_VCPU_ID = U32_MAX

/** `array` is the address of `num` u64: frames, which become XEN_DOMCTL_PFINFO_*. */
export const GetPageFrameInfo3 = struct('xen_domctl_getpageframeinfo3', 16, { num: u64, array: u64 })
export const MaxMem = struct('xen_domctl_max_mem', 8, { max_memkb: u64 })
export const MaxVcpus = struct('xen_domctl_max_vcpus', 4, { max: u32 })
export const AddressSize = struct('xen_domctl_address_size', 4, { size: u32 })
/** `ctxt` is the address of vcpu_guest_context. */
export const VcpuContext = struct('xen_domctl_vcpucontext', 16, { vcpu: u32, _pad: pad(4), ctxt: u64 })
export const GetVcpuInfo = struct('xen_domctl_getvcpuinfo', 24, {
  vcpu: u32,
  online: u8,
  blocked: u8,
  running: u8,
  _pad: pad(1),
  cpu_time: u64,
  cpu: u32,
  _pad1: pad(4),
})
/** The frame of a PV guest that becomes its hypercall page. */
export const HypercallInit = struct('xen_domctl_hypercall_init', 8, { gmfn: u64 })
/** `size` is that of the buffer, then the bytes in it; with the address 0 only the most that there can be. */
export const HvmContext = struct('xen_domctl_hvmcontext', 16, { size: u32, _pad: pad(4), buffer: u64 })
export const TscInfo = struct('xen_domctl_tsc_info', 24, {
  tsc_mode: u32,
  gtsc_khz: u32,
  incarnation: u32,
  _pad: pad(4),
  elapsed_nsec: u64,
})

/** SET_ALLOCATION of shadow_op: `mb` MiB for page tables. */
export const SHADOW_OP_SET_ALLOCATION = 31
export const ShadowOp = struct('xen_domctl_shadow_op', 40, {
  op: u32,
  mode: u32,
  mb: u32,
  _pad: pad(4),
  dirty_bitmap: u64,
  pages: u64,
  fault_count: u32,
  dirty_count: u32,
})
/** `size` in bytes. */
export const PagingMempool = struct('xen_domctl_paging_mempool', 8, { size: u64 })

/** The start of struct xen_domctl_ext_vcpucontext, whose first `size` bytes are a record of a save file. */
export const ExtVcpuContextStart = struct('xen_domctl_ext_vcpucontext', 8, { vcpu: u32, size: u32 })
/** With the address 0 it returns the mask and the largest size; they go in again with the buffer. */
export const VcpuExtState = struct('xen_domctl_vcpuextstate', 32, {
  vcpu: u32,
  _pad: pad(4),
  xfeature_mask: u64,
  size: u64,
  buffer: u64,
})
/** `msr_count` entries; with the address 0 the most that there can be. */
export const VcpuMsrs = struct('xen_domctl_vcpu_msrs', 16, { vcpu: u32, msr_count: u32, msrs: u64 })
/** Bytes of struct xen_domctl_vcpu_msr: index, reserved, value. */
export const VCPU_MSR_BYTES = 16

/** The counts are those of the buffers, then of their entries. Xen tells which leaf or MSR it refuses. */
export const CpuPolicy = struct('xen_domctl_cpu_policy', 40, {
  nr_leaves: u32,
  nr_msrs: u32,
  leaves: u64,
  msrs: u64,
  err_leaf: u32,
  err_subleaf: u32,
  err_msr: u32,
  _pad: pad(4),
})
/** Bytes of xen_msr_entry_t (idx, flags, val); arch-x86/xen.h. */
export const MSR_ENTRY_BYTES = 16
