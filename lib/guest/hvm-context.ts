/**
 * The HVM context of a guest: converts vcpus to the records that Xen takes, and back.
 *
 * Source: xen/include/public/arch-x86/hvm/save.h; for the first state of a PVH guest, tools/libs/guest/xg_dom_x86.c
 * (vcpu_hvm).
 * Gotcha: Xen starts every vcpu that has a CPU record, so only running vcpus may have one. There is no record of the
 * local APICs' registers: it would equal Xen's reset state.
 */

import {
  APIC_BASE_BSP,
  APIC_BASE_ENABLED,
  HVM_FILE_MAGIC,
  HVM_FILE_VERSION,
  HVM_SAVE_CODE,
  HvmHwCpu,
  HvmHwLapic,
  HvmHwMtrr,
  HvmSaveDescriptor,
  HvmSaveHeader,
  LAPIC_SW_DISABLED,
  LAPIC_TIMER_DIVISOR_RESET,
  MTRR_CAP,
  MTRR_WRITE_BACK,
  PAT_RESET,
} from '../abi/hvm-save.js'
import type { Infer, Struct } from '../abi/struct.js'
import { concat } from '../bytes.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'
import {
  GENERAL_REGISTERS,
  MAX_VCPUS,
  type Registers,
  type SegmentRegister,
  type SegmentState,
  type Vcpu,
} from './vcpu.js'

type Cpu = Infer<typeof HvmHwCpu>
type Segment = SegmentRegister | 'tr'
const SEGMENTS: readonly Segment[] = ['cs', 'ss', 'ds', 'es', 'fs', 'gs', 'tr']

function saveRecord<T>(typecode: number, instance: number, struct?: Struct<T>, value?: T): Uint8Array[] {
  const body = struct === undefined || value === undefined ? new Uint8Array(0) : struct.encode(value)
  return [HvmSaveDescriptor.encode({ typecode, instance, length: body.length }), body]
}

/**
 * Encodes a PVH guest's vcpus for XEN_DOMCTL_sethvmcontext or an HVM_CONTEXT record of a save file: records from HEADER
 * to END.
 * @throws DomainBuilderError `bad-range` for a register that its field cannot hold.
 */
export function encodeHvmContext(vcpus: readonly Vcpu[]): Uint8Array {
  const header = { magic: HVM_FILE_MAGIC, version: HVM_FILE_VERSION, changeset: 0n, cpuid: 0, gtsc_khz: 0 }
  const mtrr = { ...HvmHwMtrr.zero, msr_pat_cr: PAT_RESET, msr_mtrr_cap: MTRR_CAP, msr_mtrr_def_type: MTRR_WRITE_BACK }
  return concat([
    ...saveRecord(HVM_SAVE_CODE.HEADER, 0, HvmSaveHeader, header),
    ...vcpus
      .filter(({ online }) => online)
      .flatMap((vcpu) => saveRecord(HVM_SAVE_CODE.CPU, vcpu.id, HvmHwCpu, cpuOf(vcpu))),
    ...vcpus.flatMap(({ id }) => saveRecord(HVM_SAVE_CODE.LAPIC, id, HvmHwLapic, lapicOf(id))),
    ...vcpus.flatMap(({ id }) => saveRecord(HVM_SAVE_CODE.MTRR, id, HvmHwMtrr, mtrr)),
    ...saveRecord(HVM_SAVE_CODE.END, 0),
  ])
}

/** A local APIC at the start of its vcpu. */
const lapicOf = (id: number): Infer<typeof HvmHwLapic> => ({
  apic_base_msr: id === 0 ? APIC_BASE_ENABLED | APIC_BASE_BSP : APIC_BASE_ENABLED,
  disabled: LAPIC_SW_DISABLED,
  timer_divisor: LAPIC_TIMER_DIVISOR_RESET,
  tdt_msr: 0n,
})

function cpuOf(vcpu: Vcpu): Cpu {
  const { cr0, cr3, cr4, dr6, dr7, efer, gdtr, tr } = vcpu
  const segments = SEGMENTS.flatMap((name): [string, number | bigint][] => {
    const state = name === 'tr' ? tr : vcpu.segments[name]
    const { base, limit, attributes } = state?.descriptor ?? { base: 0n, limit: 0, attributes: 0 }
    return [
      [`${name}_sel`, state?.selector ?? 0],
      [`${name}_base`, base],
      [`${name}_limit`, limit],
      [`${name}_arbytes`, attributes],
    ]
  })
  return {
    ...HvmHwCpu.zero,
    ...vcpu.registers,
    ...{ cr0, cr3, cr4, dr6, dr7, msr_efer: efer },
    ...(Object.fromEntries(segments) as Partial<Cpu>),
    gdtr_base: gdtr?.base ?? 0n,
    gdtr_limit: gdtr?.limit ?? 0,
  }
}

