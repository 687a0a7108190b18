/**
 * asPfns: the same guest with every machine frame replaced by its guest frame.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc; xen/include/public/xen.h. The same conversion that libxc
 * applies to page tables and contexts when it saves, also applied to the p2m list and start_info.
 * Gotcha: reading is not free: nothing is copied, so a page that holds frames is rewritten each time it is read.
 */
import { StartInfo32, StartInfo64 } from '../abi/start-info.js'
import { VcpuGuestContext32, VcpuGuestContext64 } from '../abi/vcpu-context.js'
import { DESCRIPTOR_BYTES, foldedCr3, PT_ENTRIES, PTE_PRESENT, unfoldedCr3 } from '../abi/x86.js'
import { HYPERVISOR_L4_SLOTS } from '../abi/xen-x86-64.js'
import { DomainBuilderError } from '../errors.js'
import { hex, type Mfn, PAGE_SIZE, type Pfn, paddrOf, type Range } from '../units.js'
import type { Domain, PvBoot } from './domain.js'
import { GuestMemory } from './memory.js'
import { fillP2mList, makeP2m, type P2m } from './p2m.js'
import { addRange } from './runs.js'
import type { Vcpu } from './vcpu.js'
import { throughWords } from './words.js'

/** The descriptors in one page of a GDT. */
const GDT_PAGE_ENTRIES = PAGE_SIZE / DESCRIPTOR_BYTES

/** Regions that hold the guest's own list of machine frames. */
export const P2M_REGION = 'p2m'

/** Returns the p2m with a hole where the guest has no memory. */
export function presentFrames(p2m: P2m, memory: GuestMemory): P2m {
  if (memory.ranges.length === 1 && memory.ranges[0]?.start === 0) return p2m
  return {
    name: p2m.name,
    mfn: (pfn) => (memory.has(pfn) ? p2m.mfn(pfn) : undefined),
    pfn: (mfn) => {
      const pfn = p2m.pfn(mfn)
      return pfn !== undefined && memory.has(pfn) ? pfn : undefined
    },
  }
}

/** A p2m that is the identity for the guest's frames. */
export const identityWhere = (memory: GuestMemory): P2m => presentFrames(makeP2m('identity', memory.endPfn), memory)

/** Returns the frames that have a machine frame: Xen gives a restored guest no page in a hole of its p2m. */
function framesOf({ memory, p2m }: Domain): readonly Range<Pfn>[] {
  if (p2m.distance !== undefined) return memory.ranges
  const ranges: Range<Pfn>[] = []
  for (const { start, end } of memory.ranges) {
    for (let pfn = start; pfn < end; pfn++) if (p2m.mfn(pfn) !== undefined) addRange(ranges, pfn, pfn + 1)
  }
  return ranges
}

/**
 * Returns the guest as in a save file: an identity p2m, with page tables, p2m list, start_info and vcpus to match. A
 * hole of the p2m is a hole in its memory.
 * @throws DomainBuilderError `bad-snapshot`, when a page is read, for a page table that names no frame of the guest.
 */
export function asPfns(domain: Domain<PvBoot>): Domain<PvBoot> {
  if (domain.p2m.name === 'identity') return domain
  const { boot, abi } = domain
  const memory = new GuestMemory(framesOf(domain))
  for (const { pfn, pages } of domain.memory.pages()) {
    for (const { start, end } of memory.within(pfn, pages)) {
      memory.generate(paddrOf(start), (end - start) * PAGE_SIZE, (offset, out) =>
        domain.memory.readInto(paddrOf(start) + offset, out),
      )
    }
  }
  const identity = identityWhere(memory)
  for (const run of boot.pageTables.runs) {
    memory.generate(paddrOf(run.pfn), run.pages * PAGE_SIZE, (offset, out) => {
      domain.memory.readInto(paddrOf(run.pfn) + offset, out)
      throughWords(out, (words) => rewriteTables(domain, run.level, run.pfn + offset / PAGE_SIZE, words))
    })
  }
  let listed = 0
  for (const region of domain.regions.filter(({ name }) => name === P2M_REGION)) {
    const start = listed
    memory.generate(paddrOf(region.pfn), region.pages * PAGE_SIZE, (offset, out) =>
      fillP2mList(identity, domain.memory.endPfn, abi === 'x86_64' ? 8 : 4, start + offset, out),
    )
    listed += region.pages * PAGE_SIZE
  }
  rewriteStartInfo(domain, boot, memory)
  const view: PvBoot = { ...boot, sharedInfoMfn: memory.endPfn }
  return { ...domain, memory, boot: view, p2m: identity, vcpus: domain.vcpus.map((vcpu) => vcpuAsPfns(domain, vcpu)) }
}

