/**
 * The description at the end of QEMU's stream, read: the layout of each device, the length of its section, and its
 * fields by path.
 *
 * Source: QEMU migration/vmstate.c, vmsd_desc_field_start(); ../abi/vmstate.ts.
 * Gotcha: the description is as untrusted as the rest. A length that is larger than the file is refused before use.
 */
import { VM_SCRATCH, VM_STRUCT, type VmField, type VmStruct } from '../abi/vmstate.js'
import { DomainBuilderError } from '../errors.js'
import type { ByteSource } from './byte-source.js'
import type { JsonValue } from './json-value.js'
import { readBytes } from './records.js'
import { subsectionHeader, subsectionPath } from './vmstate.js'

/** Structs in structs; QEMU has about four. */
const MAX_DEPTH = 32
/** Far above the size of any device's state. */
const MAX_SIZE = 2 ** 32
/** The most characters of a name: QEMU's section names have as many. */
const MAX_NAME = 255

/** A field in a file. */
interface FoundField {
  readonly offset: number
  /** Of one element, in bytes. */
  readonly size: number
  readonly count: number
}

/** Returns the layout in a device's entry, or in that of one of its parts. @throws DomainBuilderError `bad-snapshot`. */
export function readLayout(json: JsonValue, depth = 0): VmStruct {
  if (depth > MAX_DEPTH) json.refuse(`at most ${MAX_DEPTH} structs in one another`)
  const fields = json.optional('fields', (at) => at.list().map((field) => readField(field, depth))) ?? []
  return {
    name: json.optional('vmsd_name', shortText) ?? '',
    version: json.optional('version', (at) => at.integer(0, MAX_SIZE)) ?? 0,
    // Without the empty ones, every field has a byte in the file.
    fields: fields.filter((field) => elementLength(field) > 0 && field.count !== 0),
    subsections: json.optional('subsections', (at) => at.list().map((part) => readLayout(part, depth + 1))) ?? [],
  }
}

function shortText(json: JsonValue): string {
  const text = json.string()
  return text.length > MAX_NAME ? json.refuse(`at most ${MAX_NAME} characters`) : text
}

function readField(json: JsonValue, depth: number): VmField {
  const index = json.optional('index', (at) => at.integer(0, MAX_SIZE))
  const name = shortText(json.at('name'))
  const type = json.at('type').string()
  const count = json.optional('array_len', (at) => at.integer(0, MAX_SIZE))
  const place = {
    name: index === undefined ? name : `${name}[${index}]`,
    type,
    ...(count === undefined ? {} : { count }),
  }
  if (type === VM_STRUCT) return { ...place, struct: readLayout(json.at('struct'), depth + 1) }
  const size = json.at('size').integer(0, MAX_SIZE)
  return type === VM_SCRATCH ? { ...place, size, struct: readLayout(json, depth + 1) } : { ...place, size }
}

/** Returns the bytes of a layout's state. */
export const stateLength = ({ fields, subsections }: VmStruct): number =>
  fields.reduce((sum, field) => sum + elementLength(field) * (field.count ?? 1), 0) +
  subsections.reduce((sum, part) => sum + subsectionHeader(part).length + stateLength(part), 0)

const elementLength = ({ type, size = 0, struct }: VmField): number =>
  type === VM_STRUCT && struct !== undefined ? stateLength(struct) : size

/** The state of a device in a file: one whose fields are wanted, such as a processor. */
export class DeviceState {
  readonly #source: ByteSource
  readonly #name: string
  readonly #offset: number
  readonly #fields = new Map<string, FoundField>()

  /** @param offset of the body of the section, which lies within the file. */
  constructor(source: ByteSource, layout: VmStruct, offset: number) {
    this.#source = source
    this.#name = layout.name
    this.#offset = offset
    this.#place(layout, '', offset)
  }

  /** Returns whether the device has that field. */
  has(path: string): boolean {
    return this.#fields.has(path)
  }

  /** Returns the values of all elements. @throws DomainBuilderError `bad-snapshot` for a field that is missing. */
  values(path: string): bigint[] {
    const { size, count } = this.#find(path)
    const bytes = this.bytes(path)
    return Array.from({ length: count }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size).reduce((value, byte) => (value << 8n) | BigInt(byte), 0n),
    )
  }

  /** Returns the value of a field that is no array. */
  value(path: string): bigint {
    return this.values(path)[0] as bigint
  }

  bytes(path: string): Uint8Array {
    const { offset, size, count } = this.#find(path)
    return readBytes(this.#source, offset, size * count, `section ${this.#name}`)
  }

  #find(path: string): FoundField {
    return this.#fields.get(path) ?? this.#refuse(path)
  }

  #refuse(path: string): never {
    throw new DomainBuilderError('bad-snapshot', `section ${this.#name}: a field is missing from its description`, {
      expected: path,
      offset: this.#offset,
    })
  }

  #place({ fields, subsections }: VmStruct, prefix: string, start: number): number {
    let at = start
    for (const field of fields) {
      const { name, type, struct, count } = field
      const length = elementLength(field)
      if (type !== VM_STRUCT || struct === undefined) {
        this.#fields.set(prefix + name, { offset: at, size: length, count: count ?? 1 })
        at += length * (count ?? 1)
      } else {
        for (let i = 0; i < (count ?? 1); i++) {
          at = this.#place(struct, `${prefix}${name}${count === undefined ? '' : `[${i}]`}.`, at)
        }
      }
    }
    for (const part of subsections) {
      at = this.#place(part, `${prefix}${subsectionPath(part.name)}`, at + subsectionHeader(part).length)
    }
    return at
  }
}
