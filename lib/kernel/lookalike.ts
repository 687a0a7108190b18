/**
 * The likely format of a file that is not a kernel, in a few words for the refusal.
 *
 * Source: lib/abi/magics.ts, multiboot.ts.
 * Gotcha: a guess. It reads the beginning of the file only and decides nothing.
 */

import { GUEST_FILES, LOOKALIKES, type Magic } from '../abi/magics.js'
import { byteOrderMark, encodeLatin1, startsWith } from '../bytes.js'
import { hex } from '../units.js'
import { multibootName } from './multiboot.js'

/** The number of bytes examined to distinguish text from data. */
const TEXT_SAMPLE = 256

/** Returns the first kind in the list whose magic the bytes have. */
export const kindOf = <M extends Magic>(bytes: Uint8Array, kinds: readonly M[]): M | undefined =>
  kinds.find(({ offset, bytes: magic }) =>
    startsWith(bytes, typeof magic === 'string' ? encodeLatin1(magic) : magic, offset),
  )

/** Returns whether a file begins as text: without control characters except tab, newline, carriage return and escape. */
export const isText = (bytes: Uint8Array): boolean =>
  bytes
    .subarray(0, TEXT_SAMPLE)
    .every((byte) => (byte >= 0x20 ? byte !== 0x7f : [0x09, 0x0a, 0x0d, 0x1b].includes(byte)))

export function lookalike(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'nothing: it is empty'
  const known = kindOf(bytes, [...GUEST_FILES, ...LOOKALIKES])
  if (known !== undefined) return known.what
  const multiboot = multibootName(bytes)
  if (multiboot !== undefined) return `a ${multiboot} kernel that is not an ELF`
  const mark = byteOrderMark(bytes)
  if (mark !== undefined) return `a text file with the byte order mark of ${mark}`
  const sample = bytes.subarray(0, TEXT_SAMPLE)
  if (sample.every((byte) => byte === 0)) return 'zeros'
  if (isText(bytes)) return sample[0] === 0x23 && sample[1] === 0x21 ? 'a script' : 'a text file'
  const start = Array.from(bytes.subarray(0, 4), (byte) => hex(byte, 2).slice(2)).join(' ')
  return `data that begins with ${start}`
}
