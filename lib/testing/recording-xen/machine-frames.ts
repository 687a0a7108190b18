/**
 * The memory of the recording Xen's machine: frames, their owners and their content.
 *
 * Source: our own; the fill byte of free memory is that of a DEBUG Xen (xen/common/page_alloc.c, SCRUB_PATTERN); RAM on
 * both sides of 4 GiB is a PC's.
 * Gotcha: single frames come scattered, large extents from the other end of memory, so that small guests leave large
 * extents whole.
 */
import { checkedInteger, type Mfn, PAGE_SIZE } from '../../units.js'

/** Every byte of a page that was never written. */
const FRESH = 0xc2
/** The content of every page that was zeroed and not written since; never written itself. */
const ZEROED = new Uint8Array(PAGE_SIZE)

/** The frames of a group, in which single frames are scattered. A power of two. */
const GROUP_BITS = 11
const GROUP = 2 ** GROUP_BITS
/** RAM above 2 GiB lies from 4 GiB on. */
const LOW_RAM_FRAMES = 2 ** 19
const HOLE_FRAMES = 2 ** 19

/** The least and the most memory of a machine. */
const MEMORY_MIN = 2 * GROUP * PAGE_SIZE
const MEMORY_MAX = 2 ** 40

/** A free frame's owner, and Xen itself (DOMID_XEN). Domain 0 has no frames here. */
const NO_OWNER = 0
const XEN = 0x7ff2

/** Returns a u32 that depends on a seed and a number: the end of MurmurHash3. */
function mixed(seed: number, value: number): number {
  let x = Math.imul(seed ^ value, 0x9e3779b1) ^ seed
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return (x ^ (x >>> 16)) >>> 0
}

/** Returns the numbers below `count` in an order that depends on a seed. */
function shuffled(count: number, seed: number): number[] {
  const order = Array.from({ length: count }, (_, i) => i)
  for (let i = count - 1; i > 0; i--) {
    const other = mixed(seed, i) % (i + 1)
    ;[order[i], order[other]] = [order[other] as number, order[i] as number]
  }
  return order
}

const mfnAt = (index: number): Mfn => (index < LOW_RAM_FRAMES ? index : index + HOLE_FRAMES)
const indexOfMfn = (mfn: Mfn): number => (mfn < LOW_RAM_FRAMES ? mfn : mfn - HOLE_FRAMES)

export class MachineFrames {
  /** By index: frames without the hole. */
  readonly #owners: Uint16Array
  readonly #contents = new Map<Mfn, Uint8Array>()
  readonly #groups: readonly number[]
  readonly #withinGroup: readonly number[]
  /** Xen's frames that it has no use for. */
  readonly #xens: Mfn[]
  #next = 0
  #free = 0

  /**
   * @param memory bytes, rounded down to groups. The first group is Xen's.
   * @param seed another one scatters frames in another order.
   */
  constructor(memory: number, seed: number) {
    const groups = Math.floor(checkedInteger(memory, 'memory (bytes)', MEMORY_MIN, MEMORY_MAX) / (GROUP * PAGE_SIZE))
    this.#owners = new Uint16Array(groups * GROUP)
    this.#owners.fill(XEN, 0, GROUP)
    this.#groups = shuffled(groups - 1, seed).map((group) => group + 1)
    this.#withinGroup = shuffled(GROUP, seed + 1)
    this.#free = (groups - 1) * GROUP
    this.#xens = [...this.#withinGroup]
  }

  /** The number of frames that no domain has. */
  get free(): number {
    return this.#free
  }

  /** The owner of a frame: a domain's number, DOMID_XEN; 0 for a free frame, undefined where no memory is. */
  owner(mfn: Mfn): number | undefined {
    return mfn >= LOW_RAM_FRAMES && mfn < LOW_RAM_FRAMES + HOLE_FRAMES ? undefined : this.#owners[indexOfMfn(mfn)]
  }

  /**
   * Gives an owner 2^order frames, aligned to their number. Returns the first one, undefined if no such extent is free.
   * @param end the frames lie below it.
   */
  take(owner: number, order: number, end = Number.POSITIVE_INFINITY): Mfn | undefined {
    const pages = 2 ** order
    const first = order === 0 ? this.#freeFrame(end) : this.#freeExtent(pages)
    if (first === undefined) return undefined
    this.#owners.fill(owner, first, first + pages)
    this.#free -= pages
    return mfnAt(first)
  }

  /** Takes one of Xen's frames, all zero, for what it shares with a guest; undefined if it has none left. */
  takeXens(): Mfn | undefined {
    const mfn = this.#xens.pop()
    if (mfn !== undefined) this.zero(mfn)
    return mfn
  }

  /** Gives a frame back to Xen. */
  releaseXens(mfn: Mfn): void {
    this.#contents.delete(mfn)
    this.#xens.push(mfn)
  }

  /** Frees a frame; its content is gone. */
  release(mfn: Mfn): void {
    this.#owners[indexOfMfn(mfn)] = NO_OWNER
    this.#contents.delete(mfn)
    this.#free++
  }

  /** Returns a free frame's index: the next one in the scattered order. */
  #freeFrame(end: Mfn): number | undefined {
    const scattered = this.#groups.length * GROUP
    for (let tried = 0; tried < scattered; tried++) {
      const at = this.#next
      this.#next = (at + 1) % scattered
      const index = (this.#groups[at >>> GROUP_BITS] as number) * GROUP + (this.#withinGroup[at % GROUP] as number)
      if (this.#owners[index] === NO_OWNER && mfnAt(index) < end) return index
    }
    return undefined
  }

  #freeExtent(pages: number): number | undefined {
    for (let first = Math.floor(this.#owners.length / pages - 1) * pages; first >= 0; first -= pages) {
      if (this.#owners.subarray(first, first + pages).every((owner) => owner === NO_OWNER)) return first
    }
    return undefined
  }

  /** Fills `out`, a page, with a frame's content. */
  read(mfn: Mfn, out: Uint8Array): void {
    const content = this.#contents.get(mfn)
    if (content === undefined) out.fill(FRESH)
    else out.set(content)
  }

  /** Copies bytes into a frame. */
  write(mfn: Mfn, offset: number, bytes: Uint8Array): void {
    let content = this.#contents.get(mfn)
    if (content === undefined || content === ZEROED) {
      content = new Uint8Array(PAGE_SIZE).fill(content === undefined ? FRESH : 0)
      this.#contents.set(mfn, content)
    }
    content.set(bytes, offset)
  }

  /** Makes all bytes of a frame zero. */
  zero(mfn: Mfn): void {
    this.#contents.set(mfn, ZEROED)
  }
}
