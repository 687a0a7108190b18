/**
 * vcpu_guest_context of a PV vcpu: the bytes Xen takes and a save file carries, and back.
 *
 * Source: xen/include/public/arch-x86/xen.h.
 * Gotcha: cr3 holds a machine frame here; a save file wants the pfn in its place.
 */
import type { Infer } from '../abi/struct.js'
import { VcpuGuestContext32, VcpuGuestContext64 } from '../abi/vcpu-context.js'
import type { Registers, SegmentRegister, Vcpu } from './vcpu.js'

type Context64 = Infer<typeof VcpuGuestContext64>
type Context32 = Infer<typeof VcpuGuestContext32>

/** Everything that is zero at a guest's first instant. */
const ZERO64: Context64 = VcpuGuestContext64.decode(new Uint8Array(VcpuGuestContext64.size))
const ZERO32: Context32 = VcpuGuestContext32.decode(new Uint8Array(VcpuGuestContext32.size))

const low = (value: bigint): number => Number(BigInt.asUintN(32, value))

/** 5168 (x86_64) or 2800 (x86_32p) bytes. */
export function encodePvContext(vcpu: Vcpu, abi: 'x86_64' | 'x86_32p'): Uint8Array {
  const { registers: r, segments: s, pv } = vcpu
  const selectors = Object.fromEntries(Object.entries(s).map(([name, { selector }]) => [name, selector])) as Record<
    SegmentRegister,
    number
  >
  if (abi === 'x86_64') {
    const { rip, rflags, ...general } = r
    return VcpuGuestContext64.encode({
      ...ZERO64,
      flags: BigInt(pv?.flags ?? 0),
      user_regs: { ...ZERO64.user_regs, ...general, rip, rflags, ...selectors },
      kernel_ss: BigInt(pv?.kernelSs ?? 0),
      kernel_sp: pv?.kernelSp ?? 0n,
      ctrlreg: [vcpu.cr0, 0n, 0n, vcpu.cr3, vcpu.cr4, 0n, 0n, 0n],
      debugreg: [0n, 0n, 0n, 0n, 0n, 0n, vcpu.dr6, vcpu.dr7],
      vm_assist: BigInt(pv?.vmAssist ?? 0),
    })
  }
  return VcpuGuestContext32.encode({
    ...ZERO32,
    flags: pv?.flags ?? 0,
    user_regs: { ...ZERO32.user_regs, ...registers32(r), ...selectors },
    kernel_ss: pv?.kernelSs ?? 0,
    kernel_sp: low(pv?.kernelSp ?? 0n),
    ctrlreg: [low(vcpu.cr0), 0, 0, low(vcpu.cr3), low(vcpu.cr4), 0, 0, 0],
    debugreg: [0, 0, 0, 0, 0, 0, low(vcpu.dr6), low(vcpu.dr7)],
    vm_assist: pv?.vmAssist ?? 0,
  })
}

/** The eight registers a 32-bit guest has, by their own names. */
export function registers32(
  r: Registers,
): Record<'eax' | 'ebx' | 'ecx' | 'edx' | 'esi' | 'edi' | 'ebp' | 'esp' | 'eip' | 'eflags', number> {
  return {
    eax: low(r.rax),
    ebx: low(r.rbx),
    ecx: low(r.rcx),
    edx: low(r.rdx),
    esi: low(r.rsi),
    edi: low(r.rdi),
    ebp: low(r.rbp),
    esp: low(r.rsp),
    eip: low(r.rip),
    eflags: low(r.rflags),
  }
}
