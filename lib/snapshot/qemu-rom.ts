/**
 * A 64 KiB boot ROM that puts a processor into a vcpu's state and lets it go: no firmware, nothing else runs before the
 * guest.
 *
 * Source: Intel SDM vol. 3, 10.1.4 (first instruction executed), 10.8.5 (initializing IA-32e mode).
 * Gotcha: once paging is on, the next instruction must be mapped, and the ROM need not be. So the last steps are a
 * trampoline that the ROM copies to a page of guest memory which belongs to nothing and is mapped to itself.
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
  RESET_VECTOR,
  ROM_BYTES,
  ROM_START,
  TSS_BUSY_BIT,
} from '../abi/x86.js'
import { type Register, registers } from '../asm/assembler.js'
import { type Segment, SystemAssembler } from '../asm/system.js'
import { DomainBuilderError } from '../errors.js'
import { encodeGdt } from '../guest/gdt.js'
import { GENERAL_REGISTERS, SEGMENT_REGISTERS, type SegmentState, type Vcpu } from '../guest/vcpu.js'
import { hex, PAGE_SIZE, type Paddr } from '../units.js'

const { eax, ecx, edx, esi, edi, esp, rax, rsp } = registers

const own = (index: number, attributes: number): SegmentState => ({
  selector: index << 3,
  descriptor: { base: 0n, limit: FLAT_LIMIT, attributes },
})
/** The segments that the ROM and the trampoline use themselves. */
const CODE32 = own(1, FLAT_CODE32)
const DATA = own(2, FLAT_DATA)
const CODE64 = own(3, FLAT_CODE64)
const OWN_GDT = encodeGdt([CODE32, DATA, CODE64])

/** 16-bit code, close enough to the reset vector for a short table and a near jump. */
const START_OFFSET = 0xff00
/** The trampoline's stack, at the end of its page. */
const STACK_BYTES = 256

/**
 * The ROM for a vcpu.
 * @param page of guest memory, where the trampoline may lie: free, below 4 GiB, and mapped to itself where paging is on.
 * @throws DomainBuilderError `does-not-fit` for a state that such a ROM cannot bring about.
 */
export function bootRom(vcpu: Vcpu, page: Paddr): Uint8Array {
  checkState(vcpu)
  const code = trampoline(vcpu, page)
  const a = new SystemAssembler(ROM_START, 32)
  for (const segment of ['ds', 'es', 'ss'] as const) load(a, segment, DATA.selector)
  a.movAddress(esi, 'trampoline')
  a.mov(edi, page)
  a.mov(ecx, code.length)
  a.repMovsb()
  a.ljmp(CODE32.selector, page)
  a.label('trampoline').bytes(...code)
  a.align(8)
    .label('gdt')
    .bytes(...OWN_GDT)
  const gdtr = a.length
  table(a, OWN_GDT.length - 1, Number(a.addressOf('gdt')))

  const rom = new Uint8Array(ROM_BYTES)
  rom.set(a.assemble())
  rom.set(start16(gdtr), START_OFFSET)
  // A near jump back to it, which is all that fits at the reset vector.
  const distance = START_OFFSET - (RESET_VECTOR + 3)
  rom.set([0xe9, distance & 0xff, (distance >> 8) & 0xff], RESET_VECTOR)
  return rom
}

/** Refuses what the ROM cannot make true. */
function checkState({ cr0, cr3, cr4, efer, registers: r, gdtr }: Vcpu): void {
  const refuse = (what: string, expected: string, found: bigint) => {
    throw new DomainBuilderError('does-not-fit', `a boot ROM cannot give a vcpu that ${what}`, {
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

/** 16-bit code: the ROM's GDT, protected mode, the ROM's first byte. */
function start16(gdtr: number): number[] {
  const word = (value: number, bytes: number) => Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 0xff)
  const cli = [0xfa]
  const lgdt = [0x2e, 0x66, 0x0f, 0x01, 0x16, ...word(gdtr, 2)] // o32 lgdt cs:[gdtr]
  const movEax = [0x66, 0xb8, ...word(CR0_PE, 4)]
  const movCr0 = [0x0f, 0x22, 0xc0]
  const ljmp = [0x66, 0xea, ...word(ROM_START, 4), ...word(CODE32.selector, 2)]
  return [...cli, ...lgdt, ...movEax, ...movCr0, ...ljmp]
}

const load = (a: SystemAssembler, segment: Segment, selector: number): void => {
  a.mov(eax, selector)
  a.toSegment(segment, eax)
}

/** What lgdt reads: limit and base, long enough for either mode. */
function table(a: SystemAssembler, limit: number, base: number | bigint): void {
  a.u16(limit).u64(BigInt(base))
}

/** The last steps, from flat 32-bit code without paging to the guest's first instruction. */
function trampoline(vcpu: Vcpu, page: Paddr): Uint8Array {
  const long = (vcpu.efer & BigInt(EFER_LME)) !== 0n
  const a = new SystemAssembler(page, 32)
  a.lgdt(a.at('own gdtr'))
  a.mov(eax, vcpu.cr4)
  a.toControl(4, eax)
  a.mov(eax, vcpu.cr3)
  a.toControl(3, eax)
  if (vcpu.efer !== 0n) {
    a.mov(ecx, MSR_EFER)
    a.mov(eax, vcpu.efer & ~BigInt(EFER_LMA)) // the processor sets LMA itself, when paging goes on
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
    .bytes(...OWN_GDT)
  a.label('guest gdt').bytes(...gdt)
  a.label('own gdtr')
  table(a, OWN_GDT.length - 1, a.addressOf('own gdt'))
  a.label('guest gdtr')
  table(a, vcpu.gdtr?.limit ?? gdt.length - 1, vcpu.gdtr?.base ?? a.addressOf('guest gdt'))
  const code = a.assemble()
  if (code.length > PAGE_SIZE - STACK_BYTES) {
    throw new DomainBuilderError(
      'does-not-fit',
      'the selectors need a GDT that is longer than the trampoline has room',
      {
        expected: `at most ${PAGE_SIZE - STACK_BYTES} bytes in all`,
        found: `${code.length}`,
      },
    )
  }
  return code
}

/** Segments, general registers, and away. From the flags on there is only mov, which changes none. */
function enter(a: SystemAssembler, vcpu: Vcpu, long: boolean): void {
  const { registers: r, segments: s } = vcpu
  // In 64-bit mode, and to an outer level, the stack comes with the jump.
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

/** The registers that the mode has, by their 64-bit names. */
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

/** The GDT for a guest that has none of its own: its segments, under the selectors that they have. */
function guestGdt(vcpu: Vcpu): Uint8Array {
  const segments = [...SEGMENT_REGISTERS.map((name) => vcpu.segments[name]), ...(vcpu.tr ? [notBusy(vcpu.tr)] : [])]
  const unnamed = segments.find(({ selector, descriptor }) => descriptor !== undefined && selector >>> 3 === 0)
  if (unnamed) {
    throw new DomainBuilderError('does-not-fit', 'a segment has a descriptor and no selector to load it by', {
      expected: 'a selector of 8 or more',
      found: hex(unnamed.selector),
    })
  }
  return encodeGdt(segments.filter(({ descriptor }) => descriptor !== undefined))
}

/** Loading the task register makes a TSS busy, and refuses one that is. */
function notBusy({ selector, descriptor }: SegmentState): SegmentState {
  if (descriptor === undefined) return { selector }
  return { selector, descriptor: { ...descriptor, attributes: descriptor.attributes & ~TSS_BUSY_BIT } }
}
