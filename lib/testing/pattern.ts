/**
 * Bytes that are never zero in a row, show their origin, and are the same on every machine.
 *
 * Source: Marsaglia's xorshift32 (https://www.jstatsoft.org/v08/i14).
 * Gotcha: a simple pattern hides errors: a builder that omits or misplaces a page could produce it by accident.
 */

/** Returns `length` bytes that depend only on `seed`, any integer from 1 to 2^32 - 1. */
export function patternBytes(length: number, seed = 1): Uint8Array {
  const out = new Uint8Array(length)
  let x = seed >>> 0 || 1
  for (let i = 0; i < length; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    out[i] = x
  }
  return out
}
