/**
 * A macro assembler for WebAssembly: just enough to write a decoder's hot loop as expressions.
 *
 * Source: WebAssembly Core Specification 1.0, section 5 "Binary Format", https://www.w3.org/TR/wasm-core-1/
 * Why not AssemblyScript or WAT: a decoder repeats one step (decode a bit) in twenty places, all on the same machine
 * registers. Neither has macros; here a TypeScript function is a macro, and there is nothing to install.
 * Gotcha: a Code is a list of instruction bytes, not a value: used twice, it runs twice. Keep results in locals.
 */
import { encodeUtf8 } from '../bytes.js'

/** Instructions, nested as composed; flattened once, at the end. */
export type Code = readonly (number | Code)[]
/** Code that leaves one value on the stack. The marker exists only for the compiler, to distinguish the two types. */
export type I32 = Code & { readonly _type?: 'i32' }
export type I64 = Code & { readonly _type?: 'i64' }

export type ValueType = 'i32' | 'i64'
type Value<T extends ValueType> = T extends 'i32' ? I32 : I64
/** A local variable; the Code itself reads it. */
export type Local<T extends ValueType> = Value<T> & { readonly set: (value: Value<T>) => Code }

/** Bytes of a page of memory. */
export const WASM_PAGE = 65536

const TYPE_CODE: Readonly<Record<ValueType, number>> = { i32: 0x7f, i64: 0x7e }
const NO_RESULT = 0x40

/** Instructions that the functions here use, by the number of the binary format. */
export const OPCODE = {
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  return: 0x0f,
  select: 0x1b,
  localGet: 0x20,
  localSet: 0x21,
  i32Load: 0x28,
  i64Load: 0x29,
  i32Load8U: 0x2d,
  i64Load8U: 0x31,
  i64Load16U: 0x33,
  i64Load32U: 0x35,
  i32Store: 0x36,
  i64Store: 0x37,
  i32Store8: 0x3a,
  i32Store16: 0x3b,
  i32Const: 0x41,
  i64Const: 0x42,
  i32Eq: 0x46,
  i32LtU: 0x49,
  i32GtU: 0x4b,
  i32GeU: 0x4f,
  i64Ne: 0x52,
  i64LtU: 0x54,
  i32Add: 0x6a,
  i32Sub: 0x6b,
  i32Mul: 0x6c,
  i32And: 0x71,
  i32Or: 0x72,
  i32Xor: 0x73,
  i32Shl: 0x74,
  i32ShrS: 0x75,
  i32ShrU: 0x76,
  i64Add: 0x7c,
  i64Sub: 0x7d,
  i64Mul: 0x7e,
  i64And: 0x83,
  i64Or: 0x84,
  i64Xor: 0x85,
  i64Shl: 0x86,
  i64ShrS: 0x87,
  i64ShrU: 0x88,
  i64Rotl: 0x89,
  i32WrapI64: 0xa7,
  i64ExtendI32U: 0xad,
} as const

/** Unsigned LEB128. */
function unsigned(value: number): number[] {
  const out: number[] = []
  let rest = value
  for (; rest > 0x7f; rest >>>= 7) out.push((rest & 0x7f) | 0x80)
  out.push(rest)
  return out
}

/** Signed LEB128. */
function signed(value: bigint): number[] {
  const out: number[] = []
  for (let rest = value; ; rest >>= 7n) {
    const last = rest >= -64n && rest < 64n
    out.push(Number(rest & 0x7fn) | (last ? 0 : 0x80))
    if (last) return out
  }
}

const binary =
  <T extends Code>(opcode: number) =>
  (a: T, b: T): T =>
    [a, b, opcode] as unknown as T
const compare =
  <T extends Code>(opcode: number) =>
  (a: T, b: T): I32 => [a, b, opcode]
/** Loads and stores carry a constant offset that costs nothing at run time. Alignment hints are left at 0: bytes. */
const load =
  <T extends Code>(opcode: number) =>
  (address: I32, offset = 0): T =>
    [address, opcode, 0, unsigned(offset)] as unknown as T
const store =
  <T extends Code>(opcode: number) =>
  (address: I32, value: T, offset = 0): Code => [address, value, opcode, 0, unsigned(offset)]

export const i32 = {
  const: (value: number): I32 => [OPCODE.i32Const, signed(BigInt(value | 0))],
  eq: compare<I32>(OPCODE.i32Eq),
  ltU: compare<I32>(OPCODE.i32LtU),
  gtU: compare<I32>(OPCODE.i32GtU),
  geU: compare<I32>(OPCODE.i32GeU),
  add: binary<I32>(OPCODE.i32Add),
  sub: binary<I32>(OPCODE.i32Sub),
  mul: binary<I32>(OPCODE.i32Mul),
  and: binary<I32>(OPCODE.i32And),
  or: binary<I32>(OPCODE.i32Or),
  xor: binary<I32>(OPCODE.i32Xor),
  shl: binary<I32>(OPCODE.i32Shl),
  shrS: binary<I32>(OPCODE.i32ShrS),
  shrU: binary<I32>(OPCODE.i32ShrU),
  /** `yes` if the condition is not zero, else `no`. Both are computed; nothing branches. */
  select: (condition: I32, yes: I32, no: I32): I32 => [yes, no, condition, OPCODE.select],
  /** The low 32 bits of an i64. */
  wrap: (value: I64): I32 => [value, OPCODE.i32WrapI64],
  load: load<I32>(OPCODE.i32Load),
  load8: load<I32>(OPCODE.i32Load8U),
  store: store<I32>(OPCODE.i32Store),
  store8: store<I32>(OPCODE.i32Store8),
  store16: store<I32>(OPCODE.i32Store16),
}

