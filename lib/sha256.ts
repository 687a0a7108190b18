/**
 * SHA-256, in pieces and without waiting.
 *
 * Source: FIPS 180-4; https://github.com/paulmillr/noble-hashes.
 * Gotcha: the runtime's own is used where it can be had, since it takes a tenth of the time. Web Crypto is no such one:
 * it wants all bytes at once, copies them, and is absent from pages that came over plain HTTP.
 */
import { sha256 as portable } from '@noble/hashes/sha2'
import { encodeUtf8 } from './bytes.js'
import { nodeCrypto } from './host.js'

/** A hash under way. */
export interface Hash {
  update(bytes: Uint8Array): unknown
  /** 32 bytes; nothing can be added afterwards. */
  digest(): Uint8Array
}

/** Begins a hash. */
export const newSha256 = (): Hash => nodeCrypto()?.createHash('sha256') ?? portable.create()

/** The hash of some parts one after another; of a text, its UTF-8. */
export function sha256(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const hash = newSha256()
  for (const part of parts) hash.update(typeof part === 'string' ? encodeUtf8(part) : part)
  return hash.digest()
}
