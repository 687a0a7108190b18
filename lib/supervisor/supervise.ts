/**
 * supervise: a 64-bit PV guest together with a small supervisor in Xen's place, as a machine that QEMU starts without a
 * hypervisor.
 *
 * Source: xen/include/public/arch-x86/xen-x86_64.h and xen.h; our own code in ./image.ts and ./calls.
 * Gotcha: it is for a guest's first instants and for tests. It has one vcpu, no backends, no checks of page tables, and
 * a few hypercalls; every other one ends the run with its name.
 */
import { GrantEntry as GrantEntryStruct, GTF_PERMIT_ACCESS } from '../abi/grant-table.js'
import { SharedInfo64 } from '../abi/shared-info.js'
import { VcpuGuestContext64 } from '../abi/vcpu-context.js'
import {
  CR0_ET,
  CR0_MP,
  CR0_NE,
  CR0_PE,
  CR0_PG,
  CR0_WP,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_PAE,
  DR6_RESET,
  DR7_RESET,
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  EFER_SCE,
  EFLAGS_RESERVED_1,
  FLAT_CODE64,
  FLAT_DATA,
  FLAT_LIMIT,
  PT_ENTRIES,
  PTE_PRESENT,
  PTE_USER,
} from '../abi/x86.js'
import { HYPERVISOR_L4_SLOTS } from '../abi/xen-x86-64.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { type Domain, type LinuxBoot, type PvBoot, pageTypes, requirePv } from '../guest/domain.js'
import { hypercallPage } from '../guest/hypercall-page.js'
import { GuestMemory } from '../guest/memory.js'
import { makeP2m, mfnOf } from '../guest/p2m.js'
import type { Region } from '../guest/region.js'
import { registers, type SegmentState, type Vcpu } from '../guest/vcpu.js'
import { type Mfn, PAGE_SIZE, paddrOf } from '../units.js'
import type { Channel, Machine } from './assembler.js'
import { frameRuns, framesAfter, freeLowFrames, ramUpTo, requireNothingInRom, takenFrames } from './frames.js'
import { supervisorImage } from './image.js'
import { IMAGE, IMAGE_PAGES } from './layout.js'
import { supervisorTables } from './tables.js'

/** The frames next to the image, in this order: three tables, boot_params, and one for the code that enters the image. */
const AFTER_IMAGE = ['bootTop', 'image3', 'image2', 'bootParams', 'trampoline'] as const
const LOW_PAGES = IMAGE_PAGES + AFTER_IMAGE.length

/** Nanoseconds are the processor's cycles: system_time = (tsc << 1) * 2^31 / 2^32. */
const CLOCK = { version: 2, tsc_to_system_mul: 0x80000000, tsc_shift: 1 } as const

/**
 * Returns a machine of QEMU that holds a 64-bit PV guest and a supervisor that takes Xen's place: write it in the format
 * `qemu` or `qemu-stream`. The guest keeps its machine frames, its page tables, ring and selectors. What it writes to its
 * console comes out of the first serial port. Its end is told to the device isa-debug-exit at port 0xf4, and
 * supervisedEnd() reads it.
 *
 * This is for the first instants of a kernel and for its tests: there are no backends and no other vcpus, and page
 * tables are not checked. A hypercall that the supervisor lacks ends the run with its name.
 *
 * @throws DomainBuilderError `bad-config` for a guest that is not PV of 64 bits; `does-not-fit` for frames that the
 *   machine does not have, as from 3 GiB to 4 GiB, or for one that has run.
 * @example
 * ```ts
 * const guest = buildDomain(kernel, { type: 'pv', memory: 64 * 2 ** 20 })
 * await writeSnapshotFile(supervise(guest), 'guest.mig', { format: 'qemu-stream' })
 * // qemu-system-x86_64 ... -device isa-debug-exit,iobase=0xf4,iosize=4
 * ```
 */
export function supervise(guest: Domain): Domain<LinuxBoot> {
  const boot = requirePv(guest)
  const pv = guest as Domain<PvBoot>
  const vcpu = requireVcpu(pv)
  const taken = takenFrames(pv)
  requireNothingInRom(guest.memory, guest.p2m)

  const low = freeLowFrames(taken, LOW_PAGES)
  const lowFrame = (name: (typeof AFTER_IMAGE)[number]): Mfn => low + IMAGE_PAGES + AFTER_IMAGE.indexOf(name)
  const end = Math.max(taken.at(-1)?.end ?? 0, low + LOW_PAGES)
  const tables = supervisorTables(guest, taken, end)
  const high = framesAfter(end, tables.pages)
  const endFrame = high + tables.pages
  const memory = new GuestMemory(ramUpTo(endFrame))

  const slots = tables.place(memory, high, {
    bootTop: lowFrame('bootTop'),
    image3: lowFrame('image3'),
    image2: lowFrame('image2'),
    image1: low + IMAGE.table,
  })
  const image = supervisorImage(vcpu, machineOf(pv, { endFrame, image: paddrOf(low), slots }))
  memory.place(paddrOf(low), image.bytes)
  placeGuest(memory, pv, slots)
  memory.place(paddrOf(boot.sharedInfoMfn), startedSharedInfo(boot.sharedInfo))

  const machineBoot: LinuxBoot = { kind: 'boot_params', bootParams: paddrOf(lowFrame('bootParams')) }
  return defined({
    type: 'linux',
    abi: 'x86_64',
    name: guest.name,
    memory,
    maxmem: paddrOf(memory.pageCount),
    vcpus: [firstVcpu(image, paddrOf(lowFrame('bootTop')))],
    regions: [
      ...taken.map(({ start, end }): Region => ({ name: 'guest', pfn: start, pages: end - start })),
      { name: 'supervisor', pfn: low, pages: LOW_PAGES - 1 },
      { name: 'supervisor_page_tables', pfn: high, pages: tables.pages },
    ],
    p2m: makeP2m('identity', memory.endPfn),
    boot: machineBoot,
    kernel: guest.kernel,
    pageType: pageTypes(machineBoot),
  })
}

