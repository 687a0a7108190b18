/**
 * Bytes: joined, compared, searched, and as text. All that the core needs and Uint8Array has no method for.
 *
 * Source: https://encoding.spec.whatwg.org/ for UTF-8; RFC 4648 for base64 and base 16.
 * Gotcha: Buffer would break the runtimes that have none, so only standard parts are used. latin1 is one byte for each
 * character: the Encoding Standard's `latin1` is windows-1252, another set of characters.
 */
import { nodeCompare, nodeIndexOf } from './host.js'
import { lazy } from './lazy.js'

/** Bytes compared in one go: whole words, and small enough that a copy is cheap. */
const BLOCK = 2 ** 16
/** Fewer bytes are compared faster here than in a call. */
const COMPARED_LEAST = 2 ** 8
/** Characters made in one call: engines limit the number of arguments. */
const CHARACTERS = 2 ** 13

const encoder = lazy(() => new TextEncoder())
const compare = lazy(nodeCompare)
const search = lazy(nodeIndexOf)
const zeros = lazy(() => new Uint8Array(BLOCK))
const decoder = lazy(() => new TextDecoder('utf-8', { ignoreBOM: true }))

/** All parts, one after another, in separate memory. */
export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** Whether two runs of bytes have the same length and the same bytes. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let from = 0; from < a.length; from += BLOCK) {
    if (!equalBlocks(a.subarray(from, from + BLOCK), b.subarray(from, from + BLOCK))) return false
  }
  return true
}

/** Whether all bytes are zero; true of no bytes. */
export function isZero(bytes: Uint8Array): boolean {
  for (let from = 0; from < bytes.length; from += BLOCK) {
    if (!isZeroBlock(bytes.subarray(from, from + BLOCK))) return false
  }
  return true
}

function equalBlocks(a: Uint8Array, b: Uint8Array): boolean {
  if (a[0] !== b[0]) return false
  const natively = a.length < COMPARED_LEAST ? undefined : compare()
  if (natively !== undefined) return natively(a, b) === 0
  const x = wordsOf(a)
  const y = wordsOf(b)
  const fours = x.length & ~3
  let i = 0
  for (; i < fours; i += 4) {
    if (x[i] !== y[i] || x[i + 1] !== y[i + 1] || x[i + 2] !== y[i + 2] || x[i + 3] !== y[i + 3]) return false
  }
  for (i *= 8; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

function isZeroBlock(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0) return false
  const natively = bytes.length < COMPARED_LEAST ? undefined : compare()
  if (natively !== undefined) return natively(bytes, zeros().subarray(0, bytes.length)) === 0
  const words = wordsOf(bytes)
  const fours = words.length & ~3
  let i = 0
  for (; i < fours; i += 4) {
    if (words[i] !== 0n || words[i + 1] !== 0n || words[i + 2] !== 0n || words[i + 3] !== 0n) return false
  }
  for (i *= 8; i < bytes.length; i++) if (bytes[i] !== 0) return false
  return true
}

/** The whole words at the start of a block. An unaligned block is copied first; a Buffer's slice() would not copy. */
function wordsOf(block: Uint8Array): BigUint64Array {
  const { buffer, byteOffset, length } = block.byteOffset % 8 === 0 ? block : new Uint8Array(block)
  return new BigUint64Array(buffer, byteOffset, length >>> 3)
}

/** Whether `part` lies in `bytes` at `at`. */
export function startsWith(bytes: Uint8Array, part: ArrayLike<number>, at = 0): boolean {
  for (let i = 0; i < part.length; i++) if (bytes[at + i] !== part[i]) return false
  return true
}

/** The offset of `part` in `bytes`, at `from` or after it; -1 if it does not occur. */
export function indexOf(bytes: Uint8Array, part: Uint8Array, from = 0): number {
  const [first] = part
  if (first === undefined) return from
  const natively = search()
  if (natively !== undefined) return natively(bytes, part, from)
  for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (startsWith(bytes, part, at)) return at
  }
  return -1
}

/** UTF-8 of a text; a lone surrogate becomes U+FFFD. */
export const encodeUtf8 = (text: string): Uint8Array<ArrayBuffer> => encoder().encode(text)

/** The byte order marks that texts of Windows begin with, by encoding. */
const BYTE_ORDER_MARKS = { 'UTF-8': [0xef, 0xbb, 0xbf], 'UTF-16': [0xff, 0xfe], 'big-endian UTF-16': [0xfe, 0xff] }

/** Returns the encoding that a byte order mark at the start of a text names; undefined without one. */
export const byteOrderMark = (bytes: Uint8Array): string | undefined =>
  Object.entries(BYTE_ORDER_MARKS).find(([, mark]) => startsWith(bytes, mark))?.[0]

/** The text of UTF-8: U+FFFD for each invalid sequence; a byte order mark is a character. */
export const decodeUtf8 = (bytes: Uint8Array): string => decoder().decode(bytes)

/** The length of a text in UTF-8, in bytes. */
export const utf8Length = (text: string): number => encodeUtf8(text).length

/** One byte for each UTF-16 unit: its lower eight bits. */
export const encodeLatin1 = (text: string): Uint8Array<ArrayBuffer> => {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i)
  return bytes
}

/** One character, U+0000 to U+00FF, for each byte. */
export function decodeLatin1(bytes: Uint8Array): string {
  let text = ''
  for (let from = 0; from < bytes.length; from += CHARACTERS) {
    text += Reflect.apply(String.fromCharCode, undefined, bytes.subarray(from, from + CHARACTERS))
  }
  return text
}

/** Two lower-case hex digits for each byte. */
export const toHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

/** base64 of RFC 4648, section 4, padded. */
export const toBase64 = (bytes: Uint8Array): string => btoa(decodeLatin1(bytes))

/** The bytes of padded or unpadded base64; undefined for invalid text. White space is ignored. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return encodeLatin1(atob(text))
  } catch {
    return undefined
  }
}
