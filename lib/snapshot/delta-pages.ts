/**
 * The pages of a guest by their place: the same as in a base, elsewhere in it, zeros, or nowhere.
 *
 * Source: our own design.
 * Gotcha: a hash only proposes a page of the base: the bytes are compared. Each page of the base is compared once, so
 * pages that were made to have one hash cost no time. The table has the changed pages alone, for a base of any size.
 */
import { DELTA_KIND, DELTA_ZERO, DeltaRun } from '../abi/delta.js'
import { equal, isZero } from '../bytes.js'
import type { Domain } from '../guest/domain.js'
import { type GuestMemory, pagesOfEither } from '../guest/memory.js'
import { type Run, runEndingAfter } from '../guest/runs.js'
import { sha256Key } from '../sha256.js'
import { PAGE_SIZE, type Pfn, U32_MAX } from '../units.js'
import { breathe, Work, type WorkOptions } from '../work.js'
import { Identifier, type Identity, PAGES_AT_ONCE, stateOf } from './identity.js'

/** The most pages of zeros that a delta may add, for each page of the base with content. */
const ZEROS_PER_PAGE = 256

/** The number of pages of each kind. */
export interface PageCounts {
  /** Pages as in the base, at the same frame. */
  readonly same: number
  /** Pages of zeros. */
  readonly zero: number
  /** Pages that the base has at another frame. */
  readonly moved: number
  /** Pages that are in the delta. */
  readonly own: number
}

/** The pages of a delta. */
interface DeltaPages {
  readonly base: Identity
  readonly guest: Identity
  readonly counts: PageCounts
  /** The runs, each a DeltaRun. */
  readonly runs: Uint8Array
  readonly runCount: number
  /** The frames in the base of the moved pages, in order. */
  readonly moved: BigUint64Array
  /** The pages that the delta has itself, in order. */
  readonly own: readonly Run[]
}

type Kind = (typeof DELTA_KIND)[keyof typeof DELTA_KIND]

/** A run in the making. */
interface KindRun {
  readonly pfn: Pfn
  pages: number
  readonly kind: Kind
}

class KindRuns {
  readonly runs: KindRun[] = []

  add(pfn: Pfn, pages: number, kind: Kind): void {
    const last = this.runs.at(-1)
    const follows = last?.kind === kind && last.pfn + last.pages === pfn && last.pages + pages <= U32_MAX
    if (last !== undefined && follows) last.pages += pages
    else if (pages > 0) this.runs.push({ pfn, pages, kind })
  }
}

/** The pages that are not at their place in the base, and the place where the base has them. */
class Changed {
  readonly #pfns: Pfn[] = []
  readonly #keys: number[] = []
  readonly #found = new Map<Pfn, Pfn>()

  get count(): number {
    return this.#pfns.length
  }

  add(pfn: Pfn, page: Uint8Array): void {
    this.#pfns.push(pfn)
    this.#keys.push(sha256Key(page))
  }

  /** The frame of the base that has the page of a frame; undefined for none. */
  at(pfn: Pfn): Pfn | undefined {
    return this.#found.get(pfn)
  }

  /** Searches the base for all of the pages. */
  async find(base: GuestMemory, guest: GuestMemory, occupied: readonly Run[], work: Work): Promise<void> {
    const first = new Map<number, number>()
    this.#keys.forEach((key, i) => {
      if (!first.has(key)) first.set(key, i)
    })
    const block = new Uint8Array(PAGES_AT_ONCE * PAGE_SIZE)
    const other = new Uint8Array(PAGE_SIZE)
    const isAt = (pfn: Pfn, page: Uint8Array): boolean => {
      guest.readFrames(pfn, other)
      return equal(other, page)
    }
    for (const { pfn, pages } of occupied) {
      for (let done = 0; done < pages; done += PAGES_AT_ONCE) {
        const bytes = block.subarray(0, Math.min(PAGES_AT_ONCE, pages - done) * PAGE_SIZE)
        base.readFrames(pfn + done, bytes)
        for (let at = 0; at < bytes.length; at += PAGE_SIZE) {
          const page = bytes.subarray(at, at + PAGE_SIZE)
          const wanted = this.#pfns[first.get(sha256Key(page)) ?? -1]
          if (wanted === undefined || this.#found.has(wanted) || !isAt(wanted, page)) continue
          this.#found.set(wanted, pfn + done + at / PAGE_SIZE)
        }
        work.step(bytes.length)
        await breathe()
      }
    }
    const page = new Uint8Array(PAGE_SIZE)
    for (const [i, key] of this.#keys.entries()) {
      const pfn = this.#pfns[i] as Pfn
      const found = this.#found.get(this.#pfns[first.get(key) as number] as Pfn)
      if (found === undefined || this.#found.has(pfn)) continue
      base.readFrames(found, page)
      if (isAt(pfn, page)) this.#found.set(pfn, found)
      await breathe()
    }
  }
}

