/**
 * A guest that Xen's own toolstack built and that never ran, and how it differs from the one we build of the same kernel.
 *
 * Source: src/pvfreeze.c writes the files; xen/arch/x86/mm.c of any release says what pinning changes (the facts, no code).
 * Gotcha: frames and event channels are Xen's to give. We build with the same, so every byte can be compared as it is.
 */
import { SharedInfo64 } from '../../lib/abi/shared-info.js'
import { SIF_VIRT_P2M_4TOOLS, StartInfo64 } from '../../lib/abi/start-info.js'
import { VcpuGuestContext64 } from '../../lib/abi/vcpu-context.js'
import { PTE_PRESENT, PTE_USER } from '../../lib/abi/x86.js'
import {
  buildDomain,
  type Domain,
  type DomainConfig,
  encodePvContext,
  type Kernel,
  PAGE_SIZE,
} from '../../lib/index.js'
import type { XenResult } from './harness.js'

/** The files that `pvfreeze DOMID dump .` leaves, to be given back by the case. */
export const FROZEN_FILES = ['vcpu.bin', 'shared_info.bin', 'p2m.bin', 'pages.bin'] as const
/** Steps that freeze a guest.cfg before its first instruction and give back what is in it. */
export const FREEZE = ['xl create -p guest.cfg', 'pvfreeze $(domid) dump .', `give ${FROZEN_FILES.join(' ')}`] as const

export interface Frozen {
  readonly vcpu: Uint8Array
  readonly sharedInfo: Uint8Array
  readonly p2m: BigUint64Array
  /** Pages that are not all zeros, by pfn. */
  readonly pages: ReadonlyMap<number, Uint8Array>
}

export function readFrozen(result: XenResult): Frozen {
  const [vcpu, sharedInfo, p2m, dump] = FROZEN_FILES.map((name) => Uint8Array.from(result.file(name)))
  if (!vcpu || !sharedInfo || !p2m || !dump) throw new Error('a frozen guest is four files')
  const pages = new Map<number, Uint8Array>()
  const view = new DataView(dump.buffer)
  for (let at = 0; at < dump.length; at += 8 + PAGE_SIZE) {
    pages.set(Number(view.getBigUint64(at, true)), dump.subarray(at + 8, at + 8 + PAGE_SIZE))
  }
  return { vcpu, sharedInfo, p2m: new BigUint64Array(p2m.buffer), pages }
}

/** The same guest by our builder, with the frames and event channels that this Xen gave. */
export function buildLike(frozen: Frozen, kernel: Kernel, config: DomainConfig): Domain {
  const p2m = { table: frozen.p2m }
  const { startInfo } = buildDomain(kernel, { ...config, p2m }).boot
  const page = frozen.pages.get(startInfo.pfn)
  if (!page) throw new Error('no page where start_info should be')
  const assigned = StartInfo64.decode(page)
  return buildDomain(kernel, {
    ...config,
    p2m,
    storeEvtchn: assigned.store_evtchn,
    consoleEvtchn: assigned.console_evtchn,
    sharedInfoMfn: Number(assigned.shared_info / BigInt(PAGE_SIZE)),
  })
}

/** Slots of the top table that Xen fills with mappings of its own (xen-x86_64.h: 0xffff800000000000 and up). */
const XEN_L4_SLOTS = { first: 256, end: 272 } as const
/** A bit that hardware ignores, by which Xen remembers that the guest meant a leaf for its kernel alone. */
const PTE_GUEST_KERNEL = 1n << 52n

/** What pinning makes of a page table as the builder wrote it, but for the slots that Xen fills. */
function asPinned(table: Uint8Array, level: number): Uint8Array {
  const entries = new BigUint64Array(table.slice().buffer)
  for (const [index, entry] of entries.entries()) {
    // A 64-bit guest's kernel runs in ring 3: every page it can see at all must be a user page.
    const kernelOnly = entry & BigInt(PTE_PRESENT) && !(entry & BigInt(PTE_USER))
    if (level === 1 && kernelOnly) entries[index] = entry | BigInt(PTE_USER) | PTE_GUEST_KERNEL
  }
  return new Uint8Array(entries.buffer)
}

