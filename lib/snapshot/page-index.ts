/**
 * PageIndex: the place and type of each page in a save file. Built in one pass, searched by binary search.
 *
 * Source: our own design; the types are those of PAGE_DATA in Xen docs/specs/libxc-migration-stream.pandoc.
 * Gotcha: a live migration sends pages more than once, in any order, and the last one counts. Runs are kept in typed
 * arrays that grow with the file's real content. There is at most one run for each entry, which is 8 bytes of the file.
 */
import { PFINFO_BROKEN, PFINFO_LEVEL_MASK, PFINFO_PINNED, PFINFO_XALLOC, PFINFO_XTAB } from '../abi/save-stream.js'
import { defined } from '../defined.js'
import type { PageType, TableFramesRun } from '../guest/domain.js'
import { countUpTo, firstAbove, type Growing, type Run, runBefore } from '../guest/runs.js'
import { PAGE_SIZE, type Pfn } from '../units.js'

const INITIAL_RUNS = 1024
/** Offset of pages without data. */
const NO_DATA = -1

/** Returns whether pages of that type come with their content. */
export const hasData = (type: number): boolean => type < PFINFO_BROKEN
/** Returns whether that type is one of the specification's. */
export function isKnownType(type: number): boolean {
  const level = type & PFINFO_LEVEL_MASK
  return type >= PFINFO_BROKEN || (level <= 4 && type !== PFINFO_PINNED)
}

/** Consecutive pages of one type whose content is in the file at equal distances. */
interface PageRun extends Run {
  readonly type: number
  /** File offset of the first page's content, or undefined. */
  readonly offset: number | undefined
}

export class PageIndex {
  /** Bytes of the file from one page of a run to the next. */
  readonly stride: number
  #pfn = new Float64Array(INITIAL_RUNS)
  #pages = new Float64Array(INITIAL_RUNS)
  #offset = new Float64Array(INITIAL_RUNS)
  #type = new Uint8Array(INITIAL_RUNS)
  #count = 0

  constructor(stride = PAGE_SIZE) {
    this.stride = stride
  }

  /** Adds pages that follow one another, in the guest and in the file; offset is ignored for a type without data. */
  add(pfn: Pfn, pages: number, type: number, offset: number): void {
    const last = this.#count - 1
    const data = hasData(type)
    if (last >= 0 && this.#type[last] === type) {
      const before = this.#pages[last] as number
      const follows = (this.#pfn[last] as number) + before === pfn
      if (follows && (!data || (this.#offset[last] as number) + before * this.stride === offset)) {
        this.#pages[last] = before + pages
        return
      }
    }
    if (this.#count === this.#pfn.length) this.#grow()
    const at = this.#count++
    this.#pfn[at] = pfn
    this.#pages[at] = pages
    this.#type[at] = type
    this.#offset[at] = data ? offset : NO_DATA
  }

  /** Sorts the added runs; the last run for each page wins. Must be called once, before any lookup. */
  finish(): void {
    for (let i = 1; i < this.#count; i++) {
      if ((this.#pfn[i] as number) < (this.#pfn[i - 1] as number) + (this.#pages[i - 1] as number)) {
        this.#paint()
        return
      }
    }
  }

  /** Yields all runs in order of pfn. */
  *runs(): Iterable<PageRun> {
    for (let i = 0; i < this.#count; i++) yield this.#run(i)
  }

  /** Returns the run that has this page. */
  find(pfn: Pfn): PageRun | undefined {
    const i = firstAbove(this, this.#count, PageIndex.#endAt, pfn)
    return i < this.#count && (this.#pfn[i] as number) <= pfn ? this.#run(i) : undefined
  }

  pageType(pfn: Pfn): PageType {
    const type = this.find(pfn)?.type ?? PFINFO_XTAB
    if (!hasData(type)) return { level: 0, pinned: false }
    return { level: (type & PFINFO_LEVEL_MASK) as PageType['level'], pinned: (type & PFINFO_PINNED) !== 0 }
  }

  /** Returns the frames of page tables, as runs of one level. */
  tableRuns(): TableFramesRun[] {
    const runs: Growing<TableFramesRun>[] = []
    for (const { pfn, pages } of this.runs()) {
      const { level, pinned } = this.pageType(pfn)
      if (level === 0) continue
      const last = runBefore(runs, pfn)
      if (last?.level === level && (last.pinned === true) === pinned) last.pages += pages
      else runs.push({ level, pfn, pages, ...defined({ pinned: pinned || undefined }) })
    }
    return runs
  }

  static #endAt(index: PageIndex, i: number): number {
    return (index.#pfn[i] as number) + (index.#pages[i] as number)
  }

  #run(i: number): PageRun {
    const offset = this.#offset[i] as number
    return {
      pfn: this.#pfn[i] as number,
      pages: this.#pages[i] as number,
      type: this.#type[i] as number,
      offset: offset === NO_DATA ? undefined : offset,
    }
  }

  #grow(): void {
    const size = 2 * this.#pfn.length
    const larger = <T extends Float64Array | Uint8Array>(to: T, from: T): T => {
      to.set(from)
      return to
    }
    this.#pfn = larger(new Float64Array(size), this.#pfn)
    this.#pages = larger(new Float64Array(size), this.#pages)
    this.#offset = larger(new Float64Array(size), this.#offset)
    this.#type = larger(new Uint8Array(size), this.#type)
  }

  /**
   * Paints the runs onto the axis of pfns from the last to the first, each only where nothing is painted yet. Between
   * two neighbouring ends of runs all pages are alike. `next` skips the painted parts (a union-find), so the whole
   * costs little more than sorting the ends.
   */
  #paint(): void {
    const ends = new Float64Array(2 * this.#count)
    for (let i = 0; i < this.#count; i++) {
      ends[2 * i] = this.#pfn[i] as number
      ends[2 * i + 1] = (this.#pfn[i] as number) + (this.#pages[i] as number)
    }
    ends.sort()
    const next = Uint32Array.from({ length: ends.length + 1 }, (_, i) => i)
    const owner = new Int32Array(ends.length).fill(-1)
    const unpainted = (from: number): number => {
      let at = from
      while (next[at] !== at) {
        next[at] = next[next[at] as number] as number
        at = next[at] as number
      }
      return at
    }
    for (let run = this.#count - 1; run >= 0; run--) {
      const end = (this.#pfn[run] as number) + (this.#pages[run] as number)
      let at = unpainted(countUpTo(ends, (this.#pfn[run] as number) - 1))
      while (at < ends.length && (ends[at] as number) < end) {
        owner[at] = run
        next[at] = at + 1
        at = unpainted(at)
      }
    }
    const sorted = new PageIndex(this.stride)
    for (let i = 0; i + 1 < ends.length; i++) {
      const run = owner[i] as number
      const start = ends[i] as number
      const pages = (ends[i + 1] as number) - start
      if (run < 0 || pages === 0) continue
      const { pfn, type, offset = 0 } = this.#run(run)
      sorted.add(start, pages, type, offset + (start - pfn) * this.stride)
    }
    this.#pfn = sorted.#pfn
    this.#pages = sorted.#pages
    this.#offset = sorted.#offset
    this.#type = sorted.#type
    this.#count = sorted.#count
  }
}

/** Returns whether a page of that type is part of the guest. */
export const isPresent = (type: number): boolean => hasData(type) || type === PFINFO_XALLOC
