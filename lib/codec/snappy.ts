/**
 * Snappy blocks.
 *
 * Source: https://github.com/google/snappy/blob/main/format_description.txt, whose words these are.
 * Gotcha: the length in the preamble is a claim: it must be that of the output, and nothing is allocated for it.
 */
import type { Slices } from '../work.js'
import type { Block } from './block.js'

const TAG = { literal: 0, copy1: 1, copy2: 2, copy4: 3 } as const
/** Longer literals have their length in one to four bytes after the tag. */
const SHORT_LITERAL = 60
/** The most bytes of the preamble: a varint of 32 bits. */
const PREAMBLE_MAX = 5

export function* decodeSnappy(block: Block): Slices<void> {
  const wanted = block.room - readPreamble(block)
  while (block.left > 0) {
    const tag = block.u8()
    const kind = tag & 3
    const upper = tag >> 2
    if (kind === TAG.literal) {
      const length = 1 + (upper < SHORT_LITERAL ? upper : readNumber(block, upper - SHORT_LITERAL + 1))
      for (let left = length; left > 0; left = block.literals(left)) if (block.isSlice()) yield
      continue
    }
    const length = kind === TAG.copy1 ? 4 + (upper & 7) : 1 + upper
    const offset = kind === TAG.copy1 ? (upper >> 3) * 256 + block.u8() : readNumber(block, kind === TAG.copy2 ? 2 : 4)
    for (let left = length; left > 0; left = block.match(offset, left)) if (block.isSlice()) yield
  }
  if (block.room !== wanted) block.damaged('the length in the preamble is wrong')
  block.finish()
}

function readPreamble(block: Block): number {
  let length = 0
  for (let i = 0; i < PREAMBLE_MAX; i++) {
    const byte = block.u8()
    length += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) return length
  }
  return block.damaged('the preamble is too long')
}

function readNumber(block: Block, bytes: number): number {
  let value = 0
  for (let i = 0; i < bytes; i++) value += block.u8() * 2 ** (8 * i)
  return value
}
