/**
 * Domain: a guest at its first instant. Protocols build it, snapshots carry it and views show it.
 *
 * Source: our own design; the words are those of xen/include/public/xen.h.
 * Gotcha: code that treats a Domain from a file differently from a newly built one is wrong: they are equivalent.
 */
import type { FeatureName } from '../abi/features.js'
import { DomainBuilderError } from '../errors.js'
import type { Mfn, Paddr, Pfn, Vaddr } from '../units.js'
import type { GuestMemory } from './memory.js'
import type { P2m } from './p2m.js'
import type { Region } from './region.js'
import { type Run, runEndingAfter } from './runs.js'
import type { Vcpu } from './vcpu.js'

/**
 * The boot convention, as in xl.cfg(5)'s `type`; linux is the Linux boot protocol. An hvm guest begins in its firmware,
 * so a builder has nothing to do: such guests come only from files of guests that ran.
 */
export type DomainType = 'pv' | 'pvh' | 'hvm' | 'linux'
/** Width of the guest: 64-bit, 32-bit with PAE, or 32-bit without PAE tables. The words are those of libxenguest. */
export type DomainAbi = 'x86_64' | 'x86_32p' | 'x86_32'

/** Xen's page types as save files number them, with pinned as a separate flag. */
export interface PageType {
  /** 0 for ordinary memory, else the level of the page table in the frame. */
  readonly level: 0 | 1 | 2 | 3 | 4
  /** Whether Xen is told to keep it as a page table: the top one. */
  readonly pinned: boolean
}

/** The origin of the kernel, for people and sidecars. */
export interface KernelOrigin {
  /** `elf`, `bzImage`, or the codec of a wholly compressed file. */
  readonly container: string
  /** The codec of the ELF, if it was compressed. */
  readonly codec?: string
  /** Hash of the given file, hex. */
  readonly sha256: string
}

/** A page the guest shares with a backend through the grant table. */
export interface GrantEntry {
  /** Index in the grant table. */
  readonly ref: number
  /** The domain that may use the page. */
  readonly domid: number
  /** The page, as the guest counts frames. */
  readonly pfn: Pfn
  /** Its machine frame. */
  readonly mfn: Mfn
}

/** A ring page and its event channel. */
export interface SharedPage {
  /** The page, as the guest counts frames. */
  readonly pfn: Pfn
  /** The guest's end of the event channel, a port. */
  readonly evtchn: number
}

/** Frames that hold the guest's page tables. */
export interface PageTableFrames {
  /** Frame of the top table, as the guest counts them. */
  readonly top: Pfn
  /** The number of all of them. */
  readonly pages: number
  /** Runs of consecutive frames with tables of one level. */
  readonly runs: readonly TableFramesRun[]
}

/** Consecutive frames with tables of one level. */
export interface TableFramesRun extends Run {
  readonly level: number
  /** The guest pins each of them, as the top one always is: after it has run, it pins the tables of its processes. */
  readonly pinned?: true
}

function typeAmong(sorted: readonly TableFramesRun[], top: Pfn, pfn: Pfn): PageType {
  const found = sorted[runEndingAfter(sorted, pfn)]
  const run = found && pfn >= found.pfn ? found : undefined
  return { level: (run?.level ?? 0) as PageType['level'], pinned: pfn === top || run?.pinned === true }
}

/** Boot information of a Xen PV guest. */
export interface PvBoot {
  /** A Xen PV guest. */
  readonly kind: 'start_info'
  /** The place of start_info: its frame, and the virtual address in %rsi or %esi. */
  readonly startInfo: { readonly pfn: Pfn; readonly vaddr: Vaddr }
  /** The bytes of shared_info's page, which lies in one of Xen's frames, not in the guest's memory. */
  readonly sharedInfo: Uint8Array
  /** The machine frame of shared_info. */
  readonly sharedInfoMfn: Mfn
  /** Pages shared with the backends and their event channels; a dom0 has none. */
  readonly xenstore?: SharedPage
  readonly console?: SharedPage
  /** The grant table entries that the toolstack writes before the guest starts. */
  readonly grants: readonly GrantEntry[]
  /** Frames that hold the initial page tables. */
  readonly pageTables: PageTableFrames
  /** The features that the kernel and the builder agreed on. */
  readonly features: readonly FeatureName[]
  /** The page that the kernel's HYPERCALL_PAGE note names; absent without a note or after the guest has run. */
  readonly hypercallPage?: Pfn
}

/** Boot information of a guest entered by the Linux boot protocol; boot_params holds it all. */
export interface LinuxBoot {
  /** A guest of the Linux boot protocol. */
  readonly kind: 'boot_params'
  /** In real mode: the boot sector, with the setup header at the same offset. The setup code fills the rest. */
  readonly bootParams: Paddr
  /** The start_info that boot_params points to, for a kernel whose hardware_subarch asks for one. */
  readonly startInfo?: { readonly pfn: Pfn; readonly vaddr: Vaddr }
  /** Absent if paging is off. */
  readonly pageTables?: PageTableFrames
}

