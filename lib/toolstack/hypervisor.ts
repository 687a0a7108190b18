/**
 * Hypervisor: the narrow interface between this library and a hypervisor that runs. Everything that creates, watches or
 * captures a domain goes through it.
 *
 * Source: xen/include/public/{domctl,memory,xen,event_channel,grant_table}.h and hvm/hvm_op.h for the calls that each
 * method stands for; docs/misc/xenstore.txt.
 * Gotcha: a method may answer at once or with a promise, so callers await each answer. Bytes and arrays that a method
 * is given belong to the caller, who may reuse them as soon as the answer is there.
 */
import type { XenRelease } from '../abi/xen-release.js'
import type { MapEntry } from '../guest/memory-map.js'
import type { Mfn, Pfn } from '../units.js'
import type { Answer, Domid } from './answer.js'
import type { XenStore } from './xen-store.js'

/** The fixed properties of a new domain (XEN_DOMCTL_createdomain). */
export interface NewDomain {
  readonly type: 'pv' | 'pvh'
  /** Its handle: 8-4-4-4-12 hexadecimal digits. */
  readonly uuid: string
  /** The most vcpus that it can have, 1 to 128. */
  readonly vcpus: number
  /** The highest event channel. */
  readonly maxEventChannel: number
  /** The most pages of the grant table and of the maptrack table; undefined: Xen's default. */
  readonly maxGrantFrames?: number
  readonly maxMaptrackFrames?: number
  /** The newest version of the grant table's entries: 1 or 2. */
  readonly maxGrantVersion: number
  /** PVH: whether the guest can run a hypervisor. */
  readonly nestedVirtualization: boolean
  /** Whether an unknown MSR reads as 0, instead of a fault. */
  readonly msrRelaxed: boolean
  /** PVH: who may use further p2m tables. 0: off, 1: all programs, 2: those outside the guest, 3: the guest, in part. */
  readonly altp2m: number
}

/** The state of a domain (XEN_DOMCTL_getdomaininfo). */
export interface DomainInfo {
  readonly domid: Domid
  /** Its handle: 8-4-4-4-12 hexadecimal digits. */
  readonly uuid: string
  /** Whether it is an HVM or PVH guest: one with translated frames. */
  readonly hvm: boolean
  /** Whether it is being destroyed. */
  readonly dying: boolean
  /** Whether a toolstack has paused it. */
  readonly paused: boolean
  /** SHUTDOWN_* of xen/include/public/sched.h, once the guest has stopped. */
  readonly shutdown?: number
  /** Pages that it has, and the most that it may have. */
  readonly pages: number
  readonly maxPages: number
  /** The frame of shared_info: an mfn, or the gfn of an HVM guest. */
  readonly sharedInfoFrame: Mfn
  /** Its vcpus are numbered from 0 to this. */
  readonly maxVcpuId: number
  readonly onlineVcpus: number
  /** Whether a vcpu runs now, and whether all of them wait for something. */
  readonly running: boolean
  readonly blocked: boolean
  /** The time that its vcpus have run, in nanoseconds. */
  readonly cpuTime: bigint
}

/** The processor of a guest: its CPUID leaves and MSRs, as the records of a save file hold them. */
export interface CpuPolicy {
  /** Entries of 24 bytes, xen_cpuid_leaf_t. */
  readonly leaves: Uint8Array
  /** Entries of 16 bytes, xen_msr_entry_t. */
  readonly msrs: Uint8Array
}

/** The time of a guest (XEN_DOMCTL_gettscinfo), as the X86_TSC_INFO record of a save file holds it. */
export interface TscInfo {
  readonly mode: number
  readonly khz: number
  readonly nsec: bigint
  readonly incarnation: number
}

/** State of a PV vcpu in addition to vcpu_guest_context, as the records X86_PV_VCPU_* of a save file hold it. */
export type VcpuState = 'extended' | 'xsave' | 'msrs'

/** Bytes, and their place in the pages of a write. */
export interface Piece {
  /** Bytes from the start of the first frame. */
  readonly offset: number
  readonly bytes: Uint8Array
}

/** An entry of a grant table that the toolstack makes (GTF_permit_access). */
export interface NewGrant {
  readonly ref: number
  /** The domain that may map the page. */
  readonly domid: Domid
  /** An mfn for a PV guest, a gfn for a PVH guest. */
  readonly frame: Mfn
}

/** The most frames in a call of a method that takes frames. */
export const FRAMES_AT_ONCE = 1024

/**
 * A hypervisor. `openXen` returns the one below this dom0; `RecordingXen` of `xen-domain-builder/testing` is one in
 * memory. Frames of a PV guest are mfns, those of an HVM or PVH guest gfns.
 *
 * A method throws what it likes when the hypervisor refuses: the caller undoes its work and passes the error on.
 */
export interface Hypervisor {
  /** The release of Xen. */
  readonly release: XenRelease
  /** Xenstore, and the connections to it. */
  readonly store: XenStore

  /** Makes a domain: paused, without memory and vcpus. Returns its number. */
  createDomain(domain: NewDomain): Answer<Domid>
  /** Makes a PV domain a 32-bit one, before it has memory or vcpus. */
  setAddressSize(domid: Domid, bits: 32): Answer<void>
  /** Allocates the vcpus. */
  setMaxVcpus(domid: Domid, vcpus: number): Answer<void>
  /** Sets the most memory, in KiB. */
  setMaxMemory(domid: Domid, kib: number): Answer<void>
  /** Sets the memory of Xen for the page tables of an HVM or PVH guest, in bytes: whole MiB. */
  setPagingPool(domid: Domid, bytes: number): Answer<void>
  /** Sets the source of time: TSC_MODE_* of Xen, 0 the default. */
  setTscMode(domid: Domid, mode: number): Answer<void>
  /** Destroys a domain, and returns when its pages are free. */
  destroyDomain(domid: Domid): Answer<void>
  /** Returns all domains, in order. */
  listDomains(): Answer<readonly DomainInfo[]>
  /** Returns a domain; undefined if it does not exist. */
  domainInfo(domid: Domid): Answer<DomainInfo | undefined>
  /** Stops all vcpus of a domain, and returns when they have stopped. Pauses are counted. */
  pauseDomain(domid: Domid): Answer<void>
  /** Undoes one pause. */
  unpauseDomain(domid: Domid): Answer<void>
  /** Lets a domain that has suspended go on. */
  resumeDomain(domid: Domid): Answer<void>

