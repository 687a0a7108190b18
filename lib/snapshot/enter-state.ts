/**
 * The last steps before a guest: code generated from a vcpu's state that brings a processor into it. The steps from
 * flat 32-bit mode without paging are the same for every starter.
 *
 * Source: Intel SDM vol. 3, 10.8.5 (initializing IA-32e mode), 6.14 (iret).
 * Gotcha: once paging is on, the next instruction must be mapped. So the code lies in an unused page of guest memory
 * that is mapped to itself. Its remains stay in that page.
 */
import {
  CR0_PE,
  EFER_LMA,
  EFER_LME,
  FLAT_CODE32,
  FLAT_CODE64,
  FLAT_DATA,
  FLAT_LIMIT,
  MSR_EFER,
  TSS_BUSY_BIT,
} from '../abi/x86.js'
import { type Register, registers } from '../asm/assembler.js'
import type { Segment, SystemAssembler } from '../asm/system.js'
import { DomainBuilderError } from '../errors.js'
import { encodeGdt } from '../guest/gdt.js'
import { GENERAL_REGISTERS, SEGMENT_REGISTERS, type SegmentState, type Vcpu } from '../guest/vcpu.js'
import { lazy } from '../lazy.js'
import { hex, PAGE_SIZE } from '../units.js'

const { eax, ecx, edx, esi, edi, esp, rax, rsp } = registers

const own = (index: number, attributes: number): SegmentState => ({
  selector: index << 3,
  descriptor: { base: 0n, limit: FLAT_LIMIT, attributes },
})
/** The segments that our code uses until it has the guest's. */
export const CODE32 = own(1, FLAT_CODE32)
export const DATA = own(2, FLAT_DATA)
const CODE64 = own(3, FLAT_CODE64)
export const ownGdt = lazy(() => encodeGdt([CODE32, DATA, CODE64]))

/** The stack of the last steps, at the end of their page. */
const STACK_BYTES = 256

/** Refuses a state that 32-bit code cannot set up. */
function checkState({ cr0, cr3, cr4, efer, registers: r, gdtr }: Vcpu): void {
  const refuse = (what: string, expected: string, found: bigint) => {
    throw new DomainBuilderError('does-not-fit', `the vcpu's ${what} cannot be set by the code that enters the guest`, {
      expected,
      found: hex(found),
    })
  }
  if (!(cr0 & BigInt(CR0_PE))) refuse('cr0', 'protected mode', cr0)
  if (cr3 >> 32n) refuse('cr3', 'page tables below 4 GiB', cr3)
  if (cr0 >> 32n) refuse('cr0', '32 bits', cr0)
  if (cr4 >> 32n) refuse('cr4', '32 bits', cr4)
  if (efer >> 32n) refuse('efer', '32 bits', efer)
  if ((efer & BigInt(EFER_LMA)) === 0n && r.rip >> 32n) refuse('rip', 'an address below 4 GiB', r.rip)
  if (gdtr && gdtr.base >> 32n) refuse('GDT', 'a base below 4 GiB', gdtr.base)
}

/** Loads a segment register; eax is lost. */
export const load = (a: SystemAssembler, segment: Segment, selector: number): void => {
  a.mov(eax, selector)
  a.toSegment(segment, eax)
}

/** Writes the operand of lgdt: limit and base, long enough for either mode. */
export function table(a: SystemAssembler, limit: number, base: number | bigint): void {
  a.u16(limit).u64(BigInt(base))
}

/**
 * Assembles code that goes from flat 32-bit mode without paging to the guest's first instruction, and the tables after
 * it. Its page must be writable, and mapped to itself where the guest has paging on; the stack is at the page's end.
 * @param a assembles the page, from its first byte.
 * @throws DomainBuilderError `does-not-fit` for a state that such code cannot set up, or code longer than a page.
 */