/** A table of the running Xen without the slots that are its own. */
function withoutXens(table: Uint8Array, level: number): Uint8Array {
  const out = table.slice()
  if (level === 4) out.fill(0, XEN_L4_SLOTS.first * 8, XEN_L4_SLOTS.end * 8)
  return out
}

/**
 * start_info as libxl leaves it: libxenguest sets SIF_VIRT_P2M_4TOOLS before anyone asks, and libxl then assigns the
 * flags instead of adding to them (libxl_dom.c, libxl__build_pv).
 */
function asLibxlLeavesIt(startInfo: Uint8Array): Uint8Array {
  const out = startInfo.slice()
  const at = StartInfo64.offsetOf('flags')
  out[at] = (out[at] ?? 0) & ~SIF_VIRT_P2M_4TOOLS
  return out
}

/** Every page that is not the same, with its region, first differing offset and both bytes there. */
export function differingPages(frozen: Frozen, domain: Domain): string[] {
  const pfns = new Set(frozen.pages.keys())
  for (const run of domain.memory.pages()) for (let i = 0; i < run.pages; i++) pfns.add(run.pfn + i)
  const out: string[] = []
  for (const pfn of pfns) {
    const { level } = domain.pageType(pfn)
    const page = domain.memory.read(pfn * PAGE_SIZE, PAGE_SIZE)
    const ours = asPinned(pfn === domain.boot.startInfo.pfn ? asLibxlLeavesIt(page) : page, level)
    const theirs = withoutXens(frozen.pages.get(pfn) ?? new Uint8Array(PAGE_SIZE), level)
    const at = ours.findIndex((byte, i) => byte !== theirs[i])
    if (at < 0) continue
    const region = domain.regions.find((r) => pfn >= r.pfn && pfn < r.pfn + r.pages)?.name ?? 'no region'
    out.push(`pfn ${pfn} (${region}, level ${level}) at ${at}: ours ${ours[at]}, Xen's ${theirs[at]}`)
  }
  return out
}

/** A struct's fields as dotted names, so that two can be compared by name. */
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

/** The x87 control word and MXCSR after reset, which Xen starts every vcpu with (Intel SDM vol. 1, 8.1.5 and 10.2.3). */
const FPU_RESET = { fcw: { at: 0, value: 0x37f }, mxcsr: { at: 24, value: 0x1f80 } } as const

/**
 * vcpu 0's context, field by field. Xen's own: cr0 and cr4, which a PV guest does not choose; the floating-point state
 * after reset; and the privilege level in each trap's code selector, which is 3 even where no trap is set.
 */
export function differingVcpu(frozen: Frozen, domain: Domain): string[] {
  const [vcpu] = domain.vcpus
  if (!vcpu || domain.abi !== 'x86_64') throw new Error('a 64-bit PV guest with a vcpu is expected')
  const built = VcpuGuestContext64.decode(encodePvContext(vcpu, domain.abi))
  const xens = VcpuGuestContext64.decode(frozen.vcpu)
  const fpu = new DataView(built.fpu_ctxt.slice().buffer)
  for (const { at, value } of Object.values(FPU_RESET)) fpu.setUint32(at, value, true)
  const ours = {
    ...built,
    fpu_ctxt: new Uint8Array(fpu.buffer),
    trap_ctxt: built.trap_ctxt.map((trap) => ({ ...trap, cs: trap.cs | 3 })),
    ctrlreg: built.ctrlreg.map((value, i) => (i === 0 || i === 4 ? (xens.ctrlreg[i] ?? 0n) : value)),
  }
  return differences(xens, ours)
}

/** shared_info, field by field, but for the time, which Xen keeps. */
export function differingSharedInfo(frozen: Frozen, domain: Domain): string[] {
  const { decode } = SharedInfo64
  return differences(decode(frozen.sharedInfo), decode(domain.boot.sharedInfo)).filter(
    (line) => !/^(wc_(version|sec|nsec|sec_hi)|vcpu_info\[\d+\]\.time\.)/.test(line),
  )
}
