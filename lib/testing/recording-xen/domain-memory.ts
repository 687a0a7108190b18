/**
 * The memory of a domain of the recording Xen: the machine frame of each page, and the toolstacks' accesses.
 *
 * Source: xen/common/memory.c (populate_physmap, memory_exchange), xen/arch/x86/mm/p2m-pod.c.
 * Gotcha: a page that is populated on demand has no frame until a toolstack or the guest uses it. Its frames are taken
 * when the target is set, and none is left once the target is used up.
 */
import { equal } from '../../bytes.js'
import { GuestMemory } from '../../guest/memory.js'
import type { P2m } from '../../guest/p2m.js'
import { addRange } from '../../guest/runs.js'
import { FRAMES_AT_ONCE, type Piece } from '../../toolstack/hypervisor.js'
import { FRAMES_MAX, hex, type Mfn, PAGE_SIZE, type Pfn, paddrOf, pagesFor, pfnOf, type Range } from '../../units.js'
import { turn } from '../../work.js'
import type { MachineFrames } from './machine-frames.js'
import { demand, refused } from './refusal.js'

/** The largest extent that Xen gives dom0's toolstack, 2^18 pages. */
const MAX_ORDER = 18

export class DomainMemory {
  readonly #machine: MachineFrames
  readonly #domid: number
  readonly #translated: boolean
  readonly #mfns = new Map<Pfn, Mfn>()
  readonly #pfns = new Map<Mfn, Pfn>()
  readonly #onDemand = new Set<Pfn>()
  /** Frames for the pages on demand. */
  #pool: Mfn[] = []
  /** The frames that a toolstack can write at the moment, and how often each is mapped. */
  readonly #mapped = new Map<Mfn, number>()
  #ranges: readonly Range<Pfn>[] | undefined
  /** The frame that Xen shares with the guest. */
  readonly sharedInfo: Mfn
  /** The most pages. */
  limit = 0

  constructor(machine: MachineFrames, domid: number, translated: boolean) {
    const sharedInfo = machine.takeXens()
    if (sharedInfo === undefined) throw refused('ENOMEM', 'the memory of Xen is used up')
    this.#machine = machine
    this.#domid = domid
    this.#translated = translated
    this.sharedInfo = sharedInfo
  }

  /** The number of frames of the domain. */
  get pages(): number {
    return this.#mfns.size + this.#pool.length
  }

  /** The number of frames that are mapped writable. */
  get mappings(): number {
    return this.#mapped.size
  }

  /** The machine frame of each page. */
  readonly p2m: P2m = {
    name: 'recorded',
    mfn: (pfn) => this.#mfns.get(pfn),
    pfn: (mfn) => this.#pfns.get(mfn),
  }

