/**
 * Pages as u32, to make or rewrite the entries of a table or a list.
 *
 * Source: https://tc39.es/ecma262/#sec-typedarray-objects; x86 is little-endian, and so is every machine Node runs on.
 * Gotcha: a BigUint64Array would make a bigint of each entry, which costs more than all the rest. A view must begin at
 * a multiple of 4 in its buffer, but a caller's bytes need not.
 */

/** Lets `work` change `bytes`, a multiple of 4 of them, as words: in place if they are aligned, else through a copy. */
export function throughWords(bytes: Uint8Array, work: (words: Uint32Array) => void): void {
  if (bytes.byteOffset % Uint32Array.BYTES_PER_ELEMENT === 0) {
    work(new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / Uint32Array.BYTES_PER_ELEMENT))
    return
  }
  const aligned = bytes.slice()
  throughWords(aligned, work)
  bytes.set(aligned)
}
