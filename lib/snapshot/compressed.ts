/**
 * Snapshots under gzip and zstd, read piece by piece.
 *
 * Source: RFC 1952, https://www.rfc-editor.org/rfc/rfc1952; RFC 8878, https://www.rfc-editor.org/rfc/rfc8878.
 * Gotcha: compressed data has no random access, so its content is kept in a Scratch.
 */
import { gzipPieces } from '../codec/gzip.js'
import { sniffCodec } from '../codec/magic.js'
import type { Pull } from '../codec/source.js'
import { zstdPieces } from '../codec/zstd.js'
import { breathe, Work, type WorkOptions } from '../work.js'
import type { ByteSource } from './byte-source.js'
import { type Scratch, scratchSource } from './scratch.js'

/** The compression of a snapshot: only methods that are fast enough for a guest's memory. */
type Compression = 'gzip' | 'zstd'

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
function pieces(source: ByteSource, compression: Compression, pulled: (bytes: number) => void) {
  let at = 0
  const pull: Pull = (into) => {
    const bytes = into.subarray(0, source.size - at)
    source.readInto(at, bytes)
    at += bytes.length
    pulled(bytes.length)
    return bytes.length
  }
  const limit = Math.max(PLAUSIBLE.ratio * source.size, PLAUSIBLE.bytes)
  return compression === 'gzip' ? gzipPieces(pull, { limit }) : zstdPieces(pull, { limit })
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
  for await (const piece of pieces(source, compression, () => {})) {
    found.push(piece)
    bytes += piece.length
    if (bytes >= length) break
  }
  return found
}

/**
 * Writes all of the decompressed content to `scratch`. Progress is counted in bytes of the compressed file.
 * @throws DomainBuilderError `payload-damaged`, or `payload-too-large` for a ratio that no guest reaches.
 */
export async function decompressInto(
  source: ByteSource,
  compression: Compression,
  scratch: Scratch,
  options: WorkOptions,
): Promise<ByteSource> {
  const work = new Work(source.size, options)
  let pulled = 0
  let size = 0
  for await (const piece of pieces(source, compression, (bytes) => (pulled += bytes))) {
    scratch.writeAt(piece, size)
    size += piece.length
    work.step(pulled)
    pulled = 0
    await breathe()
  }
  return scratchSource(scratch, size)
}
