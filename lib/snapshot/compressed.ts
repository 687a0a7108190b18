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
import { type Scratch, scratchSource } from './scratch.js'
import type { ByteSource } from './source.js'

/** How a snapshot can be compressed: what is quick enough for a guest's memory. */
export type Compression = 'gzip' | 'zstd'

/** Bytes by which it is known. */
const SNIFFED = 4

/** The compression a file begins with. */
export function sniffCompression(source: ByteSource): Compression | undefined {
  const start = new Uint8Array(Math.min(source.size, SNIFFED))
  source.readInto(0, start)
  const codec = sniffCodec(start)
  return codec === 'gzip' || codec === 'zstd' ? codec : undefined
}

/** What a file may decompress to: so many times its size, or so many bytes. A guest holds a kernel, which does not shrink so. */
const PLAUSIBLE = { ratio: 256, bytes: 2 ** 27 }

/** What a file holds, in pieces. */
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
 * The first bytes of what a file holds: at least `length`, unless there are fewer.
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
 * All of it, laid down in `scratch`. Progress is told in bytes of the compressed file.
 * @throws DomainBuilderError `payload-damaged`, or `payload-too-large` for what no guest compresses to.
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
