/**
 * LZO1X blocks.
 *
 * Source: Linux Documentation/staging/lzo.rst, https://docs.kernel.org/staging/lzo.html, which describes the byte
 * codes; "state" is its word for the literals of the last instruction: 0 to 3 copied, or 4 after a run of them.
 * Gotcha: a code below 16 has three meanings, by the state. A length that does not fit its code continues in zero
 * bytes, each worth 255, and a last byte that is not zero.
 */
import type { Slices } from '../work.js'
import type { Block } from './block.js'

/** A first byte above this is a run of literals; the difference is their number. */
const FIRST_RUN = 17
const AFTER_RUN = 4
/** The distance that ends the block. */
const END_DISTANCE = 16384

export function* decodeLzo1x(block: Block): Slices<void> {
  let state = 0
  let op = block.u8()
  if (op > FIRST_RUN) {
    block.literals(op - FIRST_RUN)
    state = Math.min(op - FIRST_RUN, AFTER_RUN)
    op = block.u8()
  }
  for (; ; op = block.u8()) {
    if (op < 16 && state === 0) {
      const length = readLength(block, op, 15) + 3
      for (let left = length; left > 0; left = block.literals(left)) if (block.isSlice()) yield
      state = AFTER_RUN
      continue
    }
    let length: number
    let distance: number
    // Its two lowest bits are the state.
    let low = op
    if (op >= 64) {
      length = op < 128 ? ((op >> 5) & 1) + 3 : ((op >> 5) & 3) + 5
      distance = (block.u8() << 3) + ((op >> 2) & 7) + 1
    } else if (op >= 16) {
      length = readLength(block, op, op >= 32 ? 31 : 7) + 2
      low = block.u8()
      distance = (low >> 2) + (block.u8() << 6)
      if (op >= 32) distance++
      else {
        distance += END_DISTANCE + ((op & 8) << 11)
        if (distance === END_DISTANCE) break
      }
    } else {
      length = state === AFTER_RUN ? 3 : 2
      distance = (block.u8() << 2) + (op >> 2) + (state === AFTER_RUN ? 2049 : 1)
    }
    for (let left = length; left > 0; left = block.match(distance, left)) if (block.isSlice()) yield
    state = low & 3
    block.literals(state)
  }
  if (block.left > 0) block.damaged('the block goes on after its end')
  block.finish()
}

/** The code's lowest bits, or if they are zero, their most plus the bytes that follow. */
function readLength(block: Block, op: number, bits: number): number {
  if ((op & bits) !== 0) return op & bits
  let length = bits
  for (;;) {
    const byte = block.u8()
    if (byte !== 0) return length + byte
    length += 255
    if (length > block.room) return length
  }
}
