/**
 * Compares a guest that Xen's own toolstack built and that never ran with the one that we build of the same kernel.
 *
 * Source: src/pvfreeze.c writes the files; xen/arch/x86/mm.c for the changes by pinning.
 * Gotcha: Xen assigns frames and event channels. We must build with the same ones, or bytes differ everywhere.
 */
import { SharedInfo32, SharedInfo64 } from '../../lib/abi/shared-info.js'
import { SIF_VIRT_P2M_4TOOLS, StartInfo32, StartInfo64 } from '../../lib/abi/start-info.js'
import { VcpuGuestContext32, VcpuGuestContext64 } from '../../lib/abi/vcpu-context.js'
import { PTE_PRESENT, PTE_USER } from '../../lib/abi/x86.js'
import {
  buildDomain,
  type Domain,
  encodePvContext,
  type Kernel,
  PAGE_SIZE,
  type PvConfig,
  requirePv,
} from '../../lib/index.js'
import type { XenResult } from './harness.js'

/** The files that `pvfreeze DOMID dump .` writes, which the case gives back. */
const FROZEN_FILES = ['vcpu.bin', 'shared_info.bin', 'p2m.bin', 'pages.bin'] as const
/** Steps that freeze the guest of guest.cfg before its first instruction, and give back its content. */
export const FREEZE = ['xl create -p guest.cfg', 'pvfreeze $(domid) dump .', `give ${FROZEN_FILES.join(' ')}`] as const

/** The byte with which a DEBUG Xen fills fresh memory, instead of zeros (xen/common/page_alloc.c, SCRUB_PATTERN). */
const SCRUB_BYTE = 0xc2

export interface Frozen {
  readonly vcpu: Uint8Array
  readonly sharedInfo: Uint8Array
  readonly p2m: BigUint64Array
  /** The pages that the toolstack wrote to, by pfn. */
  readonly pages: ReadonlyMap<number, Uint8Array>
}

export function readFrozen(result: XenResult): Frozen {
  const [vcpu, sharedInfo, p2m, dump] = FROZEN_FILES.map((name) => Uint8Array.from(result.file(name)))
  if (!vcpu || !sharedInfo || !p2m || !dump) throw new Error('a frozen guest is four files')
  const pages = new Map<number, Uint8Array>()
  const view = new DataView(dump.buffer)
  for (let at = 0; at < dump.length; at += 8 + PAGE_SIZE) {
    const page = dump.subarray(at + 8, at + 8 + PAGE_SIZE)
    if (page.some((byte) => byte !== SCRUB_BYTE)) pages.set(Number(view.getBigUint64(at, true)), page)
  }
  return { vcpu, sharedInfo, p2m: new BigUint64Array(p2m.buffer), pages }
}

/** Builds the same guest with our builder, with the frames and event channels that this Xen assigned. */
export function buildLike(frozen: Frozen, kernel: Kernel, config: PvConfig & { readonly dom0?: never }): Domain {
  const p2m = { table: frozen.p2m }
  const first = buildDomain(kernel, { ...config, p2m })
  const page = frozen.pages.get(requirePv(first).startInfo.pfn)
  if (!page) throw new Error('no page where start_info should be')
  const assigned = first.abi === 'x86_64' ? StartInfo64.decode(page) : StartInfo32.decode(page)
  return buildDomain(kernel, {
    ...config,
    p2m,
    storeEvtchn: assigned.store_evtchn,
    consoleEvtchn: assigned.console_evtchn,
    sharedInfoMfn: Number(BigInt(assigned.shared_info) / BigInt(PAGE_SIZE)),
    // The hypervisor has filled the hypercall page, and the ramdisk is placed as in a created guest.
    purpose: 'vmm',
  })
}

/**
 * Entries that Xen fills with its own mappings: the top table's slots from 0xffff800000000000 on (xen-x86_64.h). In a
 * 32-bit guest, they are the last level 2 table's slots from 0xf5800000 on (xen-x86_32.h).
 */
const XEN_ENTRIES = {
  x86_64: { level: 4, first: 256, end: 272 },
  x86_32p: { level: 2, first: 0xf5800000 / 2 ** 21 - 3 * 512, end: 512 },
} as const
/** A bit that hardware ignores; Xen sets it in leaves that the guest made for its kernel alone. */
const PTE_GUEST_KERNEL = 1n << 52n