export function enterState(a: SystemAssembler, vcpu: Vcpu): void {
  checkState(vcpu)
  const page = Number(a.origin)
  const long = (vcpu.efer & BigInt(EFER_LME)) !== 0n
  a.lgdt(a.at('own gdtr'))
  a.mov(eax, vcpu.cr4)
  a.toControl(4, eax)
  a.mov(eax, vcpu.cr3)
  a.toControl(3, eax)
  if (vcpu.efer !== 0n) {
    a.mov(ecx, MSR_EFER)
    a.mov(eax, vcpu.efer & ~BigInt(EFER_LMA)) // The processor sets LMA itself when paging goes on.
    a.mov(edx, 0)
    a.wrmsr()
  }
  a.mov(eax, vcpu.cr0)
  a.toControl(0, eax)
  if (long) {
    a.ljmp(CODE64.selector, 'long')
    a.label('long').code(64)
  }
  a.mov(long ? rsp : esp, page + PAGE_SIZE)
  enter(a, vcpu, long)

  const gdt = vcpu.gdtr ? new Uint8Array(0) : guestGdt(vcpu)
  a.align(8)
    .label('own gdt')
    .bytes(...ownGdt())
  a.label('guest gdt').bytes(...gdt)
  a.label('own gdtr')
  table(a, ownGdt().length - 1, a.addressOf('own gdt'))
  a.label('guest gdtr')
  table(a, vcpu.gdtr?.limit ?? gdt.length - 1, vcpu.gdtr?.base ?? a.addressOf('guest gdt'))
  if (a.length > PAGE_SIZE - STACK_BYTES) {
    throw new DomainBuilderError('does-not-fit', 'the GDT that the selectors need is too large', {
      expected: `at most ${PAGE_SIZE - STACK_BYTES} bytes in all`,
      found: `${a.length}`,
    })
  }
}

/** Loads segments and general registers, and enters the guest. After the flags there is only mov, which keeps them. */
function enter(a: SystemAssembler, vcpu: Vcpu, long: boolean): void {
  const { registers: r, segments: s } = vcpu
  // In 64-bit mode, and to an outer level, iret loads the stack too.
  const withStack = long || (s.cs.selector & 3) !== 0
  const push = (value: bigint) => {
    const scratch = long ? rax : eax
    a.mov(scratch, value)
    a.push(scratch)
  }
  a.lgdt(a.at('guest gdtr'))
  if (vcpu.tr) {
    a.mov(eax, vcpu.tr.selector)
    a.ltr(eax)
  }
  for (const name of ['ds', 'es', 'fs', 'gs'] as const) load(a, name, s[name].selector)
  if (withStack) {
    push(BigInt(s.ss.selector))
    push(r.rsp)
    push(r.rflags)
    push(BigInt(s.cs.selector))
    push(r.rip)
  } else {
    load(a, 'ss', s.ss.selector)
    push(r.rflags)
    a.popf()
  }
  for (const [name, register] of generalRegisters(long)) {
    if (name !== 'rsp') a.mov(register, BigInt.asUintN(long ? 64 : 32, r[name]))
  }
  if (withStack) {
    a.iret()
    return
  }
  a.mov(esp, BigInt.asUintN(32, r.rsp))
  a.ljmp(s.cs.selector, Number(r.rip))
}

/** Returns the registers of the mode, by their 64-bit names. */
function generalRegisters(long: boolean): [(typeof GENERAL_REGISTERS)[number], Register][] {
  if (long) return GENERAL_REGISTERS.map((name) => [name, registers[name]])
  const { ebx, ebp } = registers
  return [
    ['rax', eax],
    ['rcx', ecx],
    ['rdx', edx],
    ['rbx', ebx],
    ['rbp', ebp],
    ['rsi', esi],
    ['rdi', edi],
  ]
}

/** Returns the GDT for a guest without one: its segments, under their own selectors. */
function guestGdt(vcpu: Vcpu): Uint8Array {
  const segments = [...SEGMENT_REGISTERS.map((name) => vcpu.segments[name]), ...(vcpu.tr ? [notBusy(vcpu.tr)] : [])]
  const unnamed = segments.find(({ selector, descriptor }) => descriptor !== undefined && selector >>> 3 === 0)
  if (unnamed) {
    throw new DomainBuilderError('does-not-fit', 'the selector of a segment with a descriptor is too small', {
      expected: 'a selector of 8 or more',
      found: hex(unnamed.selector),
    })
  }
  return encodeGdt(segments.filter(({ descriptor }) => descriptor !== undefined))
}

/** Loading the task register marks its TSS busy, and fails for a busy one. */
function notBusy({ selector, descriptor }: SegmentState): SegmentState {
  if (descriptor === undefined) return { selector }
  return { selector, descriptor: { ...descriptor, attributes: descriptor.attributes & ~TSS_BUSY_BIT } }
}