/** The bits that Xen takes from a selector's 32-bit field. */
const SELECTOR_MASK = 0xffff

/** A record of an HVM context: its type, its instance and its bytes. */
interface HvmRecord {
  /** One of HVM_SAVE_CODE, or one that a later Xen added. */
  readonly typecode: number
  /** The number of the vcpu, or of one of several devices. */
  readonly instance: number
  readonly body: Uint8Array
}

const wrong = (what: string, expected: string, found: string): never => {
  throw new DomainBuilderError('bad-snapshot', `HVM context: ${what}`, { expected, found })
}

// The context's place in the file is unknown here, so errors have no offset.
function decode<T>(layout: Struct<T>, from: Uint8Array, at = 0): T {
  const left = from.length - at
  if (left < layout.size) wrong(`the context ends within ${layout.name}`, `${layout.size} bytes`, `${left}`)
  return layout.decode(from, at)
}

/**
 * Yields the records of an HVM context between its header and its end, in order.
 * @throws DomainBuilderError `bad-snapshot` for records that do not follow one another to the end.
 */
export function* hvmRecords(bytes: Uint8Array): Generator<HvmRecord> {
  for (let at = 0; ; ) {
    const { typecode, instance, length } = decode(HvmSaveDescriptor, bytes, at)
    const body = bytes.subarray(at + HvmSaveDescriptor.size, at + HvmSaveDescriptor.size + length)
    if (body.length !== length) wrong('a record is truncated', `${length} bytes`, `${body.length}`)
    if (at === 0 && typecode !== HVM_SAVE_CODE.HEADER) wrong('the context has no header', 'type 1', `${typecode}`)
    at += HvmSaveDescriptor.size + length
    if (typecode === HVM_SAVE_CODE.END) {
      if (at !== bytes.length) wrong('the context continues after its end', `${at} bytes`, `${bytes.length}`)
      return
    }
    if (typecode === HVM_SAVE_CODE.HEADER) {
      const { magic } = decode(HvmSaveHeader, body)
      if (magic !== HVM_FILE_MAGIC) wrong('its header has the wrong magic', hex(HVM_FILE_MAGIC), hex(magic))
    } else yield { typecode, instance, body }
  }
}

/**
 * Returns the vcpus with CPU records in an HVM context, by number; other records are ignored.
 * @throws DomainBuilderError `bad-snapshot` for records that do not follow one another to the end.
 */
export function decodeHvmContext(bytes: Uint8Array): ReadonlyMap<number, Vcpu> {
  const vcpus = new Map<number, Vcpu>()
  for (const { typecode, instance, body } of hvmRecords(bytes)) {
    if (typecode !== HVM_SAVE_CODE.CPU) continue
    if (instance >= MAX_VCPUS) wrong('the vcpu number is too large', `below ${MAX_VCPUS}`, `${instance}`)
    vcpus.set(instance, vcpuOf(instance, decode(HvmHwCpu, body)))
  }
  return vcpus
}

function vcpuOf(id: number, cpu: Cpu): Vcpu {
  const { rip, rflags, cr0, cr3, cr4, dr6, dr7, msr_efer: efer, gdtr_base, gdtr_limit } = cpu
  const general = Object.fromEntries(GENERAL_REGISTERS.map((name) => [name, cpu[name]]))
  const state = (name: Segment): SegmentState => {
    const descriptor = { base: cpu[`${name}_base`], limit: cpu[`${name}_limit`], attributes: cpu[`${name}_arbytes`] }
    const empty = descriptor.base === 0n && descriptor.limit === 0 && descriptor.attributes === 0
    return { selector: cpu[`${name}_sel`] & SELECTOR_MASK, ...defined({ descriptor: empty ? undefined : descriptor }) }
  }
  const segments = {
    cs: state('cs'),
    ss: state('ss'),
    ds: state('ds'),
    es: state('es'),
    fs: state('fs'),
    gs: state('gs'),
  }
  return {
    id,
    online: true,
    registers: { ...general, rip, rflags } as Registers,
    segments,
    tr: state('tr'),
    ...defined({ gdtr: gdtr_base === 0n && gdtr_limit === 0 ? undefined : { base: gdtr_base, limit: gdtr_limit } }),
    ...{ cr0, cr3, cr4, efer, dr6, dr7 },
  }
}
