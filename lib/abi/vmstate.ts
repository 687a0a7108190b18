/**
 * How QEMU describes the state of a device: its fields in order, with names, types and sizes. The bytes of a section and
 * its entry in the stream's description are both made from such a table.
 *
 * Source: QEMU docs/devel/migration/main.rst and include/migration/vmstate.h (names of types); the description at the
 * end of a stream, as QEMU 7.2 writes it.
 * Gotcha: integers are big-endian. A field that no value names is zero.
 */

/** Bytes at their offsets in a field, in hex; the others are zero. */
type SparseBytes = Readonly<Record<number, string>>

/** The content of a field: a number, one for each element of an array, or bytes. */
export type FieldValue = number | bigint | readonly (number | bigint)[] | SparseBytes | Uint8Array

/** The fields that are not zero, by their path: `state.lsr`, `channels[0].count`, `apic_sipi/wait_for_sipi`. */
export type FieldValues = Readonly<Record<string, FieldValue>>

/** A field of a device. */
export interface VmField {
  readonly name: string
  readonly type: string
  /** Bytes of one element. A struct has the size of its fields. */
  readonly size?: number
  /** Elements of an array. */
  readonly count?: number
  /** QEMU describes each element of such an array, since their sizes may differ. */
  readonly indexed?: true
  /** The layout of a `struct`; of a `tmp`, which QEMU makes only to save it. */
  readonly struct?: VmStruct
}

/** A device, a part of one, or an optional part of one: a subsection. */
export interface VmStruct {
  readonly name: string
  readonly version: number
  readonly fields: readonly VmField[]
  readonly subsections: readonly VmStruct[]
}

/** The type of a field that holds other fields, and of one that QEMU makes only to save it. */
export const VM_STRUCT = 'struct'
export const VM_SCRATCH = 'tmp'

export const struct = (
  name: string,
  version: number,
  fields: readonly VmField[],
  subsections: readonly VmStruct[] = [],
): VmStruct => ({ name, version, fields, subsections })

/** Makes fields of an integer type, one for each name. */
const integers =
  (type: string, size: number) =>
  (...names: readonly string[]): VmField[] =>
    names.map((name) => ({ name, type, size }))
/** Makes an array of an integer type. */
const integerArray =
  (type: string, size: number) =>
  (name: string, count: number): VmField => ({ name, type, size, count })

export const bool = integers('bool', 1)
export const u8 = integers('uint8', 1)
export const u16 = integers('uint16', 2)
export const u32 = integers('uint32', 4)
export const u64 = integers('uint64', 8)
export const i32 = integers('int32', 4)
export const i64 = integers('int64', 8)
/** The time at which a timer ends, in ns; all ones if it is off. */
export const timer = integers('timer', 8)
/** Values that QEMU compares with its own: equal, or at most. */
export const u8Equal = integers('uint8 equal', 1)
export const i32Equal = integers('int32 equal', 4)
export const i32AtMost = integers('int32 le', 4)

export const u8Array = integerArray('uint8', 1)
export const u16Array = integerArray('uint16', 2)
export const u32Array = integerArray('uint32', 4)
export const u64Array = integerArray('uint64', 8)
export const i32Array = integerArray('int32', 4)

/** Bytes without a byte order, such as `buffer` or `pci config`. */
export const bytes = (type: string, name: string, size: number): VmField => ({ name, type, size })
export const nested = (name: string, struct: VmStruct): VmField => ({ name, type: VM_STRUCT, struct })
export const structs = (name: string, count: number, struct: VmStruct): VmField => ({ ...nested(name, struct), count })
export const indexed = (name: string, count: number, struct: VmStruct): VmField => ({
  ...structs(name, count, struct),
  indexed: true,
})
export const scratch = (name: string, size: number, struct: VmStruct): VmField => ({
  name,
  type: VM_SCRATCH,
  size,
  struct,
})
