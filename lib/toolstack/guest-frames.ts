/**
 * The frames of a new guest: populated in the largest extents that fit, then written with its content.
 *
 * Source: xen/include/public/memory.h (XENMEM_populate_physmap); Xen's tools/libs/guest/xg_dom_x86.c, meminit_pv and
 * meminit_hvm, for the order of extents that a toolstack tries.
 * Gotcha: fresh memory is not zero, so a part's bytes without content are written as well.
 */
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import type { P2m, P2mRange } from '../guest/p2m.js'
import { addRange } from '../guest/runs.js'
import { alignDown, type Mfn, PAGE_SIZE, type Pfn, paddrOf, type Range, showSize } from '../units.js'
import { breathe, type Work } from '../work.js'
import type { Domid } from './answer.js'
import { FRAMES_AT_ONCE, type Hypervisor, type Piece } from './hypervisor.js'

/** Sizes of extents, largest first: 1 GiB, 2 MiB and a page, as orders. */
const PVH_ORDERS = [18, 9, 0] as const
/** A PV guest gains nothing from larger ones: its frames are counted one by one. */
const PV_ORDERS = [9, 0] as const
/** The most extents in a call, and the most pages: a call blocks this program until it is done. */
const EXTENTS_AT_ONCE = 4096
const PAGES_AT_ONCE = 2 ** 18

/** Returns the frames of a guest that lies at its own frames. */
export const sameFrames = (pfn: Pfn, pages: number): BigUint64Array => u64s(pages, (i) => pfn + i)

/** Returns an array of u64, made of numbers. */
function u64s(length: number, at: (index: number) => number): BigUint64Array {
  const out = new BigUint64Array(length)
  const words = new Uint32Array(out.buffer)
  for (let i = 0; i < length; i++) {
    const value = at(i)
    words[2 * i] = value
    words[2 * i + 1] = value / 2 ** 32
  }
  return out
}

/** Returns the frames of a PV guest with that p2m, as a hypervisor takes them. */
export const framesBy =
  ({ mfn }: P2m) =>
  (pfn: Pfn, pages: number): BigUint64Array =>
    u64s(pages, (i) => mfn(pfn + i) ?? 0)

/** Populates a PV guest. Returns its frames, in order. */
export async function populatePv(
  xen: Hypervisor,
  domid: Domid,
  ranges: readonly Range<Pfn>[],
  work: Work,
): Promise<P2mRange[]> {
  const got: { pfn: Pfn; mfn: Mfn; pages: number }[] = []
  for (const range of ranges) {
    await populate(xen, domid, range, PV_ORDERS, false, work, (pfn, order, mfn) => {
      const [last, pages] = [got.at(-1), 2 ** order]
      if (last && last.pfn + last.pages === pfn && last.mfn + last.pages === mfn) last.pages += pages
      else got.push({ pfn, mfn, pages })
    })
  }
  return got
}

/** Populates a PVH guest, at its own frames. */
export async function populatePvh(
  xen: Hypervisor,
  domid: Domid,
  range: Range<Pfn>,
  onDemand: boolean,
  work: Work,
): Promise<void> {
  await populate(xen, domid, range, PVH_ORDERS, onDemand, work)
}

async function populate(
  xen: Hypervisor,
  domid: Domid,
  { start, end }: Range<Pfn>,
  orders: readonly number[],
  onDemand: boolean,
  work: Work,
  got?: (pfn: Pfn, order: number, mfn: Mfn) => void,
): Promise<void> {
  // An order for which Xen has no memory left is not tried again.
  const usable = [...orders]
  for (let at = start; at < end; ) {
    await breathe()
    const order = usable.find((one) => at % 2 ** one === 0 && end - at >= 2 ** one) ?? 0
    const pages = 2 ** order
    const next = Math.min(end, nextBoundary(at, order, usable))
    const count = Math.min(EXTENTS_AT_ONCE, PAGES_AT_ONCE / pages, Math.floor((next - at) / pages))
    const first = at
    const frames = u64s(count, (i) => first + i * pages)
    const done = await xen.populate(domid, frames, order, onDemand)
    for (let i = 0; i < done && got; i++) got(at + i * pages, order, Number(frames[i]))
    at += done * pages
    work.step(done * pages * PAGE_SIZE)
    if (done === count) continue
    if (order === 0) throw outOfMemory(end - at)
    usable.splice(usable.indexOf(order), 1)
  }
}

