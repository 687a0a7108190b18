/**
 * The sidecar of a format whose main file is the guest's memory alone: JSON next to it that says the rest.
 *
 * Source: our own format, docs/formats.md ("The raw format").
 * Gotcha: a sidecar is known by its member `format`, which our writers put first. A file named FILE.json next to a kernel
 * FILE is not one.
 */
import { decodeUtf8, encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { type SnapshotSource, startOf } from './format.js'
import { JsonValue } from './json.js'
import { readBytes } from './records.js'

/** What the sidecar's name adds to the main file's. */
export const SIDECAR_SUFFIX = '.json'
/** Bytes in which the member `format` is found. */
const SNIFFED = 4096
/** Bytes: far above any guest's, and below what a string can hold. */
const SIDECAR_MAX = 64 << 20

/** Whether the sidecar next to the main file is of that format. */
export function hasSidecar(files: SnapshotSource, format: string): boolean {
  const sidecar = files.beside(SIDECAR_SUFFIX)
  return sidecar !== undefined && decodeUtf8(startOf(sidecar, SNIFFED)).includes(`"${format}"`)
}

/**
 * The sidecar of that format.
 * @throws DomainBuilderError `bad-snapshot` for a sidecar that is too large or of another format, or text that is not JSON.
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

/** The bytes of a sidecar. */
export const sidecarBytes = (sidecar: unknown): Uint8Array => encodeUtf8(`${JSON.stringify(sidecar, null, 1)}\n`)
