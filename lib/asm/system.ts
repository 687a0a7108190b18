/**
 * SystemAssembler: the instructions by which a kernel or a boot ROM sets up the processor, and by which it asks it back.
 *
 * Source: Intel SDM vol. 2, the instructions' own pages (https://www.intel.com/sdm).
 * Gotcha: what a segment register's number is: es 0, cs 1, ss 2, ds 3, fs 4, gs 5.
 */
import { Assembler, type Memory, type Register } from './assembler.js'

const SEGMENTS = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 } as const
export type Segment = keyof typeof SEGMENTS

/** The Assembler with the instructions that only a kernel uses. */
export class SystemAssembler extends Assembler {
  /** Writes a control register; the general register has the size of the mode. */
  toControl = (control: 0 | 3 | 4, from: Register): this => this.bytes(0x0f, 0x22, 0xc0 | (control << 3) | from.code)
  fromControl = (to: Register, control: 0 | 2 | 3 | 4): this => this.bytes(0x0f, 0x20, 0xc0 | (control << 3) | to.code)
  rdmsr = (): this => this.bytes(0x0f, 0x32)
  wrmsr = (): this => this.bytes(0x0f, 0x30)

  lgdt = (from: Memory): this => this.operation([0x0f, 0x01], 2, from)
  lidt = (from: Memory): this => this.operation([0x0f, 0x01], 3, from)
  sgdt = (to: Memory): this => this.operation([0x0f, 0x01], 0, to)
  sidt = (to: Memory): this => this.operation([0x0f, 0x01], 1, to)
  /** Machine status: the low half of cr0, which any level may read. */
  smsw = (to: Register): this => this.operation([0x0f, 0x01], 4, to)
  ltr = (from: Register): this => this.operation([0x0f, 0x00], 3, from)
  str = (to: Register): this => this.operation([0x0f, 0x00], 1, to)
  /** Access rights and limit of the descriptor that a selector means; ZF is clear where there is none. */
  lar = (to: Register, from: Register): this => this.operation([0x0f, 0x02], to.code, from)
  lsl = (to: Register, from: Register): this => this.operation([0x0f, 0x03], to.code, from)

  toSegment = (segment: Segment, from: Register): this => this.operation([0x8e], SEGMENTS[segment], from)
  fromSegment = (to: Register, segment: Segment): this => this.operation([0x8c], SEGMENTS[segment], to)

  pushDs = (): this => this.bytes(0x1e)
  popDs = (): this => this.bytes(0x1f)
  pushImmediate = (value: number): this =>
    this.operand32()
      .bytes(0x68)
      .u32(value >>> 0)
  pushf = (): this => this.operand32().bytes(0x9c)
  popf = (): this => this.operand32().bytes(0x9d)
  /** Far jump; there is none in 64-bit code. */
  ljmp = (selector: number, target: string | number): this => {
    this.operand32().bytes(0xea)
    if (typeof target === 'string') this.address(target)
    else this.u32(target)
    return this.u16(selector)
  }
  /** Pops where to go on: instruction pointer, code segment, flags; in 64-bit mode or to an outer level the stack too. */
  iret = (): this => (this.bits === 64 ? this.bytes(0x48, 0xcf) : this.bytes(0xcf))
  /** eax or edi, and so on, gets the address of a label. */
  movAddress = (to: Register, label: string): this => this.bytes(0xb8 | to.code).address(label)

  /** Jumps to the address that a register has. */
  jmpTo = (target: Register): this => this.operation([0xff], 4, target)
  /** Far return, to a caller whose far call had no prefix. */
  retf = (): this => this.bytes(0xcb)
  cli = (): this => this.bytes(0xfa)
  /** String instructions count upwards. */
  cld = (): this => this.bytes(0xfc)
  hlt = (): this => this.bytes(0xf4)
  /** The byte in al to the port in dx; and the other way. */
  outb = (): this => this.bytes(0xee)
  inb = (): this => this.bytes(0xec)
}
