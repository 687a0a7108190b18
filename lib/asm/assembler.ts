/**
 * Assembler: just enough 64-bit, 32-bit and 16-bit x86 to write a tiny kernel or a boot ROM as readable assembly.
 *
 * Source: Intel SDM vol. 2, chapter 2 (prefixes, ModRM, SIB) and the instructions' own pages
 * (https://www.intel.com/sdm).
 * Gotcha: `loop` reaches only 128 bytes; all other jumps and calls take four bytes of distance and are never shortened.
 * 32-bit code refers to a label's memory by address, 64-bit code by distance. 16-bit code is 32-bit code with prefixes:
 * it has no 16-bit registers, such as `ax`.
 *
 * ```ts
 * const a = new Assembler(0x1000n)
 * a.label('start')
 * a.mov(edi, 3)
 * a.lea(rsi, a.at('text'))
 * a.jmp('start')
 * a.label('text').text('hello\0')
 * const code = a.assemble()
 * ```
 */
import { encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'

/** A general register: its number and the size of the part in use. */
export interface Register {
  /** Intel's name. */
  readonly name: string
  /** Its number in ModRM and REX, 0 to 15. */
  readonly code: number
  /** Bytes. */
  readonly size: 1 | 4 | 8
}

/** A memory operand: [base + index * scale + disp], or the memory at a label. */
export interface Memory {
  /** The base register. */
  readonly base?: Register
  /** The index register; not esp or rsp. */
  readonly index?: Register
  /** Factor of the index; default 1. */
  readonly scale?: 1 | 2 | 4 | 8
  /** Bytes. */
  readonly disp?: number
  /** A name that label() gave. */
  readonly label?: string
}

const NAMES = {
  8: ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'],
  4: [
    'eax',
    'ecx',
    'edx',
    'ebx',
    'esp',
    'ebp',
    'esi',
    'edi',
    'r8d',
    'r9d',
    'r10d',
    'r11d',
    'r12d',
    'r13d',
    'r14d',
    'r15d',
  ],
  1: ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil', 'r8b', 'r9b', 'r10b', 'r11b', 'r12b', 'r13b', 'r14b', 'r15b'],
} as const
type RegisterName = (typeof NAMES)[1 | 4 | 8][number]

/** Every register by its name: `const { rax, ecx, dl } = registers`. */
export const registers = Object.fromEntries(
  ([8, 4, 1] as const).flatMap((size) => NAMES[size].map((name, code) => [name, { name, code, size }])),
) as Readonly<Record<RegisterName, Register>>

/** [base + disp] or, with an index, [base + index * scale + disp]. */
export const mem = (base: Register, disp = 0, index?: Register, scale: 1 | 2 | 4 | 8 = 1): Memory =>
  index === undefined ? { base, disp } : { base, disp, index, scale }

/** The `/digit` of the arithmetic group, which is also bits 3 to 5 of its opcodes. */
const ARITHMETIC = { add: 0, or: 1, and: 4, sub: 5, xor: 6, cmp: 7 } as const
const SHIFT = { shl: 4, shr: 5 } as const
/** Condition codes: the low half of the opcode 0f 8x. */
const CONDITIONS = { b: 2, ae: 3, e: 4, ne: 5, be: 6, a: 7 } as const
/** A condition of jcc, as Intel's suffix. */
export type Condition = keyof typeof CONDITIONS

const isRegister = (operand: Register | Memory): operand is Register => 'code' in operand

function refuse(message: string, found: string): never {
  throw new DomainBuilderError('bad-config', message, { found })
}

interface Fixup {
  readonly at: number
  readonly size: 1 | 4
  readonly label: string
  readonly addend: number
  /** The label's address instead of the distance to it. */
  readonly absolute?: boolean
}

/** The mode of code: the width of its operands and addresses. */
export type CodeBits = 16 | 32 | 64
/** Prefixes in 16-bit code: this instruction's operand, or its address, has 32 bits. */
const OPERAND_32 = 0x66
const ADDRESS_32 = 0x67

/**
 * An assembler for 16, 32 and 64-bit code, with one method for each instruction. Methods have Intel's mnemonics and
 * order of operands; labels are names.
 */
export class Assembler {
  /** Virtual address of the first byte. */
  readonly origin: bigint
  #bits: CodeBits
  readonly #bytes: number[] = []
  readonly #labels = new Map<string, number>()
  readonly #fixups: Fixup[] = []

  constructor(origin: number | bigint = 0n, bits: CodeBits = 64) {
    this.origin = BigInt(origin)
    this.#bits = bits
  }

  /** Sets the mode of the code that follows. */
  code(bits: CodeBits): this {
    this.#bits = bits
    return this
  }

  get bits(): CodeBits {
    return this.#bits
  }

  /** Defines a label at this address. */
  label(name: string): this {
    if (this.#labels.has(name)) refuse('a label is defined twice', `'${name}'`)
    this.#labels.set(name, this.#bytes.length)
    return this
  }

  /** The virtual address of a label that is already defined. */
  addressOf(name: string): bigint {
    const at = this.#labels.get(name)
    if (at === undefined) refuse('the label is undefined', `'${name}'`)
    return this.origin + BigInt(at)
  }

  /** Memory at a label. In 64-bit code it is relative to rip, so the code works at any address. */
  at(label: string, disp = 0): Memory {
    return { label, disp }
  }

  text(text: string): this {
    return this.#put(...encodeUtf8(text))
  }

  /** Appends bytes: an instruction without a method, or data. */
  bytes(...values: readonly number[]): this {
    return this.#put(...values)
  }

  /** The number of bytes so far. */
  get length(): number {
    return this.#bytes.length
  }

  u16(value: number): this {
    return this.#put(value & 0xff, value >> 8)
  }

  u64(value: bigint): this {
    return this.#word(value, 8)
  }

  /** Appends the address of a label as a u32. */
  address(label: string): this {
    this.#fixups.push({ at: this.#bytes.length, size: 4, label, addend: 0, absolute: true })
    return this.zeros(4)
  }

  /** Appends an instruction: opcode, register field of ModRM, and an operand. */
  operation(opcode: readonly number[], field: number, rm: Register | Memory): this {
    return this.#modrm(opcode, field, rm, 4)
  }

  u32(...values: readonly number[]): this {
    for (const value of values) this.#word(value, 4)
    return this
  }

  zeros(count: number): this {
    for (let i = 0; i < count; i++) this.#put(0)
    return this
  }

  /** Appends zeros up to the next multiple of `to`. */
  align(to: number): this {
    return this.zeros((to - (this.#bytes.length % to)) % to)
  }

  mov(to: Register | Memory, from: Register | Memory | number | bigint): this {
    if (typeof from === 'number' || typeof from === 'bigint') {
      if (!isRegister(to)) refuse('the source of a mov to memory is not a register', String(from))
      return this.#movImmediate(to, BigInt(from))
    }
    return this.#move(0x88, to, from)
  }

  add = (to: Register, from: Register | Memory | number): this => this.#arithmetic('add', to, from)
  or = (to: Register, from: Register | Memory | number): this => this.#arithmetic('or', to, from)
  and = (to: Register, from: Register | Memory | number): this => this.#arithmetic('and', to, from)
  sub = (to: Register, from: Register | Memory | number): this => this.#arithmetic('sub', to, from)
  xor = (to: Register, from: Register | Memory | number): this => this.#arithmetic('xor', to, from)
  cmp = (to: Register, from: Register | Memory | number): this => this.#arithmetic('cmp', to, from)

  shl = (to: Register, count: number): this => this.#modrm([0xc1], SHIFT.shl, to, to.size, 1).#put(count)
  shr = (to: Register, count: number): this => this.#modrm([0xc1], SHIFT.shr, to, to.size, 1).#put(count)
  inc = (to: Register): this => this.#modrm([to.size === 1 ? 0xfe : 0xff], 0, to, to.size)
  dec = (to: Register): this => this.#modrm([to.size === 1 ? 0xfe : 0xff], 1, to, to.size)

  lea(to: Register, from: Memory): this {
    return this.#modrm([0x8d], to.code, from, to.size)
  }

  push = (from: Register): this => this.#plusRegister(0x50, from)
  pop = (to: Register): this => this.#plusRegister(0x58, to)

  call = (label: string): this => this.operand32().#put(0xe8).#relative(label, 4)
  ret = (): this => this.operand32().#put(0xc3)
  jmp = (label: string): this => this.operand32().#put(0xe9).#relative(label, 4)
  jcc = (condition: Condition, label: string): this =>
    this.operand32()
      .#put(0x0f, 0x80 | CONDITIONS[condition])
      .#relative(label, 4)
  /** Decrements rcx and jumps unless it is zero; at most 128 bytes away. */
  loop = (label: string): this => this.#put(0xe2).#relative(label, 1)

  syscall = (): this => this.#put(0x0f, 0x05)
  /** Copies rcx bytes from [rsi] to [rdi]. */
  repMovsb = (): this => this.#put(0xf3, 0xa4)
  /** Compares up to rcx bytes of [rsi] and [rdi], and stops after the first difference. */
  repeCmpsb = (): this => this.#put(0xf3, 0xa6)

  /** The code, all labels resolved. @throws DomainBuilderError `bad-config` for a label that is missing or too far. */
  assemble(): Uint8Array {
    const out = Uint8Array.from(this.#bytes)
    const view = new DataView(out.buffer)
    for (const { at, size, label, addend, absolute } of this.#fixups) {
      const target = this.#labels.get(label)
      if (target === undefined) refuse('the label is undefined', `'${label}'`)
      if (absolute === true) {
        view.setUint32(at, Number(this.origin) + target + addend, true)
        continue
      }
      const distance = target + addend - at
      if (size === 4) view.setInt32(at, distance, true)
      else if (distance >= -128 && distance < 128) view.setInt8(at, distance)
      else refuse(`'${label}' is too far for a jump of one byte`, String(distance))
    }
    return out
  }

  /** Appends the prefix that 16-bit code needs before a 32-bit instruction; nothing in other modes. */
  protected operand32(): this {
    return this.#bits === 16 ? this.#put(OPERAND_32) : this
  }

  #put(...bytes: readonly number[]): this {
    this.#bytes.push(...bytes)
    return this
  }

  #word(value: number | bigint, size: 1 | 4 | 8): this {
    for (let i = 0n; i < BigInt(size); i++) this.#put(Number((BigInt(value) >> (i * 8n)) & 0xffn))
    return this
  }

  /** Appends a distance. It counts from the instruction's end, which is `trailing` bytes after the distance. */
  #relative(label: string, size: 1 | 4, disp = 0, trailing = 0): this {
    this.#fixups.push({ at: this.#bytes.length, size, label, addend: disp - size - trailing })
    return this.zeros(size)
  }

  #movImmediate(to: Register, value: bigint): this {
    if (BigInt.asUintN(to.size * 8, value) !== value && BigInt.asIntN(to.size * 8, value) !== value) {
      refuse(`${to.name} cannot hold that value`, hex(value))
    }
    // A write to a register's low half clears the upper one: five bytes instead of ten.
    const size = to.size === 8 && value >= 0n && value <= 0xffffffffn ? 4 : to.size
    return this.#plusRegister(size === 1 ? 0xb0 : 0xb8, { ...to, size }, size === 8).#word(value, size)
  }

  /** `opcode` is the byte form's r/m, r; +1 is the wide form, +2 reverses the direction. */
  #move(opcode: number, to: Register | Memory, from: Register | Memory): this {
    if (isRegister(from)) {
      if (isRegister(to) && to.size !== from.size)
        refuse('the registers have different sizes', `${to.name}, ${from.name}`)
      return this.#modrm([opcode | (from.size === 1 ? 0 : 1)], from.code, to, from.size, 0, from)
    }
    if (!isRegister(to)) refuse('one operand must be a register', 'two in memory')
    return this.#modrm([opcode | 2 | (to.size === 1 ? 0 : 1)], to.code, from, to.size, 0, to)
  }

  #arithmetic(operation: keyof typeof ARITHMETIC, to: Register, from: Register | Memory | number): this {
    const digit = ARITHMETIC[operation]
    if (typeof from !== 'number') return this.#move(digit << 3, to, from)
    if (from < -0x80000000 || from > 0x7fffffff) refuse('the immediate is not a signed 32-bit number', String(from))
    const short = from >= -128 && from < 128
    const size = short ? 1 : 4
    if (to.size === 1 && !short) refuse(`${to.name} cannot hold that value`, String(from))
    return this.#modrm([to.size === 1 ? 0x80 : short ? 0x83 : 0x81], digit, to, to.size, size).#word(from, size)
  }

  #plusRegister(opcode: number, register: Register, wide = false): this {
    if (register.size === 4) this.operand32()
    const rex = (wide ? 8 : 0) | (register.code >> 3)
    // Without a REX prefix, byte registers 4 to 7 would be ah, ch, dh and bh.
    if (rex !== 0 || (register.size === 1 && register.code >= 4)) this.#rex(rex)
    return this.#put(opcode | (register.code & 7))
  }

  #rex(bits: number): void {
    if (this.#bits !== 64) {
      refuse(`the register is not available in ${this.#bits}-bit code`, 'one of 64 bits, or a new byte register')
    }
    this.#put(0x40 | bits)
  }

  /**
   * Appends prefix, opcode, ModRM, SIB and displacement.
   * @param trailing bytes of immediate that follow; a rip-relative distance counts from their end.
   */
  #modrm(
    opcode: readonly number[],
    field: number,
    rm: Register | Memory,
    size: number,
    trailing = 0,
    reg?: Register,
  ): this {
    if (this.#bits === 16 && !isRegister(rm)) this.#put(ADDRESS_32)
    if (size === 4) this.operand32()
    const [base, index] = isRegister(rm) ? [rm, undefined] : [rm.base, rm.index]
    const byteRegister = [reg, isRegister(rm) ? rm : undefined].some((r) => r?.size === 1 && r.code >= 4)
    const rex = (size === 8 ? 8 : 0) | ((field >> 3) << 2) | (((index?.code ?? 0) >> 3) << 1) | ((base?.code ?? 0) >> 3)
    if (rex !== 0 || byteRegister) this.#rex(rex)
    this.#put(...opcode)
    const low = (field & 7) << 3
    if (isRegister(rm)) return this.#put(0xc0 | low | (rm.code & 7))
    const disp = rm.disp ?? 0
    if (rm.label !== undefined) {
      this.#put(low | 5)
      if (this.#bits === 64) return this.#relative(rm.label, 4, disp, trailing)
      this.#fixups.push({ at: this.#bytes.length, size: 4, label: rm.label, addend: disp, absolute: true })
      return this.zeros(4)
    }
    if (base === undefined) refuse('a memory operand needs a base register or a label', 'neither')
    if (index?.code === 4) refuse('rsp cannot be an index', index.name)
    // rbp and r13 as base have no form without displacement: that encoding means rip.
    const short = disp >= -128 && disp < 128
    const mode = disp === 0 && (base.code & 7) !== 5 ? 0 : short ? 0x40 : 0x80
    const sib = index !== undefined || (base.code & 7) === 4
    this.#put(mode | low | (sib ? 4 : base.code & 7))
    if (sib) {
      this.#put((Math.log2(rm.scale ?? 1) << 6) | (((index?.code ?? 4) & 7) << 3) | (base.code & 7))
    }
    return mode === 0 ? this : this.#word(disp, mode === 0x40 ? 1 : 4)
  }
}
