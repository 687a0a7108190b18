/**
 * GuestMemory: guest-physical memory that costs only its content, not the guest's size.
 *
 * Source: our own design. An ordered list of extents, each a view of bytes that exist elsewhere, a function that makes
 * its bytes when they are read, or bytes written here; everything between extents is a hole and reads as zero.
 * Gotcha: the last extent placed wins, byte by byte, like a loader's memcpy and memset. A zeroed range counts too: it
 * cuts a hole into earlier extents.
 */
import { DomainBuilderError } from '../errors.js'
import {
  alignDown,
  alignUp,
  PAGE_SIZE,
  type Paddr,
  type Pfn,
  paddrOf,
  pfnOf,
  type Range,
  showRange,
  showRanges,
} from '../units.js'
import { Work, type WorkOptions } from '../work.js'
import { addRange, type Run, rangeEndingAfter, runOf } from './runs.js'

/**
 * Makes bytes on demand: fills all of `out` from `offset` bytes into the placed range. Both are whole pages.
 * Must give the same bytes for the same offset each time.
 */
export type Fill = (offset: number, out: Uint8Array) => void

/** Bytes that exist, or a function that makes them: it fills all of `out`, which has the content's length. */
export type Content = Uint8Array | ((out: Uint8Array) => void)

/** Content and its place. */
export interface Placed {
  /** Guest-physical address of the first byte. */
  readonly paddr: Paddr
  /** Bytes: at most 256 KiB if a function makes them. */
  readonly length: number
  readonly content: Content
}

interface Extent {
  readonly start: Paddr
  readonly end: Paddr
  /** The bytes themselves, or a function that makes them. `at` is the offset of `start` in it. */
  readonly source: Uint8Array | Fill
  readonly at: number
  /** Written through write(), so it can be changed in place. */
  readonly owned: boolean
}

/** A piece of memory. Its bytes never change, so a reader may keep them. */
export interface Chunk {
  /** Guest-physical address of the first byte. */
  readonly paddr: Paddr
  /**
   * A view of placed bytes, of any length, or at most 256 KiB of generated ones.
   * The guest owns a view: a reader must neither write to it nor transfer its buffer.
   */
  readonly bytes: Uint8Array
}

/**
 * The most bytes that are generated at a time: small enough for a cache of level 2, where a file's writer reads them
 * again.
 */
export const BLOCK_BYTES = 1 << 18
/** Placed bytes shorter than this are cheaper to copy than to return one by one. */
const VIEW_LEAST = 1 << 16
/** The most bytes of a view from contents(): work can be cancelled between two views. */
const VIEW_MOST = 4 << 20

/**
 * Sparse guest-physical memory: unwritten memory is a hole and reads as zero. Addresses and lengths are bytes, frames
 * are pfn.
 */
export class GuestMemory {
  /** The guest's frames as sorted half-open ranges of pfn; between them are holes in the address space. */
  readonly ranges: readonly Range<Pfn>[]
  #extents: Extent[] = []

  /** @param ranges sorted, half-open, disjoint; a number means one range of that many pages from 0. */
  constructor(ranges: number | readonly Range<Pfn>[]) {
    this.ranges = typeof ranges === 'number' ? [{ start: 0, end: ranges }] : ranges
  }

  /** The number of the guest's frames, each 4096 bytes. */
  get pageCount(): number {
    return this.ranges.reduce((sum, range) => sum + range.end - range.start, 0)
  }

  /** One past the highest frame. */
  get endPfn(): Pfn {
    return this.ranges.at(-1)?.end ?? 0
  }

  /** Whether the guest has that frame. */
  has(pfn: Pfn): boolean {
    const range = this.ranges[rangeEndingAfter(this.ranges, pfn)]
    return range !== undefined && pfn >= range.start
  }

  /** The number of consecutive frames that the guest has from `pfn` on; 0 if it does not have `pfn`. */
  pagesFrom(pfn: Pfn): number {
    let at = pfn
    for (let i = rangeEndingAfter(this.ranges, pfn); i < this.ranges.length; i++) {
      const range = this.ranges[i] as Range<Pfn>
      if (range.start > at) break
      at = range.end
    }
    return at - pfn
  }

  /** Yields those of `pages` frames from `pfn` on that the guest has, as half-open ranges in order. */
  *within(pfn: Pfn, pages: number): Generator<Range<Pfn>> {
    for (let i = rangeEndingAfter(this.ranges, pfn); i < this.ranges.length; i++) {
      const { start, end } = this.ranges[i] as Range<Pfn>
      if (start >= pfn + pages) return
      yield { start: Math.max(start, pfn), end: Math.min(end, pfn + pages) }
    }
  }

  /** Whether the guest has all of those bytes. */
  covers(paddr: Paddr, length: number): boolean {
    const first = pfnOf(paddr)
    return paddr + length <= paddrOf(first + this.pagesFrom(first)) && this.has(first)
  }

