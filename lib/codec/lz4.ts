/**
 * LZ4 in its legacy frame, which Linux kernels use: blocks of 8 MiB, no checksums, no end mark.
 *
 * Source: lz4_Frame_format.md, "Legacy frame", and lz4_Block_format.md, https://github.com/lz4/lz4/tree/dev/doc.
 * Gotcha: a frame has no end mark: it ends with the input. Another frame may follow: a magic number in place of a
 * block's size.
 */
import type { Slices } from '../work.js'
import { Block } from './block.js'
import { GrowingBytes } from './growing-bytes.js'
import type { Decoded, Source } from './source.js'

const MAGIC = 0x184c2102
/** The most bytes of a decompressed block. */
const BLOCK_BYTES = 8 * 2 ** 20
/** The most bytes of a block that does not compress at all (LZ4_compressBound). */
const COMPRESSED_MAX = BLOCK_BYTES + Math.floor(BLOCK_BYTES / 255) + 16

const MATCH_MIN = 4
/** A length of this in the token continues in the next bytes. */
const LENGTH_GOES_ON = 15

/** The fewest bytes after any but the last literals: a distance, the last token and the block's last five literals. */
const AFTER_LITERALS_MIN = 2 + 1 + 5

export function* decodeLz4(source: Source): Slices<Decoded> {
  source.take(4)
  const output = new GrowingBytes(source)
  while (source.left >= 4) {
    const at = source.at
    const size = source.u32le()
    if (size === MAGIC) continue
    if (size === 0 || size > COMPRESSED_MAX) {
      // Not a block: other data begins here.
      source.at = at
      break
    }
    yield* decodeBlock(new Block(source, source.take(size), output, BLOCK_BYTES, at))
  }
  return { bytes: yield* output.result(), consumed: source.at }
}

/** Sequences: a token with two lengths, literals, and a match; the last one ends after its literals. */
function* decodeBlock(block: Block): Slices<void> {
  for (;;) {
    const token = block.u8()
    for (let left = readLength(block, token >> 4); left > 0; left = block.literals(left)) if (block.isSlice()) yield
    if (block.left === 0) break
    if (block.left < AFTER_LITERALS_MIN) block.endsEarly()
    const distance = block.u8() | (block.u8() << 8)
    const length = readLength(block, token & 15) + MATCH_MIN
    for (let left = length; left > 0; left = block.match(distance, left)) if (block.isSlice()) yield
  }
  block.finish()
  yield
}

function readLength(block: Block, first: number): number {
  let length = first
  if (first === LENGTH_GOES_ON) {
    let byte: number
    do length += byte = block.u8()
    while (byte === 0xff && length <= block.room)
  }
  return length
}
