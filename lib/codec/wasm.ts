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

type ValueType = 'i32' | 'i64'
type Value<T extends ValueType> = T extends 'i32' ? I32 : I64
/** A local variable; the Code itself reads it. */
export type Local<T extends ValueType> = Value<T> & { readonly set: (value: Value<T>) => Code }

/** Bytes of a page of memory. */
export const WASM_PAGE = 65536

const TYPE_CODE: Readonly<Record<ValueType, number>> = { i32: 0x7f, i64: 0x7e }
const NO_RESULT = 0x40

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
  const: (value: number): I32 => [0x41, signed(BigInt(value | 0))],
  eq: compare<I32>(0x46),
  ltU: compare<I32>(0x49),
  gtU: compare<I32>(0x4b),
  geU: compare<I32>(0x4f),
  add: binary<I32>(0x6a),
  sub: binary<I32>(0x6b),
  mul: binary<I32>(0x6c),
  and: binary<I32>(0x71),
  or: binary<I32>(0x72),
  xor: binary<I32>(0x73),
  shl: binary<I32>(0x74),
  shrU: binary<I32>(0x76),
  /** `yes` if the condition is not zero, else `no`. Both are computed; nothing branches. */
  select: (condition: I32, yes: I32, no: I32): I32 => [yes, no, condition, 0x1b],
  /** The low 32 bits of an i64. */
  wrap: (value: I64): I32 => [value, 0xa7],
  load: load<I32>(0x28),
  load8: load<I32>(0x2d),
  store: store<I32>(0x36),
  store8: store<I32>(0x3a),
}

export const i64 = {
  const: (value: number | bigint): I64 => [0x42, signed(BigInt.asIntN(64, BigInt(value)))],
  ne: compare<I64>(0x52),
  ltU: compare<I64>(0x54),
  add: binary<I64>(0x7c),
  sub: binary<I64>(0x7d),
  mul: binary<I64>(0x7e),
  and: binary<I64>(0x83),
  or: binary<I64>(0x84),
  xor: binary<I64>(0x85),
  shl: binary<I64>(0x86),
  /** Copies the sign downwards: a shift by 63 makes a mask, all ones for a negative number. */
  shrS: binary<I64>(0x87),
  shrU: binary<I64>(0x88),
  rotl: binary<I64>(0x89),
  /** An unsigned i32, widened. */
  extend: (value: I32): I64 => [value, 0xad],
  load: load<I64>(0x29),
  load8: load<I64>(0x31),
  load16: load<I64>(0x33),
  load32: load<I64>(0x35),
  store: store<I64>(0x37),
  store16: store<I64>(0x3d),
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
  readonly #locals: ValueType[] = []
  /** The number of open blocks. A jump names its target by the number of blocks between. */
  #depth = 0

  constructor(name: string, params: readonly ValueType[], result?: ValueType) {
    this.name = name
    this.params = params
    this.result = result
  }

  #variable<T extends ValueType>(index: number): Local<T> {
    const code: Code = [0x20, unsigned(index)]
    return Object.assign([...code], {
      set: (value: Value<T>): Code => [value, 0x21, unsigned(index)],
    }) as unknown as Local<T>
  }

  param<T extends ValueType>(index: number, type: T): Local<T> {
    if (this.params[index] !== type) throw new TypeError(`parameter ${index} of ${this.name} is not ${type}`)
    return this.#variable(index)
  }

  local<T extends ValueType>(type: T): Local<T> {
    this.#locals.push(type)
    return this.#variable(this.params.length + this.#locals.length - 1)
  }

  #nest(opcode: number, body: (label: Label) => Code): Code {
    const depth = ++this.#depth
    const code = body({
      jump: () => [0x0c, unsigned(this.#depth - depth)],
      jumpIf: (condition) => [condition, 0x0d, unsigned(this.#depth - depth)],
    })
    this.#depth--
    return [opcode, NO_RESULT, code, 0x0b]
  }

  /** The label is the block's end: a jump to it leaves the block. */
  block(body: (end: Label) => Code): Code {
    return this.#nest(0x02, body)
  }

  /** The label is the loop's start: without a jump to it the loop ends. */
  loop(body: (again: Label) => Code): Code {
    return this.#nest(0x03, body)
  }

  if(condition: I32, yes: () => Code, no: () => Code = () => []): Code {
    this.#depth++
    const code = [condition, 0x04, NO_RESULT, yes(), 0x05, no(), 0x0b]
    this.#depth--
    return code
  }

  return(value: I32 | I64): Code {
    return [value, 0x0f]
  }

  /** The function for the code section; `body` ends with its result on the stack. */
  encode(body: Code): Uint8Array {
    return flatten([list(this.#locals.map((type) => [1, TYPE_CODE[type]])), body, 0x0b])
  }
}

/** A vector: its length, then its elements. */
const list = (items: readonly Code[]): Code => [unsigned(items.length), items]
const text = (value: string): Code => [unsigned(value.length), [...encodeUtf8(value)]]

/** A module of these functions, all exported, that imports its memory as `env.memory`. */
export function assemble(functions: readonly { readonly func: Func; readonly body: Code }[]): Uint8Array<ArrayBuffer> {
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

function flatten(code: Code): Uint8Array<ArrayBuffer> {
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

/** A module that is compiled at its first use. */
export function compileLater(
  build: () => readonly { readonly func: Func; readonly body: Code }[],
): () => WebAssembly.Module {
  let module: WebAssembly.Module | undefined
  return () => {
    module ??= new WebAssembly.Module(assemble(build()))
    return module
  }
}
