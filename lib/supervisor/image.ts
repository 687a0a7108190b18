/**
 * The supervisor's image: its code, variables and stack, and the processor's GDT, IDT and TSS.
 *
 * Source: Intel SDM vol. 3, chapters 3, 5.8.8 (syscall), 6.14 and 7.7; xen/include/public/arch-x86/xen-x86_64.h;
 * xen/arch/x86/x86_64/entry.S for the frame that a handler finds, the facts alone.
 * Gotcha: a guest's kernel and its programs both run in ring 3. Xen tells a kernel which of them was interrupted by the
 * ring in the frame's cs: 0 for the kernel.
 */
import { XEN_ERRNO } from '../abi/hypercall.js'
import { VcpuInfo64 } from '../abi/shared-info.js'
import {
  FIRST_RESERVED_SELECTOR,
  FLAT_KERNEL_CS64,
  FLAT_KERNEL_SS64,
  FLAT_RING3_CS32,
  TRAP_MASKS_EVENTS,
  VcpuGuestContext64,
} from '../abi/vcpu-context.js'
import {
  DESCRIPTOR_DPL_SHIFT,
  EFLAGS_AC,
  EFLAGS_DF,
  EFLAGS_IF,
  EFLAGS_NT,
  EFLAGS_RESERVED_1,
  EFLAGS_RF,
  EFLAGS_TF,
  EXCEPTIONS,
  FLAT_CODE32,
  FLAT_CODE64,
  FLAT_DATA,
  FLAT_LIMIT,
  GATE64_BYTES,
  INTERRUPT_GATE,
  MSR,
  PT_ENTRIES,
  PTE_PRESENT,
  PTE_RW,
  TSS32_LIMIT,
  TSS64_FREE,
  TSS64_RSP0,
  VECTOR,
  VECTORS_WITH_ERROR,
} from '../abi/x86.js'
import { mem, registers } from '../asm/assembler.js'
import { DomainBuilderError } from '../errors.js'
import { encodeGdt } from '../guest/gdt.js'
import { GENERAL_REGISTERS, type SegmentState, type Vcpu } from '../guest/vcpu.js'
import { PAGE_SIZE } from '../units.js'
import { type Machine, SupervisorAssembler, VARIABLES, type Variable } from './assembler.js'
import { emitEvents } from './calls/events.js'
import { emitTables } from './calls/mmu.js'
import { emitTimer } from './calls/sched.js'
import { emitHypercalls } from './calls.js'
import { direct, GDT_VIRT, IMAGE, IMAGE_PAGES, IMAGE_VIRT, imageVirt } from './layout.js'
import { emitLines } from './lines.js'
import { emitOutput } from './output.js'

const { rax, rcx, rdx, rbx, rsp, rbp, rsi, r8, r9, r11, eax, ecx, edx, ebx, r8d, al } = registers

/** The supervisor's selectors, next to those that Xen promises its guests. `syscall` needs data after code. */
const CODE = FIRST_RESERVED_SELECTOR + 0x08
const DATA = CODE + 8
const TSS = FIRST_RESERVED_SELECTOR + 0x40
const STACK_END = imageVirt('code')
/** The pages of a GDT that are the guest's. */
const GUEST_GDT_PAGES = FIRST_RESERVED_SELECTOR / PAGE_SIZE
/** A frame's vector after `syscall`: not one of an exception. */
const NO_VECTOR = 0x100
/** Flags that `syscall` clears, and those that a handler begins without. */
const SYSCALL_CLEARS = EFLAGS_IF | EFLAGS_TF | EFLAGS_DF | EFLAGS_NT | EFLAGS_RF | EFLAGS_AC
const HANDLER_CLEARS = EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_AC
/** How an event or exception reaches the guest, in ebx. */
const WITH_ERROR = 1 << 0
const MASKS_EVENTS = 1 << 1

/** The finished image. */
export interface Image {
  readonly bytes: Uint8Array
  /** The processor's state at its first instruction is ring 0, long mode, with these. */
  readonly entry: bigint
  readonly stack: bigint
}

/**
 * Returns the image that starts a vcpu.
 * @throws DomainBuilderError `does-not-fit` if the image is longer than its pages.
 */
export function supervisorImage(vcpu: Vcpu, machine: Machine): Image {
  const a = new SupervisorAssembler(machine)
  emitPages(a)
  emitEntry(a, vcpu)
  emitSyscall(a)
  emitExceptions(a)
  emitBounce(a)
  emitOutput(a)
  emitLines(a)
  emitEvents(a)
  emitTimer(a)
  emitTables(a)
  emitHypercalls(a)
  emitData(a, vcpu)
  const bytes = a.assemble()
  if (bytes.length > IMAGE_PAGES * PAGE_SIZE) {
    throw new DomainBuilderError('does-not-fit', 'the supervisor is too large', { found: `${bytes.length} bytes` })
  }
  return { bytes, entry: imageVirt('code'), stack: STACK_END }
}

