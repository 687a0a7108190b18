/**
 * Compares our guest's memory with a sparse image, to the last byte, in a time proportional to their data.
 *
 * Source: the oracle's list of extents (lseek SEEK_DATA); GuestMemory.pages().
 * Gotcha: memory that one side never touched must be zero on the other, so one pass over either side is not enough.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { type Domain, type GuestMemory, PAGE_SIZE } from '../../lib/index.js'

/** A range of bytes, [start, end). */
type ByteRange = readonly [number, number]

const PIECE = 4 << 20
const ZEROS = Buffer.alloc(PIECE)
/** The limit of pages named in a report; the others are only counted. */
const NAMED_PAGES = 8

const hex = (value: number | bigint): string => `0x${value.toString(16)}`

/** Reads our bytes, with zeros for a hole in the guest's address space. */
function readOurs(memory: GuestMemory, at: number, out: Buffer): void {
  out.fill(0)
  for (const range of memory.ranges) {
    const start = Math.max(at, range.start * PAGE_SIZE)
    const end = Math.min(at + out.length, range.end * PAGE_SIZE)
    if (start < end) memory.readInto(start, out.subarray(start - at, end - at))
  }
}

/** Yields the parts of [start, end) outside the sorted ranges `taken`. */
function* without(start: number, end: number, taken: readonly ByteRange[]): Iterable<ByteRange> {
  let at = start
  for (const [from, to] of taken) {
    if (to <= at) continue
    if (from >= end) break
    if (from > at) yield [at, from]
    at = to
  }
  if (at < end) yield [at, end]
}

function* pieces([start, end]: ByteRange): Iterable<ByteRange> {
  for (let at = start; at < end; at += PIECE) yield [at, Math.min(end, at + PIECE)]
}

/** Collects the pages that differ. */
class Report {
  readonly lines: string[] = []
  pages = 0
  readonly #domain: Domain

  constructor(domain: Domain) {
    this.#domain = domain
  }

  add(at: number, ours: Buffer, theirs: Buffer): void {
    if (Buffer.compare(ours, theirs) === 0) return
    for (let o = 0; o < ours.length; o += PAGE_SIZE) {
      const a = ours.subarray(o, o + PAGE_SIZE)
      const b = theirs.subarray(o, o + PAGE_SIZE)
      if (a.equals(b)) continue
      if (this.pages++ >= NAMED_PAGES) continue
      const byte = a.findIndex((value, i) => value !== b[i])
      const word = byte - (byte % 8)
      const pfn = (at + o) / PAGE_SIZE
      const region =
        this.#domain.regions.find((r) => pfn >= r.pfn && pfn < r.pfn + r.pages)?.name ?? 'outside all regions'
      const show = (page: Buffer) => (page.length >= word + 8 ? hex(page.readBigUInt64LE(word)) : 'cut')
      this.lines.push(`memory: ${region}, pfn ${hex(pfn)} + ${hex(word)}: ours ${show(a)}, theirs ${show(b)}`)
    }
  }

  result(): string[] {
    const more = this.pages - this.lines.length
    return more > 0 ? [...this.lines, `memory: and ${more} more pages`] : this.lines
  }
}

/** Changes a page of the peer before the comparison, to remove a known difference. */
export type Patch = (pfn: number, page: Buffer) => void

/**
 * Returns one line for each of the first few pages that differ; none if the memories are equal.
 * @param extents the image's byte ranges that are not holes, sorted.
 */
export function memoryDifferences(
  domain: Domain,
  imagePath: string,
  extents: readonly ByteRange[],
  patch?: Patch,
): string[] {
  const { memory } = domain
  const report = new Report(domain)
  const ours = Buffer.allocUnsafe(PIECE)
  const theirs = Buffer.allocUnsafe(PIECE)
  const image = openSync(imagePath, 'r')
  try {
    const { size } = fstatSync(image)
    if (size !== memory.endPfn * PAGE_SIZE)
      report.lines.push(`memory: ours ends at ${hex(memory.endPfn * PAGE_SIZE)}, theirs at ${hex(size)}`)
    for (const extent of extents) {
      for (const [start, end] of pieces(extent)) {
        const [a, b] = [ours.subarray(0, end - start), theirs.subarray(0, end - start)]
        if (readSync(image, b, 0, b.length, start) !== b.length) throw new Error(`${imagePath} ends within its extents`)
        for (let o = 0; patch && o < b.length; o += PAGE_SIZE)
          patch((start + o) / PAGE_SIZE, b.subarray(o, o + PAGE_SIZE))
        readOurs(memory, start, a)
        report.add(start, a, b)
      }
    }
    for (const run of memory.pages()) {
      const [start, end] = [run.pfn * PAGE_SIZE, (run.pfn + run.pages) * PAGE_SIZE]
      for (const rest of without(start, end, extents)) {
        for (const [from, to] of pieces(rest)) {
          readOurs(memory, from, ours.subarray(0, to - from))
          report.add(from, ours.subarray(0, to - from), ZEROS.subarray(0, to - from))
        }
      }
    }
  } finally {
    closeSync(image)
  }
  return report.result()
}