/** A parameter that the toolstack sets for an HVM or PVH guest (HVM_PARAM_*). */
export interface HvmParam {
  /** HVM_PARAM_* of xen/include/public/hvm/params.h; `HVM_PARAM` has their numbers by name. */
  readonly index: number
  /** A frame number, a port, or for IDENT_PT an address. */
  readonly value: bigint
}

/** Boot information of a PVH guest; hvm_start_info holds it all. */
export interface PvhBoot {
  /** A PVH guest. */
  readonly kind: 'hvm_start_info'
  /** Absent after the guest has run: by then it may have reused the memory. */
  readonly hvmStartInfo?: Paddr
  /** By index; empty for a guest that does not run on Xen. */
  readonly hvmParams: readonly HvmParam[]
}

/** Boot information of an HVM guest, which is never built here: its firmware finds everything else by itself. */
export interface HvmBoot {
  readonly kind: 'firmware'
  /** By index. */
  readonly hvmParams: readonly HvmParam[]
}

/** A record of a save file, kept unchanged. */
export interface SavedRecord {
  /** Its name in the stream's specification. */
  readonly name: string
  /** The bytes without the record's header and padding. */
  readonly body: Uint8Array
}

/** The name of the record with libvirt's description of a guest that it saved. */
export const LIBVIRT_XML = 'libvirt XML'

/**
 * The content of a save file in addition to the guest itself. A built guest has it if its configuration names `settings` or
 * `policies`.
 */
export interface SavedState {
  /** The toolstack's configuration of the domain, JSON as libxl writes it. */
  readonly config?: string
  /** State that a Domain cannot express: processor policies, time, extended vcpu state, device models. In order. */
  readonly records: readonly SavedRecord[]
}

/** The records that tell what processor a guest finds: its CPUID leaves and its MSRs. */
const POLICY_RECORDS: readonly string[] = ['X86_CPUID_POLICY', 'X86_MSR_POLICY']

/** Returns whether a record is a processor policy. */
export const isPolicy = ({ name }: SavedRecord): boolean => POLICY_RECORDS.includes(name)

/** Boot information, by the boot convention: `kind` tells which. */
export type BootInfo = PvBoot | LinuxBoot | PvhBoot | HvmBoot

/** The type of each frame. Only a PV guest's frames have types for Xen: in other guests every frame is ordinary. */
export function pageTypes(boot: BootInfo): (pfn: Pfn) => PageType {
  if (boot.kind !== 'start_info') return () => ({ level: 0, pinned: false })
  const sorted = [...boot.pageTables.runs].sort((a, b) => a.pfn - b.pfn)
  return (pfn) => typeAmong(sorted, boot.pageTables.top, pfn)
}

/**
 * Returns the boot information of a PV guest.
 * @throws DomainBuilderError `bad-config` for a guest of another type.
 */
export function requirePv(domain: Domain): PvBoot {
  const { boot } = domain
  if (boot.kind === 'start_info') return boot
  throw new DomainBuilderError('bad-config', 'the guest is not a PV guest', { expected: 'pv', found: domain.type })
}

/**
 * A guest at its first instant.
 * @typeParam B narrower if the type of guest is known.
 */
export interface Domain<B extends BootInfo = BootInfo> {
  /** The boot convention. */
  readonly type: DomainType
  /** Width of the kernel, and whether it has PAE tables. */
  readonly abi: DomainAbi
  /** The name for the toolstack; default "guest". */
  readonly name: string
  /** Guest-physical memory, by pfn and paddr; the p2m has the machine frames. */
  readonly memory: GuestMemory
  /** The most bytes the guest may grow to; it starts with memory.pageCount pages. */
  readonly maxmem: number
  /**
   * Bytes that Xen gives a created PVH guest at first, if less than its memory: it populates the other pages on demand,
   * and the guest's balloon driver keeps to this target.
   */
  readonly target?: number
  /** In order of their numbers; at least one, the first one online. */
  readonly vcpus: readonly Vcpu[]
  /** In order of placement. */
  readonly regions: readonly Region[]
  /** The machine frame of each guest frame; identity in a guest that is not PV. */
  readonly p2m: P2m
  /** The boot information and its place, by boot convention. */
  readonly boot: B
  /** Absent for a guest that another toolstack saved. */
  readonly kernel?: KernelOrigin
  /** The other content of its save file. */
  readonly saved?: SavedState
  /** The use of a frame for Xen; ordinary memory in any guest that is not PV. */
  pageType(pfn: Pfn): PageType
}
