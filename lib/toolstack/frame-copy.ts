/**
 * FrameCopy: a domain's frames, copied to a scratch while the domain is stopped.
 *
 * Source: xen/include/public/domctl.h (XEN_DOMCTL_getpageframeinfo3): the types, which also tell which frames exist.
 * Gotcha: the domain stands still meanwhile, so nothing is done here that can be done with the copy.
 */
import { PFINFO_SHIFT_HIGH } from '../abi/save-stream.js'
import type { GuestMemory } from '../guest/memory.js'
import { hasData, isPresent, PageIndex } from '../snapshot/page-index.js'
import { pagesToMemory } from '../snapshot/page-memory.js'
import { type Scratch, scratchSource } from '../snapshot/scratch.js'
import { PAGE_SIZE, type Pfn, paddrOf } from '../units.js'
import { breathe, type Work } from '../work.js'
import type { Domid } from './answer.js'
import { FRAMES_AT_ONCE, type Hypervisor } from './hypervisor.js'

/** The most windows that are prepared: 256 MiB. */
const PREPARED_MAX = 64

/** The copy of a domain's frames. A page lies at its own address in the scratch. */
export class FrameCopy {
  readonly #xen: Hypervisor
  readonly #domid: Domid
  readonly #scratch: Scratch
  /** Windows to copy into, each at least once. */
  readonly #windows: Uint8Array[] = []
  #window = newWindow()
  readonly #data = new BigUint64Array(FRAMES_AT_ONCE)
  readonly #index = new PageIndex()
  #end: Pfn = 0
  #present = 0

  constructor(xen: Hypervisor, domid: Domid, scratch: Scratch) {
    this.#xen = xen
    this.#domid = domid
    this.#scratch = scratch
  }

  /**
   * Prepares room for that many pages, before the domain stops: a page of memory comes at its first use, which takes
   * several times as long as its copy. @throws the signal's reason.
   */
  async prepare(pages: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#scratch.keepAt === undefined) return
    const count = Math.min(Math.ceil(pages / FRAMES_AT_ONCE), PREPARED_MAX)
    while (this.#windows.length < count) {
      await breathe()
      signal?.throwIfAborted()
      this.#windows.push(newWindow().fill(1))
    }
  }

  /** The number of frames that exist, among those that were asked for. */
  get present(): number {
    return this.#present
  }

  /**
   * Copies frames, at most 1024. Returns the type of each (PFINFO_*). It is fastest with whole windows of 1024 pfns.
   * @param pfns in order, without repeats. @throws the signal's reason; the scratch's errors.
   */
  async take(pfns: ArrayLike<Pfn>, frames: BigUint64Array, work: Work): Promise<Uint32Array> {
    await breathe()
    const types = await frameTypes(this.#xen, this.#domid, frames)
    let count = 0
    for (let i = 0; i < types.length; i++) {
      if (hasData(types[i] as number)) this.#data[count++] = frames[i] as bigint
    }
    const bytes = this.#window.subarray(0, count * PAGE_SIZE)
    if (count > 0) await this.#xen.readFrames(this.#domid, this.#data.subarray(0, count), bytes)
    this.#note(pfns, types)
    this.#keep(pfns, types, bytes)
    work.step(bytes.length)
    return types
  }

  /** Notes the frames that exist. */
  #note(pfns: ArrayLike<Pfn>, types: Uint32Array): void {
    for (let i = 0; i < types.length; ) {
      const pages = runLength(pfns, types, i, (type) => type === types[i])
      const [pfn, type] = [pfns[i] as Pfn, types[i] as number]
      i += pages
      if (!isPresent(type)) continue
      this.#index.add(pfn, pages, type, paddrOf(pfn))
      this.#end = Math.max(this.#end, pfn + pages)
      this.#present += pages
    }
  }

  /** Keeps the content of the frames that have some: in the window itself if there is no other in it. */
  #keep(pfns: ArrayLike<Pfn>, types: Uint32Array, bytes: Uint8Array): void {
    for (let i = 0, at = 0; i < types.length; ) {
      const pages = runLength(pfns, types, i, hasData)
      const part = bytes.subarray(at, at + pages * PAGE_SIZE)
      const paddr = paddrOf(pfns[i] as Pfn)
      i += Math.max(1, pages)
      at += part.length
      if (pages === 0) continue
      if (part.length < this.#window.length || this.#scratch.keepAt === undefined) this.#scratch.writeAt(part, paddr)
      else if (this.#scratch.keepAt(part, paddr)) this.#window = this.#windows.pop() ?? newWindow()
    }
  }

  /** Returns the pages: their types, and the memory that they are. */
  finish(): { readonly pages: PageIndex; readonly memory: GuestMemory } {
    this.#windows.length = 0
    this.#index.finish()
    const source = scratchSource(this.#scratch, paddrOf(this.#end))
    return { pages: this.#index, memory: pagesToMemory(source, this.#index) }
  }
}

const newWindow = (): Uint8Array => new Uint8Array(FRAMES_AT_ONCE * PAGE_SIZE)

/** Returns the number of frames from the i-th one on that follow one another, and whose types are like that. */
function runLength(pfns: ArrayLike<Pfn>, types: Uint32Array, i: number, isLike: (type: number) => boolean): number {
  let pages = 0
  while (
    i + pages < types.length &&
    isLike(types[i + pages] as number) &&
    pfns[i + pages] === (pfns[i] as Pfn) + pages
  ) {
    pages++
  }
  return pages
}

/** Returns the type of each frame, as save files number them. */
export async function frameTypes(xen: Hypervisor, domid: Domid, frames: BigUint64Array): Promise<Uint32Array> {
  const types = await xen.frameTypes(domid, frames)
  return types.map((type) => type >>> PFINFO_SHIFT_HIGH)
}
