/**
 * The state of a PV guest at its first instruction: start_info, shared_info, vcpu registers.
 *
 * Source: xen/include/public/xen.h (start_info, shared_info), arch-x86/xen-x86_{32,64}.h (selectors, cr3).
 * Gotcha: %rsi holds start_info's virtual address, but the frames in start_info are machine frames.
 */
import { SharedInfo32, SharedInfo64 } from '../abi/shared-info.js'
import {
  DOM0_PAE_MAGIC,
  Dom0TextConsole,
  Dom0VesaConsole,
  START_INFO_MAGIC,
  StartInfo32,
  type StartInfo32Fields,
  StartInfo64,
  type StartInfo64Fields,
  StartInfoDom0Console,
  XEN_VGATYPE_EFI_LFB,
  XEN_VGATYPE_TEXT_MODE_3,
  XEN_VGATYPE_VESA_LFB,
} from '../abi/start-info.js'
import {
  FLAT_KERNEL_CS64,
  FLAT_KERNEL_DS64,
  FLAT_KERNEL_SS64,
  FLAT_RING1_CS32,
  FLAT_RING1_DS32,
  VGCF_IN_KERNEL,
  VGCF_ONLINE,
  VMASST_PAE_EXTENDED_CR3,
} from '../abi/vcpu-context.js'
import { DR6_RESET, DR7_RESET, EFLAGS_IF, foldedCr3 } from '../abi/x86.js'
import type { GuestMemory } from '../guest/memory.js'
import { mfnOf, type P2m } from '../guest/p2m.js'
import type { Region } from '../guest/region.js'
import { bootedBy, registers, type SegmentRegister, type SegmentState, type Vcpu } from '../guest/vcpu.js'
import type { PvAbi, PvKernel } from '../kernel/pv-kernel.js'
import { logBoot } from '../log.js'
import { hex, PAGE_SIZE, paddrOf, type Vaddr } from '../units.js'
import type { Dom0Console } from './pv-config.js'
import type { PvLayout } from './xen-pv-layout.js'

interface PvAssignments {
  readonly storeEvtchn: number
  readonly consoleEvtchn: number
  readonly sharedInfoMfn: number
  readonly flags: number
  readonly cmdline: string
  /** The console block of a dom0, empty without a console; absent for a domU. */
  readonly dom0Console?: Uint8Array
}

/** Returns the bytes of start_info. */
export function pvStartInfo(
  { abi, params }: PvKernel,
  layout: PvLayout,
  memory: GuestMemory,
  p2m: P2m,
  given: PvAssignments,
): Uint8Array {
  const [module] = layout.modules
  const isDom0 = given.dom0Console !== undefined
  const ring = (page: Region | undefined, what: string) => (page ? BigInt(mfnOf(p2m, page.pfn, what)) : 0n)
  const atInitP2m = layout.initP2mPages !== undefined
  const fields: StartInfo64Fields = {
    magic: isDom0 && params.pae !== 'no' ? DOM0_PAE_MAGIC[abi] : START_INFO_MAGIC[abi],
    nr_pages: BigInt(memory.pageCount),
    shared_info: BigInt(paddrOf(given.sharedInfoMfn)),
    flags: given.flags >>> 0,
    store_mfn: ring(layout.xenstore, 'xenstore page'),
    store_evtchn: isDom0 ? 0 : given.storeEvtchn,
    console_mfn: ring(layout.console, 'console page'),
    console_evtchn: isDom0 ? 0 : given.consoleEvtchn,
    pt_base: layout.pageTables.vaddr,
    nr_pt_frames: BigInt(layout.pageTables.pages),
    mfn_list: layout.p2m.vaddr as Vaddr,
    mod_start: module ? (layout.modulesUnmapped ? BigInt(module.pfn) : (module.vaddr as Vaddr)) : 0n,
    mod_len: BigInt(moduleLength(module, layout.modulesUnmapped && !isDom0)),
    cmd_line: given.cmdline,
    first_p2m_pfn: BigInt(layout.allocatedPages ?? (atInitP2m ? layout.p2m.pfn : 0)),
    nr_p2m_frames: BigInt(layout.initP2mPages ?? 0),
  }
  for (const [name, value] of Object.entries(fields)) {
    logBoot('start_info.%s = %s', name, typeof value === 'string' ? JSON.stringify(value) : hex(value))
  }
  return withConsole(abi, encode(abi, fields), given.dom0Console)
}

/** Returns a module's length in bytes: libxenguest uses whole pages if it is unmapped, Xen's dom0 builder does not. */
function moduleLength(module: Region | undefined, wholePages: boolean): number {
  if (!module) return 0
  return wholePages ? module.pages * PAGE_SIZE : (module.bytes ?? module.pages * PAGE_SIZE)
}

