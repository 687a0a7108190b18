/**
 * The matches of a pattern in memory that is read piece by piece, with holes between the pieces.
 *
 * Source: our own. A match may lie across any number of pieces, so the end of each window is searched with the next.
 * Gotcha: a hole reads as zeros, and a match may begin or end there. One that lies in a hole from end to end is omitted:
 * a guest's holes have gigabytes of them.
 */
import { alignDown, PAGE_SIZE } from '../units.js'
import { Automaton } from './automaton.js'
import { canRead } from './byte-tree.js'
import { Finder } from './finder.js'
import type { BytePattern } from './pattern.js'

/** Returns whether a match may have nothing but zeros, so that holes are full of matches, which are omitted. */
export const matchesZeros = ({ root, shortest, longest }: BytePattern): boolean =>
  canRead(root, 0) && new Automaton(root).longest(new Uint8Array(longest), 0, longest) >= shortest

/** A piece of memory: bytes that are read when they are needed, or a hole, which reads as zeros. */
export interface Piece {
  /** The address of the first byte. The address of the next piece is higher, or this one's end if nothing lies between. */
  readonly address: bigint
  /** In bytes. */
  readonly length: number
  /** Fills all of `out` from `offset` bytes into the piece; absent for a hole. */
  readonly readInto?: (offset: number, out: Uint8Array) => void
}

/** A match, and its bytes in separate memory. */
interface Found {
  readonly address: bigint
  readonly bytes: Uint8Array
}

/** Bytes that are searched at a time: few enough for a processor's cache, and for the event loop. */
export const SEARCHED_BYTES = 32 * PAGE_SIZE

/**
 * Yields the matches that do not lie in a hole, in order, none of which overlap; undefined after each window, so that the
 * caller can do other things.
 * @param pieces in order of address. Memory that is missing between two of them is part of no match.
 */
export function* scan(pattern: BytePattern, pieces: Iterable<Piece>): Generator<Found | undefined> {
  const finder = new Finder(pattern)
  /** A match that begins before a place may reach as far after it. */
  const reach = pattern.longest - 1
  const window = new Window(pattern.longest)
  const readsHoles = canRead(pattern.root, 0)
  for (const { address, length, readInto } of pieces) {
    if (address !== window.end) {
      yield* window.search(finder, true)
      window.restart(address)
    }
    if (readInto === undefined && (!readsHoles || length > 2 * reach)) {
      // No match reaches from one side of the hole to the other.
      const part = readsHoles ? reach : 0
      window.addHole(part)
      yield* window.search(finder, true)
      window.restart(address + BigInt(length - part))
      window.addHole(part)
      continue
    }
    for (let done = 0; done < length; ) {
      const count = Math.min(window.room, length - done)
      if (readInto === undefined) window.addHole(count)
      else readInto(done, window.add(count))
      done += count
      if (window.room > 0) continue
      yield* window.search(finder, false)
      yield undefined
    }
  }
  yield* window.search(finder, true)
}

/** The bytes that are searched next. */
class Window {
  readonly #reach: number
  readonly #bytes: Uint8Array
  /** The address of the first byte. */
  #address = -1n
  #length = 0
  /** Holes in it that are not searched yet, in order. */
  #holes: { readonly start: number; end: number }[] = []

  constructor(longest: number) {
    this.#reach = longest - 1
    this.#bytes = new Uint8Array(SEARCHED_BYTES + 2 * longest)
  }

  /** The address after the last byte. */
  get end(): bigint {
    return this.#address + BigInt(this.#length)
  }

  /** Bytes that can be added before a search: whole pages. */
  get room(): number {
    return alignDown(this.#bytes.length - this.#reach - this.#length, PAGE_SIZE)
  }

  /** Drops all bytes; the next one has that address. */
  restart(address: bigint): void {
    this.#address = address
    this.#length = 0
    this.#holes = []
  }

  /** Returns the place for so many more bytes. */
  add(count: number): Uint8Array {
    const room = this.#bytes.subarray(this.#length, this.#length + count)
    this.#length += count
    return room
  }

  addHole(count: number): void {
    if (count === 0) return
    const last = this.#holes.at(-1)
    if (last?.end === this.#length) last.end += count
    else this.#holes.push({ start: this.#length, end: this.#length + count })
    this.add(count).fill(0)
  }

  /** Yields the matches, and drops the bytes at which none can begin any more. @param isLast no bytes follow. */
  *search(finder: Finder, isLast: boolean): Generator<Found> {
    const bytes = this.#bytes.subarray(0, this.#length)
    const limit = isLast ? this.#length : this.#length - this.#reach
    let at = 0
    while (at < limit) {
      const match = finder.find(bytes, at, limit)
      if (match === undefined) break
      at = match.end
      if (!this.#isInHole(match.start, match.end)) {
        yield { address: this.#address + BigInt(match.start), bytes: bytes.slice(match.start, match.end) }
      }
    }
    this.#drop(Math.max(at, limit, 0))
  }

  /** Matches come in order, so a hole that ends before one is of no use any more. */
  #isInHole(start: number, end: number): boolean {
    while (this.#holes[0] !== undefined && this.#holes[0].end <= start) this.#holes.shift()
    const [hole] = this.#holes
    return hole !== undefined && hole.start <= start && end <= hole.end
  }

  #drop(count: number): void {
    this.#bytes.copyWithin(0, count, this.#length)
    this.#address += BigInt(count)
    this.#length -= count
    this.#holes = this.#holes
      .map(({ start, end }) => ({ start: start - count, end: end - count }))
      .filter(({ end }) => end > 0)
  }
}
