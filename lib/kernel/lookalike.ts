/**
 * The likely format of a file that is not a kernel, in a few words for the refusal.
 *
 * Source: lib/abi/magics.ts.
 * Gotcha: a guess. It reads the first bytes only and decides nothing.
 */

import { LOOKALIKES } from '../abi/magics.js'
import { encodeLatin1 } from '../bytes.js'
import { hex } from '../units.js'

/** The number of bytes examined to distinguish text from data. */
const TEXT_SAMPLE = 256

export function lookalike(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'nothing: it is empty'
  for (const { what, offset, bytes: magic } of LOOKALIKES) {
    const expected = typeof magic === 'string' ? encodeLatin1(magic) : magic
    if (expected.every((byte, i) => bytes[offset + i] === byte)) return what
  }
  const sample = bytes.subarray(0, TEXT_SAMPLE)
  if (sample.every((byte) => byte === 0)) return 'zeros'
  // UTF-8 and Latin-1 text have no control characters except tab, newline, carriage return and escape.
  const isText = (byte: number) => (byte >= 0x20 ? byte !== 0x7f : [0x09, 0x0a, 0x0d, 0x1b].includes(byte))
  if (sample.every(isText)) return sample[0] === 0x23 && sample[1] === 0x21 ? 'a script' : 'a text file'
  const start = Array.from(bytes.subarray(0, 4), (byte) => hex(byte, 2).slice(2)).join(' ')
  return `data that begins with ${start}`
}