/** Returns a page table of the builder as it is after pinning, except the entries that Xen fills. */
function asPinned(table: Uint8Array, level: number, abi: Domain['abi']): Uint8Array {
  // A 64-bit guest's kernel runs in ring 3, so each of its pages must be a user page. Ring 1 does not need that.
  if (level !== 1 || abi !== 'x86_64') return table
  const entries = new BigUint64Array(table.slice().buffer)
  for (const [index, entry] of entries.entries()) {
    const kernelOnly = entry & BigInt(PTE_PRESENT) && !(entry & BigInt(PTE_USER))
    if (kernelOnly) entries[index] = entry | BigInt(PTE_USER) | PTE_GUEST_KERNEL
  }
  return new Uint8Array(entries.buffer)
}

/** Returns a table of the running Xen without Xen's own entries. */
function withoutXens(table: Uint8Array, level: number, domain: Domain, isLastL2: boolean): Uint8Array {
  const own = XEN_ENTRIES[domain.abi === 'x86_64' ? 'x86_64' : 'x86_32p']
  if (level !== own.level || (domain.abi !== 'x86_64' && !isLastL2)) return table
  return table.slice().fill(0, own.first * 8, own.end * 8)
}

/**
 * Returns start_info as libxl leaves it: libxenguest sets SIF_VIRT_P2M_4TOOLS, and libxl then overwrites the flags
 * instead of adding to them (libxl_dom.c, libxl__build_pv).
 */
function asLibxlLeavesIt(startInfo: Uint8Array, abi: Domain['abi']): Uint8Array {
  const out = startInfo.slice()
  const at = (abi === 'x86_64' ? StartInfo64 : StartInfo32).offsetOf('flags')
  out[at] = (out[at] ?? 0) & ~SIF_VIRT_P2M_4TOOLS
  return out
}

/** Clears the page after the struct: libxenguest writes only the struct, and a DEBUG Xen leaves its fill byte there. */
function withoutScrubbedTail(startInfo: Uint8Array, abi: Domain['abi']): Uint8Array {
  const { size } = abi === 'x86_64' ? StartInfo64 : StartInfo32
  if (startInfo.subarray(size).some((byte) => byte !== SCRUB_BYTE)) return startInfo
  return startInfo.slice().fill(0, size)
}

/** Returns every page that differs, with its region, the first differing offset and both bytes there. */
export function differingPages(frozen: Frozen, domain: Domain): string[] {
  const pfns = new Set(frozen.pages.keys())
  for (const run of domain.memory.pages()) for (let i = 0; i < run.pages; i++) pfns.add(run.pfn + i)
  const boot = requirePv(domain)
  const lastL2 = boot.pageTables.runs.findLast((run) => run.level === 2)
  const out: string[] = []
  for (const pfn of [...pfns].sort((a, b) => a - b)) {
    const { level } = domain.pageType(pfn)
    const page = domain.memory.read(pfn * PAGE_SIZE, PAGE_SIZE)
    const isStartInfo = pfn === boot.startInfo.pfn
    const ours = asPinned(isStartInfo ? asLibxlLeavesIt(page, domain.abi) : page, level, domain.abi)
    const isLastL2 = lastL2 !== undefined && pfn === lastL2.pfn + lastL2.pages - 1
    const dumped = frozen.pages.get(pfn) ?? new Uint8Array(PAGE_SIZE)
    const theirs = isStartInfo ? withoutScrubbedTail(dumped, domain.abi) : withoutXens(dumped, level, domain, isLastL2)
    const at = ours.findIndex((byte, i) => byte !== theirs[i])
    if (at < 0) continue
    const region = domain.regions.find((r) => pfn >= r.pfn && pfn < r.pfn + r.pages)?.name ?? 'no region'
    out.push(`pfn ${pfn} (${region}, level ${level}) at ${at}: ours ${ours[at]}, Xen's ${theirs[at]}`)
  }
  return out
}

