/**
 * The identity of a guest: one SHA-256 of its memory and its state, the same in every format that has the guest.
 *
 * Source: our own rule. Formats keep different things besides: an xl file has a configuration, but no regions.
 * Gotcha: a page of zeros and a hole are the same, because formats differ in them. So pages of zeros are not hashed.
 */
import { isZero } from '../bytes.js'
import type { Domain } from '../guest/domain.js'
import { BLOCK_BYTES } from '../guest/memory.js'
import type { Run } from '../guest/runs.js'
import { addRange, runOf } from '../guest/runs.js'
import { newSha256, sha256 } from '../sha256.js'
import { PAGE_SIZE, type Pfn, type Range } from '../units.js'
import { breathe, Work, type WorkOptions } from '../work.js'
import { guestJson } from './guest-json.js'

/** Members of the guest's JSON that not every format has. */
const OPTIONAL = ['name', 'kernel', 'regions', 'pageTables', 'saved', 'p2m']

/** The guest without its memory, by the members of its JSON. */
export type State = Readonly<Record<string, unknown>>

/** Returns all of a guest except the content of its memory. */
export const stateOf = (domain: Domain): State =>
  guestJson(domain, { ranges: domain.memory.ranges.map(({ start, end }) => [start, end]) })

/** Returns the members that every format has. */
export const portableState = (state: State): State =>
  Object.fromEntries(Object.entries(state).filter(([name]) => !OPTIONAL.includes(name)))

/** The pages that are read at a time. */
export const PAGES_AT_ONCE = BLOCK_BYTES / PAGE_SIZE

/** The identity of a guest, and the pages that it is made of. */
export interface Identity {
  readonly sha256: Uint8Array
  /** The pages that are not zero: sorted, each run as long as possible. */
  readonly occupied: readonly Run[]
}

/** Collects the pages of a guest. */
export class Identifier {
  readonly #pages = newSha256()
  readonly #ranges: Range<Pfn>[] = []

  /** Adds pages, in order of their frames. */
  add(pfn: Pfn, bytes: Uint8Array): void {
    const pages = bytes.length / PAGE_SIZE
    for (let i = 0; i < pages; ) {
      let end = i
      while (end < pages && !isZero(bytes.subarray(end * PAGE_SIZE, (end + 1) * PAGE_SIZE))) end++
      if (end > i) {
        this.#pages.update(bytes.subarray(i * PAGE_SIZE, end * PAGE_SIZE))
        addRange(this.#ranges, pfn + i, pfn + end)
      }
      i = end + 1
    }
  }

  /** Returns the identity of a guest whose pages were all added. */
  identity(state: State): Identity {
    const occupied = this.#ranges.map(runOf)
    const pages = occupied.map((run) => [run.pfn, run.pages])
    const text = JSON.stringify({ ...portableState(state), pages })
    return { sha256: sha256(this.#pages.digest(), text), occupied }
  }
}

/**
 * Returns the identity of a guest. It reads all of its content.
 * @throws DomainBuilderError where the guest's file proves damaged; the signal's reason.
 */
export async function identify(domain: Domain, options: WorkOptions): Promise<Identity> {
  const { memory } = domain
  const work = new Work(memory.placedBytes, options)
  const identifier = new Identifier()
  const block = new Uint8Array(PAGES_AT_ONCE * PAGE_SIZE)
  for (const { pfn, pages } of memory.pages()) {
    for (let done = 0; done < pages; done += PAGES_AT_ONCE) {
      const bytes = block.subarray(0, Math.min(PAGES_AT_ONCE, pages - done) * PAGE_SIZE)
      memory.readFrames(pfn + done, bytes)
      identifier.add(pfn + done, bytes)
      work.step(bytes.length)
      await breathe()
    }
  }
  return identifier.identity(stateOf(domain))
}
