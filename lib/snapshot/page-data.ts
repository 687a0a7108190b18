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
import { Work, type WorkOptions } from '../work.js'
import { bytesOf } from './data-pages.js'

/** Bytes of a record before its page entries. */
const HEADERS = RecordHeader.size + PageData.size
const ENTRY_BYTES = 8
/** Room for the longest record; small ones share it. */
const BUFFER_BYTES = HEADERS + PAGES_PER_RECORD * (ENTRY_BYTES + PAGE_SIZE)

/** The records, several to a chunk; a chunk is valid until the next one is asked for. */
export function* pageDataRecords(domain: Domain, data: readonly Run[], options: WorkOptions): Generator<Uint8Array> {
  const work = new Work(recordBytes(domain, data), options)
  const buffer = new Uint8Array(BUFFER_BYTES)
  let used = 0
  let next = 0
  for (const range of domain.memory.ranges) {
    for (let pfn = range.start; pfn < range.end; pfn += PAGES_PER_RECORD) {
      const end = Math.min(pfn + PAGES_PER_RECORD, range.end)
      while (next < data.length && endOf(data[next]) <= pfn) next++
      const pieces = piecesOf(data, next, pfn, end)
      const length = HEADERS + (end - pfn) * ENTRY_BYTES + pieces.reduce((sum, p) => sum + p.pages, 0) * PAGE_SIZE
      if (used + length > buffer.length) {
        yield buffer.subarray(0, used)
        work.step(used)
        used = 0
      }
      writeRecord(domain, buffer.subarray(used, used + length), pfn, end, pieces)
      used += length
    }
  }
  if (used > 0) yield buffer.subarray(0, used)
  work.step(used)
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

function writeRecord(domain: Domain, out: Uint8Array, start: Pfn, end: Pfn, pieces: readonly Run[]): void {
  const count = end - start
  out.set(RecordHeader.encode({ type: LIBXC_RECORD.PAGE_DATA, body_length: out.length - RecordHeader.size }))
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
  let at = HEADERS + count * ENTRY_BYTES
  for (const { pfn, pages } of pieces) {
    for (let i = pfn; i < pfn + pages; i++) {
      const { level, pinned } = domain.pageType(i)
      const type = level === 0 ? PFINFO_NOTAB : level | (pinned ? PFINFO_PINNED : 0)
      entries[2 * (i - start) + 1] = (type << PFINFO_SHIFT_HIGH) | (i / 2 ** 32)
    }
    domain.memory.readInto(paddrOf(pfn), out.subarray(at, at + pages * PAGE_SIZE))
    at += pages * PAGE_SIZE
  }
}
