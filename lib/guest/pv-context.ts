/**
 * vcpu_guest_context of a PV vcpu: converts to the bytes that Xen takes and a save file holds, and back.
 *
 * Source: xen/include/public/arch-x86/xen.h.
 * Gotcha: do not write these bytes to a save file: cr3 and the GDT's frames are machine frames here, and it needs pfns.
 */

import { VcpuGuestContext32, VcpuGuestContext64, VGCF_ONLINE } from '../abi/vcpu-context.js'
import { equal } from '../bytes.js'
import {
  GENERAL_REGISTERS,
  type Registers,
  registers,
  SEGMENT_REGISTERS,
  type SegmentRegister,
  type SegmentState,
  type Vcpu,
} from './vcpu.js'

const low = (value: bigint): number => Number(BigInt.asUintN(32, value))

/**
 * Encodes a PV vcpu for XEN_DOMCTL_setvcpucontext: struct vcpu_guest_context with machine frames.
 * @returns 5168 bytes (x86_64) or 2800 (x86_32p).
 * @throws DomainBuilderError `bad-range` for a register that its field cannot hold.
 */
export function encodePvContext(vcpu: Vcpu, abi: 'x86_64' | 'x86_32p'): Uint8Array {
  const { registers: r, segments: s, pv } = vcpu
  const selectors = Object.fromEntries(Object.entries(s).map(([name, { selector }]) => [name, selector])) as Record<
    SegmentRegister,
    number
  >
  if (abi === 'x86_64') {
    const base = pv?.context ? VcpuGuestContext64.decode(pv.context) : VcpuGuestContext64.zero
    const { rip, rflags, ...general } = r
    return VcpuGuestContext64.encode({
      ...base,
      flags: BigInt(pv?.flags ?? 0),
      user_regs: { ...base.user_regs, ...general, rip, rflags, ...selectors },
      kernel_ss: BigInt(pv?.kernelSs ?? 0),
      kernel_sp: pv?.kernelSp ?? 0n,
      ctrlreg: replaced(base.ctrlreg, { 0: vcpu.cr0, 3: vcpu.cr3, 4: vcpu.cr4 }),
      debugreg: replaced(base.debugreg, { 6: vcpu.dr6, 7: vcpu.dr7 }),
      vm_assist: BigInt(pv?.vmAssist ?? 0),
    })
  }
  const base = pv?.context ? VcpuGuestContext32.decode(pv.context) : VcpuGuestContext32.zero
  return VcpuGuestContext32.encode({
    ...base,
    flags: pv?.flags ?? 0,
    user_regs: { ...base.user_regs, ...registers32(r), ...selectors },
    kernel_ss: pv?.kernelSs ?? 0,
    kernel_sp: low(pv?.kernelSp ?? 0n),
    ctrlreg: replaced(base.ctrlreg, { 0: low(vcpu.cr0), 3: low(vcpu.cr3), 4: low(vcpu.cr4) }),
    debugreg: replaced(base.debugreg, { 6: low(vcpu.dr6), 7: low(vcpu.dr7) }),
    vm_assist: pv?.vmAssist ?? 0,
  })
}

/** A list with some of its elements changed. */
function replaced<T>(list: readonly T[], values: Readonly<Record<number, T>>): T[] {
  return list.map((value, i) => values[i] ?? value)
}

/** The size of an ABI's context, in bytes. */
export const pvContextBytes = (abi: 'x86_64' | 'x86_32p'): number =>
  abi === 'x86_64' ? VcpuGuestContext64.size : VcpuGuestContext32.size

/**
 * Decodes a vcpu from its context. If a Vcpu cannot express all of it, the context's bytes are kept too.
 * @throws DomainBuilderError `truncated` for too few bytes.
 */
export function decodePvContext(bytes: Uint8Array, abi: 'x86_64' | 'x86_32p', id: number): Vcpu {
  const fields = abi === 'x86_64' ? VcpuGuestContext64.decode(bytes) : VcpuGuestContext32.decode(bytes)
  const regs: Readonly<Record<string, number | bigint>> = { ...fields.user_regs }
  const value = (name: string): bigint => BigInt(regs[name] ?? regs[name.replace(/^r/, 'e')] ?? 0)
  const general = Object.fromEntries(GENERAL_REGISTERS.map((name) => [name, value(name)]))
  const segments = Object.fromEntries(SEGMENT_REGISTERS.map((name) => [name, { selector: Number(regs[name]) }]))
  const element = (list: readonly (number | bigint)[], i: number): bigint => BigInt(list[i] as number | bigint)
  const flags = Number(BigInt.asUintN(32, BigInt(fields.flags)))
  const pv = {
    flags,
    kernelSs: Number(BigInt.asUintN(32, BigInt(fields.kernel_ss))),
    kernelSp: BigInt(fields.kernel_sp),
    vmAssist: Number(BigInt.asUintN(32, BigInt(fields.vm_assist))),
  }
  const vcpu: Vcpu = {
    id,
    online: (flags & VGCF_ONLINE) !== 0,
    registers: registers({ ...general, rip: value('rip'), rflags: value('rflags') }),
    segments: segments as Record<SegmentRegister, SegmentState>,
    cr0: element(fields.ctrlreg, 0),
    cr3: element(fields.ctrlreg, 3),
    cr4: element(fields.ctrlreg, 4),
    efer: 0n,
    dr6: element(fields.debugreg, 6),
    dr7: element(fields.debugreg, 7),
    pv,
  }
  const context = bytes.slice(0, pvContextBytes(abi))
  return equal(encodePvContext(vcpu, abi), context) ? vcpu : { ...vcpu, pv: { ...pv, context } }
}

/** A 32-bit guest's registers, by their 32-bit names. */
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