  /** The pages that have frames. Nothing is copied: it is the memory of the moment. */
  view(): GuestMemory {
    const memory = new GuestMemory(this.#pageRanges())
    for (const { start, end } of memory.ranges) {
      memory.generate(paddrOf(start), paddrOf(end - start), (offset, out) => {
        for (let at = 0; at < out.length; at += PAGE_SIZE) {
          const mfn = this.#mfns.get(start + pfnOf(offset + at)) as Mfn
          this.#machine.read(mfn, out.subarray(at, at + PAGE_SIZE))
        }
      })
    }
    return memory
  }

  #pageRanges(): readonly Range<Pfn>[] {
    if (this.#ranges) return this.#ranges
    const ranges: Range<Pfn>[] = []
    for (const pfn of Float64Array.from(this.#mfns.keys()).sort()) addRange(ranges, pfn, pfn + 1)
    this.#ranges = ranges
    return ranges
  }

  /** Gives the domain extents, as Hypervisor.populate. */
  populate(frames: BigUint64Array, order: number, onDemand: boolean): number {
    demand(!onDemand || this.#translated, 'EINVAL', `domain ${this.#domid} is a PV guest, which has no pages on demand`)
    if (order > MAX_ORDER) return 0
    for (const [i, frame] of frames.entries()) {
      const pfn = Number(frame)
      this.#checkFree(pfn, 2 ** order)
      if (onDemand) {
        for (let page = 0; page < 2 ** order; page++) this.#onDemand.add(pfn + page)
        continue
      }
      const mfn = this.#take(order)
      if (mfn === undefined) return i
      for (let page = 0; page < 2 ** order; page++) this.#set(pfn + page, mfn + page)
      if (!this.#translated) frames[i] = BigInt(mfn)
    }
    return frames.length
  }

  #checkFree(pfn: Pfn, pages: number): void {
    demand(pfn + pages <= FRAMES_MAX, 'EINVAL', `pfn ${hex(pfn)} is too large`)
    for (let page = pfn; page < pfn + pages; page++) {
      if (this.#mfns.has(page) || this.#onDemand.has(page)) {
        throw refused('EINVAL', `pfn ${hex(page)} of domain ${this.#domid} is populated a second time`)
      }
    }
  }

  #take(order: number, end?: Mfn): Mfn | undefined {
    return this.pages + 2 ** order > this.limit ? undefined : this.#machine.take(this.#domid, order, end)
  }

  #set(pfn: Pfn, mfn: Mfn): void {
    this.#mfns.set(pfn, mfn)
    this.#pfns.set(mfn, pfn)
    this.#ranges = undefined
  }

  /** Takes the frames for the pages on demand, so that the domain has `pages` in all. */
  setTarget(pages: number): void {
    demand(this.#translated, 'EINVAL', `domain ${this.#domid} is a PV guest, which has no pages on demand`)
    while (this.pages > pages && this.#pool.length > 0) this.#machine.release(this.#pool.pop() as Mfn)
    while (this.pages < pages) {
      const mfn = this.#take(0)
      if (mfn === undefined) throw refused('ENOMEM', `the memory for ${pages} pages on demand is missing`)
      this.#pool.push(mfn)
    }
  }

  /** Replaces a frame by one below an end, and returns that. The page's content is lost. */
  exchangeBelow(mfn: Mfn, end: Mfn): Mfn {
    const pfn = this.#pfns.get(mfn)
    if (pfn === undefined) throw refused('EINVAL', `mfn ${hex(mfn)} is not in the memory of domain ${this.#domid}`)
    demand(!this.#mapped.has(mfn), 'EINVAL', `mfn ${hex(mfn)} is still mapped`)
    const found = this.#machine.take(this.#domid, 0, end)
    if (found === undefined) throw refused('ENOMEM', `no free frame is below ${hex(end)}`)
    this.#pfns.delete(mfn)
    this.#machine.release(mfn)
    this.#set(pfn, found)
    return found
  }

  /** The highest page, populated or on demand. */
  get lastPfn(): Pfn {
    return [...this.#onDemand].reduce((last, pfn) => Math.max(last, pfn), (this.#pageRanges().at(-1)?.end ?? 1) - 1)
  }

  /** Returns the machine frame that a toolstack names; undefined if the domain has no such frame. */
  find(frame: number | bigint): Mfn | undefined {
    const number = Number(frame)
    if (this.#translated) return this.#mfns.get(number) ?? this.#demanded(number)
    return this.#pfns.has(number) || number === this.sharedInfo ? number : undefined
  }

  /** @throws DomainBuilderError `hypercall-failed` for a frame that is not the domain's. */
  require(frame: number | bigint): Mfn {
    const mfn = this.find(frame)
    if (mfn === undefined) {
      const name = this.#translated ? 'gfn' : 'mfn'
      throw refused('EINVAL', `${name} ${hex(frame)} is not in the memory of domain ${this.#domid}`)
    }
    return mfn
  }

  /** Gives a page on demand its frame. */
  #demanded(pfn: Pfn): Mfn | undefined {
    if (!this.#onDemand.has(pfn)) return undefined
    const mfn = this.#pool.pop()
    if (mfn === undefined) throw refused('ENOMEM', `the pages on demand of domain ${this.#domid} are used up`)
    this.#onDemand.delete(pfn)
    this.#set(pfn, mfn)
    return mfn
  }

  /** Whether a toolstack can write a frame at the moment. */
  isMapped(mfn: Mfn): boolean {
    return this.#mapped.has(mfn)
  }

  read(frames: BigUint64Array, out: Uint8Array): void {
    const mfns = this.#named(frames)
    demand(out.length === mfns.length * PAGE_SIZE, 'EFAULT', `the buffer for ${mfns.length} pages has the wrong length`)
    mfns.forEach((mfn, i) => {
      this.#machine.read(mfn, out.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE))
    })
  }

  /**
   * Writes into frames: they are mapped until the answer is there, which takes a turn of the event loop. Bytes are
   * copied at once, and compared with the caller's at the end.
   * @param check throws for a frame that must not be written.
   */
  async write(frames: BigUint64Array, pieces: readonly Piece[], check: (mfn: Mfn) => void): Promise<void> {
    const mfns = this.#named(frames)
    mfns.forEach(check)
    const copies = pieces.map(({ offset, bytes }) => ({ offset, bytes, copy: new Uint8Array(bytes) }))
    let end = 0
    for (const { offset, copy } of copies) {
      demand(offset >= end, 'EINVAL', `the piece at ${hex(offset)} begins before the end of another one`)
      end = offset + copy.length
    }
    demand(pagesFor(end) <= mfns.length, 'EFAULT', `the pieces end at ${hex(end)}, after the pages of the write`)
    for (const mfn of mfns) this.#mapped.set(mfn, (this.#mapped.get(mfn) ?? 0) + 1)
    try {
      await turn()
      const kept = copies.every(({ bytes, copy }) => equal(bytes, copy))
      demand(kept, 'EFAULT', 'the caller has changed the bytes of a write before its answer')
      for (const mfn of mfns) this.#machine.zero(mfn)
      for (const { offset, copy } of copies) this.#writePiece(mfns, offset, copy)
    } finally {
      this.#unmap(mfns)
    }
  }

  /** Refuses more frames than a call takes. */
  checked(frames: BigUint64Array): BigUint64Array {
    demand(frames.length <= FRAMES_AT_ONCE, 'E2BIG', `the call has ${frames.length} frames`)
    return frames
  }

  #named(frames: BigUint64Array): Mfn[] {
    return Array.from(this.checked(frames), (frame) => this.require(frame))
  }

  #writePiece(mfns: readonly Mfn[], start: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const offset = (start + done) % PAGE_SIZE
      const length = Math.min(PAGE_SIZE - offset, bytes.length - done)
      this.#machine.write(mfns[pfnOf(start + done)] as Mfn, offset, bytes.subarray(done, done + length))
      done += length
    }
  }

  #unmap(mfns: readonly Mfn[]): void {
    for (const mfn of mfns) {
      const left = (this.#mapped.get(mfn) ?? 1) - 1
      if (left > 0) this.#mapped.set(mfn, left)
      else this.#mapped.delete(mfn)
    }
    if (this.#mapped.size === 0) this.#onUnmapped()
  }

  #onUnmapped: () => void = () => {}

  /** Frees all frames, once none is mapped. */
  async free(): Promise<void> {
    if (this.#mapped.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onUnmapped = resolve
      })
    }
    for (const mfn of [...this.#mfns.values(), ...this.#pool]) this.#machine.release(mfn)
    this.#machine.releaseXens(this.sharedInfo)
  }
}