function pfnOfMfn(domain: Domain, mfn: Mfn, what: string): Pfn {
  const pfn = domain.p2m.pfn(mfn)
  if (pfn === undefined || !domain.memory.has(pfn)) {
    throw new DomainBuilderError('bad-snapshot', `${what} names a machine frame that is not the guest's`, {
      found: hex(mfn),
    })
  }
  return pfn
}

/** Rewrites tables as pairs of u32. */
function rewriteTables(domain: Domain, level: number, first: Pfn, words: Uint32Array): void {
  const xens = level === 4 ? HYPERVISOR_L4_SLOTS : { start: 0, end: 0 }
  for (let at = 0; at < words.length; at += 2) {
    const low = words[at] as number
    if (!(low & PTE_PRESENT)) continue
    const index = (at / 2) % PT_ENTRIES
    if (index >= xens.start && index < xens.end) {
      // Xen keeps its own mappings in every top table and will make them again.
      words[at] = 0
      words[at + 1] = 0
      continue
    }
    const high = words[at + 1] as number
    const mfn = (high & 0xfffff) * 2 ** 20 + (low >>> 12)
    const where = `the L${level} table at pfn ${hex(first + Math.floor(at / 1024))}`
    const pfn = pfnOfMfn(domain, mfn, where)
    words[at] = (pfn << 12) | (low & 0xfff)
    words[at + 1] = (high & ~0xfffff) | (pfn / 2 ** 20)
  }
}

/** Rewrites store_mfn, console_mfn and shared_info; the latter gets the frame after the guest's last. */
function rewriteStartInfo(domain: Domain, boot: PvBoot, memory: GuestMemory): void {
  const layout = domain.abi === 'x86_64' ? StartInfo64 : StartInfo32
  const page = domain.memory.read(paddrOf(boot.startInfo.pfn), PAGE_SIZE)
  const view = new DataView(page.buffer)
  const set = (field: 'store_mfn' | 'console_mfn' | 'shared_info', value: number): void => {
    const at = layout.offsetOf(field)
    if (domain.abi === 'x86_64') view.setBigUint64(at, BigInt(value), true)
    else view.setUint32(at, value, true)
  }
  if (boot.xenstore) set('store_mfn', boot.xenstore.pfn)
  if (boot.console) set('console_mfn', boot.console.pfn)
  set('shared_info', paddrOf(memory.endPfn))
  memory.write(paddrOf(boot.startInfo.pfn), page)
}

function vcpuAsPfns(domain: Domain, vcpu: Vcpu): Vcpu {
  if (!vcpu.online) return vcpu
  const is64 = domain.abi === 'x86_64'
  const mfn = is64 ? Number(vcpu.cr3 >> 12n) : unfoldedCr3(Number(vcpu.cr3))
  const pfn = pfnOfMfn(domain, mfn, `cr3 of vcpu ${vcpu.id}`)
  const cr3 = is64 ? BigInt(paddrOf(pfn)) : BigInt(foldedCr3(pfn))
  const { pv } = vcpu
  if (!pv?.context) return { ...vcpu, cr3 }
  return { ...vcpu, cr3, pv: { ...pv, context: contextAsPfns(domain, pv.context) } }
}

/** Rewrites the frames of the GDT, and a 64-bit guest's second cr3, which user mode runs on. */
function contextAsPfns(domain: Domain, bytes: Uint8Array): Uint8Array {
  const frame = (mfn: number): number => pfnOfMfn(domain, mfn, 'a frame of the GDT')
  if (domain.abi === 'x86_64') {
    const context = VcpuGuestContext64.decode(bytes)
    const used = Math.ceil(Number(context.gdt_ents) / GDT_PAGE_ENTRIES)
    const gdt_frames = context.gdt_frames.map((mfn, i) => (i < used ? BigInt(frame(Number(mfn))) : mfn))
    const user = context.ctrlreg[1] as bigint
    // Bit 0 tells a restore that it is set; Xen has it clear.
    const ctrlreg = context.ctrlreg.map((value, i) =>
      i === 1 && user !== 0n ? BigInt(paddrOf(frame(Number(user >> 12n)))) | 1n : value,
    )
    return VcpuGuestContext64.encode({ ...context, gdt_frames, ctrlreg })
  }
  const context = VcpuGuestContext32.decode(bytes)
  const used = Math.ceil(context.gdt_ents / GDT_PAGE_ENTRIES)
  return VcpuGuestContext32.encode({
    ...context,
    gdt_frames: context.gdt_frames.map((mfn, i) => (i < used ? frame(mfn) : mfn)),
  })
}