/** Collects a struct's fields by dotted names, so that two structs can be compared by name. */
function flatten(value: unknown, path: string, into: Map<string, string>): Map<string, string> {
  if (value instanceof Uint8Array) into.set(path, Buffer.from(value).toString('hex'))
  else if (Array.isArray(value)) for (const [i, v] of value.entries()) flatten(v, `${path}[${i}]`, into)
  else if (typeof value === 'object' && value !== null) {
    for (const [key, v] of Object.entries(value)) flatten(v, path === '' ? key : `${path}.${key}`, into)
  } else into.set(path, String(value))
  return into
}

function differences(theirs: unknown, ours: unknown): string[] {
  const mine = flatten(ours, '', new Map())
  return [...flatten(theirs, '', new Map())]
    .filter(([name, value]) => mine.get(name) !== value)
    .map(([name, value]) => `${name}: ours ${mine.get(name)}, Xen's ${value}`)
}

/**
 * The x87 and SSE state of every new vcpu of Xen, by offset in its FXSAVE area: as after FNINIT, and from 4.18 on as
 * after the processor's reset (Intel SDM vol. 1, 8.1.5, 10.2.3 and table 10-1).
 */
const FPU_RESETS = [
  { fcw: { at: 0, value: 0x37f }, ftw: { at: 4, value: 0 }, mxcsr: { at: 24, value: 0x1f80 } },
  { fcw: { at: 0, value: 0x40 }, ftw: { at: 4, value: 0xff }, mxcsr: { at: 24, value: 0x1f80 } },
] as const

interface PvContext {
  readonly fpu_ctxt: Uint8Array
  readonly trap_ctxt: readonly { readonly cs: number }[]
  readonly ctrlreg: readonly (number | bigint)[]
  readonly event_callback_cs?: number
  readonly failsafe_callback_cs?: number
}

/**
 * Returns a context as Xen keeps it. Xen sets cr0 and cr4, which a PV guest does not choose, and the floating-point
 * state after reset. It sets the kernel's privilege level in each trap's code selector, even where no trap is set.
 */
function asXenKeepsIt<T extends PvContext>(built: T, xens: PvContext, kernelRing: number): PvContext {
  const [fpu = built.fpu_ctxt, other] = FPU_RESETS.map((fields) => {
    const area = built.fpu_ctxt.slice()
    const view = new DataView(area.buffer)
    for (const { at, value } of Object.values(fields)) view.setUint32(at, value, true)
    return area
  })
  return {
    ...built,
    fpu_ctxt: other && Buffer.compare(other, xens.fpu_ctxt) === 0 ? other : fpu,
    trap_ctxt: built.trap_ctxt.map((trap) => ({ ...trap, cs: trap.cs | kernelRing })),
    ...(built.event_callback_cs === undefined ? {} : { event_callback_cs: built.event_callback_cs | kernelRing }),
    ...(built.failsafe_callback_cs === undefined
      ? {}
      : { failsafe_callback_cs: built.failsafe_callback_cs | kernelRing }),
    ctrlreg: built.ctrlreg.map((value, i) => (i === 0 || i === 4 ? (xens.ctrlreg[i] ?? 0) : value)),
  }
}

/** Returns the differences in vcpu 0's context, field by field. */
export function differingVcpu(frozen: Frozen, domain: Domain): string[] {
  const [vcpu] = domain.vcpus
  if (!vcpu || domain.abi === 'x86_32') throw new Error('a PV guest with a vcpu is expected')
  const is64 = domain.abi === 'x86_64'
  const decode = is64 ? VcpuGuestContext64.decode : VcpuGuestContext32.decode
  const xens = decode(frozen.vcpu)
  return differences(xens, asXenKeepsIt(decode(encodePvContext(vcpu, domain.abi)), xens, is64 ? 3 : 1))
}

/** Returns the differences in shared_info, field by field, except the time, which Xen updates. */
export function differingSharedInfo(frozen: Frozen, domain: Domain): string[] {
  const decode = domain.abi === 'x86_64' ? SharedInfo64.decode : SharedInfo32.decode
  return differences(decode(frozen.sharedInfo), decode(requirePv(domain).sharedInfo)).filter(
    (line) => !/^(wc_(version|sec|nsec|sec_hi)|vcpu_info\[\d+\]\.time\.)/.test(line),
  )
}
