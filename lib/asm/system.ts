/**
 * SystemAssembler: the instructions by which a kernel or a boot ROM sets up and queries the processor.
 *
 * Source: Intel SDM vol. 2, the instructions' own pages (https://www.intel.com/sdm).
 * Gotcha: segment registers are not numbered in the usual order: es 0, cs 1, ss 2, ds 3, fs 4, gs 5.
 */
import { Assembler, type Memory, type Register } from './assembler.js'

const SEGMENTS = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 } as const
export type Segment = keyof typeof SEGMENTS

/** The Assembler with the instructions that only a kernel uses. */
export class SystemAssembler extends Assembler {
  /** Writes a control register from a general register of the mode's size. */
  toControl = (control: 0 | 3 | 4, from: Register): this => this.bytes(0x0f, 0x22, 0xc0 | (control << 3) | from.code)
  fromControl = (to: Register, control: 0 | 2 | 3 | 4): this => this.bytes(0x0f, 0x20, 0xc0 | (control << 3) | to.code)
  rdmsr = (): this => this.bytes(0x0f, 0x32)
  wrmsr = (): this => this.bytes(0x0f, 0x30)
  /** Fills eax, ebx, ecx and edx with the leaf in eax and the subleaf in ecx. */
  cpuid = (): this => this.bytes(0x0f, 0xa2)

  lgdt = (from: Memory): this => this.operation([0x0f, 0x01], 2, from)
  lidt = (from: Memory): this => this.operation([0x0f, 0x01], 3, from)
  sgdt = (to: Memory): this => this.operation([0x0f, 0x01], 0, to)
  sidt = (to: Memory): this => this.operation([0x0f, 0x01], 1, to)
  /** Reads the machine status, the low half of cr0; allowed at any privilege level. */
  smsw = (to: Register): this => this.operation([0x0f, 0x01], 4, to)
  ltr = (from: Register): this => this.operation([0x0f, 0x00], 3, from)
  str = (to: Register): this => this.operation([0x0f, 0x00], 1, to)
  /** Reads the access rights of a selector's descriptor; lsl reads its limit. Without a descriptor, ZF is clear. */
  lar = (to: Register, from: Register): this => this.operation([0x0f, 0x02], to.code, from)
  lsl = (to: Register, from: Register): this => this.operation([0x0f, 0x03], to.code, from)

  toSegment = (segment: Segment, from: Register): this => this.operation([0x8e], SEGMENTS[segment], from)
  fromSegment = (to: Register, segment: Segment): this => this.operation([0x8c], SEGMENTS[segment], to)

  invlpg = (page: Memory): this => this.operation([0x0f, 0x01], 7, page)
  clts = (): this => this.bytes(0x0f, 0x06)
  /** Reads the time-stamp counter into edx:eax. */
  rdtsc = (): this => this.bytes(0x0f, 0x31)
  /** Exchanges the base of gs with the one of the other mode. */
  swapgs = (): this => this.bytes(0x0f, 0x01, 0xf8)

  /** Calls the address in memory; jmpAt jumps there. */
  callAt = (target: Memory): this => this.operation([0xff], 2, target)
  jmpAt = (target: Memory): this => this.operation([0xff], 4, target)
  pushAt = (from: Memory): this => this.operation([0xff], 6, from)
  /** Reads one byte, or two, into a 32-bit register, and clears the rest of it. */
  movzx8 = (to: Register, from: Memory): this => this.operation([0x0f, 0xb6], to.code, from)
  movzx16 = (to: Register, from: Memory): this => this.operation([0x0f, 0xb7], to.code, from)
  /** Copies a bit of memory to the carry flag; bts sets the bit afterwards, and btr clears it. */
  bt = (bits: Memory, index: Register): this => this.operation([0x0f, 0xa3], index.code, bits)
  bts = (bits: Memory, index: Register): this => this.operation([0x0f, 0xab], index.code, bits)
  btr = (bits: Memory, index: Register): this => this.operation([0x0f, 0xb3], index.code, bits)
  /** Copies rcx times eight bytes from [rsi] to [rdi]. */
  repMovsq = (): this => this.bytes(0xf3, 0x48, 0xa5)
  /** Writes rax to [rdi], rcx times. */
  repStosq = (): this => this.bytes(0xf3, 0x48, 0xab)

  pushDs = (): this => this.bytes(0x1e)
  popDs = (): this => this.bytes(0x1f)
  pushImmediate = (value: number): this =>
    this.operand32()
      .bytes(0x68)
      .u32(value >>> 0)
  pushf = (): this => this.operand32().bytes(0x9c)
  popf = (): this => this.operand32().bytes(0x9d)
  /** Far jump; not in 64-bit code. */
  ljmp = (selector: number, target: string | number): this => {
    this.operand32().bytes(0xea)
    if (typeof target === 'string') this.address(target)
    else this.u32(target)
    return this.u16(selector)
  }
  /** Pops instruction pointer, code segment and flags; in 64-bit mode or to an outer level the stack too. */
  iret = (): this => (this.bits === 64 ? this.bytes(0x48, 0xcf) : this.bytes(0xcf))
  /** Loads a label's address into a 32-bit register. */
  movAddress = (to: Register, label: string): this => this.bytes(0xb8 | to.code).address(label)

  /** Jumps to the address in a register. */
  jmpTo = (target: Register): this => this.operation([0xff], 4, target)
  /** Far return to a caller whose far call had no prefix. */
  retf = (): this => this.bytes(0xcb)
  cli = (): this => this.bytes(0xfa)
  /** Makes string instructions count upwards. */
  cld = (): this => this.bytes(0xfc)
  hlt = (): this => this.bytes(0xf4)
  /** Writes a byte to a port up to 255, through al. */
  outb8 = (port: number, value: number): this => this.bytes(0xb0, value, 0xe6, port)
  /** Writes the byte in al to the port in dx; inb reads it. */
  outb = (): this => this.bytes(0xee)
  inb = (): this => this.bytes(0xec)
}