/**
 * Compares a guest with a base, page by page.
 * @throws DomainBuilderError where a guest's file proves damaged; the signal's reason.
 */
export async function comparePages(base: Domain, guest: Domain, options: WorkOptions): Promise<DeltaPages> {
  const [a, b] = [base.memory, guest.memory]
  const chunks = [...pagesOfEither(a, b, PAGES_AT_ONCE)]
  const bytes = chunks.reduce((sum, { pages }) => sum + pages * PAGE_SIZE, 0)
  const work = new Work(bytes + a.placedBytes, options)
  const identifiers = [new Identifier(), new Identifier()] as const
  const content = [...b.pages()]
  const isContent = (pfn: Pfn): boolean =>
    (content[runEndingAfter(content, pfn)]?.pfn ?? Number.POSITIVE_INFINITY) <= pfn
  const buffers = [new Uint8Array(PAGES_AT_ONCE * PAGE_SIZE), new Uint8Array(PAGES_AT_ONCE * PAGE_SIZE)] as const
  const compared = new KindRuns()
  const changed = new Changed()
  for (const { pfn, pages } of chunks) {
    const x = buffers[0].subarray(0, pages * PAGE_SIZE)
    const y = buffers[1].subarray(0, pages * PAGE_SIZE)
    a.readFrames(pfn, x)
    b.readFrames(pfn, y)
    const isSame = equal(x, y)
    identifiers[0].add(pfn, x)
    identifiers[1].add(pfn, y)
    for (let i = 0; i < pages; i++) {
      if (!isContent(pfn + i)) continue
      const page = y.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE)
      if (isZero(page)) {
        compared.add(pfn + i, 1, DELTA_KIND.ZERO)
      } else if (isSame || equal(page, x.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE))) {
        compared.add(pfn + i, 1, DELTA_KIND.SAME)
      } else {
        compared.add(pfn + i, 1, DELTA_KIND.OWN)
        changed.add(pfn + i, page)
      }
    }
    work.step(x.length)
    await breathe()
  }
  const identity = identifiers[0].identity(stateOf(base))
  if (changed.count > 0) await changed.find(a, b, identity.occupied, work)
  work.reach(bytes + a.placedBytes)
  return {
    base: identity,
    guest: identifiers[1].identity(stateOf(guest)),
    ...(await placed(compared.runs, changed, identity.occupied)),
  }
}

/** Returns the runs as the delta has them. */
async function placed(
  compared: readonly KindRun[],
  changed: Changed,
  occupied: readonly Run[],
): Promise<Omit<DeltaPages, 'base' | 'guest'>> {
  const counts = { same: 0, zero: 0, moved: 0, own: 0 }
  const found = new KindRuns()
  const moved: bigint[] = []
  const budget = zeroBudget(occupied)
  for (const { pfn, pages, kind } of compared) {
    await breathe()
    if (kind === DELTA_KIND.SAME) {
      counts.same += pages
      found.add(pfn, pages, kind)
      continue
    }
    if (kind === DELTA_KIND.ZERO) {
      const free = Math.min(pages, Math.max(0, budget - counts.zero))
      counts.zero += pages
      found.add(pfn, free, kind)
      found.add(pfn + free, pages - free, DELTA_KIND.MOVED)
      for (let i = free; i < pages; i++) moved.push(BigInt(DELTA_ZERO))
      continue
    }
    for (let at = pfn; at < pfn + pages; at++) {
      const place = changed.at(at)
      counts[place === undefined ? 'own' : 'moved']++
      found.add(at, 1, place === undefined ? DELTA_KIND.OWN : DELTA_KIND.MOVED)
      if (place !== undefined) moved.push(BigInt(place))
    }
  }
  const { runs } = found
  return {
    counts,
    runs: runBytes(runs),
    runCount: runs.length,
    moved: BigUint64Array.from(moved),
    own: runs.filter(({ kind }) => kind === DELTA_KIND.OWN),
  }
}

function runBytes(runs: readonly KindRun[]): Uint8Array {
  const bytes = new Uint8Array(runs.length * DeltaRun.size)
  const view = new DataView(bytes.buffer)
  const [pagesAt, kindAt] = [DeltaRun.offsetOf('pages'), DeltaRun.offsetOf('kind')]
  runs.forEach(({ pfn, pages, kind }, i) => {
    const at = i * DeltaRun.size
    view.setBigUint64(at, BigInt(pfn), true)
    view.setUint32(at + pagesAt, pages, true)
    view.setUint32(at + kindAt, kind, true)
  })
  return bytes
}

/** Returns the most pages of zeros in runs: each costs its reader time, but the file nothing. */
export const zeroBudget = (occupied: readonly Run[]): number =>
  ZEROS_PER_PAGE * (1 + occupied.reduce((sum, { pages }) => sum + pages, 0))
