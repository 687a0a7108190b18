/**
 * A vcpu as QEMU's stream has it: the fields of the section `cpu`.
 *
 * Source: ../abi/qemu-cpu.ts; QEMU target/i386/cpu.h, x86_update_hflags(), for the bits that hflags copies.
 * Gotcha: a segment's hidden part that the vcpu does not have is that of a null selector.
 */
import {
  CPU_RESET,
  HFLAG,
  HFLAG_CR0,
  HFLAG_RFLAGS,
  MP_STATE_WAITING,
  QEMU_REGISTERS,
  QEMU_SEGMENTS,
  SEGMENT_FLAGS,
} from '../abi/qemu-cpu.js'
import type { FieldValues } from '../abi/vmstate.js'
import {
  CR0_PE,
  CR4_OSFXSR,
  DESCRIPTOR_DB,
  DESCRIPTOR_DPL_SHIFT,
  DESCRIPTOR_G,
  DESCRIPTOR_L,
  EFER_LMA,
} from '../abi/x86.js'
import type { Descriptor, SegmentState, Vcpu } from '../guest/vcpu.js'
import { PAGE_SHIFT } from '../units.js'

/** Returns the fields that are not zero. */
export function cpuValues(vcpu: Vcpu): FieldValues {
  if (!vcpu.online) return { ...CPU_RESET, 'env.mp_state': MP_STATE_WAITING }
  const { registers: r, cr0, cr3, cr4, efer, dr6, dr7, tr, gdtr } = vcpu
  return {
    ...CPU_RESET,
    'env.regs': QEMU_REGISTERS.map((name) => r[name]),
    'env.eip': r.rip,
    'env.eflags': r.rflags,
    'env.hflags': hflagsOf(vcpu),
    ...Object.assign({}, ...QEMU_SEGMENTS.map((name, i) => segmentValues(`env.segs[${i}]`, vcpu.segments[name]))),
    ...(tr === undefined ? {} : segmentValues('env.tr', tr)),
    ...(gdtr === undefined ? {} : { 'env.gdt.base': gdtr.base, 'env.gdt.limit': gdtr.limit }),
    'env.cr[0]': cr0,
    'env.cr[3]': cr3,
    'env.cr[4]': cr4,
    'env.dr': [0n, 0n, 0n, 0n, 0n, 0n, dr6, dr7],
    'env.efer': efer,
  }
}

const NULL: Descriptor = { base: 0n, limit: 0, attributes: 0 }

function segmentValues(path: string, { selector, descriptor = NULL }: SegmentState): FieldValues {
  const { base, limit } = descriptor
  return {
    [`${path}.selector`]: selector,
    [`${path}.base`]: base,
    [`${path}.limit`]: limit,
    [`${path}.flags`]: segmentFlags(descriptor),
  }
}

/** Returns the high word of the descriptor that has that hidden part. */
function segmentFlags({ base, limit, attributes }: Descriptor): number {
  const access = attributes & 0xff
  const granularity = attributes >>> 8
  const high = BigInt.asUintN(32, base) >> 16n
  const units = attributes & DESCRIPTOR_G ? limit >>> PAGE_SHIFT : limit
  return (
    ((Number(high >> 8n) << SEGMENT_FLAGS.baseHigh) |
      (granularity << SEGMENT_FLAGS.granularity) |
      (((units >>> 16) & 0xf) << SEGMENT_FLAGS.limit) |
      (access << SEGMENT_FLAGS.access) |
      Number(high & 0xffn)) >>>
    0
  )
}

/** Returns the copy of the processor's mode that QEMU keeps. */
function hflagsOf({ cr0, cr4, efer, registers: { rflags }, segments }: Vcpu): number {
  const part = (name: 'cs' | 'ss' | 'ds' | 'es'): Descriptor => segments[name].descriptor ?? NULL
  const has = (name: 'cs' | 'ss', bit: number): boolean => (part(name).attributes & bit) !== 0
  const isProtected = (cr0 & BigInt(CR0_PE)) !== 0n
  const isLong = (efer & BigInt(EFER_LMA)) !== 0n
  const is64 = isLong && has('cs', DESCRIPTOR_L)
  const is32 = has('cs', DESCRIPTOR_DB)
  const isBased = (['ds', 'es', 'ss'] as const).some((name) => part(name).base !== 0n)
  const bits: readonly (readonly [boolean, number])[] = [
    [isProtected, HFLAG.PE],
    [isLong, HFLAG.LMA],
    [is64, HFLAG.CS64],
    [is64 || is32, HFLAG.CS32],
    [is64 || has('ss', DESCRIPTOR_DB), HFLAG.SS32],
    [!is64 && (!isProtected || !is32 || isBased), HFLAG.ADDSEG],
    [(cr4 & BigInt(CR4_OSFXSR)) !== 0n, HFLAG.OSFXSR],
  ]
  return bits.reduce(
    (flags, [isSet, bit]) => (isSet ? flags | bit : flags),
    ((part('ss').attributes >>> DESCRIPTOR_DPL_SHIFT) & 3) |
      ((Number(cr0) & HFLAG_CR0.mask) << HFLAG_CR0.shift) |
      (Number(rflags) & HFLAG_RFLAGS),
  )
}
