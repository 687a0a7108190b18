/**
 * gzip, written: each piece of a file a member, compressed in Node's pool of threads.
 *
 * Source: RFC 1952, https://www.rfc-editor.org/rfc/rfc1952; https://nodejs.org/api/zlib.html.
 * Gotcha: the bytes that a compressor makes differ between zlib's versions; what they decompress to does not.
 */
import { promisify } from 'node:util'
import { constants, gzip } from 'node:zlib'
import { concat } from '../bytes.js'

/** Bytes of a member's content, at least, except the last one's. */
const MEMBER_BYTES = 1 << 20
/** Members that are compressed at once. */
const THREADS = 4
/** Where a member's header says which system made it (OS), and that it does not matter (RFC 1952, 2.3.1). */
const OS_AT = 9
const OS_UNKNOWN = 255

const compress = promisify<Uint8Array, { level: number }, Uint8Array>(gzip)

/** The members of a file that holds these bytes, in order. */
export async function* gzipped(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const running: Promise<Uint8Array>[] = []
  try {
    for (const content of gathered(chunks)) {
      const member = compressed(content)
      // It is awaited below; until then its failure is not an unhandled one.
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

/** Chunks in pieces that are worth a member. */
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