  /** A copy that can change without changing this memory. Existing bytes are shared, except those of write(). */
  copy(): GuestMemory {
    const copy = new GuestMemory(this.ranges)
    copy.#extents = this.#extents.map((extent) =>
      extent.owned && extent.source instanceof Uint8Array ? { ...extent, source: extent.source.slice() } : extent,
    )
    return copy
  }

  /** Places bytes without copying them: they must not change afterwards. */
  place(paddr: Paddr, bytes: Uint8Array): void {
    this.#insert({ start: paddr, end: paddr + bytes.length, source: bytes, at: 0, owned: false })
  }

  /** Places whole pages that are made when they are read. */
  generate(paddr: Paddr, length: number, fill: Fill): void {
    this.#insert({ start: paddr, end: paddr + length, source: fill, at: 0, owned: false })
  }

  /** Makes a range zero again: a hole. */
  clear(paddr: Paddr, length: number): void {
    this.#checkRange(paddr, length)
    this.#cut(paddr, paddr + length)
  }

  /** Copies bytes into memory. */
  write(paddr: Paddr, bytes: Uint8Array): void {
    const end = paddr + bytes.length
    const inside = this.#extents[rangeEndingAfter(this.#extents, paddr)]
    if (inside?.owned && inside.start <= paddr && end <= inside.end) {
      ;(inside.source as Uint8Array).set(bytes, inside.at + paddr - inside.start)
      return
    }
    this.#insert({ start: paddr, end, source: bytes.slice(), at: 0, owned: true })
  }

  /** A copy of `length` bytes; unwritten bytes are zero. @throws DomainBuilderError `not-mapped` outside the guest. */
  read(paddr: Paddr, length: number): Uint8Array {
    this.#checkRange(paddr, length)
    const out = new Uint8Array(length)
    this.#fill(paddr, out)
    return out
  }

  /** Like read(), but overwrites all of a caller's buffer. */
  readInto(paddr: Paddr, out: Uint8Array): void {
    this.#checkRange(paddr, out.length)
    this.#fill(paddr, out)
  }

  /** Reads whole pages into all of a caller's buffer. Frames that the guest does not have read as zero. */
  readFrames(pfn: Pfn, out: Uint8Array): void {
    this.#fill(paddrOf(pfn), out)
  }

  /** Returns the runs of pages with content, in order. Untouched pages are in none. */
  pages(): Iterable<Run> {
    const ranges: Range<Pfn>[] = []
    for (const { start, end } of this.#extents) addRange(ranges, pfnOf(start), Math.ceil(end / PAGE_SIZE))
    return ranges.map(runOf)
  }

  /** The number of bytes with content, which chunks() yields in all. */
  get placedBytes(): number {
    return this.#extents.reduce((sum, { start, end }) => sum + end - start, 0)
  }

  /**
   * Yields every byte with content, in order of address. Placed bytes come as views, generated ones in separate
   * buffers, so each chunk stays valid as long as its reader keeps it.
   * @throws the signal's reason.
   */
  *chunks(options: WorkOptions = {}): Generator<Chunk> {
    const work = new Work(this.placedBytes, options)
    for (const { paddr, length, content } of this.placed()) {
      yield { paddr, bytes: madeBytes(content, length) }
      work.step(length)
    }
  }

  /** Like chunks(), for a reader that has memory to make bytes in. */
  *placed(): Generator<Placed> {
    for (const extent of this.#extents) {
      const { start, end, at } = extent
      if (isView(extent)) {
        yield { paddr: start, length: end - start, content: extent.source.subarray(at, at + end - start) }
        continue
      }
      for (let paddr = start; paddr < end; paddr += BLOCK_BYTES) {
        const length = Math.min(BLOCK_BYTES, end - paddr)
        yield { paddr, length, content: (out) => copyPart(extent, at + paddr - start, out) }
      }
    }
  }

  /**
   * Yields all bytes of a range, holes as zeros, in pieces that stay valid as long as their reader keeps them: views of
   * long placed bytes, otherwise copies of at most 256 KiB.
   * @throws DomainBuilderError `not-mapped` outside the guest.
   */
  *contents(paddr: Paddr, length: number): Generator<Uint8Array> {
    for (const part of this.parts(paddr, length)) yield madeBytes(part.content, part.length)
  }

  /** Like contents(), for a reader that has memory to make bytes in. */
  *parts(paddr: Paddr, length: number): Generator<Placed> {
    this.#checkRange(paddr, length)
    const end = paddr + length
    for (let at = paddr; at < end; ) {
      const start = at
      const view = this.#viewAt(start, end)
      const bytes = view?.length ?? Math.min(this.#nextView(start, end), start + BLOCK_BYTES) - start
      yield { paddr: start, length: bytes, content: view ?? ((out) => this.#fill(start, out)) }
      at += bytes
    }
  }

  /** The placed bytes from an address on, if there are enough of them for a view. */
  #viewAt(paddr: Paddr, end: Paddr): Uint8Array | undefined {
    const extent = this.#extents[rangeEndingAfter(this.#extents, paddr)]
    if (extent === undefined || extent.start > paddr || !isView(extent)) return undefined
    const length = Math.min(extent.end, end) - paddr
    if (length < VIEW_LEAST) return undefined
    const from = extent.at + paddr - extent.start
    return extent.source.subarray(from, from + Math.min(length, VIEW_MOST))
  }

  /** The first address after `paddr` at which viewAt() finds something, or `end`. */
  #nextView(paddr: Paddr, end: Paddr): Paddr {
    const most = Math.min(end, paddr + BLOCK_BYTES)
    for (let i = rangeEndingAfter(this.#extents, paddr); i < this.#extents.length; i++) {
      const extent = this.#extents[i] as Extent
      if (extent.start >= most) break
      const isLong = Math.min(extent.end, end) - extent.start >= VIEW_LEAST
      if (extent.start > paddr && isView(extent) && isLong) return extent.start
    }
    return end
  }

  /** Overwrites all of `out`. */
  #fill(paddr: Paddr, out: Uint8Array): void {
    const end = paddr + out.length
    let done = paddr
    for (let i = rangeEndingAfter(this.#extents, paddr); i < this.#extents.length; i++) {
      const extent = this.#extents[i] as Extent
      if (extent.start >= end) break
      const from = Math.max(paddr, extent.start)
      const to = Math.min(end, extent.end)
      out.fill(0, done - paddr, from - paddr)
      copyPart(extent, extent.at + from - extent.start, out.subarray(from - paddr, to - paddr))
      done = to
    }
    out.fill(0, done - paddr)
  }

  #insert(extent: Extent): void {
    if (extent.start === extent.end) return
    this.#checkRange(extent.start, extent.end - extent.start)
    const at = this.#cut(extent.start, extent.end)
    this.#extents.splice(at, 0, extent)
  }

  /** Removes [start, end) from every extent. Returns the index for an extent of that range. */
  #cut(start: Paddr, end: Paddr): number {
    const first = rangeEndingAfter(this.#extents, start)
    let last = first
    const kept: Extent[] = []
    let before = 0
    for (; last < this.#extents.length; last++) {
      const extent = this.#extents[last] as Extent
      if (extent.start >= end) break
      if (extent.start < start) {
        kept.push({ ...extent, end: start })
        before = 1
      }
      if (extent.end > end) kept.push({ ...extent, start: end, at: extent.at + end - extent.start })
    }
    this.#extents.splice(first, last - first, ...kept)
    return first + before
  }

  #checkRange(paddr: Paddr, length: number): void {
    if (length >= 0 && this.covers(paddr, length)) return
    throw new DomainBuilderError('not-mapped', "the range is outside the guest's memory", {
      expected: `within ${showRanges(this.ranges.map(({ start, end }) => ({ start: paddrOf(start), end: paddrOf(end) })))}`,
      found: showRange({ start: paddr, end: paddr + length }),
    })
  }
}

