/**
 * Domain: a guest at its first instant. What a protocol builds, a snapshot carries, and a view shows.
 *
 * Source: our own design; the words are those of xen/include/public/xen.h.
 * Gotcha: a Domain read back from a file is as good as one just built: nobody downstream may ask which it is.
 */
import type { FeatureName } from '../abi/features.js'
import { DomainBuilderError } from '../errors.js'
import type { Mfn, Paddr, Pfn, Vaddr } from '../units.js'
import type { Region } from './allocator.js'
import type { GuestMemory } from './memory.js'
import type { P2m } from './p2m.js'
import type { Vcpu } from './vcpu.js'

/**
 * The boot convention, as xl.cfg(5) has it in `type`; linux is the Linux boot protocol. An hvm guest begins in a firmware
 * of its own, with nothing for a builder to do: there are only those that Xen saved.
 */
export type DomainType = 'pv' | 'pvh' | 'hvm' | 'linux'
/** Width of the guest: 64-bit, 32-bit with PAE, or 32-bit without PAE tables. The words are those of libxenguest. */
export type DomainAbi = 'x86_64' | 'x86_32p' | 'x86_32'

/** Xen's page types as save files number them; pinned is a flag beside. */
export interface PageType {
  /** 0 for ordinary memory, else the level of the page table the frame holds. */
  readonly level: 0 | 1 | 2 | 3 | 4
  /** Whether Xen is told that it is a page table for good: the top one. */
  readonly pinned: boolean
}

/** Where the kernel came from, for people and sidecars. */
export interface KernelOrigin {
  /** `elf`, `bzImage`, or the codec of a file that is compressed as a whole. */
  readonly container: string
  /** How the ELF was compressed, where it was. */
  readonly codec?: string
  /** Of the file as it was given, hex. */
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

/** A ring page and the event channel that goes with it. */
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
  /** All of them. */
  readonly pages: number
  /** Tables of one level in frames that follow one another. */
  readonly runs: readonly TableFramesRun[]
}

/** Frames that follow one another and hold tables of one level. */
export interface TableFramesRun {
  readonly level: number
  readonly pfn: Pfn
  readonly pages: number
  /** Each is held by the guest itself, as the top one always is: a guest that has run pins the tables of its processes. */
  readonly pinned?: true
}

const sortedRuns = (tables: PageTableFrames): readonly TableFramesRun[] =>
  [...tables.runs].sort((a, b) => a.pfn - b.pfn)

/** A guest that has run may have a hundred thousand runs of tables: searched by halves. */
function typeAmong(sorted: readonly TableFramesRun[], top: Pfn, pfn: Pfn): PageType {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const run = sorted[middle] as TableFramesRun
    if (run.pfn + run.pages > pfn) high = middle
    else low = middle + 1
  }
  const found = sorted[low]
  const run = found && pfn >= found.pfn ? found : undefined
  return { level: (run?.level ?? 0) as PageType['level'], pinned: pfn === top || run?.pinned === true }
}

/** Boot information of a Xen PV guest. */
export interface PvBoot {
  /** A Xen PV guest. */
  readonly kind: 'start_info'
  /** Where start_info lies: its frame, and the virtual address that %rsi or %esi has. */
  readonly startInfo: { readonly pfn: Pfn; readonly vaddr: Vaddr }
  /** The bytes of shared_info's page; it lies in a frame of Xen's, not in the guest's memory. */
  readonly sharedInfo: Uint8Array
  /** The machine frame of shared_info. */
  readonly sharedInfoMfn: Mfn
  /** Pages shared with the backends and their event channels; a dom0 has none. */
  readonly xenstore?: SharedPage
  readonly console?: SharedPage
  /** Entries of the grant table that the toolstack writes before the guest starts. */
  readonly grants: readonly GrantEntry[]
  /** Frames that hold the initial page tables. */
  readonly pageTables: PageTableFrames
  /** Those that the kernel and the builder agreed on. */
  readonly features: readonly FeatureName[]
  /** The page that the kernel's HYPERCALL_PAGE note names; absent where there is no note, or the guest has run. */
  readonly hypercallPage?: Pfn
}

