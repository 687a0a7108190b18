/**
 * Pages as u32, for whoever makes or rewrites the entries of a table or a list.
 *
 * Source: https://tc39.es/ecma262/#sec-typedarray-objects; x86 is little-endian, and so is every machine Node runs on.
 * Gotcha: a BigUint64Array would make a bigint of each entry, which costs more than all the rest; and a view must begin at
 * a multiple of 4 of its buffer, which a caller's bytes need not do.
 */

/** Lets `work` change `bytes`, a multiple of 4 of them, as words: in place where they are aligned, else in a copy. */
export function throughWords(bytes: Uint8Array, work: (words: Uint32Array) => void): void {
  if (bytes.byteOffset % Uint32Array.BYTES_PER_ELEMENT === 0) {
    work(new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / Uint32Array.BYTES_PER_ELEMENT))
    return
  }
  const aligned = bytes.slice()
  throughWords(aligned, work)
  bytes.set(aligned)
}

/**
 * Writes entries of two words: frames that follow one another.
 * @param at index of the first entry. @param high is part of every entry's upper word.
 */
export function writeFrames(words: Uint32Array, at: number, first: number, count: number, high = 0): void {
  const last = first + count
  for (let frame = first; frame < last; ) {
    const upper = Math.floor(frame / 2 ** 32)
    const end = Math.min(last, (upper + 1) * 2 ** 32)
    countUp(words, at + frame - first, end - frame, frame | 0, high | upper)
    frame = end
  }
}

/** Gotcha: with shifts for indices and int32 for the rest, V8's code is three times as fast as without. */
function countUp(words: Uint32Array, at: number, count: number, lower: number, upper: number): void {
  for (let i = 0; i < count; i++) {
    const entry = (at + i) | 0
    words[entry << 1] = (lower + i) | 0
    words[(entry << 1) | 1] = upper
  }
}
