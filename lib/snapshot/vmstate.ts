/**
 * A section of QEMU's stream, and its entry in the description, made from the one table of a device's fields.
 *
 * Source: ../abi/vmstate.ts; QEMU migration/vmstate.c for the order of the description's members.
 * Gotcha: a value for a field that the table lacks is a mistake in our tables, so it is an Error.
 */
import { SECTION } from '../abi/qemu-stream.js'
import {
  type FieldValue,
  type FieldValues,
  VM_SCRATCH,
  VM_STRUCT,
  type VmField,
  type VmStruct,
} from '../abi/vmstate.js'
import { concat, encodeLatin1 } from '../bytes.js'

/** Returns an integer of `size` bytes. */
export function bigEndian(value: number | bigint, size: number): Uint8Array {
  const out = new Uint8Array(size)
  let left = BigInt.asUintN(8 * size, BigInt(value))
  for (let i = size - 1; i >= 0; i--) {
    out[i] = Number(left & 0xffn)
    left >>= 8n
  }
  return out
}

/** Returns a text after its length, a byte. */
export const counted = (text: string): Uint8Array => concat([bigEndian(text.length, 1), encodeLatin1(text)])

/** Returns the body of a device's section: its fields, then those of its subsections. */
export function encodeState(struct: VmStruct, values: FieldValues): Uint8Array {
  const used = new Set<string>()
  const body = concat([...encodeStruct(struct, '', values, used)])
  const unknown = Object.keys(values).find((path) => !used.has(path))
  /* c8 ignore next -- only a machine that we describe wrongly leads here */
  if (unknown !== undefined) throw new Error(`${struct.name} has no field ${unknown}`)
  return body
}

function* encodeStruct(
  struct: VmStruct,
  prefix: string,
  values: FieldValues,
  used: Set<string>,
): Generator<Uint8Array> {
  for (const field of struct.fields) {
    for (const path of field.type === VM_STRUCT ? elementPaths(prefix, field) : [prefix + field.name]) {
      if (field.type === VM_STRUCT && field.struct) yield* encodeStruct(field.struct, `${path}.`, values, used)
      else {
        used.add(path)
        yield encodeField(field, values[path])
      }
    }
  }
  for (const part of struct.subsections) {
    yield subsectionHeader(part)
    yield* encodeStruct(part, `${prefix}${subsectionPath(part.name)}`, values, used)
  }
}

/** Returns the bytes in front of a subsection's fields. */
export const subsectionHeader = ({ name, version }: Pick<VmStruct, 'name' | 'version'>): Uint8Array =>
  concat([bigEndian(SECTION.SUBSECTION, 1), counted(name), bigEndian(version, 4)])

/** Returns the beginning of the paths of a subsection's fields: its name without the device's. */
export const subsectionPath = (name: string): string => `${name.slice(name.lastIndexOf('/') + 1)}/`

/** Yields the path of a field, or of each element of an array. */
function* elementPaths(prefix: string, { name, count }: VmField): Generator<string> {
  if (count === undefined) yield prefix + name
  else for (let i = 0; i < count; i++) yield `${prefix}${name}[${i}]`
}

function encodeField({ size = 0, count = 1 }: VmField, value: FieldValue | undefined): Uint8Array {
  const out = new Uint8Array(size * count)
  if (value === undefined) return out
  if (typeof value === 'number' || typeof value === 'bigint') return bigEndian(value, size)
  if (value instanceof Uint8Array) out.set(value)
  else if (isList(value)) out.set(concat(value.map((element) => bigEndian(element, size))))
  else {
    for (const [at, hex] of Object.entries(value)) {
      const bytes = hex.match(/../g) ?? []
      out.set(
        Uint8Array.from(bytes, (byte) => Number.parseInt(byte, 16)),
        Number(at),
      )
    }
  }
  return out
}

const isList = (value: object): value is readonly (number | bigint)[] => Array.isArray(value)

/** Returns the entry of a device in the description. */
export const describeDevice = (name: string, instance: number, layout: VmStruct): object => ({
  name,
  instance_id: instance,
  ...describeStruct(layout),
})

const describeStruct = ({ name, version, fields, subsections }: VmStruct): object => ({
  vmsd_name: name,
  version,
  fields: fields.flatMap(describeField),
  ...(subsections.length > 0 ? { subsections: subsections.map(describeStruct) } : {}),
})

function describeField(field: VmField): object[] {
  const { name, type, count, struct, indexed } = field
  const one = (place: object): object => ({
    name,
    ...place,
    type,
    ...(struct && type === VM_STRUCT ? { struct: describeStruct(struct) } : {}),
    ...(struct && type === VM_SCRATCH ? describeStruct(struct) : {}),
    size: elementSize(field),
  })
  if (!indexed) return [one(count === undefined ? {} : { array_len: count })]
  return Array.from({ length: count ?? 0 }, (_, index) => one({ index }))
}

function elementSize({ size, struct }: VmField): number {
  return size ?? (struct === undefined ? 0 : encodeState(struct, {}).length)
}

/** Returns JSON with the spaces that QEMU writes. */
export function qemuJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(qemuJson).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}: ${qemuJson(member)}`)
  return `{${members.join(', ')}}`
}
