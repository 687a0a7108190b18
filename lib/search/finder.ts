/**
 * A finder of a pattern's matches in bytes: a fast filter for the places where one may begin, then the automaton.
 *
 * Source: our own. A run of single bytes that every match has at one distance is found by the runtime's own search, which
 * is as fast as grep's; otherwise two neighbouring bytes of each place are looked up in a table.
 * Gotcha: a filter that lets nearly everything pass makes each byte the start of a long try. When tries read more than
 * their share, one pass from anywhere finds where the first match ends.
 */
import { indexOf } from '../bytes.js'
import { Automaton } from './automaton.js'
import type { ByteSet } from './byte-tree.js'
import type { BytePattern } from './pattern.js'

/** A match in some bytes: from `start`, and up to `end`, which is not part of it. */
interface Match {
  readonly start: number
  readonly end: number
}

/** Returns the first place from `at` on, and below `limit`, at which a match may begin; -1 for none. */
type Filter = (bytes: Uint8Array, at: number, limit: number) => number

/** Bytes that tries may read in addition to their share, and the share of each byte. */
const TRIES_LEAST = 2 ** 16
const TRIES_PER_BYTE = 4

/** Finds the matches of one pattern. */
export class Finder {
  readonly #pattern: BytePattern
  readonly #automaton: Automaton
  readonly #filter: Filter
  /** Whether the filter finds whole matches. */
  readonly #isExact: boolean

  constructor(pattern: BytePattern) {
    this.#pattern = pattern
    this.#automaton = new Automaton(pattern.root)
    const prefix = this.#automaton.prefix()
    const { shortest, longest } = pattern
    const bytes = prefix.map(onlyByte)
    this.#isExact = shortest === longest && bytes.length === longest && !bytes.includes(undefined)
    const part = this.#isExact ? rarestPart(bytes, 0, bytes.length) : bestRun(bytes)
    this.#filter = part === undefined ? byPair(prefix) : byPart(part, this.#isExact ? bytes : undefined)
  }

