/**
 * The sidecar of a format whose main file is only the guest's memory: JSON next to it with the rest of the guest.
 *
 * Source: our own format, docs/formats.md, "The raw format".
 * Gotcha: a sidecar is detected by its member `format`, which our writers put first. A file named FILE.json next to a
 * kernel FILE is not a sidecar.
 */
import { decodeUtf8, encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { type SnapshotSource, startOf } from './format.js'
import { JsonValue } from './json-value.js'
import { readBytes } from './records.js'

/** The suffix of the sidecar's name to the main file's. */
export const SIDECAR_SUFFIX = '.json'
/** The bytes that are searched for the member `format`. */
const SNIFFED = 4096
/** In bytes: far above any guest's, and below the longest string. */
const SIDECAR_MAX = 64 << 20

/** Returns whether the sidecar next to the main file is of that format. */
export function hasSidecar(files: SnapshotSource, format: string): boolean {
  const sidecar = files.beside(SIDECAR_SUFFIX)
  return sidecar !== undefined && decodeUtf8(startOf(sidecar, SNIFFED)).includes(`"${format}"`)
}

/**
 * Returns the sidecar of that format.
 * @throws DomainBuilderError `bad-snapshot` for a sidecar that is too large or of another format, or text that is not
 *   JSON.
 */
export function readSidecar(files: SnapshotSource, format: string): JsonValue {
  const sidecar = files.beside(SIDECAR_SUFFIX)
  if (sidecar === undefined) {
    throw new DomainBuilderError('bad-snapshot', 'the sidecar is missing', {
      expected: `a file whose name ends in ${SIDECAR_SUFFIX} next to the image`,
    })
  }
  if (sidecar.size > SIDECAR_MAX) {
    throw new DomainBuilderError('bad-snapshot', 'the sidecar is too large', {
      expected: `at most ${SIDECAR_MAX} bytes`,
      found: `${sidecar.size}`,
    })
  }
  const json = JsonValue.parse(decodeUtf8(readBytes(sidecar, 0, sidecar.size, 'sidecar')), 'sidecar')
  json.at('format').oneOf(format)
  return json
}

/** Returns the bytes of a sidecar. */
export const sidecarBytes = (sidecar: unknown): Uint8Array => encodeUtf8(`${JSON.stringify(sidecar, null, 1)}\n`)
