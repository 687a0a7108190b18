/**
 * The purgatory: a page of code between kexec and a guest. It finds the processor as kexec leaves it, and brings it into
 * the vcpu's state.
 *
 * Source: Linux Documentation/admin-guide/kdump and kexec_load(2) for the way; Intel SDM vol. 3, 10.8.5.4 (leaving IA-32e
 * mode).
 * Gotcha: kexec enters in 64-bit mode, everything mapped to itself, interrupts off; there is no stack, and the segments
 * come from a GDT that is not there any more.
 */
import { CR0_ET, CR0_PE, EFLAGS_RESERVED_1, MSR_EFER } from '../abi/x86.js'
import { registers } from '../asm/assembler.js'
import { SystemAssembler } from '../asm/system.js'
import type { Vcpu } from '../guest/vcpu.js'
import { PAGE_SIZE, type Paddr } from '../units.js'
import { CODE32, DATA, enterState, load } from './enter-state.js'

const { eax, ecx, edx, rax, rsp } = registers

/**
 * The code for a vcpu, to be entered at its first byte.
 * @param page where it will lie: below 4 GiB, and mapped to itself where the guest has paging on.
 * @throws DomainBuilderError `does-not-fit` for a state that it cannot bring about.
 */
export function purgatory(vcpu: Vcpu, page: Paddr): Uint8Array {
  const a = new SystemAssembler(page, 64)
  const push = (value: number) => {
    a.mov(rax, value)
    a.push(rax)
  }
  a.cli()
  a.lgdt(a.at('own gdtr'))
  a.mov(rsp, page + PAGE_SIZE)
  push(DATA.selector)
  push(page + PAGE_SIZE)
  push(EFLAGS_RESERVED_1)
  push(CODE32.selector)
  a.lea(rax, a.at('compatible'))
  a.push(rax)
  a.iret()
  // A 32-bit segment within IA-32e mode. Paging goes off first, and the mode with it; then nothing holds on to EFER and cr4.
  a.label('compatible').code(32)
  for (const segment of ['ds', 'es', 'ss'] as const) load(a, segment, DATA.selector)
  a.mov(eax, CR0_PE | CR0_ET)
  a.toControl(0, eax)
  a.mov(ecx, MSR_EFER)
  a.mov(eax, 0)
  a.mov(edx, 0)
  a.wrmsr()
  enterState(a, vcpu)
  return a.assemble()
}