/** Boot information of a guest entered by the Linux boot protocol: what there is to know lies in boot_params. */
export interface LinuxBoot {
  /** A guest of the Linux boot protocol. */
  readonly kind: 'boot_params'
  /** In real mode: the boot sector, with the setup header at the same offset. The rest its setup code makes itself. */
  readonly bootParams: Paddr
  /** start_info hung off boot_params, for a kernel whose hardware_subarch says that it looks for one. */
  readonly startInfo?: { readonly pfn: Pfn; readonly vaddr: Vaddr }
  /** Absent where paging is off. */
  readonly pageTables?: PageTableFrames
}

/** A parameter that the toolstack sets for an HVM or PVH guest (HVM_PARAM_*). */
export interface HvmParam {
  /** HVM_PARAM_* of xen/include/public/hvm/params.h; `HVM_PARAM` has those that a builder sets. */
  readonly index: number
  /** A frame number, a port, or for IDENT_PT an address. */
  readonly value: bigint
}

/** Boot information of a PVH guest: what there is to know lies in hvm_start_info. */
export interface PvhBoot {
  /** A PVH guest. */
  readonly kind: 'hvm_start_info'
  /** Absent where the guest has run: the memory is its own by then. */
  readonly hvmStartInfo?: Paddr
  /** By index; empty for a guest that is not Xen's. */
  readonly hvmParams: readonly HvmParam[]
}

/** Of an HVM guest: none that was built. Its firmware found out by itself, and where it is now is the guest's own affair. */
export interface HvmBoot {
  readonly kind: 'firmware'
  /** By index. */
  readonly hvmParams: readonly HvmParam[]
}

/** A record of a save file that is kept as it was found. */
export interface SavedRecord {
  /** Its name in the stream's specification. */
  readonly name: string
  /** Without the record's header and padding. */
  readonly body: Uint8Array
}

/** What a save file says beside the guest itself; a guest that was just built has none of it. */
export interface SavedState {
  /** The toolstack's configuration of the domain, JSON as libxl writes it. */
  readonly config?: string
  /** State that a Domain has no word for: processor policies, time, extended vcpu state, device models. In order. */
  readonly records: readonly SavedRecord[]
}

/** Boot information, by the boot convention: `kind` tells which. */
export type BootInfo = PvBoot | LinuxBoot | PvhBoot | HvmBoot

/** Only Xen, and only of a PV guest, asks what a frame is used for: in any other every frame is ordinary. */
export function pageTypes(boot: BootInfo): (pfn: Pfn) => PageType {
  if (boot.kind !== 'start_info') return () => ({ level: 0, pinned: false })
  const sorted = sortedRuns(boot.pageTables)
  return (pfn) => typeAmong(sorted, boot.pageTables.top, pfn)
}

/**
 * The boot information of a PV guest.
 * @throws DomainBuilderError `bad-config` for a guest of another type: what is asked for, it does not have.
 */
export function requirePv(domain: Domain): PvBoot {
  const { boot } = domain
  if (boot.kind === 'start_info') return boot
  throw new DomainBuilderError('bad-config', 'only a PV guest has that', { expected: 'pv', found: domain.type })
}

/**
 * A guest at its first instant.
 * @typeParam B narrower where the type of guest is known.
 */
export interface Domain<B extends BootInfo = BootInfo> {
  /** The boot convention. */
  readonly type: DomainType
  /** Width of the kernel, and whether it has PAE tables. */
  readonly abi: DomainAbi
  /** As the toolstack is to call it; "guest" where nobody said. */
  readonly name: string
  /** Guest-physical memory, by pfn and paddr; machine frames are the p2m's. */
  readonly memory: GuestMemory
  /** Bytes the guest may grow to; what it starts with is memory.pageCount pages. */
  readonly maxmem: number
  /** In order of their numbers, the first one online; at least one. */
  readonly vcpus: readonly Vcpu[]
  /** In the order they were placed. */
  readonly regions: readonly Region[]
  /** The machine frame behind each guest frame; identity in a guest that is not PV. */
  readonly p2m: P2m
  /** What the guest finds and where, by boot convention. */
  readonly boot: B
  /** Unknown for a guest that another toolstack saved. */
  readonly kernel?: KernelOrigin
  /** Beside the guest itself, what its save file said. */
  readonly saved?: SavedState
  /** What Xen has a frame for; ordinary memory in any guest that is not PV. */
  pageType(pfn: Pfn): PageType
}