function setMsr(a: SupervisorAssembler, msr: number, value: bigint): void {
  a.mov(ecx, msr)
    .mov(eax, BigInt.asUintN(32, value))
    .mov(edx, value >> 32n)
    .wrmsr()
}

/** The first instructions: the processor's tables, then the guest. */
function emitEntry(a: SupervisorAssembler, vcpu: Vcpu): void {
  const { registers: r, segments: s } = vcpu
  a.lgdt(a.at('gdtr')).lidt(a.at('idtr'))
  a.mov(eax, DATA).toSegment('ss', eax)
  a.mov(eax, TSS).ltr(eax)
  // sysret is not used; its selectors are those that Xen's guests have.
  setMsr(a, MSR.STAR, (BigInt(FLAT_RING3_CS32) << 48n) | (BigInt(CODE) << 32n))
  a.lea(rax, a.at('syscall')).mov(rdx, rax).shr(rdx, 32).mov(ecx, MSR.LSTAR).wrmsr()
  setMsr(a, MSR.FMASK, BigInt(SYSCALL_CLEARS))
  for (const name of ['ds', 'es', 'fs', 'gs'] as const) a.mov(eax, s[name].selector).toSegment(name, eax)
  const context = vcpu.pv?.context && VcpuGuestContext64.decode(vcpu.pv.context)
  if (context) {
    setMsr(a, MSR.FS_BASE, context.fs_base)
    setMsr(a, MSR.GS_BASE, context.gs_base_kernel)
    setMsr(a, MSR.KERNEL_GS_BASE, context.gs_base_user)
  }
  a.mov(rax, vcpu.cr3).toControl(3, rax) //       from here on, only Xen's slots and the guest's mappings
  const flags = r.rflags | BigInt(EFLAGS_IF | EFLAGS_RESERVED_1)
  for (const value of [BigInt(s.ss.selector), r.rsp, flags, BigInt(s.cs.selector), r.rip]) a.mov(rax, value).push(rax)
  for (const name of GENERAL_REGISTERS) if (name !== 'rsp') a.mov(registers[name], r[name])
  a.iret()
}

/** The entry of hypercalls, and the way back to the guest. */
function emitSyscall(a: SupervisorAssembler): void {
  a.label('syscall').mov(a.variable('user rsp'), rsp).mov(rsp, STACK_END)
  a.pushImmediate(FLAT_KERNEL_SS64).pushAt(a.variable('user rsp')).push(r11)
  a.pushImmediate(FLAT_KERNEL_CS64).push(rcx).pushImmediate(0).pushImmediate(NO_VECTOR)
  a.pushAll().mov(rbp, rsp)
  a.lea(rcx, a.at('bad pointer')).call('on fault')
  a.call('one hypercall').mov(a.saved('rax'), rax)
  a.label('hypercall is done').mov(rsp, rbp).mov(ecx, 0).call('on fault').jmp('leave')
  a.label('bad pointer').mov(rax, BigInt(-XEN_ERRNO.EFAULT)).mov(a.saved('rax'), rax).jmp('hypercall is done')

  a.label('on fault') //                          rcx: where a fault of ring 0 goes, with the frame as stack; or 0
  a.mov(a.variable('on fault'), rcx).mov(a.variable('on fault rsp'), rbp).ret()

  a.label('leave').call('check timer')
  const info = (field: string) => mem(rdx, VcpuInfo64.offsetOf(field))
  a.mov(rdx, a.variable('vcpu info'))
  a.movzx8(eax, info('evtchn_upcall_pending')).cmp(eax, 0).jcc('e', 'return')
  a.movzx8(eax, info('evtchn_upcall_mask')).cmp(eax, 0).jcc('ne', 'return')
  a.mov(rcx, a.variable('event callback')).cmp(rcx, 0).jcc('e', 'return')
  a.mov(ebx, MASKS_EVENTS).call('bounce')
  a.label('return').popAll().iret()
}

