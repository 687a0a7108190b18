/**
 * PAGE_DATA records: all of a guest's pages, with the content of those that have any.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc, "PAGE_DATA"; xen/include/public/domctl.h (the types).
 * Gotcha: every frame is sent, if only to be allocated: an omitted frame is a hole in the restored guest.
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
import { concat } from '../bytes.js'
import { ENTRY_BYTES, fillCounting } from '../guest/counting.js'
import type { Domain } from '../guest/domain.js'
import { BLOCK_BYTES } from '../guest/memory.js'
import type { Run } from '../guest/runs.js'
import { PAGE_SIZE, type Pfn, paddrOf } from '../units.js'
import { bytesOf } from './data-pages.js'
import { flowing, type Part } from './snapshot-file.js'

/** Bytes of a record before its page entries. */
const HEADERS = RecordHeader.size + PageData.size

/** Returns the records. */
export const pageDataRecords = (domain: Domain, data: readonly Run[]): Part =>
  flowing(recordBytes(domain, data), function* () {
    const headers = new Headers()
    let next = 0
    for (const range of domain.memory.ranges) {
      for (let pfn = range.start; pfn < range.end; ) {
        // Makes the headers of several records at once: records without content, up to one with content or the last.
        const first = pfn
        let pieces: Run[] = []
        let length = 0
        while (pfn < range.end && pieces.length === 0 && length + headBytes(PAGES_PER_RECORD) <= BLOCK_BYTES) {
          const end = Math.min(pfn + PAGES_PER_RECORD, range.end)
          while (next < data.length && endOf(data[next]) <= pfn) next++
          pieces = piecesOf(data, next, pfn, end)
          length += headBytes(end - pfn)
          pfn = end
        }
        const end = pfn
        yield { length, content: (out) => writeHeads(domain, headers, out, first, end, pieces) }
        for (const { pfn, pages } of pieces) yield* domain.memory.parts(paddrOf(pfn), pages * PAGE_SIZE)
      }
    }
  })

const headBytes = (pages: number): number => HEADERS + pages * ENTRY_BYTES

/** Returns the size of all records in bytes. */
function recordBytes({ memory }: Domain, data: readonly Run[]): number {
  const records = memory.ranges.reduce((sum, { start, end }) => sum + Math.ceil((end - start) / PAGES_PER_RECORD), 0)
  return records * HEADERS + memory.pageCount * ENTRY_BYTES + bytesOf(data)
}

const endOf = (run: Run | undefined): Pfn => (run ? run.pfn + run.pages : 0)

/** Returns the parts of the runs from `next` on that lie in [start, end). */
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

/** A record's headers: nearly all records have the same ones as the record before. */
class Headers {
  #bytes = new Uint8Array(HEADERS)
  #count = -1
  #body = -1

  /** @param count of pages. @param body bytes of the record's body. */
  of(count: number, body: number): Uint8Array {
    if (count !== this.#count || body !== this.#body) {
      const header = RecordHeader.encode({ type: LIBXC_RECORD.PAGE_DATA, body_length: body })
      this.#bytes = concat([header, PageData.encode({ count, reserved: 0 })])
      this.#count = count
      this.#body = body
    }
    return this.#bytes
  }
}

/** Writes headers and page entries of the records of [start, end); the last record has the pieces. */
function writeHeads(
  domain: Domain,
  headers: Headers,
  out: Uint8Array,
  start: Pfn,
  end: Pfn,
  pieces: readonly Run[],
): void {
  let at = 0
  for (let pfn = start; pfn < end; ) {
    const last = Math.min(pfn + PAGES_PER_RECORD, end)
    const entries = (last - pfn) * ENTRY_BYTES
    const own = last === end ? pieces : []
    out.set(headers.of(last - pfn, PageData.size + entries + bytesOf(own)), at)
    writeEntries(domain, out.subarray(at + HEADERS, at + HEADERS + entries), pfn, last, own)
    at += HEADERS + entries
    pfn = last
  }
}

/** Writes page entries of [start, end). The pieces, which have content, lie in this range in order. */
function writeEntries(domain: Domain, out: Uint8Array, start: Pfn, end: Pfn, pieces: readonly Run[]): void {
  const write = (from: Pfn, to: Pfn, type: number): void => {
    const entries = out.subarray((from - start) * ENTRY_BYTES, (to - start) * ENTRY_BYTES)
    fillCounting(entries, BigInt(from) | (BigInt(type) << BigInt(32 + PFINFO_SHIFT_HIGH)))
  }
  let done = start
  for (const run of pieces) {
    write(done, run.pfn, PFINFO_XALLOC)
    done = run.pfn
    let type = typeOf(domain, done)
    for (let pfn = done + 1; pfn < endOf(run); pfn++) {
      const next = typeOf(domain, pfn)
      if (next === type) continue
      write(done, pfn, type)
      done = pfn
      type = next
    }
    write(done, endOf(run), type)
    done = endOf(run)
  }
  write(done, end, PFINFO_XALLOC)
}

function typeOf(domain: Domain, pfn: Pfn): number {
  const { level, pinned } = domain.pageType(pfn)
  return level === 0 ? PFINFO_NOTAB : level | (pinned ? PFINFO_PINNED : 0)
}