/** Returns the next frame at which a larger extent can begin. */
function nextBoundary(at: Pfn, order: number, usable: readonly number[]): Pfn {
  const larger = usable.filter((one) => one > order).at(-1)
  if (larger === undefined) return Number.POSITIVE_INFINITY
  return alignDown(at, 2 ** larger) + 2 ** larger
}

const outOfMemory = (pages: number): DomainBuilderError =>
  new DomainBuilderError('hypercall-failed', 'the host has too little free memory for the guest', {
    expected: `${showSize(pages * PAGE_SIZE)} more`,
    found: 'none',
  })

/** Returns the pages that are written: the guest's parts, and all content. Sorted, without overlaps. */
function writtenPages({ regions, memory }: Domain): Range<Pfn>[] {
  const all = [
    ...regions.filter(({ name }) => name !== 'pad').flatMap(({ pfn, pages }) => [...memory.within(pfn, pages)]),
    ...[...memory.pages()].map(({ pfn, pages }) => ({ start: pfn, end: pfn + pages })),
  ].sort((a, b) => a.start - b.start)
  const merged: Range<Pfn>[] = []
  for (const { start, end } of all) addRange(merged, start, end)
  return merged
}

/** Returns the number of bytes that writeGuest writes. */
export const writtenBytes = (domain: Domain): number =>
  writtenPages(domain).reduce((sum, { start, end }) => sum + (end - start) * PAGE_SIZE, 0)

/**
 * Writes a guest's content into its frames, and zeros into the rest of its parts. Pages without a part stay as they are.
 * @param framesOf returns the frames of consecutive pfns, as the hypervisor takes them.
 */
export async function writeGuest(
  xen: Hypervisor,
  domid: Domid,
  domain: Domain,
  framesOf: (pfn: Pfn, pages: number) => BigUint64Array,
  work: Work,
): Promise<void> {
  const chunks = new Chunks(domain)
  for (const { start, end } of writtenPages(domain)) {
    for (let at = start; at < end; at += FRAMES_AT_ONCE) {
      await breathe()
      const pages = Math.min(FRAMES_AT_ONCE, end - at)
      await xen.writeFrames(domid, framesOf(at, pages), chunks.within(at, pages))
      work.step(pages * PAGE_SIZE)
    }
  }
}

/** The content of memory, taken in the order of its addresses. */
class Chunks {
  readonly #chunks: Iterator<{ readonly paddr: number; readonly bytes: Uint8Array }>
  #held: { readonly paddr: number; readonly bytes: Uint8Array } | undefined

  constructor({ memory }: Domain) {
    this.#chunks = memory.chunks()[Symbol.iterator]()
    this.#advance()
  }

  #advance(): void {
    const next = this.#chunks.next()
    this.#held = next.done === true ? undefined : next.value
  }

  /** Returns the content of these pages, and leaves what lies after them for the next call. */
  within(pfn: Pfn, pages: number): Piece[] {
    const [start, end] = [paddrOf(pfn), paddrOf(pfn + pages)]
    const pieces: Piece[] = []
    while (this.#held !== undefined && this.#held.paddr < end) {
      const { paddr, bytes } = this.#held
      const part = bytes.subarray(Math.max(0, start - paddr), end - paddr)
      if (part.length > 0) pieces.push({ offset: Math.max(0, paddr - start), bytes: part })
      if (paddr + bytes.length > end) break
      this.#advance()
    }
    return pieces
  }
}
