/**
 * Checked reading of a stream's records: the header is checked, the body lies within the file, and errors name record
 * and offset.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc and libxl-migration-stream.pandoc, "Records".
 * Gotcha: a length is only a claim: nothing is read or allocated for it before it is compared with the file's size.
 */
import { RECORD_ALIGN, RECORD_LENGTH_MAX, RecordHeader } from '../abi/save-stream.js'
import { DomainBuilderError, type ErrorDetail } from '../errors.js'
import { alignUp, hex } from '../units.js'
import type { ByteSource } from './byte-source.js'

export interface StreamRecord {
  readonly type: number
  readonly name: string
  /** File offset of the header. */
  readonly offset: number
  /** File offset and bytes of the body. */
  readonly body: number
  readonly length: number
  /** File offset of the next record. */
  readonly end: number
}

/** Refuses a record. */
export function refuse(at: Pick<StreamRecord, 'name' | 'offset'>, what: string, detail: ErrorDetail = {}): never {
  throw new DomainBuilderError('bad-snapshot', `${at.name} record: ${what}`, { offset: at.offset, ...detail })
}

/** Returns bytes of the file. @throws DomainBuilderError `truncated` with the name of their purpose. */
export function readBytes(source: ByteSource, offset: number, length: number, what: string): Uint8Array {
  if (offset + length > source.size) {
    throw new DomainBuilderError('truncated', `${what}: the file ends too early`, {
      expected: `${length} bytes`,
      found: `${Math.max(0, source.size - offset)}`,
      offset,
    })
  }
  const bytes = new Uint8Array(length)
  source.readInto(offset, bytes)
  return bytes
}

type Names = Readonly<Record<string, number>>
/** Each table of names inverted, once: a large guest has a hundred thousand records. */
const turned = new WeakMap<Names, ReadonlyMap<number, string>>()

function nameOf(type: number, names: Names): string {
  let byType = turned.get(names)
  if (!byType) {
    byType = new Map(Object.entries(names).map(([name, value]) => [value, name]))
    turned.set(names, byType)
  }
  return byType.get(type) ?? `unknown (${hex(type)})`
}

/**
 * Returns the record at an offset.
 * @param names of the known types, used only in messages.
 */
export function recordAt(source: ByteSource, offset: number, names: Names): StreamRecord {
  const header = RecordHeader.decode(readBytes(source, offset, RecordHeader.size, 'record header'))
  const { type, body_length: length } = header
  const name = nameOf(type, names)
  const body = offset + RecordHeader.size
  const end = body + alignUp(length, RECORD_ALIGN)
  if (length > RECORD_LENGTH_MAX) {
    refuse({ name, offset }, 'the body is too long', { expected: `at most ${RECORD_LENGTH_MAX}`, found: `${length}` })
  }
  if (end > source.size) {
    throw new DomainBuilderError('truncated', `${name} record: the file ends in its body`, {
      expected: `${alignUp(length, RECORD_ALIGN)} bytes`,
      found: `${Math.max(0, source.size - body)}`,
      offset,
    })
  }
  return { type, name, offset, body, length, end }
}

/** Returns the whole body. */
export function bodyOf(source: ByteSource, record: StreamRecord): Uint8Array {
  return readBytes(source, record.body, record.length, `${record.name} record`)
}

/** Refuses a body that is not exactly, or not at least, `length` bytes long. */
export function requireLength(record: StreamRecord, length: number, least = false): void {
  if (least ? record.length >= length : record.length === length) return
  refuse(record, 'the body has the wrong length', {
    expected: `${least ? 'at least ' : ''}${length} bytes`,
    found: `${record.length}`,
  })
}

/** Runs code that knows nothing of files; its errors name this record. */
export function within<T>(at: Pick<StreamRecord, 'name' | 'offset'>, part: () => T): T {
  try {
    return part()
  } catch (error) {
    if (!(error instanceof DomainBuilderError) || error.offset !== undefined) throw error
    throw new DomainBuilderError('bad-snapshot', `${at.name} record: ${error.message}`, {
      offset: at.offset,
      cause: error,
    })
  }
}
