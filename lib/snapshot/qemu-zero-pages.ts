/**
 * zeroPages: records of consecutive zero pages, as QEMU's stream has them. A guest of 64 GiB has 16 million.
 *
 * Source: QEMU migration/ram.c, save_zero_page().
 * Gotcha: to make each record takes longer than to write it. So the records of a window are kept, and the next window
 * changes one byte of each.
 */
import { PAGE_HEADER, RAM_FLAG, ZERO_PAGE_BYTES } from '../abi/qemu-stream.js'
import { alignDown, PAGE_SIZE } from '../units.js'

/** Bytes of memory whose records differ only in the three low bytes of the address. */
const WINDOW = 2 ** 24
/** The place of the address's low half in a record. Its first byte counts windows. */
const LOW_HALF = PAGE_HEADER - 4
const RECORDS = (WINDOW / PAGE_SIZE) * ZERO_PAGE_BYTES

/** Returns a function that fills an array with the records of the pages from offset `at` of the block on. */
export function zeroPages(): (out: Uint8Array, at: number) => void {
  const records = new Uint8Array(RECORDS)
  const view = new DataView(records.buffer)
  for (let at = 0; at < WINDOW; at += PAGE_SIZE) {
    view.setUint32((at / PAGE_SIZE) * ZERO_PAGE_BYTES + LOW_HALF, at + (RAM_FLAG.ZERO | RAM_FLAG.SAME_BLOCK))
  }
  let window = 0
  const setWindow = (next: number): void => {
    const low = (next / WINDOW) & 0xff
    for (let i = LOW_HALF; i < RECORDS; i += ZERO_PAGE_BYTES) records[i] = low
    const high = Math.floor(next / 2 ** 32)
    if (high !== Math.floor(window / 2 ** 32)) {
      for (let i = 0; i < RECORDS; i += ZERO_PAGE_BYTES) view.setUint32(i, high)
    }
    window = next
  }
  return (out, at) => {
    for (let place = 0, page = at; place < out.length; ) {
      const next = alignDown(page, WINDOW)
      if (next !== window) setWindow(next)
      const from = ((page - next) / PAGE_SIZE) * ZERO_PAGE_BYTES
      const piece = records.subarray(from, from + out.length - place)
      out.set(piece, place)
      place += piece.length
      page += (piece.length / ZERO_PAGE_BYTES) * PAGE_SIZE
    }
  }
}
