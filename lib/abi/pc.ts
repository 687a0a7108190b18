/**
 * The holes in a PC's RAM; its interrupt controllers and timer, as far as firmware sets them up.
 *
 * Source: Intel 8259A and 8254 data sheets; Intel SDM vol. 3, 11.4 (local APIC) and 11.5.1 (local vector table); the
 * MultiProcessor Specification 1.4, 3.6.2.2 (virtual wire mode).
 * Gotcha: after a reset the 8259A pair has no vectors and LINT0 is masked, so no interrupt of the timer ever arrives.
 */
import type { Paddr, Range } from '../units.js'

/** A hole in the RAM: the adapter and ROM area of a PC. Without a BIOS, all 640 KiB below it are RAM. */
export const LOW_HOLE: Range<Paddr> = { start: 0xa0000, end: 0x100000 }
/** A hole in the RAM: devices, the APIC, the boot ROM. */
export const DEVICE_HOLE: Range<Paddr> = { start: 0xc0000000, end: 0x100000000 }

/** Ports of the two 8259A. Each takes its command words in order: ICW1 at the first port, the others at the second. */
export const PIC = { master: { command: 0x20, data: 0x21 }, slave: { command: 0xa0, data: 0xa1 } } as const
/** ICW1: edge triggered, cascaded, ICW4 follows. */
export const PIC_ICW1 = 0x11
/** ICW2: a PC's vectors in real mode, of IRQ 0 and of IRQ 8. */
export const PIC_VECTORS = { master: 0x08, slave: 0x70 } as const
/** ICW3: the slave is at IRQ 2 of the master. */
export const PIC_CASCADE = { master: 1 << 2, slave: 2 } as const
/** ICW4: 8086 mode. */
export const PIC_ICW4 = 0x01
/** OCW1: every IRQ is masked, except the slave's at the master. */
export const PIC_MASKS = { master: 0xff & ~PIC_CASCADE.master, slave: 0xff } as const

/** Ports of the 8254: counter 0, and the control word. */
export const PIT = { counter0: 0x40, control: 0x43 } as const
/** Counter 0, low byte then high byte, mode 2 (rate generator), binary. */
export const PIT_COUNTER0_RATE = 0x34

/**
 * Bytes of the clock's memory that hold the size of the RAM: above 16 MiB and below 4 GiB (two bytes), and above 4 GiB
 * (three bytes), in units of 64 KiB. Firmware reads it there.
 */
export const CMOS_MEMORY = { above16M: 0x34, above4G: 0x5b, unit: 1 << 16, start: 16 << 20 } as const

/** CPUID leaf 1, edx: the processor has a local APIC. */
export const CPUID_APIC = 1 << 9
/** Physical address of the local APIC's registers, and offsets there. */
export const LOCAL_APIC_ADDRESS = 0xfee00000
export const APIC = { svr: 0xf0, lint0: 0x350, lint1: 0x360 } as const
/** The spurious-interrupt register: enabled, with the vector of a reset. */
export const APIC_SVR_ENABLED = 0x1ff
/** LINT0 in virtual wire mode: ExtINT, so the 8259A pair interrupts the processor. */
export const APIC_EXTINT = 0x700
/** LINT1: NMI. */
export const APIC_NMI = 0x400

/**
 * The port of QEMU's isa-debug-exit, as kvm-unit-tests and others place it: a guest writes the status of its end there.
 */
export const DEBUG_EXIT_PORT = 0xf4