  /**
   * Gives a domain extents of 2^order pages each. `frames` has their first pfns; for a PV guest it has their first mfns
   * afterwards. Returns the number of extents that were given: fewer than all if the memory is not there.
   * @param onDemand a PVH guest gets the pages when it uses them.
   */
  populate(domid: Domid, frames: BigUint64Array, order: number, onDemand: boolean): Answer<number>
  /** Sets the number of pages that a guest with memory on demand gets at most. */
  setPodTarget(domid: Domid, pages: number): Answer<void>
  /** Gives the frame of a pfn of a PV guest back, for one below 4 GiB. Returns the new frame. */
  exchangeBelow4GiB(domid: Domid, pfn: Pfn, mfn: Mfn): Answer<Mfn>
  /** Sets the memory map that the guest reads with XENMEM_memory_map. */
  setMemoryMap(domid: Domid, entries: readonly MapEntry[]): Answer<void>
  /** Returns the highest frame of a guest that has translated frames. */
  maximumGpfn(domid: Domid): Answer<Pfn>
  /** Returns XEN_DOMCTL_PFINFO_* of each frame: the type of a page, or that it is absent. At most 1024 frames. */
  frameTypes(domid: Domid, frames: BigUint64Array): Answer<Uint32Array>
  /** Fills `out` with the content of frames, 4096 bytes each. At most 1024 frames. */
  readFrames(domid: Domid, frames: BigUint64Array, out: Uint8Array): Answer<void>
  /**
   * Writes the pieces, which are in order and do not overlap, into frames, at most 1024. All other bytes of the frames
   * become zero. No mapping is left when the answer is there: Xen refuses a page table that a toolstack can still write.
   */
  writeFrames(domid: Domid, frames: BigUint64Array, pieces: readonly Piece[]): Answer<void>
  /** Lets Xen write the page that a PV guest calls for its hypercalls (XEN_DOMCTL_hypercall_init). */
  initHypercallPage(domid: Domid, mfn: Mfn): Answer<void>
  /** Makes a page table of a PV guest one that Xen keeps as such (MMUEXT_PIN_L*_TABLE). */
  pinTable(domid: Domid, level: 1 | 2 | 3 | 4, mfn: Mfn): Answer<void>

  /** Makes an event channel of the domain, which `remote` may bind. Returns its port. */
  allocUnbound(domid: Domid, remote: Domid): Answer<number>
  /** Writes entries into the grant table of a domain. */
  setGrants(domid: Domid, grants: readonly NewGrant[]): Answer<void>
  /** Sets HVM_PARAM_*. */
  setHvmParam(domid: Domid, index: number, value: bigint): Answer<void>
  /** Returns HVM_PARAM_*; undefined for one that Xen does not give. */
  hvmParam(domid: Domid, index: number): Answer<bigint | undefined>

  /** Sets a PV vcpu: vcpu_guest_context, 5168 bytes, or 2800 of a 32-bit guest. */
  setVcpuContext(domid: Domid, vcpu: number, context: Uint8Array): Answer<void>
  /** Returns vcpu_guest_context; undefined for a vcpu that was never initialised. Its length is the guest's width. */
  vcpuContext(domid: Domid, vcpu: number): Answer<Uint8Array | undefined>
  /** Returns whether a vcpu is online. */
  isOnline(domid: Domid, vcpu: number): Answer<boolean>
  /** Returns a PV vcpu's state as a record of a save file has it, without the vcpu's number; empty for default state. */
  vcpuState(domid: Domid, vcpu: number, state: VcpuState): Answer<Uint8Array>
  /** Sets the state of a PVH guest: records from HEADER to END. */
  setHvmContext(domid: Domid, context: Uint8Array): Answer<void>
  /** Returns the state of an HVM or PVH guest. */
  hvmContext(domid: Domid): Answer<Uint8Array>
  /** Returns the processor that Xen gives a guest of that type by default; of the host itself with `host`. */
  defaultCpuPolicy(type: 'pv' | 'pvh' | 'host'): Answer<CpuPolicy>
  /** Returns the processor of a domain. */
  cpuPolicy(domid: Domid): Answer<CpuPolicy>
  /** Sets the processor of a domain that has not run. */
  setCpuPolicy(domid: Domid, policy: CpuPolicy): Answer<void>
  /** Returns the time of a domain. */
  tscInfo(domid: Domid): Answer<TscInfo>

  /**
   * Keeps a file of libxl about a domain (userdata), or removes it without a text. `name` is libxl-json: with it xl
   * saves and migrates the domain.
   */
  setUserdata(domid: Domid, uuid: string, name: string, text: string | undefined): Answer<void>
  /** Returns a file of libxl about a domain; undefined if it is missing. */
  userdata(domid: Domid, uuid: string, name: string): Answer<string | undefined>
  /** Names this process, so that another one can tell later whether it still runs. */
  readonly process: string
  /** Returns whether the named process still runs. */
  isRunning(process: string): Answer<boolean>
}