function emitExceptions(a: SupervisorAssembler): void {
  for (let vector = 0; vector < EXCEPTIONS; vector++) {
    a.label(`vector ${vector}`)
    if (!VECTORS_WITH_ERROR.includes(vector)) a.pushImmediate(0)
    a.pushImmediate(vector).jmp('exception')
  }
  a.label('exception').pushAll().mov(rbp, rsp).cld()
  a.mov(eax, a.saved('cs')).and(eax, 3).jcc('e', 'fault of ring 0')

  a.mov(eax, a.saved('vector')).cmp(eax, VECTOR.NM).jcc('ne', 'keeps fpu').clts()
  a.label('keeps fpu').cmp(eax, VECTOR.PF).jcc('ne', 'keeps cr2')
  a.fromControl(rcx, 2)
    .mov(rdx, a.variable('vcpu info'))
    .mov(mem(rdx, VcpuInfo64.offsetOf('cr2')), rcx)
  a.label('keeps cr2').cmp(eax, VECTOR.UD).jcc('ne', 'not emulated').call('emulate cpuid')
  a.label('not emulated')
  a.mov(eax, a.saved('vector')).shl(eax, 4).lea(rdx, a.at('traps')).add(rdx, rax)
  a.mov(rcx, mem(rdx, 8)).cmp(rcx, 0).jcc('e', 'unhandled')
  a.movzx8(eax, mem(rdx, 1)).and(eax, TRAP_MASKS_EVENTS).shr(eax, 1).mov(ebx, eax) // MASKS_EVENTS
  a.mov(eax, a.saved('vector'))
  for (const vector of VECTORS_WITH_ERROR) a.cmp(eax, vector).jcc('e', 'has error')
  a.jmp('deliver')
  a.label('has error').or(ebx, WITH_ERROR)
  a.label('deliver').call('bounce').jmp('leave')

  // A pointer of the guest that leads nowhere, or a mistake of the supervisor.
  a.label('fault of ring 0').mov(rcx, a.variable('on fault')).cmp(rcx, 0).jcc('e', 'unhandled')
  a.mov(rsp, a.variable('on fault rsp')).mov(rbp, rsp).jmpTo(rcx)

  // Xen's cpuid for guests: ud2, "xen", cpuid. The processor's own answer here.
  a.label('emulate cpuid')
  a.lea(rcx, a.at('unhandled')).call('on fault')
  a.mov(rdx, a.saved('rip')).mov(rax, mem(rdx)).shl(rax, 8).shr(rax, 8).mov(rcx, 0xa20f6e65780b0fn).cmp(rax, rcx)
  a.mov(ecx, 0).call('on fault').jcc('e', 'is forced').ret() // no flag changes on the way
  a.label('is forced').add(rdx, 7).mov(a.saved('rip'), rdx)
  a.mov(eax, a.saved('rax')).mov(ecx, a.saved('rcx')).cpuid()
  a.mov(a.saved('rax'), rax).mov(a.saved('rcx'), rcx).mov(a.saved('rdx'), rdx).mov(a.saved('rbx'), rbx)
  a.pop(rax).jmp('leave')
}

/** The subroutine that makes the frame's guest continue in a handler. rcx: its address, ebx: how. */
function emitBounce(a: SupervisorAssembler): void {
  a.label('bounce').mov(r9, rcx)
  a.lea(rcx, a.at('no stack')).call('on fault')
  a.mov(rdx, a.variable('vcpu info')).movzx8(r8d, mem(rdx, VcpuInfo64.offsetOf('evtchn_upcall_mask')))
  a.mov(rsi, a.saved('rsp')).and(rsi, -16)
  const put = () => a.sub(rsi, 8).mov(mem(rsi), rax)
  for (const name of ['ss', 'rsp'] as const) {
    a.mov(rax, a.saved(name))
    put()
  }
  // The guest's own flag of interrupts is the mask of events.
  a.mov(rax, a.saved('rflags')).and(rax, ~EFLAGS_IF).cmp(r8d, 0).jcc('ne', 'events are masked').or(rax, EFLAGS_IF)
  a.label('events are masked')
  put()
  a.mov(rax, a.saved('cs')).and(rax, -4).shl(r8, 32).or(rax, r8)
  put()
  a.mov(rax, a.saved('rip'))
  put()
  a.mov(eax, ebx).and(eax, WITH_ERROR).jcc('e', 'has no error')
  a.mov(rax, a.saved('error'))
  put()
  a.label('has no error')
  for (const name of ['r11', 'rcx'] as const) {
    a.mov(rax, a.saved(name))
    put()
  }
  a.mov(a.saved('rsp'), rsi).mov(a.saved('rip'), r9)
  a.mov(eax, FLAT_KERNEL_CS64).mov(a.saved('cs'), rax).mov(eax, FLAT_KERNEL_SS64).mov(a.saved('ss'), rax)
  a.mov(rax, a.saved('rflags')).and(rax, ~HANDLER_CLEARS).or(rax, EFLAGS_IF).mov(a.saved('rflags'), rax)
  a.and(ebx, MASKS_EVENTS).jcc('e', 'mask stays')
  a.mov(eax, 1).mov(mem(rdx, VcpuInfo64.offsetOf('evtchn_upcall_mask')), al)
  a.label('mask stays').mov(ecx, 0).call('on fault').ret()
  a.label('no stack').mov(eax, a.saved('vector')).cmp(eax, NO_VECTOR).jcc('ne', 'unhandled')
  a.mov(eax, VECTOR.PF).mov(a.saved('vector'), rax).jmp('unhandled')
}