/** Yields the pages with content in either memory, in runs of at most `most` pages, in order. */
export function* pagesOfEither(a: GuestMemory, b: GuestMemory, most: number): Generator<Run> {
  const runs = [...a.pages(), ...b.pages()].sort((x, y) => x.pfn - y.pfn)
  let end = 0
  for (const run of runs) {
    const pfn = Math.max(run.pfn, end)
    end = Math.max(end, run.pfn + run.pages)
    for (let at = pfn; at < end; at += most) yield { pfn: at, pages: Math.min(most, end - at) }
  }
}

/** Whether an extent's bytes exist and never change; write() changes its own in place. */
const isView = (extent: Extent): extent is Extent & { readonly source: Uint8Array } =>
  typeof extent.source !== 'function' && !extent.owned

const madeBytes = (content: Content, length: number): Uint8Array => {
  if (typeof content !== 'function') return content
  const bytes = new Uint8Array(length)
  content(bytes)
  return bytes
}

/** Fills all of `target` from `at` in an extent's source. */
function copyPart({ source }: Extent, at: number, target: Uint8Array): void {
  if (typeof source === 'function') fillPart(source, at, target)
  else target.set(source.subarray(at, at + target.length))
}

/** Asks a Fill for any range of bytes. A range that is not whole pages is taken from the whole pages around it. */
function fillPart(fill: Fill, at: number, target: Uint8Array): void {
  if (at % PAGE_SIZE === 0 && target.length % PAGE_SIZE === 0) {
    fill(at, target)
    return
  }
  const start = alignDown(at, PAGE_SIZE)
  const pages = new Uint8Array(alignUp(at + target.length, PAGE_SIZE) - start)
  fill(start, pages)
  target.set(pages.subarray(at - start, at - start + target.length))
}
