/**
 * Snapshots under gzip and zstd, read piece by piece; and files of libvirt, whose stream alone is compressed.
 *
 * Source: RFC 1952, https://www.rfc-editor.org/rfc/rfc1952; RFC 8878, https://www.rfc-editor.org/rfc/rfc8878.
 * Gotcha: compressed data has no random access, so its content is kept in a Scratch. Streams under bzip2, xz and lzop
 * are in memory as a whole too.
 */
import { gzipPieces } from '../codec/gzip.js'
import { type CodecName, sniffCodec } from '../codec/magic.js'
import type { Pull } from '../codec/source.js'
import { zstdPieces } from '../codec/zstd.js'
import { defined } from '../defined.js'
import { decode } from '../kernel/payload.js'
import { breathe, Work, type WorkOptions } from '../work.js'
import type { ByteSource } from './byte-source.js'
import { isLibvirtSave, readLibvirtHead } from './libvirt-head.js'
import { readBytes } from './records.js'
import { type Scratch, scratchSource } from './scratch.js'

/** The compression of a snapshot: only methods that are fast enough for a guest's memory. */
type Compression = 'gzip' | 'zstd'

/** The compressed part of a file: all of it from an offset on. */
interface Packed {
  readonly codec: CodecName
  readonly from: number
}

/** Returns the part of a file that is compressed. @throws DomainBuilderError for a damaged file of libvirt. */
export function packedPart(source: ByteSource): Packed | undefined {
  const compression = sniffCompression(source)
  if (compression !== undefined) return { codec: compression, from: 0 }
  if (!isLibvirtSave(source)) return undefined
  const { codec, body } = readLibvirtHead(source)
  return codec && { codec, from: body }
}

/** The bytes that compression is detected by. */
const SNIFFED = 4

/** Returns the compression of a file by its first bytes. */
export function sniffCompression(source: ByteSource): Compression | undefined {
  const start = new Uint8Array(Math.min(source.size, SNIFFED))
  source.readInto(0, start)
  const codec = sniffCodec(start)
  return codec === 'gzip' || codec === 'zstd' ? codec : undefined
}

/** The most that a file may decompress to: `ratio` times its size, or `bytes`. A guest's kernel compresses less. */
const PLAUSIBLE = { ratio: 256, bytes: 2 ** 27 }

/** Returns the decompressed content of a file, in pieces. */
function pieces(
  source: ByteSource,
  { codec, from }: Packed,
  pulled: (bytes: number) => void,
  options: WorkOptions = {},
): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  let at = from
  const pull: Pull = (into) => {
    const bytes = into.subarray(0, source.size - at)
    source.readInto(at, bytes)
    at += bytes.length
    pulled(bytes.length)
    return bytes.length
  }
  const limit = Math.max(PLAUSIBLE.ratio * (source.size - from), PLAUSIBLE.bytes)
  if (codec === 'gzip') return gzipPieces(pull, { limit, offset: from })
  if (codec === 'zstd') return zstdPieces(pull, { limit, offset: from })
  return inMemory(source, { codec, from }, limit, options)
}

async function* inMemory(source: ByteSource, { codec, from }: Packed, limit: number, { signal }: WorkOptions) {
  const bytes = readBytes(source, from, source.size - from, codec)
  yield (await decode(codec, bytes, { limit, offset: from }, defined({ signal }))).bytes
}

/**
 * Returns the first bytes of a file's decompressed content: at least `length`, unless there are fewer.
 * @throws DomainBuilderError `payload-damaged`.
 */
export async function peekCompressed(
  source: ByteSource,
  compression: Compression,
  length: number,
): Promise<Uint8Array[]> {
  const found: Uint8Array[] = []
  let bytes = 0
  for await (const piece of pieces(source, { codec: compression, from: 0 }, () => {})) {
    found.push(piece)
    bytes += piece.length
    if (bytes >= length) break
  }
  return found
}

/**
 * Writes all of the decompressed content to `scratch`, after the part of the file that is not compressed. Progress is counted in bytes of the compressed file.
 * @throws DomainBuilderError `payload-damaged`, or `payload-too-large` for a ratio that no guest reaches.
 */
export async function decompressInto(
  source: ByteSource,
  packed: Packed,
  scratch: Scratch,
  options: WorkOptions,
): Promise<ByteSource> {
  const work = new Work(source.size, options)
  let pulled = packed.from
  let size = packed.from
  if (size > 0) scratch.writeAt(readBytes(source, 0, size, 'the head of the file'), 0)
  for await (const piece of pieces(source, packed, (bytes) => (pulled += bytes), options)) {
    scratch.writeAt(piece, size)
    size += piece.length
    work.step(pulled)
    pulled = 0
    await breathe()
  }
  return scratchSource(scratch, size)
}