/** Puts a dom0's console block after start_info, on its page, and sets its offset and size. */
function withConsole(abi: PvAbi, startInfo: Uint8Array, block: Uint8Array | undefined): Uint8Array {
  if (!block?.length) return startInfo
  const page = new Uint8Array(startInfo.length + block.length)
  page.set(startInfo)
  page.set(block, startInfo.length)
  const console = StartInfoDom0Console.encode({ info_off: startInfo.length, info_size: block.length })
  page.set(console, (abi === 'x86_64' ? StartInfo64 : StartInfo32).offsetOf('console_mfn'))
  return page
}

/** Returns the console block of a dom0. */
export function dom0ConsoleBlock(console: Dom0Console | undefined): Uint8Array {
  if (console === undefined) return new Uint8Array(0)
  if (console.text_mode_3 !== undefined)
    return Dom0TextConsole.encode({ video_type: XEN_VGATYPE_TEXT_MODE_3, ...console.text_mode_3 })
  if (console.vesa_lfb !== undefined)
    return Dom0VesaConsole.encode({ video_type: XEN_VGATYPE_VESA_LFB, ...console.vesa_lfb })
  return Dom0VesaConsole.encode({ video_type: XEN_VGATYPE_EFI_LFB, ...console.efi_lfb })
}

function encode(abi: PvAbi, fields: StartInfo64Fields): Uint8Array {
  if (abi === 'x86_64') return StartInfo64.encode(fields)
  // A 32-bit start_info keeps the low half of wider values; only shared_info above 4 GiB loses bits.
  const narrowed = Object.entries(fields).map(([name, value]) => [
    name,
    typeof value === 'bigint' ? Number(BigInt.asUintN(32, value)) : value,
  ])
  return StartInfo32.encode(Object.fromEntries(narrowed) as StartInfo32Fields)
}

/** Returns the page of shared_info: zero, except that event upcalls of all vcpus are masked; the guest unmasks them. */
export function sharedInfoPage(abi: PvAbi): Uint8Array {
  const SharedInfo = abi === 'x86_64' ? SharedInfo64 : SharedInfo32
  const { zero } = SharedInfo
  const vcpu_info = zero.vcpu_info.map((info) => ({ ...info, evtchn_upcall_mask: 1 }))
  const page = new Uint8Array(PAGE_SIZE)
  page.set((SharedInfo.encode as (value: unknown) => Uint8Array)({ ...zero, vcpu_info }))
  return page
}

/** Returns vcpu 0 at its first instruction; the others wait, all zero, until the guest starts them. */
export function pvVcpus(pv: PvKernel, layout: PvLayout, p2m: P2m, count: number): Vcpu[] {
  const cr3Mfn = mfnOf(p2m, layout.tables.top, 'top page table')
  const is64 = pv.abi === 'x86_64'
  const stackEnd = layout.bootStack.vaddr + BigInt(PAGE_SIZE)
  const code = is64 ? FLAT_KERNEL_CS64 : FLAT_RING1_CS32
  const stack = is64 ? FLAT_KERNEL_SS64 : FLAT_RING1_DS32
  const data = is64 ? FLAT_KERNEL_DS64 : FLAT_RING1_DS32
  const extendedCr3 = !is64 && pv.params.pae !== 'yes'
  const boot: Vcpu = {
    id: 0,
    online: true,
    registers: registers({ rip: pv.entry, rsp: stackEnd, rsi: layout.startInfo.vaddr, rflags: BigInt(EFLAGS_IF) }),
    segments: segments(code, stack, data),
    cr0: 0n,
    cr3: is64 ? BigInt(paddrOf(cr3Mfn)) : BigInt(foldedCr3(cr3Mfn)),
    cr4: 0n,
    efer: 0n,
    dr6: BigInt(DR6_RESET),
    dr7: BigInt(DR7_RESET),
    pv: {
      flags: VGCF_IN_KERNEL | VGCF_ONLINE,
      kernelSs: stack,
      kernelSp: stackEnd,
      vmAssist: extendedCr3 ? VMASST_PAE_EXTENDED_CR3 : 0,
    },
  }
  logBoot(
    'vcpu 0: entry %s, stack %s, start_info %s, cr3 %s',
    hex(pv.entry),
    hex(stackEnd),
    hex(layout.startInfo.vaddr),
    hex(boot.cr3),
  )
  return bootedBy(boot, count)
}

function segments(cs: number, ss: number, data: number): Record<SegmentRegister, SegmentState> {
  const selector = (value: number): SegmentState => ({ selector: value })
  return {
    cs: selector(cs),
    ss: selector(ss),
    ds: selector(data),
    es: selector(data),
    fs: selector(data),
    gs: selector(data),
  }
}