/** Writes the pages before the code, in their order. */
function emitPages(a: SupervisorAssembler): void {
  const { image, grants } = a.machine
  const entry = (page: number) => BigInt(image + page * PAGE_SIZE + PTE_PRESENT + PTE_RW)
  const gdtPage = Number((GDT_VIRT - IMAGE_VIRT) / BigInt(PAGE_SIZE))
  const entries = Array.from({ length: PT_ENTRIES }, (_, page) => {
    if (page < IMAGE_PAGES) return entry(page)
    if (page === gdtPage + GUEST_GDT_PAGES) return entry(IMAGE.gdt)
    return page >= gdtPage && page < gdtPage + GUEST_GDT_PAGES ? entry(IMAGE.emptyGdt) : 0n
  })
  a.label('image table')
  for (const value of entries) a.u64(value)
  a.bytes(...gdt(imageVirt('tss')))
  a.zeros(PAGE_SIZE)
  a.bytes(...grants).align(PAGE_SIZE)
  if (grants.length === 0) a.zeros(PAGE_SIZE)
  a.zeros(TSS64_RSP0).u64(STACK_END).align(PAGE_SIZE)
  a.zeros(PAGE_SIZE)
}

function emitData(a: SupervisorAssembler, vcpu: Vcpu): void {
  const { pv } = vcpu
  const { machine } = a
  const context = pv?.context && VcpuGuestContext64.decode(pv.context)
  const initial: Partial<Record<Variable, bigint>> = {
    'vcpu info': direct(machine.sharedInfo),
    'kernel ss': BigInt(pv?.kernelSs ?? 0),
    'kernel sp': pv?.kernelSp ?? 0n,
    'event callback': context?.event_callback_eip ?? 0n,
    'failsafe callback': context?.failsafe_callback_eip ?? 0n,
    'syscall callback': context?.syscall_callback_eip ?? 0n,
  }
  a.align(8)
  for (const name of VARIABLES) a.label(`variable ${name}`).u64(initial[name] ?? 0n)
  a.label('debug registers').zeros(8 * 8)
  a.label('traps')
  for (let vector = 0; vector < EXCEPTIONS; vector++) {
    const { flags = 0, cs = 0, address = 0n } = context?.trap_ctxt[vector] ?? {}
    a.bytes(vector, flags).u16(cs).u32(0).u64(address)
  }
  a.label('xen slots')
  for (const entry of machine.slots) a.u64(entry)
  a.label('idt')
  for (let vector = 0; vector < EXCEPTIONS; vector++) gate(a, vector)
  a.label('idtr')
    .u16(EXCEPTIONS * GATE64_BYTES - 1)
    .u64(a.addressOf('idt'))
  a.label('gdtr')
    .u16(FIRST_RESERVED_SELECTOR + PAGE_SIZE - 1)
    .u64(GDT_VIRT)
}

/** Appends an interrupt gate. The guest's own instructions may raise only breakpoint and overflow. */
function gate(a: SupervisorAssembler, vector: number): void {
  const target = a.addressOf(`vector ${vector}`)
  const ring = vector === VECTOR.BP || vector === VECTOR.OF ? 3 : 0
  a.u16(Number(target & 0xffffn))
    .u16(CODE)
    .bytes(0, INTERRUPT_GATE | (ring << DESCRIPTOR_DPL_SHIFT))
  a.u16(Number((target >> 16n) & 0xffffn)).u32(Number(target >> 32n), 0)
}

/** Returns the last page of the GDT: the segments that Xen promises, and those of the supervisor. */
function gdt(tss: bigint): Uint8Array {
  const flat = (selector: number, attributes: number): SegmentState => ({
    selector: selector - FIRST_RESERVED_SELECTOR,
    descriptor: { base: 0n, limit: FLAT_LIMIT, attributes },
  })
  const ring3 = 3 << DESCRIPTOR_DPL_SHIFT
  const segments = [
    flat(CODE, FLAT_CODE64),
    flat(DATA, FLAT_DATA),
    flat(FLAT_RING3_CS32, FLAT_CODE32 | ring3),
    flat(FLAT_KERNEL_SS64, FLAT_DATA | ring3),
    flat(FLAT_KERNEL_CS64, FLAT_CODE64 | ring3),
    {
      selector: TSS - FIRST_RESERVED_SELECTOR,
      descriptor: { base: BigInt.asUintN(32, tss), limit: TSS32_LIMIT, attributes: TSS64_FREE },
    },
  ]
  const page = new Uint8Array(PAGE_SIZE)
  page.set(encodeGdt(segments))
  // The second entry of a system descriptor has the upper half of its base.
  new DataView(page.buffer).setBigUint64(TSS - FIRST_RESERVED_SELECTOR + 8, tss >> 32n, true)
  return page
}