/** Returns the vcpu that runs. */
function requireVcpu({ abi, vcpus: [vcpu] }: Domain<PvBoot>): Vcpu {
  if (abi !== 'x86_64' || vcpu === undefined) {
    throw new DomainBuilderError('bad-config', 'the supervisor runs 64-bit PV guests alone', {
      expected: 'x86_64',
      found: abi,
    })
  }
  const context = vcpu.pv?.context && VcpuGuestContext64.decode(vcpu.pv.context)
  if (context && (context.gdt_ents !== 0n || context.ldt_ents !== 0n)) {
    throw new DomainBuilderError(
      'does-not-fit',
      'the guest has run: the supervisor starts a guest at its first instant',
      {
        expected: 'no GDT and no LDT',
        found: `${context.gdt_ents} and ${context.ldt_ents} entries`,
      },
    )
  }
  return vcpu
}

function machineOf(
  { p2m, memory, maxmem, vcpus, boot }: Domain<PvBoot>,
  place: Pick<Machine, 'endFrame' | 'image' | 'slots'>,
): Machine {
  const channel = (page: PvBoot['console'], name: string): Channel | undefined =>
    page && { ring: paddrOf(mfnOf(p2m, page.pfn, name)), port: page.evtchn }
  const last = boot.grants.reduce((most, { ref }) => Math.max(most, ref), -1)
  const grants = new Uint8Array(Math.min((last + 1) * GrantEntryStruct.size, PAGE_SIZE))
  for (const { ref, domid, mfn } of boot.grants) {
    const at = ref * GrantEntryStruct.size
    if (at < grants.length) grants.set(GrantEntryStruct.encode({ flags: GTF_PERMIT_ACCESS, domid, frame: mfn }), at)
  }
  return defined({
    ...place,
    sharedInfo: paddrOf(boot.sharedInfoMfn),
    console: channel(boot.console, 'console'),
    xenstore: channel(boot.xenstore, 'xenstore'),
    pages: memory.pageCount,
    maxPages: Math.floor(maxmem / PAGE_SIZE),
    vcpus: vcpus.length,
    grants,
  })
}

/** Places the guest's pages at their frames: as they are, except tables and the hypercall page. */
function placeGuest(machine: GuestMemory, { memory, p2m, boot }: Domain<PvBoot>, slots: BigUint64Array): void {
  const runs = [...memory.pages()].flatMap(({ pfn, pages }) => [...frameRuns(p2m, pfn, pfn + pages)])
  runs.sort((a, b) => a.mfn - b.mfn)
  for (const { pfn, mfn, pages } of runs) {
    machine.generate(paddrOf(mfn), pages * PAGE_SIZE, (offset, out) => memory.readInto(paddrOf(pfn) + offset, out))
  }
  for (const { pfn: start, pages, level } of boot.pageTables.runs) {
    for (const { pfn, mfn, pages: count } of frameRuns(p2m, start, start + pages)) {
      machine.generate(paddrOf(mfn), count * PAGE_SIZE, (offset, out) => {
        memory.readInto(paddrOf(pfn) + offset, out)
        adopt(out, level === 4 ? slots : undefined)
      })
    }
  }
  if (boot.hypercallPage !== undefined) {
    const mfn = mfnOf(p2m, boot.hypercallPage, 'hypercall page')
    machine.place(paddrOf(mfn), hypercallPage('x86_64'))
  }
}

/** Gives tables what Xen gives them when it accepts them: the user bit of each entry, and its slots of a top table. */
function adopt(bytes: Uint8Array, slots: BigUint64Array | undefined): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let at = 0; at < bytes.length; at += 8) {
    const index = (at / 8) % PT_ENTRIES
    const slot = slots?.[index - HYPERVISOR_L4_SLOTS.start]
    const low = view.getUint32(at, true)
    if (slot !== undefined) view.setBigUint64(at, slot, true)
    else if (low & PTE_PRESENT) view.setUint32(at, low | PTE_USER, true)
  }
}

/** Returns shared_info with the clock that Xen keeps there. */
function startedSharedInfo(page: Uint8Array): Uint8Array {
  const fields = SharedInfo64.decode(page)
  const vcpu_info = fields.vcpu_info.map((info, i) => (i === 0 ? { ...info, time: { ...info.time, ...CLOCK } } : info))
  const out = new Uint8Array(PAGE_SIZE)
  out.set(page)
  out.set(SharedInfo64.encode({ ...fields, vcpu_info, wc_version: CLOCK.version }))
  return out
}

/** Returns the processor at the image's first instruction. */
function firstVcpu({ entry, stack }: { readonly entry: bigint; readonly stack: bigint }, top: number): Vcpu {
  const segment = (index: number, attributes: number): SegmentState => ({
    selector: index << 3,
    descriptor: { base: 0n, limit: FLAT_LIMIT, attributes },
  })
  const [cs, data] = [segment(1, FLAT_CODE64), segment(2, FLAT_DATA)]
  return {
    id: 0,
    online: true,
    registers: registers({ rip: entry, rsp: stack, rflags: BigInt(EFLAGS_RESERVED_1) }),
    segments: { cs, ss: data, ds: data, es: data, fs: data, gs: data },
    cr0: BigInt((CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG) >>> 0),
    cr3: BigInt(top),
    cr4: BigInt(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT),
    efer: BigInt(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE),
    dr6: BigInt(DR6_RESET),
    dr7: BigInt(DR7_RESET),
  }
}
