/**
 * SHA-256, in pieces and without waiting.
 *
 * Source: FIPS 180-4; https://github.com/paulmillr/noble-hashes.
 * Gotcha: Web Crypto is unsuitable: it takes all bytes at once, copies them, and is absent from pages loaded over plain
 * HTTP. Node's crypto is used where it exists, since it takes a tenth of the time.
 */
import { sha256 as portable } from '@noble/hashes/sha2'
import { encodeUtf8 } from './bytes.js'
import { nodeCrypto } from './host.js'

/** A hash in progress. */
interface Hash {
  update(bytes: Uint8Array): unknown
  /** 32 bytes; nothing can be added afterwards. */
  digest(): Uint8Array
}

/** Begins a hash. */
export const newSha256 = (): Hash => nodeCrypto()?.createHash('sha256') ?? portable.create()

/** The hash of all parts, one after another; text is hashed as UTF-8. */
export function sha256(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const hash = newSha256()
  for (const part of parts) hash.update(typeof part === 'string' ? encodeUtf8(part) : part)
  return hash.digest()
}

/** The first 48 bits of the hash of bytes, as a number: a key for bytes that may be equal. */
export function sha256Key(bytes: Uint8Array): number {
  const { buffer, byteOffset } = sha256(bytes)
  const view = new DataView(buffer, byteOffset)
  return view.getUint32(0) * 2 ** 16 + view.getUint16(4)
}
