/**
 * Snapshots under gzip: written as they come, read whole.
 *
 * Source: RFC 1952, https://www.rfc-editor.org/rfc/rfc1952; a file of several members is their concatenation.
 * Gotcha: what is compressed has no random access, so it is decompressed into memory, within a bound. The bytes that
 * come out of a compressor differ between zlib's versions; what they decompress to does not.
 */
import { DomainBuilderError } from '../errors.js'
import { zlib } from '../lazy.js'

/** Bytes that a compressed snapshot may decompress to: it is held in memory. */
export const DECOMPRESSED_MAX = 2 ** 31

const GZIP_MAGIC = [0x1f, 0x8b] as const
const ZSTD_MAGIC = [0x28, 0xb5, 0x2f, 0xfd] as const
/** Compressed bytes that are enough to see what is in there. */
export const PEEKED = 4096

/** The compression a file begins with. */
export function sniffCompression(start: Uint8Array): 'gzip' | 'zstd' | undefined {
  if (GZIP_MAGIC.every((byte, i) => start[i] === byte)) return 'gzip'
  return ZSTD_MAGIC.every((byte, i) => start[i] === byte) ? 'zstd' : undefined
}

/** Where a member's header says which system made it (OS), and that it does not matter (RFC 1952, 2.3.1). */
const OS_AT = 9
const OS_UNKNOWN = 255

/** Each chunk a member of its own: bounded memory, and no state between them. */
export function* gzipped(chunks: Iterable<Uint8Array>): Generator<Uint8Array> {
  for (const chunk of chunks) {
    if (chunk.length === 0) continue
    const member = zlib().gzipSync(chunk, { level: zlib().constants.Z_BEST_SPEED })
    member[OS_AT] = OS_UNKNOWN
    yield member
  }
}

/** The first bytes of what a gzip file holds; fewer, or none, where it is damaged. */
export function peekGzip(bytes: Uint8Array): Uint8Array {
  try {
    return zlib().gunzipSync(bytes.subarray(0, PEEKED), { finishFlush: zlib().constants.Z_SYNC_FLUSH })
  } catch {
    return new Uint8Array(0)
  }
}

/** All of it. @throws DomainBuilderError `payload-damaged`, or `payload-too-large` above `limit` bytes. */
export function gunzip(bytes: Uint8Array, limit = DECOMPRESSED_MAX): Uint8Array {
  try {
    return zlib().gunzipSync(bytes, { maxOutputLength: limit })
  } catch (cause) {
    if (cause instanceof RangeError) {
      throw new DomainBuilderError('payload-too-large', 'gzip: the snapshot decompresses to too much', {
        expected: `at most ${limit} bytes`,
        offset: 0,
        cause,
      })
    }
    throw new DomainBuilderError('payload-damaged', 'gzip: the snapshot does not decompress', {
      found: cause instanceof Error ? cause.message : String(cause),
      offset: 0,
      cause,
    })
  }
}
