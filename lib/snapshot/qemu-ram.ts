/**
 * The memory of a guest as QEMU's stream has it: a header before each page, and one byte for a page of zeros.
 *
 * Source: QEMU migration/ram.c, ram_save_page() and save_zero_page().
 * Gotcha: QEMU looks into each page, and sends one that is zero as such. So all content is read once before the size of
 * the stream is known.
 */
import { PAGE_HEADER, RAM_FLAG, ZERO_PAGE_BYTES } from '../abi/qemu-stream.js'
import { concat, isZero } from '../bytes.js'
import { BLOCK_BYTES, type GuestMemory } from '../guest/memory.js'
import { addRange } from '../guest/runs.js'
import { alignDown, PAGE_SIZE, type Paddr, type Pfn, paddrOf, type Range } from '../units.js'
import type { Slices } from '../work.js'
import { zeroPages } from './qemu-zero-pages.js'
import { flowing, type Part, type Stretch } from './snapshot-file.js'
import { bigEndian, counted } from './vmstate.js'

/** Bytes of a page with content. */
const DATA_PAGE_BYTES = PAGE_HEADER + PAGE_SIZE
/** The pages that are looked at, or made, at a time. */
const DATA_PAGES = Math.floor(BLOCK_BYTES / DATA_PAGE_BYTES)
const ZERO_PAGES = Math.floor(BLOCK_BYTES / ZERO_PAGE_BYTES)

/** A block of QEMU's memory. */
export interface RamBlock {
  readonly name: string
  readonly bytes: number
  /** The guest's addresses that it shows, in order; none for a block that stays empty. */
  readonly ranges: readonly Range<Paddr>[]
}

/** Returns the pages of blocks as QEMU sends them. */
export function* ramPages(memory: GuestMemory, blocks: readonly RamBlock[]): Slices<Part> {
  const data = yield* nonZeroRuns(memory)
  const dataPages = data.reduce((sum, { start, end }) => sum + end - start, 0)
  const length = blocks.reduce(
    (sum, { name, bytes }) => sum + (bytes / PAGE_SIZE) * ZERO_PAGE_BYTES + counted(name).length,
    dataPages * (DATA_PAGE_BYTES - ZERO_PAGE_BYTES),
  )
  return flowing(length, function* () {
    const putZeroPages = zeroPages()
    for (const block of blocks) yield* blockPages(memory, block, data, putZeroPages)
  })
}

/** Returns the runs of pages that are not zero, in order. */
function* nonZeroRuns(memory: GuestMemory): Slices<Range<Pfn>[]> {
  const found: Range<Pfn>[] = []
  for (const { pfn, pages } of memory.pages()) {
    let page = pfn
    for (const { bytes, end } of wholePages(memory, paddrOf(pfn), pages * PAGE_SIZE)) {
      for (let at = 0; at < end; at += PAGE_SIZE, page++) {
        if (!isZero(bytes.subarray(at, at + PAGE_SIZE))) addRange(found, page, page + 1)
      }
      yield
    }
  }
  return found
}

/** Yields the content of whole pages in pieces of whole pages. Placed bytes are views; a piece may end within a page. */
function* wholePages(
  memory: GuestMemory,
  paddr: Paddr,
  length: number,
): Generator<{ readonly bytes: Uint8Array; readonly end: number }> {
  let rest: Uint8Array | undefined
  for (const part of memory.contents(paddr, length)) {
    const bytes = rest === undefined ? part : concat([rest, part])
    const end = alignDown(bytes.length, PAGE_SIZE)
    rest = end === bytes.length ? undefined : bytes.subarray(end)
    if (end > 0) yield { bytes, end }
  }
}

type Content = Omit<Stretch, 'offset'>

/** Consecutive pages of a block, which are all zero or all not. */
interface BlockRun {
  /** The offset of the first page in the block. */
  readonly at: number
  readonly pages: number
  /** The guest's address of a page with content. */
  readonly paddr?: Paddr
}

function* blockPages(
  memory: GuestMemory,
  block: RamBlock,
  data: readonly Range<Pfn>[],
  putZeroPages: (out: Uint8Array, at: number) => void,
): Generator<Content> {
  let isFirst = true
  for (const run of blockRuns(block, data)) {
    const { at, pages, paddr } = run
    const most = paddr === undefined ? ZERO_PAGES : DATA_PAGES
    for (let done = 0; done < pages; ) {
      // Only the first page of a block names it.
      const count = isFirst ? 1 : Math.min(most, pages - done)
      const from = at + done * PAGE_SIZE
      if (isFirst) yield firstPage(memory, block.name, from, paddr)
      else if (paddr === undefined) yield { length: count * ZERO_PAGE_BYTES, content: (out) => putZeroPages(out, from) }
      else yield dataPages(memory, from, count, paddr + done * PAGE_SIZE)
      isFirst = false
      done += count
    }
  }
}

/** Yields the runs of a block, in order. */
function* blockRuns({ bytes, ranges }: RamBlock, data: readonly Range<Pfn>[]): Generator<BlockRun> {
  let at = 0
  let next = 0
  for (const { start, end } of ranges) {
    for (; next < data.length; next++) {
      const run = data[next] as Range<Pfn>
      const paddr = paddrOf(run.start)
      if (paddr >= end) break
      const offset = rangeOffset(ranges, start) + paddr - start
      if (offset > at) yield { at, pages: (offset - at) / PAGE_SIZE }
      const pages = run.end - run.start
      yield { at: offset, pages, paddr }
      at = offset + pages * PAGE_SIZE
    }
  }
  if (bytes > at) yield { at, pages: (bytes - at) / PAGE_SIZE }
}

/** Returns the offset of a range in its block: the ranges before it fill it. */
const rangeOffset = (ranges: readonly Range<Paddr>[], start: Paddr): number =>
  ranges.reduce((sum, range) => (range.start < start ? sum + range.end - range.start : sum), 0)

/** Returns the record of a block's first page, which names the block. */
function firstPage(memory: GuestMemory, name: string, at: number, paddr?: Paddr): Content {
  const flag = paddr === undefined ? RAM_FLAG.ZERO : RAM_FLAG.PAGE
  const page = paddr === undefined ? new Uint8Array(1) : memory.read(paddr, PAGE_SIZE)
  const content = concat([bigEndian(at + flag, PAGE_HEADER), counted(name), page])
  return { length: content.length, content }
}

function dataPages(memory: GuestMemory, at: number, pages: number, paddr: Paddr): Content {
  return {
    length: pages * DATA_PAGE_BYTES,
    content(out) {
      const view = new DataView(out.buffer, out.byteOffset, out.byteLength)
      let place = 0
      let page = at
      for (const { bytes, end } of wholePages(memory, paddr, pages * PAGE_SIZE)) {
        for (let from = 0; from < end; from += PAGE_SIZE, page += PAGE_SIZE, place += DATA_PAGE_BYTES) {
          view.setUint32(place, Math.floor(page / 2 ** 32))
          view.setUint32(place + 4, (page % 2 ** 32) + (RAM_FLAG.PAGE | RAM_FLAG.SAME_BLOCK))
          out.set(bytes.subarray(from, from + PAGE_SIZE), place + PAGE_HEADER)
        }
      }
    },
  }
}
