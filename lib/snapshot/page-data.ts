/**
 * PAGE_DATA records: all of a guest's pages, those that hold something with their content.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc, "PAGE_DATA"; xen/include/public/domctl.h (the types).
 * Gotcha: every frame is sent, if only to be allocated: one that is left out is a hole in the restored guest.
 */
import {
  LIBXC_RECORD,
  PAGES_PER_RECORD,
  PageData,
  PFINFO_NOTAB,
  PFINFO_PINNED,
  PFINFO_SHIFT_HIGH,
  PFINFO_XALLOC,
  RecordHeader,
} from '../abi/save-stream.js'
import type { Domain } from '../guest/domain.js'
import type { Run } from '../guest/memory.js'
import { PAGE_SIZE, type Pfn, paddrOf } from '../units.js'
import { bytesOf } from './data-pages.js'
import { flowing, type Part } from './snapshot-file.js'

/** Bytes of a record before its page entries. */
const HEADERS = RecordHeader.size + PageData.size
const ENTRY_BYTES = 8
/** Bytes that headers, entries and short contents are gathered in. */
const BLOCK_BYTES = 1 << 20
/** Contents from this length on are handed out as they are, not gathered. */
const HANDED_OUT = 1 << 16

/** The records. */
export const pageDataRecords = (domain: Domain, data: readonly Run[]): Part =>
  flowing(recordBytes(domain, data), function* () {
    const blocks = new Blocks()
    let next = 0
    for (const range of domain.memory.ranges) {
      for (let pfn = range.start; pfn < range.end; pfn += PAGES_PER_RECORD) {
        const end = Math.min(pfn + PAGES_PER_RECORD, range.end)
        while (next < data.length && endOf(data[next]) <= pfn) next++
        yield* writeRecord(domain, blocks, pfn, end, piecesOf(data, next, pfn, end))
      }
    }
    yield* blocks.flush()
  })

/** Gathers what is short into blocks. A block is never used twice: its reader may keep it. */
class Blocks {
  #block = new Uint8Array(BLOCK_BYTES)
  /** What has been handed out of the block ends here. */
  #start = 0
  #end = 0

  /** The next bytes of the block, zero, to be filled. There must be room for them. */
  take(bytes: number): Uint8Array {
    this.#end += bytes
    return this.#block.subarray(this.#end - bytes, this.#end)
  }

  /** What has been gathered. */
  *flush(): Generator<Uint8Array> {
    if (this.#end > this.#start) yield this.#block.subarray(this.#start, this.#end)
    this.#start = this.#end
  }

  /** Begins a new block, unless this one has room for so many bytes, which are fewer than a block's. */
  *require(bytes: number): Generator<Uint8Array> {
    if (this.#end + bytes <= BLOCK_BYTES) return
    yield* this.flush()
    this.#block = new Uint8Array(BLOCK_BYTES)
    this.#start = 0
    this.#end = 0
  }
}

/** Bytes of all records. */
function recordBytes({ memory }: Domain, data: readonly Run[]): number {
  const records = memory.ranges.reduce((sum, { start, end }) => sum + Math.ceil((end - start) / PAGES_PER_RECORD), 0)
  return records * HEADERS + memory.pageCount * ENTRY_BYTES + bytesOf(data)
}

const endOf = (run: Run | undefined): Pfn => (run ? run.pfn + run.pages : 0)

/** The parts of the runs from `next` on that lie in [start, end). */
function piecesOf(data: readonly Run[], next: number, start: Pfn, end: Pfn): Run[] {
  const pieces: Run[] = []
  for (let i = next; i < data.length; i++) {
    const run = data[i] as Run
    if (run.pfn >= end) break
    const pfn = Math.max(run.pfn, start)
    pieces.push({ pfn, pages: Math.min(endOf(run), end) - pfn })
  }
  return pieces
}

/** One record. Its pieces are in order, and lie in [start, end). */
function* writeRecord(
  domain: Domain,
  blocks: Blocks,
  start: Pfn,
  end: Pfn,
  pieces: readonly Run[],
): Generator<Uint8Array> {
  const count = end - start
  const head = HEADERS + count * ENTRY_BYTES
  yield* blocks.require(head)
  writeHead(domain, blocks.take(head), start, end, pieces)
  for (const { pfn, pages } of pieces) {
    for (const bytes of domain.memory.contents(paddrOf(pfn), pages * PAGE_SIZE)) {
      if (bytes.length >= HANDED_OUT) {
        yield* blocks.flush()
        yield bytes
      } else {
        yield* blocks.require(bytes.length)
        blocks.take(bytes.length).set(bytes)
      }
    }
  }
}

/** A record's headers and page entries. */
function writeHead(domain: Domain, out: Uint8Array, start: Pfn, end: Pfn, pieces: readonly Run[]): void {
  const count = end - start
  const contents = pieces.reduce((sum, { pages }) => sum + pages, 0) * PAGE_SIZE
  const body_length = out.length - RecordHeader.size + contents
  out.set(RecordHeader.encode({ type: LIBXC_RECORD.PAGE_DATA, body_length }))
  out.set(PageData.encode({ count, reserved: 0 }), RecordHeader.size)
  const entries = new Uint32Array(out.buffer, out.byteOffset + HEADERS, 2 * count)
  const high = Math.floor(start / 2 ** 32)
  // A record never crosses a multiple of 2^32 pfn unless a range does; the general form costs nothing where it matters.
  const allocate = ((PFINFO_XALLOC << PFINFO_SHIFT_HIGH) | high) >>> 0
  const whole = Math.floor((end - 1) / 2 ** 32) === high
  for (let i = 0; i < count; i++) {
    entries[2 * i] = start + i
    entries[2 * i + 1] = whole ? allocate : (PFINFO_XALLOC << PFINFO_SHIFT_HIGH) | ((start + i) / 2 ** 32)
  }
  for (const { pfn, pages } of pieces) {
    for (let i = pfn; i < pfn + pages; i++) {
      const { level, pinned } = domain.pageType(i)
      const type = level === 0 ? PFINFO_NOTAB : level | (pinned ? PFINFO_PINNED : 0)
      entries[2 * (i - start) + 1] = (type << PFINFO_SHIFT_HIGH) | (i / 2 ** 32)
    }
  }
}
