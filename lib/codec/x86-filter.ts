/**
 * The x86 branch filter (BCJ): turns the absolute targets of CALL and JMP back into relative ones, in place.
 *
 * Source: the .xz file format, section 5.3.2, https://tukaani.org/xz/xz-file-format.txt, which refers to the LZMA SDK
 * for the details: https://www.7-zip.org/sdk.html. Encoders turn e8/e9 operands into absolute addresses, because all
 * calls of one function then look the same.
 * Gotcha: not every operand is converted: its top byte must be 00 or ff, and an e8/e9 in the four bytes before makes it
 * doubtful. The rules for that are quirks of the first encoder and must be kept to the bit.
 */
import { sliceEnds } from './source.js'

/** Whether an opcode may be converted. The index has a bit for each unconverted opcode among the three bytes before. */
const MAY_CONVERT = [true, true, true, false, true, false, false, false]
/** By the same bits: the number of bytes below its top at which the operand overlaps the suspect. */
const OVERLAP = [0, 1, 2, 2, 3, 3, 3, 3]

const isSignByte = (byte: number): boolean => byte === 0 || byte === 0xff

/** Whether one of four bytes is e8 or e9: turns those into zero, then does the classic test for a zero byte. */
function holdsOpcode(word: number): boolean {
  const zeroed = (word & 0xfefefefe) ^ 0xe8e8e8e8
  return ((zeroed - 0x01010101) & ~zeroed & 0x80808080) !== 0
}

/** @param start address of the first byte, from the filter's properties; default 0. */
export function* unfilterX86(bytes: Uint8Array, start = 0): Generator<void> {
  const filter = new X86Filter(bytes, start)
  for (const end of sliceEnds(0, bytes.length)) {
    filter.undo(end)
    yield
  }
}

class X86Filter {
  readonly #bytes: Uint8Array
  readonly #start: number
  readonly #skew: number
  readonly #words: Int32Array
  #at = 0
  #suspects = 0
  #last = -4

  constructor(bytes: Uint8Array, start: number) {
    this.#bytes = bytes
    this.#start = start
    // Most words hold no opcode and are skipped as a whole. The view starts at or before the first byte, aligned.
    this.#skew = bytes.byteOffset & 3
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset - this.#skew, (bytes.length + this.#skew) >> 2)
  }

  /** Converts the opcodes before `until`. */
  undo(until: number): void {
    const bytes = this.#bytes
    const start = this.#start
    const skew = this.#skew
    const words = this.#words
    let suspects = this.#suspects
    let last = this.#last
    let at = this.#at
    /** Operands begin one byte after the opcode and have four bytes. */
    const end = Math.min(until, bytes.length - 4)
    const wordsEnd = Math.min(words.length, (end + skew + 3) >> 2)
    for (; at < end; at++) {
      if (((at + skew) & 3) === 0) {
        let word = (at + skew) >> 2
        while (word < wordsEnd && !holdsOpcode(words[word] as number)) word++
        at = (word << 2) - skew
        if (at >= end) break
      }
      if (((bytes[at] as number) & 0xfe) !== 0xe8) continue
      const distance = at - last
      last = at
      suspects = distance > 3 ? 0 : (suspects << (distance - 1)) & 7
      const top = bytes[at + 4] as number
      const overlap = OVERLAP[suspects] as number
      if (
        !isSignByte(top) ||
        (suspects !== 0 && (!MAY_CONVERT[suspects] || isSignByte(bytes[at + 4 - overlap] as number)))
      ) {
        suspects = (suspects << 1) | 1
        continue
      }

      let value =
        (bytes[at + 1] as number) | ((bytes[at + 2] as number) << 8) | ((bytes[at + 3] as number) << 16) | (top << 24)
      const next = (start + at + 5) | 0
      value = (value - next) | 0
      if (suspects !== 0 && isSignByte((value >>> (24 - 8 * overlap)) & 0xff)) {
        // The encoder would find that result doubtful, so it continued from its complement.
        value = ((value ^ ((1 << (32 - 8 * overlap)) - 1)) - next) | 0
      }
      bytes[at + 1] = value
      bytes[at + 2] = value >> 8
      bytes[at + 3] = value >> 16
      // Targets have 25 bits: the top byte is the sign.
      bytes[at + 4] = value & 0x01000000 ? 0xff : 0
      at += 4
    }
    this.#suspects = suspects
    this.#last = last
    this.#at = at
  }
}
