/**
 * A vcpu's architectural state, the same for all protocols.
 *
 * Source: Intel SDM vol. 3, chapters 2 and 3; for the additions of PV guests, xen/include/public/arch-x86/xen.h.
 * Gotcha: a 32-bit guest has no `eax` here: it uses the low halves of the 64-bit registers, under their 64-bit names.
 */
import { CR0_PE } from '../abi/x86.js'
import type { Vaddr } from '../units.js'

/** The most vcpus of a snapshot: more than Xen gives to any guest. */
export const MAX_VCPUS = 4096

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

/** The content of a segment register: the selector and, unless it follows from the guest's GDT, the hidden part. */
export interface SegmentState {
  /** 16 bits: index, table, privilege level. */
  readonly selector: number
  /** The hidden part; absent for PV, whose segments are Xen's flat ones. */
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

/** General registers, instruction pointer and flags, 64 bits each. */
export interface Registers extends Readonly<Record<GeneralRegister, bigint>> {
  /** The virtual address of the first instruction. */
  readonly rip: Vaddr
  /** The register's value; the processor reads bit 1 as one regardless. */
  readonly rflags: bigint
}

/** A processor at the first instant of its guest. */
export interface Vcpu {
  /** Xen's vcpu number, from 0. */
  readonly id: number
  /** Whether it runs at the guest's first instant; otherwise it waits until the guest starts it. */
  readonly online: boolean
  /** General registers, rip and rflags. */
  readonly registers: Registers
  /** Selectors, and descriptors unless they are Xen's. */
  readonly segments: Readonly<Record<SegmentRegister, SegmentState>>
  /** Task register, if the protocol defines one. */
  readonly tr?: SegmentState
  /** The place of the guest's own GDT, if the protocol defines one. `limit`: the last byte's offset. */
  readonly gdtr?: { readonly base: Vaddr; readonly limit: number }
  /** The register's value. */
  readonly cr0: bigint
  /** The machine frame of the top table, shifted; a Xen PAE guest has the high bits folded into the low twelve. */
  readonly cr3: bigint
  /** The register's value. */
  readonly cr4: bigint
  /** The register's value (MSR 0xc0000080). */
  readonly efer: bigint
  /** The register's value. */
  readonly dr6: bigint
  /** The register's value. */
  readonly dr7: bigint
  /** The state that only a Xen PV vcpu has. */
  readonly pv?: {
    /** VGCF_* */
    readonly flags: number
    readonly kernelSs: number
    readonly kernelSp: Vaddr
    /** VMASST_TYPE_* bits. */
    readonly vmAssist: number
    /** The vcpu_guest_context of a vcpu that has run, for the state not in other fields: traps, GDT, callbacks, FPU. */
    readonly context?: Uint8Array
  }
}

/** A vcpu that waits until the guest starts it: everything is zero. */
export function waitingVcpu(id: number): Vcpu {
  const none: SegmentState = { selector: 0 }
  const segments = { cs: none, ss: none, ds: none, es: none, fs: none, gs: none }
  const control = { cr0: 0n, cr3: 0n, cr4: 0n, efer: 0n, dr6: 0n, dr7: 0n }
  return { id, online: false, registers: registers({}), segments, ...control }
}

/** A vcpu of a PV guest that waits. */
export const waitingPvVcpu = (id: number): Vcpu => ({
  ...waitingVcpu(id),
  pv: { flags: 0, kernelSs: 0, kernelSp: 0n, vmAssist: 0 },
})

/** All `count` vcpus of a guest: vcpu 0, and the others, which wait. */
export const bootedBy = (boot: Vcpu, count: number): Vcpu[] =>
  Array.from({ length: count }, (_, id) => (id === 0 ? boot : boot.pv ? waitingPvVcpu(id) : waitingVcpu(id)))

/** Whether a vcpu starts in real mode, as a BIOS leaves it; not for PV guests. */
export const inRealMode = ({ cr0 }: Pick<Vcpu, 'cr0'>): boolean => (cr0 & BigInt(CR0_PE)) === 0n

/** Registers that are zero except for the given ones. */
export function registers(values: Partial<Registers>): Registers {
  const all = Object.fromEntries(GENERAL_REGISTERS.map((name) => [name, 0n])) as Record<GeneralRegister, bigint>
  return { ...all, rip: 0n, rflags: 0n, ...values }
}
