/**
 * A vcpu to and from a sidecar: registers by the names of the guest's mode, with the hidden parts of segments. A vcpu
 * that was once in 64-bit mode keeps the 64-bit names while the 32-bit ones cannot hold its registers.
 *
 * Source: our own format, docs/formats.md, "The raw format".
 * Gotcha: a PV guest's segments have no hidden parts; a member that is absent here is absent in the Vcpu.
 */
import { toBase64 } from '../bytes.js'
import { defined } from '../defined.js'
import { pvContextBytes, registers32 } from '../guest/pv-context.js'
import {
  type Descriptor,
  GENERAL_REGISTERS,
  type GeneralRegister,
  type Registers,
  SEGMENT_REGISTERS,
  type SegmentRegister,
  type SegmentState,
  type Vcpu,
} from '../guest/vcpu.js'
import { hex } from '../units.js'
import type { JsonValue } from './json-value.js'

/** In the one order of every sidecar: a Vcpu may have any order. */
const REGISTERS = [...GENERAL_REGISTERS, 'rip', 'rflags'] as const
const CONTROL = ['cr0', 'cr3', 'cr4', 'efer', 'dr6', 'dr7'] as const
/** The 64-bit name of each register that a 32-bit guest's sidecar names. */
const NAMES_32: Readonly<Record<string, GeneralRegister | 'rip' | 'rflags'>> = {
  eax: 'rax',
  ebx: 'rbx',
  ecx: 'rcx',
  edx: 'rdx',
  esi: 'rsi',
  edi: 'rdi',
  ebp: 'rbp',
  esp: 'rsp',
  eip: 'rip',
  eflags: 'rflags',
}

/** Returns whether the 32-bit names can hold all of the registers. */
const fits32 = (registers: Registers): boolean =>
  Object.entries(registers).every(([name, value]) => value === 0n || (value >> 32n === 0n && !/^r\d/.test(name)))

/** @param is32 whether the registers have their 32-bit names. */
export function vcpuJson(vcpu: Vcpu, is32: boolean): Record<string, unknown> {
  const narrow = is32 && fits32(vcpu.registers)
  const general = narrow
    ? Object.entries(registers32(vcpu.registers))
    : REGISTERS.map((n) => [n, vcpu.registers[n]] as const)
  const all: (readonly [string, number | bigint])[] = [
    ...general,
    ...SEGMENT_REGISTERS.map((name): [string, number] => [name, vcpu.segments[name].selector]),
    ...CONTROL.map((name): [string, bigint] => [name, vcpu[name]]),
  ]
  const { gdtr, pv } = vcpu
  return defined({
    online: vcpu.online,
    registers: Object.fromEntries(all.map(([name, value]) => [name, hex(value)])),
    ...descriptorsJson(vcpu),
    gdtr: gdtr && { base: hex(gdtr.base), limit: hex(gdtr.limit) },
    pv:
      pv &&
      defined({
        flags: hex(pv.flags),
        kernel_ss: hex(pv.kernelSs),
        kernel_sp: hex(pv.kernelSp),
        vm_assist: hex(pv.vmAssist),
        context: pv.context && toBase64(pv.context),
      }),
  })
}

function descriptorsJson({ segments, tr }: Vcpu): Record<string, unknown> {
  const hidden = ({ descriptor: d }: SegmentState) =>
    d ? { base: hex(d.base), limit: hex(d.limit), attributes: hex(d.attributes) } : {}
  const known = SEGMENT_REGISTERS.filter((name) => segments[name].descriptor)
  const descriptors = Object.fromEntries(known.map((name) => [name, hidden(segments[name])]))
  return defined({
    descriptors: known.length > 0 ? descriptors : undefined,
    tr: tr && { selector: hex(tr.selector), ...hidden(tr) },
  })
}

/** Reads what vcpuJson() wrote. @throws DomainBuilderError `bad-snapshot`. */
export function openVcpu(json: JsonValue, id: number, is32: boolean): Vcpu {
  const from = json.at('registers')
  const narrow = is32 && !from.at('rip').present
  const bits = narrow ? 32 : 64
  const names = narrow ? Object.entries(NAMES_32) : REGISTERS.map((n) => [n, n])
  const zero = Object.fromEntries(GENERAL_REGISTERS.map((name) => [name, 0n]))
  const values = Object.fromEntries(names.map(([file = '', ours = '']) => [ours, from.at(file).hex(bits)]))
  const descriptors = json.at('descriptors')
  const segment = (name: string): SegmentState => ({
    selector: Number(from.at(name).hex(16)),
    ...(descriptors.present ? openDescriptor(descriptors.at(name)) : {}),
  })
  const optional = {
    tr: json.optional('tr', (tr) => ({ selector: Number(tr.at('selector').hex(16)), ...openDescriptor(tr) })),
    gdtr: json.optional('gdtr', (gdtr) => ({ base: gdtr.at('base').hex(), limit: Number(gdtr.at('limit').hex(32)) })),
    pv: json.optional('pv', (pv) =>
      defined({
        flags: Number(pv.at('flags').hex(32)),
        kernelSs: Number(pv.at('kernel_ss').hex(32)),
        kernelSp: pv.at('kernel_sp').hex(),
        vmAssist: Number(pv.at('vm_assist').hex(32)),
        context: pv.optional('context', (at) => at.base64(pvContextBytes(is32 ? 'x86_32p' : 'x86_64'))),
      }),
    ),
  }
  return {
    id,
    online: json.at('online').boolean(),
    registers: { ...zero, ...values } as unknown as Registers,
    segments: Object.fromEntries(SEGMENT_REGISTERS.map((name) => [name, segment(name)])) as Record<
      SegmentRegister,
      SegmentState
    >,
    cr0: from.at('cr0').hex(),
    cr3: from.at('cr3').hex(),
    cr4: from.at('cr4').hex(),
    efer: from.at('efer').hex(),
    dr6: from.at('dr6').hex(),
    dr7: from.at('dr7').hex(),
    ...defined(optional),
  }
}

function openDescriptor(json: JsonValue): { descriptor?: Descriptor } {
  if (!json.present || !json.at('base').present) return {}
  return {
    descriptor: {
      base: json.at('base').hex(),
      limit: Number(json.at('limit').hex(32)),
      attributes: Number(json.at('attributes').hex(32)),
    },
  }
}
