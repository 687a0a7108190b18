/**
 * openSnapshot: the guest in a snapshot's files, in any format.
 *
 * Source: ./formats.ts.
 * Gotcha: guest memory has no magic number, so a raw or qemu snapshot is detected by the sidecar next to its main file.
 */
import { concat } from '../bytes.js'
import { DomainBuilderError, refusalOf } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import type { WorkOptions } from '../work.js'
import { type ByteSource, bytesSource } from './byte-source.js'
import { decompressInto, packedPart, peekCompressed, sniffCompression } from './compressed.js'
import { FOREIGN_SNIFFED, refuseForeign } from './foreign.js'
import { type SnapshotFormat, type SnapshotSource, startOf } from './format.js'
import { SNAPSHOT_FORMAT_NAMES, SNAPSHOT_FORMATS, type SnapshotFormatName } from './formats.js'
import { findGuest } from './memory-image.js'
import { memoryScratch, type Scratch } from './scratch.js'
import { SIDECAR_SUFFIX } from './sidecar.js'

/** The bytes of a compressed file's content that its format is detected by. */
const PEEKED = 1 << 16

/** The files next to a snapshot's main file, by their suffix to its name: `{ '.json': bytesSource(sidecar) }`. */
export type FilesBeside = Readonly<Record<string, ByteSource>>

/** The options for detecting a snapshot's format. */
export interface SniffOptions {
  /** The other files of a format of several files. Default: none. */
  readonly beside?: FilesBeside
}

/** The options for opening; `signal` and `onProgress` are for decompressing, in bytes of the compressed file. */
export interface OpenOptions extends WorkOptions, SniffOptions {
  /** The store for the content of a compressed snapshot. Default: memory, at most 2 GiB of it. */
  readonly scratch?: Scratch
}

/** @throws DomainBuilderError `bad-config` for anything except a source, such as the bytes themselves. */
function requireSource(source: ByteSource): void {
  if (typeof source?.size === 'number' && typeof source.readInto === 'function') return
  throw new DomainBuilderError('bad-config', 'the snapshot is not a ByteSource', {
    expected: 'size and readInto(), as in bytesSource(bytes)',
    found: source instanceof Uint8Array ? 'a Uint8Array' : typeof source,
  })
}

/** @throws DomainBuilderError `bad-config`. */
function filesOf(main: ByteSource, { beside = {} }: SniffOptions): SnapshotSource {
  requireSource(main)
  Object.values(beside).forEach(requireSource)
  return { main, beside: (suffix) => (Object.hasOwn(beside, suffix) ? beside[suffix] : undefined) }
}

/**
 * An image of memory without a sidecar has no sign but its content, so it is looked for last. An image with a sidecar
 * that is damaged is not one: its guest would lose all that the sidecar says.
 */
function formatOf(files: SnapshotSource): SnapshotFormat | undefined {
  const found = Object.values(SNAPSHOT_FORMATS).find((format) => format.sniff(files))
  if (found !== undefined || files.beside(SIDECAR_SUFFIX) !== undefined) return found
  const guest = findGuest(files.main)
  return guest && { ...SNAPSHOT_FORMATS.raw, open: () => guest }
}

/**
 * Returns the name of a snapshot's format, compressed or not; undefined for an unknown format or a damaged beginning.
 * @throws DomainBuilderError `bad-config` for anything except a ByteSource.
 */
export async function sniffSnapshot(
  source: ByteSource,
  options: SniffOptions = {},
): Promise<SnapshotFormatName | undefined> {
  const files = filesOf(source, options)
  const main = await contentStart(source)
  try {
    return main && (formatOf({ ...files, main })?.name as SnapshotFormatName | undefined)
  } catch (error) {
    refusalOf(error)
    return undefined
  }
}

/** Returns a file that is not compressed, or the start of its content; undefined for a damaged beginning. */
async function contentStart(source: ByteSource): Promise<ByteSource | undefined> {
  const compression = sniffCompression(source)
  if (compression === undefined) return source
  try {
    return bytesSource(concat(await peekCompressed(source, compression, PEEKED)))
  } catch (error) {
    refusalOf(error)
    return undefined
  }
}

/** @throws DomainBuilderError `unknown-format` for a guest of another program, compressed or not. */
export async function refuseForeignSource(source: ByteSource): Promise<void> {
  const main = await contentStart(source)
  if (main !== undefined) refuseForeign(startOf(main, FOREIGN_SNIFFED))
}

/**
 * Opens a snapshot of any format, compressed by gzip, by zstd or not at all; in a file of libvirt, the stream is also
 * decompressed from bzip2, xz and lzop. Pages are read on demand.
 * @throws DomainBuilderError `bad-config` for an invalid source, `unknown-format`, `payload-damaged` or
 *   `payload-too-large` where it is compressed, and the errors of the format's reader; the signal's reason.
 * @example
 * ```ts
 * const guest = await openSnapshot(bytesSource(readFileSync('guest.xl')))
 * const raw = await openSnapshot(bytesSource(image), { beside: { '.json': bytesSource(sidecar) } })
 * ```
 */
export async function openSnapshot(source: ByteSource, options: OpenOptions = {}): Promise<Domain> {
  const files = filesOf(source, options)
  const packed = packedPart(source)
  if (packed === undefined) return openFiles(files)
  const scratch = options.scratch ?? memoryScratch()
  return openFiles({ ...files, main: await decompressInto(source, packed, scratch, options) })
}

/** Returns the guest in files that are not compressed. @throws DomainBuilderError as openSnapshot() does. */
export function openFiles(files: SnapshotSource): Domain {
  const format = formatOf(files)
  if (format !== undefined) return format.open(files)
  refuseForeign(startOf(files.main, FOREIGN_SNIFFED))
  throw new DomainBuilderError('unknown-format', 'the snapshot format is unknown', {
    expected: SNAPSHOT_FORMAT_NAMES.join(', '),
    found: `${files.main.size} bytes of another kind`,
    offset: 0,
  })
}
