/**
 * The purgatory: a page of code between kexec and a guest. It starts in the processor state that kexec leaves, and sets
 * up the vcpu's state.
 *
 * Source: Linux Documentation/admin-guide/kdump and kexec_load(2) for the procedure; Intel SDM vol. 3, 10.8.5.4
 * (leaving IA-32e mode).
 * Gotcha: kexec enters in 64-bit mode, everything mapped to itself, interrupts off; there is no stack, and the segments
 * come from a GDT that no longer exists.
 */
import { CR0_ET, CR0_PE, EFLAGS_RESERVED_1, MSR_EFER } from '../abi/x86.js'
import { registers } from '../asm/assembler.js'
import { SystemAssembler } from '../asm/system.js'
import type { Vcpu } from '../guest/vcpu.js'
import { PAGE_SIZE, type Paddr } from '../units.js'
import { CODE32, DATA, enterState, load } from './enter-state.js'

const { eax, ecx, edx, rax, rsp } = registers

/**
 * Returns the code for a vcpu, to be entered at its first byte.
 * @param page the address of the code: below 4 GiB, and mapped to itself where the guest has paging on.
 * @throws DomainBuilderError `does-not-fit` for a state that it cannot set up.
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
  // A 32-bit segment within IA-32e mode. Paging goes off first, which ends the mode; then EFER and cr4 are free to
  // change.
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
