/**
 * Typed C structs over buffer-layout: declared once, TypeScript type inferred, size asserted when loaded.
 *
 * Source: the x86 psABI's layout rules; paddings are written out, never implied. Little-endian only.
 * Gotcha: buffer-layout keeps old bytes in missing fields, accepts '7' as a number and rounds u64 through a double. So
 * every value is checked before it is written, the target is zeroed first, and u64 has our own Layout.
 * A struct's layout is made at its first encode or decode: a declaration costs almost nothing.
 */
import library, { type Layout, type Structure } from 'buffer-layout'
import { decodeUtf8, encodeUtf8, utf8Length } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { lazy } from '../lazy.js'
import { hex } from '../units.js'
import { BufferView } from './buffer.js'

/** One member of a struct: its buffer-layout and the check that its value passes before it is written. */
export interface Field<T> {
  readonly span: number
  /** A Layout of buffer-layout, a package without published types. */
  readonly layout: (property?: string) => { readonly span: number }
  readonly check: (value: unknown, path: string) => void
  /** Only for inference: no value is ever stored here. */
  readonly _type?: T
}

type Fields = Readonly<Record<string, Field<unknown>>>
/** The value a struct decodes to. */
export type Infer<S> = S extends Field<infer T> ? T : never
type Values<F extends Fields> = { readonly [K in keyof F as K extends `_${string}` ? never : K]: Infer<F[K]> }

/** A struct: encode, decode and the offset of each field. Also a Field, so that structs nest. */
export interface Struct<T> extends Field<T> {
  readonly name: string
  /** Bytes. */
  readonly size: number
  /** The value whose fields are all zero. */
  readonly zero: T
  /** Field names in order, padding omitted. */
  readonly fieldNames: readonly (keyof T & string)[]
  /** Byte offset of a field; `a.b` reaches into nested structs. */
  offsetOf(field: string): number
  /** Bytes of a top-level field. */
  sizeOf(field: keyof T & string): number
  /** Returns a new buffer of `size` bytes. @throws DomainBuilderError `bad-range` for a value its field cannot hold. */
  encode(value: T): Uint8Array
  /** Reads at `at`. @throws DomainBuilderError `truncated` if fewer than `size` bytes are left. */
  decode(bytes: Uint8Array, at?: number): T
}

class U64Layout extends library.Layout<bigint> {
  constructor(property?: string) {
    super(8, property)
  }
  override decode(b: BufferView, offset = 0): bigint {
    return b.readBigUInt64LE(offset)
  }
  override encode(value: bigint, b: BufferView, offset = 0): number {
    b.writeBigUInt64LE(value, offset)
    return 8
  }
}

class BytesLayout extends library.Layout<Uint8Array> {
  override decode(b: BufferView, offset = 0): Uint8Array {
    return new Uint8Array(b.subarray(offset, offset + this.span))
  }
  override encode(value: Uint8Array, b: BufferView, offset = 0): number {
    b.set(value, offset)
    return this.span
  }
}

class CStringLayout extends library.Layout<string> {
  override decode(b: BufferView, offset = 0): string {
    const field = b.subarray(offset, offset + this.span)
    const end = field.indexOf(0)
    return decodeUtf8(end < 0 ? field : field.subarray(0, end))
  }
  override encode(value: string, b: BufferView, offset = 0): number {
    b.set(encodeUtf8(value), offset)
    return this.span
  }
}

function refuse(path: string, expected: string, value: unknown): never {
  const found = typeof value === 'bigint' || typeof value === 'number' ? hex(value) : typeof value
  throw new DomainBuilderError('bad-range', `${path} cannot hold that value`, { expected, found })
}

function integer(span: number, kind: 'u8' | 'u16' | 'u32' | 's32', min: number, max: number): Field<number> {
  return {
    span,
    layout: (property) => library[kind](property),
    check(value, path) {
      if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
        refuse(path, `an integer from ${min} to ${hex(max)}`, value)
      }
    },
  }
}

export const u8: Field<number> = integer(1, 'u8', 0, 0xff)
export const u16: Field<number> = integer(2, 'u16', 0, 0xffff)
export const u32: Field<number> = integer(4, 'u32', 0, 0xffffffff)
export const s32: Field<number> = integer(4, 's32', -0x80000000, 0x7fffffff)

