/**
 * The interrupt controllers and the timer as a BIOS leaves them: virtual wire mode, all IRQs masked, the timer at
 * 18.2 Hz.
 *
 * Source: the MultiProcessor Specification 1.4, 3.6.2.2; lib/abi/pc.ts has the values.
 * Gotcha: Linux 2.4 calibrates its delay loop by the timer's IRQ through the 8259A alone. Without virtual wire mode it
 * waits forever.
 */
import {
  APIC,
  APIC_EXTINT,
  APIC_NMI,
  APIC_SVR_ENABLED,
  CPUID_APIC,
  LOCAL_APIC_ADDRESS,
  PIC,
  PIC_CASCADE,
  PIC_ICW1,
  PIC_ICW4,
  PIC_MASKS,
  PIC_VECTORS,
  PIT,
  PIT_COUNTER0_RATE,
} from '../abi/pc.js'
import { mem, registers } from '../asm/assembler.js'
import type { SystemAssembler } from '../asm/system.js'

const { eax, edi, edx } = registers

/** Appends code that sets up the devices. It runs in 32-bit mode with flat segments, and uses no stack. */
export function setUpDevices(a: SystemAssembler): void {
  for (const chip of ['master', 'slave'] as const) {
    const { command, data } = PIC[chip]
    a.outb8(command, PIC_ICW1)
    a.outb8(data, PIC_VECTORS[chip])
    a.outb8(data, PIC_CASCADE[chip])
    a.outb8(data, PIC_ICW4)
    a.outb8(data, PIC_MASKS[chip])
  }
  a.outb8(PIT.control, PIT_COUNTER0_RATE)
  // A count of 0 is 65536.
  a.outb8(PIT.counter0, 0)
  a.outb8(PIT.counter0, 0)
  a.mov(eax, 1)
  a.cpuid()
  a.and(edx, CPUID_APIC)
  a.jcc('e', 'no APIC')
  a.mov(edi, LOCAL_APIC_ADDRESS)
  for (const [offset, value] of [
    [APIC.svr, APIC_SVR_ENABLED],
    [APIC.lint0, APIC_EXTINT],
    [APIC.lint1, APIC_NMI],
  ] as const) {
    a.mov(eax, value)
    a.mov(mem(edi, offset), eax)
  }
  a.label('no APIC')
}
