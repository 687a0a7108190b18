/**
 * The pages of a save file as a guest's memory: each is read from the file on demand.
 *
 * Source: ./page-index.ts has their places.
 * Gotcha: a page that is only allocated is a hole; a frame that is not in the file is not part of the guest.
 */
import { GuestMemory } from '../guest/memory.js'
import { addRange } from '../guest/runs.js'
import { PAGE_SIZE, type Pfn, paddrOf, type Range } from '../units.js'
import type { ByteSource } from './byte-source.js'
import { isPresent, type PageIndex } from './page-index.js'

export function pagesToMemory(source: ByteSource, index: PageIndex): GuestMemory {
  const present: Range<Pfn>[] = []
  const data: Range<Pfn>[] = []
  for (const { pfn, pages, type, offset } of index.runs()) {
    if (!isPresent(type)) continue
    addRange(present, pfn, pfn + pages)
    if (offset !== undefined) addRange(data, pfn, pfn + pages)
  }
  const memory = new GuestMemory(present)
  for (const { start, end } of data) {
    memory.generate(paddrOf(start), (end - start) * PAGE_SIZE, (offset, out) =>
      readPages(source, index, start + offset / PAGE_SIZE, out),
    )
  }
  return memory
}

/** Reads whole pages from `pfn` on, run by run. All of them must have content. */
export function readPages(source: ByteSource, index: PageIndex, pfn: Pfn, out: Uint8Array): void {
  for (let done = 0; done < out.length; ) {
    const page = pfn + done / PAGE_SIZE
    const run = index.find(page)
    // Every page of a placed range has a run with content; anything else is a bug in our code.
    /* c8 ignore next -- only an error in our code leads here */
    if (run?.offset === undefined) throw new Error(`page ${page} is not in the file`)
    const skipped = page - run.pfn
    const length = Math.min(out.length - done, (run.pages - skipped) * PAGE_SIZE)
    readRun(source, run.offset + skipped * index.stride, index.stride, out.subarray(done, done + length))
    done += length
  }
}

/** The pages that are read together with the bytes between them. */
const PAGES_TOGETHER = 64

/** Reads pages that are `stride` bytes apart. */
function readRun(source: ByteSource, offset: number, stride: number, out: Uint8Array): void {
  if (stride === PAGE_SIZE) {
    source.readInto(offset, out)
    return
  }
  const together = new Uint8Array(Math.min(out.length / PAGE_SIZE, PAGES_TOGETHER) * stride)
  for (let done = 0; done < out.length; done += PAGES_TOGETHER * PAGE_SIZE) {
    const pages = Math.min((out.length - done) / PAGE_SIZE, PAGES_TOGETHER)
    // Nothing follows the last page.
    const bytes = together.subarray(0, (pages - 1) * stride + PAGE_SIZE)
    source.readInto(offset + (done / PAGE_SIZE) * stride, bytes)
    for (let i = 0; i < pages; i++) out.set(bytes.subarray(i * stride, i * stride + PAGE_SIZE), done + i * PAGE_SIZE)
  }
}