export const u64: Field<bigint> = {
  span: 8,
  layout: (property) => new U64Layout(property),
  check(value, path) {
    if (typeof value !== 'bigint' || value < 0n || value > 0xffffffffffffffffn) refuse(path, 'a u64 bigint', value)
  },
}

/** A fixed run of bytes, copied on decode. */
export function bytes(span: number): Field<Uint8Array> {
  return {
    span,
    layout: (property) => new BytesLayout(span, property),
    check(value, path) {
      if (!(value instanceof Uint8Array) || value.length !== span) refuse(path, `${span} bytes`, value)
    },
  }
}

/** Padding: zero when written, ignored when read. Its name starts with `_`; the type omits it. */
export function pad(span: number): Field<undefined> {
  // A layout without a name takes up its room, and buffer-layout neither reads nor writes it.
  return { span, layout: () => new library.Layout(span), check() {} }
}

/** A C string in a field of `span` bytes: at most `span` - 1 bytes of UTF-8 and a NUL. */
export function cstring(span: number): Field<string> {
  return {
    span,
    layout: (property) => new CStringLayout(span, property),
    check(value, path) {
      if (typeof value !== 'string') refuse(path, 'a string', value)
      const length = utf8Length(value)
      if (length > span - 1 || value.includes('\0')) {
        throw new DomainBuilderError('bad-range', `${path} cannot hold that text`, {
          expected: `at most ${span - 1} bytes without NUL`,
          found: value.includes('\0') ? 'a NUL' : `${length} bytes`,
        })
      }
    },
  }
}

/** `count` elements of one kind. */
export function array<T>(element: Field<T>, count: number): Field<readonly T[]> {
  return {
    span: element.span * count,
    layout: (property) => library.seq(element.layout() as Layout, count, property),
    check(value, path) {
      if (!Array.isArray(value) || value.length !== count) refuse(path, `an array of ${count}`, value)
      for (let i = 0; i < count; i++) element.check(value[i], `${path}[${i}]`)
    },
  }
}

/**
 * Declares a struct.
 * @param size its size in C, in bytes; asserted here, so that a wrong field fails when the module loads.
 */
export function struct<const F extends Fields>(name: string, size: number, fields: F): Struct<Values<F>> {
  type T = Values<F>
  const entries = Object.entries(fields)
  const make = (property?: string): Structure =>
    library.struct(
      entries.map(([key, field]) => field.layout(key) as Layout),
      property,
    )
  const layout = lazy(() => make())
  // Shared by all calls: a new view costs more than all fields of a small struct.
  const room = lazy(() => BufferView.over(new Uint8Array(size)))
  const fieldNames = entries.map(([key]) => key).filter((key) => !key.startsWith('_')) as (keyof T & string)[]
  const check = (value: unknown, path: string): void => {
    if (typeof value !== 'object' || value === null) refuse(path, `a ${name}`, value)
    for (const [key, field] of entries) field.check((value as Record<string, unknown>)[key], `${path}.${key}`)
  }
  const decode = (from: Uint8Array, at = 0): T => {
    if (at < 0 || at + size > from.length) {
      throw new DomainBuilderError('truncated', `${name} is truncated`, {
        expected: `${size} bytes`,
        found: `${Math.max(0, from.length - at)} bytes`,
        offset: at,
      })
    }
    room().set(from.subarray(at, at + size))
    return layout().decode(room(), 0) as T
  }
  const zero = lazy(() => decode(new Uint8Array(size)))
  const offsets = new Map<string, number>()
  let end = 0
  for (const [key, field] of entries) {
    offsets.set(key, end)
    end += field.span
  }
  if (end !== size) throw new Error(`struct ${name}: the fields take ${end} bytes, the ABI says ${size}`)
  return {
    name,
    size,
    span: size,
    get zero() {
      return zero()
    },
    fieldNames,
    layout: make,
    check,
    offsetOf(path) {
      const [head = '', ...rest] = path.split('.')
      const at = offsets.get(head)
      if (at === undefined) throw new Error(`struct ${name} has no field ${head}`)
      if (rest.length === 0) return at
      return at + (fields[head] as unknown as Struct<unknown>).offsetOf(rest.join('.'))
    },
    sizeOf: (field) => (fields[field] as Field<unknown>).span,
    encode(value) {
      check(value, name)
      const out = room().fill(0)
      layout().encode(value as Record<string, unknown>, out)
      return new Uint8Array(out)
    },
    decode,
  }
}