  /**
   * Returns the first match that begins at `at` or after it and below `limit`: the longest one there.
   * @param bytes end where the data ends, or reach as far after `limit` as a match can.
   */
  find(bytes: Uint8Array, at: number, limit: number): Match | undefined {
    const { longest } = this.#pattern
    const automaton = this.#automaton
    const before = automaton.steps
    let guarded = at
    let from = at
    for (;;) {
      const start = this.#filter(bytes, from, limit)
      if (start < 0) return undefined
      if (this.#isExact) return { start, end: start + longest }
      const length = automaton.longest(bytes, start, Math.min(bytes.length, start + longest))
      if (length > 0) return { start, end: start + length }
      from = start + 1
      if (from < guarded || automaton.steps - before <= TRIES_LEAST + TRIES_PER_BYTE * (from - at)) continue
      guarded = automaton.firstEnd(bytes, from, bytes.length)
      if (guarded < 0) return undefined
      // Every match ends there or later, so it begins no further before.
      from = Math.max(from, guarded - longest)
    }
  }
}

/** Returns the byte of a set that has only one. */
function onlyByte(set: ByteSet): number | undefined {
  const byte = set.indexOf(1)
  return set.indexOf(1, byte + 1) < 0 ? byte : undefined
}

/** Bytes that every match has, and their distance from its start. */
interface Part {
  readonly bytes: Uint8Array
  readonly distance: number
}

/** How common a byte is in memory, in steps: the search looks for the first byte of a part. */
function commonness(byte: number): number {
  if (byte === 0) return 4
  if (byte === 0xff || byte === 0x48) return 3
  if (byte === 0x20 || (byte >= 0x61 && byte <= 0x7a)) return 2
  return byte < 0x10 || byte === 0x8b || byte === 0x89 ? 2 : 1
}

/** Returns the rest of a run from its rarest byte on; the first of several. */
function rarestPart(bytes: readonly (number | undefined)[], from: number, to: number): Part {
  let distance = from
  for (let i = from; i < to; i++) {
    if (commonness(bytes[i] as number) < commonness(bytes[distance] as number)) distance = i
  }
  return { bytes: Uint8Array.from(bytes.slice(distance, to) as number[]), distance }
}

/** The fewest bytes of a run that is worth a separate search. */
const RUN_LEAST = 2

/** Returns the longest run of known bytes; undefined if all are short. */
function bestRun(bytes: readonly (number | undefined)[]): Part | undefined {
  let best = { from: 0, to: 0 }
  for (let from = 0; from < bytes.length; ) {
    let to = from
    while (to < bytes.length && bytes[to] !== undefined) to++
    if (to - from > best.to - best.from) best = { from, to }
    from = to + 1
  }
  return best.to - best.from < RUN_LEAST ? undefined : rarestPart(bytes, best.from, best.to)
}

/** @param whole all bytes of the match, of which the part is the end. */
function byPart({ bytes: part, distance }: Part, whole?: readonly (number | undefined)[]): Filter {
  const head = whole?.slice(0, distance) ?? []
  return (bytes, at, limit) => {
    for (let from = at; ; ) {
      const start = indexOf(bytes, part, from + distance) - distance
      // A part that is not found gives a negative place as well.
      if (start < from || start >= limit) return -1
      if (head.every((byte, i) => bytes[start + i] === byte)) return start
      from = start + 1
    }
  }
}

const size = (set: ByteSet): number => set.reduce((sum, is) => sum + is, 0)
const ANY = new Uint8Array(256).fill(1)

/** Sets of bytes that are so large that a byte outside of them is rare. */
const LARGE = 192

/**
 * Returns a filter by two neighbouring places, those with the fewest bytes. A byte that none of the first places can have
 * excludes every start before it.
 */
function byPair(prefix: readonly ByteSet[]): Filter {
  const length = prefix.length
  const at = (i: number): ByteSet => prefix[i] ?? ANY
  let distance = 0
  for (let i = 1; i + 1 < length; i++) {
    if (size(at(i)) * size(at(i + 1)) < size(at(distance)) * size(at(distance + 1))) distance = i
  }
  const [one, two] = [at(distance), at(distance + 1)]
  const any = prefix.reduce((all, set) => all.map((is, i) => is | (set[i] as number)))
  const isLarge = size(any) > LARGE || length < 2
  return (bytes, from, limit) => {
    const end = Math.min(limit, bytes.length - length + 1)
    for (let start = from; start < end; ) {
      let to = end
      if (!isLarge) {
        let last = start + length - 1
        while (last < bytes.length && any[bytes[last] as number] === 0) last += length
        start = last - length + 1
        to = Math.min(end, last + 1)
      }
      const found = firstPair(bytes, start + distance, to + distance, one, two)
      if (found >= 0) return found - distance
      start = Math.max(start, to)
    }
    return -1
  }
}

/** Returns the first place from `at` on, and below `end`, with a byte of one set and then one of the other; -1 for none. */
function firstPair(bytes: Uint8Array, at: number, end: number, one: ByteSet, two: ByteSet): number {
  let i = at
  for (; i + 4 < Math.min(end, bytes.length); i += 4) {
    // One by one: an array of them would be made each time.
    const a = bytes[i] as number
    const b = bytes[i + 1] as number
    const c = bytes[i + 2] as number
    const d = bytes[i + 3] as number
    const e = bytes[i + 4] as number
    const found =
      ((one[a] as number) & (two[b] as number)) |
      ((one[b] as number) & (two[c] as number)) |
      ((one[c] as number) & (two[d] as number)) |
      ((one[d] as number) & (two[e] as number))
    if (found !== 0) break
  }
  for (; i < end; i++) {
    // The second set has every byte where a match may end after the first.
    if ((one[bytes[i] as number] as number) & (two[bytes[i + 1] ?? 0] as number)) return i
  }
  return -1
}
