/**
 * Writing gzip: each piece of a file is a member, compressed in Node's pool of threads.
 *
 * Source: RFC 1952, https://www.rfc-editor.org/rfc/rfc1952; https://nodejs.org/api/zlib.html.
 * Gotcha: compressed bytes differ between zlib's versions; only the decompressed bytes are the same.
 */
import { promisify } from 'node:util'
import { constants, gzip } from 'node:zlib'
import { concat } from '../bytes.js'

/** The least bytes of a member's content, except the last one's. */
const MEMBER_BYTES = 1 << 20
/** Members that are compressed at once. */
const THREADS = 4
/** The offset of the OS byte in a member's header, and its value for an unknown system (RFC 1952, 2.3.1). */
const OS_AT = 9
const OS_UNKNOWN = 255

const compress = promisify<Uint8Array, { level: number }, Uint8Array>(gzip)

/** Yields the members of a file with these bytes, in order. */
export async function* gzipped(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const running: Promise<Uint8Array>[] = []
  try {
    for (const content of gathered(chunks)) {
      const member = compressed(content)
      // The promise is awaited below; until then its failure must not count as unhandled.
      member.catch(() => {})
      running.push(member)
      if (running.length === THREADS) yield await (running.shift() as Promise<Uint8Array>)
    }
    for (const member of running.splice(0)) yield await member
  } finally {
    await Promise.allSettled(running)
  }
}

async function compressed(content: Uint8Array): Promise<Uint8Array> {
  const member = await compress(content, { level: constants.Z_BEST_SPEED })
  member[OS_AT] = OS_UNKNOWN
  return member
}

/** Yields the chunks in pieces that are large enough for a member. */
function* gathered(chunks: Iterable<Uint8Array>): Generator<Uint8Array> {
  let parts: Uint8Array[] = []
  let bytes = 0
  for (const chunk of chunks) {
    parts.push(chunk)
    bytes += chunk.length
    if (bytes < MEMBER_BYTES) continue
    yield concat(parts)
    parts = []
    bytes = 0
  }
  if (bytes > 0) yield concat(parts)
}
