/**
 * The records of a suspend image of XCP-ng or XenServer: its libxc stream, and the others as they are.
 *
 * Source: ../abi/suspend-image.ts.
 * Gotcha: later releases add records, such as the state of a virtual TPM. All but the stream have their length, so an
 * unknown one is kept by its number.
 */
import { SUSPEND_RECORD, SUSPEND_SIGNATURE, SUSPEND_SIGNATURE_LEGACY, SuspendHeader } from '../abi/suspend-image.js'
import { decodeLatin1 } from '../bytes.js'
import type { SavedRecord } from '../guest/domain.js'
import { hex } from '../units.js'
import type { ByteSource } from './byte-source.js'
import { refuseGuest } from './foreign.js'
import { type LibxcStream, readLibxcStream } from './libxc-reader.js'
import { readBytes, refuse } from './records.js'

/** The most bytes of a record: the state of a device model has a few MB. */
const RECORD_MAX = 128 << 20
/** The most records of an image; each kind comes once. */
const RECORDS_MAX = 64

const LEGACY_INSTEAD = "the output of Xen's convert-legacy-stream --format libxc --skip-qemu --width 32 (or 64)"

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(SUSPEND_RECORD).map(([name, type]) => [type, name]))
/** Returns whether a file begins as a suspend image, of any version. */
export const isSuspendImage = (start: Uint8Array): boolean =>
  [SUSPEND_SIGNATURE, SUSPEND_SIGNATURE_LEGACY].includes(decodeLatin1(start.subarray(0, SUSPEND_SIGNATURE.length)))

interface SuspendImage {
  readonly stream: LibxcStream
  /** All records except the stream, by their names in xenopsd. */
  readonly records: readonly SavedRecord[]
}

/** @throws DomainBuilderError `bad-snapshot` or `truncated` with an offset; `unknown-format` for an older image. */
export function readSuspendImage(source: ByteSource): SuspendImage {
  const signature = decodeLatin1(readBytes(source, 0, SUSPEND_SIGNATURE.length, 'signature'))
  if (signature !== SUSPEND_SIGNATURE) refuseLegacy(0)
  const records: SavedRecord[] = []
  let stream: LibxcStream | undefined
  for (let at = SUSPEND_SIGNATURE.length; ; ) {
    const header = SuspendHeader.decode(readBytes(source, at, SuspendHeader.size, 'suspend image header'))
    const body = at + SuspendHeader.size
    const name = NAMES.get(Number(header.type)) ?? `record ${hex(header.type)}`
    const place = { name, offset: at }
    if (name === 'Libxc_legacy') refuseLegacy(at)
    if (name === 'Libxl') refuse(place, 'a stream of libxl is not supported', { expected: 'one of libxc' })
    if (name === 'Libxc') {
      if (stream) refuse(place, 'the record is repeated')
      stream = readLibxcStream(source, body)
      at = stream.last.end
      continue
    }
    if (name === 'End_of_image') {
      if (source.size !== body) {
        refuse(place, 'the file has data after it', { expected: `${body} bytes`, found: `${source.size}` })
      }
      if (stream === undefined) return refuse(place, 'the image has no guest', { expected: 'Libxc' })
      return { stream, records }
    }
    if (header.length > BigInt(RECORD_MAX)) {
      refuse(place, 'the record is too long', { expected: `at most ${RECORD_MAX}`, found: `${header.length}` })
    }
    if (records.length === RECORDS_MAX) refuse(place, 'the records are too many', { expected: `${RECORDS_MAX}` })
    records.push({ name, body: readBytes(source, body, Number(header.length), `${name} record`) })
    at = body + Number(header.length)
  }
}

function refuseLegacy(offset: number): never {
  return refuseGuest('a suspended VM of XenServer before 6.5.1, of Xen 4.4', LEGACY_INSTEAD, offset)
}