export const i64 = {
  const: (value: number | bigint): I64 => [OPCODE.i64Const, signed(BigInt.asIntN(64, BigInt(value)))],
  ne: compare<I64>(OPCODE.i64Ne),
  ltU: compare<I64>(OPCODE.i64LtU),
  add: binary<I64>(OPCODE.i64Add),
  sub: binary<I64>(OPCODE.i64Sub),
  mul: binary<I64>(OPCODE.i64Mul),
  and: binary<I64>(OPCODE.i64And),
  or: binary<I64>(OPCODE.i64Or),
  xor: binary<I64>(OPCODE.i64Xor),
  shl: binary<I64>(OPCODE.i64Shl),
  /** Copies the sign downwards: a shift by 63 makes a mask, all ones for a negative number. */
  shrS: binary<I64>(OPCODE.i64ShrS),
  shrU: binary<I64>(OPCODE.i64ShrU),
  rotl: binary<I64>(OPCODE.i64Rotl),
  /** An unsigned i32, widened. */
  extend: (value: I32): I64 => [value, OPCODE.i64ExtendI32U],
  load: load<I64>(OPCODE.i64Load),
  load8: load<I64>(OPCODE.i64Load8U),
  load16: load<I64>(OPCODE.i64Load16U),
  load32: load<I64>(OPCODE.i64Load32U),
  store: store<I64>(OPCODE.i64Store),
}

/** A place to jump to: the end of a block, or the start of a loop. */
export interface Label {
  readonly jump: () => Code
  readonly jumpIf: (condition: I32) => Code
}

/** One function under construction: its locals and its nesting of blocks. */
export class Func {
  readonly name: string
  readonly params: readonly ValueType[]
  readonly result: ValueType | undefined
  /** Types of the locals after the parameters. */
  readonly locals: ValueType[] = []
  /** The number of open blocks. A jump names its target by the number of blocks between. */
  #depth = 0

  constructor(name: string, params: readonly ValueType[], result?: ValueType) {
    this.name = name
    this.params = params
    this.result = result
  }

  #variable<T extends ValueType>(index: number): Local<T> {
    const code: Code = [OPCODE.localGet, unsigned(index)]
    return Object.assign([...code], {
      set: (value: Value<T>): Code => [value, OPCODE.localSet, unsigned(index)],
    }) as unknown as Local<T>
  }

  param<T extends ValueType>(index: number, type: T): Local<T> {
    if (this.params[index] !== type) throw new TypeError(`parameter ${index} of ${this.name} is not ${type}`)
    return this.#variable(index)
  }

  local<T extends ValueType>(type: T): Local<T> {
    this.locals.push(type)
    return this.#variable(this.params.length + this.locals.length - 1)
  }

  #nest(opcode: number, body: (label: Label) => Code): Code {
    const depth = ++this.#depth
    const code = body({
      jump: () => [OPCODE.br, unsigned(this.#depth - depth)],
      jumpIf: (condition) => [condition, OPCODE.brIf, unsigned(this.#depth - depth)],
    })
    this.#depth--
    return [opcode, NO_RESULT, code, OPCODE.end]
  }

  /** The label is the block's end: a jump to it leaves the block. */
  block(body: (end: Label) => Code): Code {
    return this.#nest(OPCODE.block, body)
  }

  /** The label is the loop's start: without a jump to it the loop ends. */
  loop(body: (again: Label) => Code): Code {
    return this.#nest(OPCODE.loop, body)
  }

  if(condition: I32, yes: () => Code, no: () => Code = () => []): Code {
    this.#depth++
    const code = [condition, OPCODE.if, NO_RESULT, yes(), OPCODE.else, no(), OPCODE.end]
    this.#depth--
    return code
  }

  return(value: I32 | I64): Code {
    return [value, OPCODE.return]
  }

  /** The function for the code section; `body` ends with its result on the stack. */
  encode(body: Code): Uint8Array {
    return flatten([list(this.locals.map((type) => [1, TYPE_CODE[type]])), body, OPCODE.end])
  }
}

/** A vector: its length, then its elements. */
const list = (items: readonly Code[]): Code => [unsigned(items.length), items]
const text = (value: string): Code => [unsigned(value.length), [...encodeUtf8(value)]]

/** A function and its code, which ends with its result on the stack. */
export interface Defined {
  readonly func: Func
  readonly body: Code
}

/** A module of these functions, all exported, that imports its memory as `env.memory`. */
export function assemble(functions: readonly Defined[]): Uint8Array<ArrayBuffer> {
  const types = functions.map(({ func }) => [
    0x60,
    list(func.params.map((type) => [TYPE_CODE[type]])),
    list(func.result === undefined ? [] : [[TYPE_CODE[func.result]]]),
  ])
  const section = (id: number, content: Code): Code => {
    const bytes = flatten(content)
    return [id, unsigned(bytes.length), [...bytes]]
  }
  return flatten([
    [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    section(1, list(types)),
    section(2, list([[text('env'), text('memory'), 0x02, 0x00, unsigned(1)]])),
    section(3, list(functions.map((_, index) => unsigned(index)))),
    section(7, list(functions.map(({ func }, index) => [text(func.name), 0x00, unsigned(index)]))),
    section(
      10,
      list(
        functions.map(({ func, body }) => {
          const bytes = func.encode(body)
          return [unsigned(bytes.length), [...bytes]]
        }),
      ),
    ),
  ])
}

export function flatten(code: Code): Uint8Array<ArrayBuffer> {
  const out: number[] = []
  const walk = (part: Code): void => {
    for (const item of part) {
      if (typeof item === 'number') out.push(item)
      else walk(item)
    }
  }
  walk(code)
  return Uint8Array.from(out)
}
