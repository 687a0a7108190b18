/**
 * A vcpu's architectural state, whatever the protocol that made it.
 *
 * Source: Intel SDM vol. 3, chapters 2 and 3; what a PV guest adds, xen/include/public/arch-x86/xen.h.
 * Gotcha: the names are those of the 64-bit registers for every guest; a 32-bit guest uses their low halves.
 */
import { CR0_PE } from '../abi/x86.js'
import type { Vaddr } from '../units.js'

export const GENERAL_REGISTERS = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rbp',
  'rsp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const
/** A general register, by its 64-bit name. */
export type GeneralRegister = (typeof GENERAL_REGISTERS)[number]
export const SEGMENT_REGISTERS = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const
/** A segment register. */
export type SegmentRegister = (typeof SEGMENT_REGISTERS)[number]

/** What a segment register holds: the selector and, where the guest's own GDT does not say it, the hidden part. */
export interface SegmentState {
  /** 16 bits: index, table, privilege level. */
  readonly selector: number
  /** Hidden part; absent for PV, whose segments are Xen's flat ones. */
  readonly descriptor?: Descriptor
}

/** The hidden part of a segment register. */
export interface Descriptor {
  /** Linear address of the segment's first byte. */
  readonly base: bigint
  /** The last byte's offset. */
  readonly limit: number
  /** The descriptor's access byte, and G, D/B, L, AVL in bits 8 to 11: 0xc9b is a flat 32-bit code segment. */
  readonly attributes: number
}

/** General registers, instruction pointer and flags, each of 64 bits. */
export interface Registers extends Readonly<Record<GeneralRegister, bigint>> {
  /** The first instruction, a virtual address. */
  readonly rip: Vaddr
  /** As the register holds it; bit 1 reads as one whatever it is here. */
  readonly rflags: bigint
}

/** A processor at the first instant of its guest. */
export interface Vcpu {
  /** Xen's vcpu number, from 0. */
  readonly id: number
  /** Whether it runs at the guest's first instant; the others wait until the guest starts them. */
  readonly online: boolean
  /** General registers, rip and rflags. */
  readonly registers: Registers
  /** Selectors, and descriptors where they are not Xen's. */
  readonly segments: Readonly<Record<SegmentRegister, SegmentState>>
  /** Task register, where the protocol fixes one. */
  readonly tr?: SegmentState
  /** Where the guest's own GDT lies, where the protocol says that there is one. `limit`: the last byte's offset. */
  readonly gdtr?: { readonly base: Vaddr; readonly limit: number }
  /** Control registers as they hold them. */
  readonly cr0: bigint
  /** The machine frame of the top table, shifted; a PAE guest of Xen's has the high bits folded into the low twelve. */
  readonly cr3: bigint
  /** As the register holds it. */
  readonly cr4: bigint
  /** As the register holds it (MSR 0xc0000080). */
  readonly efer: bigint
  /** As the register holds it. */
  readonly dr6: bigint
  /** As the register holds it. */
  readonly dr7: bigint
  /** What only a Xen PV vcpu has. */
  readonly pv?: {
    /** VGCF_* */
    readonly flags: number
    readonly kernelSs: number
    readonly kernelSp: Vaddr
    /** VMASST_TYPE_* bits. */
    readonly vmAssist: number
    /** The vcpu_guest_context of a vcpu that has run, for all that is not said here: traps, GDT, callbacks, FPU. */
    readonly context?: Uint8Array
  }
}

/** Whether a vcpu that is no PV guest's starts as a processor leaves reset: a BIOS is behind it. */
export const inRealMode = ({ cr0 }: Pick<Vcpu, 'cr0'>): boolean => (cr0 & BigInt(CR0_PE)) === 0n

/** Registers that are zero but for those given. */
export function registers(values: Partial<Registers>): Registers {
  const all = Object.fromEntries(GENERAL_REGISTERS.map((name) => [name, 0n])) as Record<GeneralRegister, bigint>
  return { ...all, rip: 0n, rflags: 0n, ...values }
}
