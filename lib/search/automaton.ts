/**
 * A pattern as an automaton that reads bytes: the longest match from a place, and the first end of any match.
 *
 * Source: K. Thompson, "Regular Expression Search Algorithm", CACM 11 (6), 1968; Aho, Lam, Sethi, Ullman, "Compilers",
 * 3.7, for the states made when they are reached.
 * Why not RegExp: it backtracks, so `(a+)+b` needs exponential time. Here each byte is one step, for any pattern.
 * Gotcha: a pattern can have more sets of states than fit into memory. Those made are forgotten when they are too many.
 */
import { type ByteSet, copiesOf, type PatternNode } from './byte-tree.js'

/** States that read a byte, and states that lead to two others. */
interface Nfa {
  /** The bytes that a state reads; undefined for one that reads nothing. */
  readonly reads: readonly (ByteSet | undefined)[]
  /** The states after it; -1 leads nowhere. */
  readonly next: Int32Array
  readonly other: Int32Array
  readonly start: number
  /** The state of a whole match. */
  readonly end: number
}

class NfaMaker {
  readonly reads: (ByteSet | undefined)[] = []
  readonly next: number[] = []
  readonly other: number[] = []

  state(reads: ByteSet | undefined, next: number, other = -1): number {
    this.reads.push(reads)
    this.next.push(next)
    this.other.push(other)
    return this.reads.length - 1
  }

  /** Adds the states of a node that go on to `after`. Returns the first one. */
  add(node: PatternNode, after: number): number {
    switch (node.kind) {
      case 'set':
        return this.state(node.set, after)
      case 'sequence':
        return node.parts.reduceRight((next, part) => this.add(part, next), after)
      case 'choice':
        return node.options
          .map((option) => this.add(option, after))
          .reduceRight((rest, option) => this.state(undefined, option, rest))
      case 'repeat':
        return this.#repeat(node, after)
    }
  }

  #repeat(node: PatternNode & { readonly kind: 'repeat' }, after: number): number {
    const { part, least, most } = node
    if (most === 0) return after
    let first = after
    let copies = copiesOf(node)
    if (most === Number.POSITIVE_INFINITY) {
      // The last copy leads back to itself.
      const loop = this.state(undefined, -1, after)
      const body = this.add(part, loop)
      this.next[loop] = body
      first = least === 0 ? loop : body
      copies--
    }
    for (; copies > 0; copies--) {
      const body = this.add(part, first)
      first = copies > least ? this.state(undefined, body, after) : body
    }
    return first
  }
}

function nfaOf(root: PatternNode): Nfa {
  const maker = new NfaMaker()
  const end = maker.state(undefined, -1)
  const start = maker.add(root, end)
  return { reads: maker.reads, next: Int32Array.from(maker.next), other: Int32Array.from(maker.other), start, end }
}

/** The most states and the most transitions that are kept. */
const STATES_MAX = 8192
const TRANSITIONS_MAX = 2 ** 19

/** A transition that was not followed yet. Others are twice the index of the next row, plus 1 if a match ends there. */
const UNKNOWN = -1
/** The state from which no match can be reached. */
const DEAD = 0

/** Sets of states of an Nfa, made when they are reached. */
class Dfa {
  readonly #nfa: Nfa
  /** A match may begin at any byte. */
  readonly #anywhere: boolean
  /** The class of each byte: bytes of one class are in the same sets. */
  readonly classes: Uint8Array
  readonly #samples: readonly number[]
  readonly #width: number
  #table = new Int32Array(0)
  #members: Int32Array[] = []
  readonly #known = new Map<string, number>()
  readonly #marks: Int32Array
  #mark = 0
  /** The transition into the first state. */
  start = DEAD

  constructor(nfa: Nfa, anywhere: boolean) {
    this.#nfa = nfa
    this.#anywhere = anywhere
    const { classes, samples } = classesOf(nfa.reads)
    this.classes = classes
    this.#samples = samples
    this.#width = samples.length
    this.#marks = new Int32Array(nfa.reads.length)
    this.#forget()
  }

  get table(): Int32Array {
    return this.#table
  }

  #forget(): void {
    this.#known.clear()
    this.#members = []
    this.#table = new Int32Array(16 * this.#width)
    this.#stateOf([], false)
    const first: number[] = []
    this.#mark++
    this.#reach(this.#nfa.start, first)
    this.start = this.#stateOf(first, false)
  }

  /** Adds the states that read a byte and are reached from a state without one. Returns whether a match ends here. */
  #reach(state: number, into: number[]): boolean {
    const { reads, next, other, end } = this.#nfa
    let isEnd = false
    const stack = [state]
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (at < 0 || this.#marks[at] === this.#mark) continue
      this.#marks[at] = this.#mark
      if (at === end) isEnd = true
      else if (reads[at] !== undefined) into.push(at)
      else stack.push(other[at] as number, next[at] as number)
    }
    return isEnd
  }

  #stateOf(members: number[], isEnd: boolean): number {
    const sorted = Int32Array.from(members).sort()
    const key = sorted.join()
    const known = this.#known.get(key)
    if (known !== undefined) return known | Number(isEnd)
    const row = this.#members.length * this.#width
    if (row + this.#width > this.#table.length) {
      const larger = new Int32Array(2 * this.#table.length)
      larger.set(this.#table)
      this.#table = larger
    }
    this.#table.fill(UNKNOWN, row, row + this.#width)
    this.#members.push(sorted)
    this.#known.set(key, 2 * row)
    return (2 * row) | Number(isEnd)
  }

  /** Follows a transition for the first time. The table may be another one afterwards. */
  follow(from: number, byte: number): number {
    const row = from >> 1
    const members = this.#members[row / this.#width] as Int32Array
    const column = this.classes[byte] as number
    const sample = this.#samples[column] as number
    const { reads, next, start } = this.#nfa
    const after: number[] = []
    let isEnd = false
    this.#mark++
    for (const state of members) {
      if (reads[state]?.[sample] === 1) isEnd = this.#reach(next[state] as number, after) || isEnd
    }
    if (this.#anywhere) this.#reach(start, after)
    const isFull = this.#members.length >= STATES_MAX || this.#members.length * this.#width >= TRANSITIONS_MAX
    if (isFull) this.#forget()
    const to = this.#stateOf(after, isEnd)
    if (!isFull) this.#table[row + column] = to
    return to
  }
}

/** Returns the class of each byte value, and a byte of each class. */
function classesOf(sets: readonly (ByteSet | undefined)[]): { classes: Uint8Array; samples: readonly number[] } {
  let classes = new Uint8Array(256)
  const seen = new Set<ByteSet>()
  for (const set of sets) {
    if (set === undefined || seen.has(set)) continue
    seen.add(set)
    const numbers = new Map<number, number>()
    classes = classes.map((old, byte) => {
      const key = 2 * old + (set[byte] as number)
      const number = numbers.get(key) ?? numbers.size
      numbers.set(key, number)
      return number
    })
  }
  const samples: number[] = []
  classes.forEach((number, byte) => {
    samples[number] ??= byte
  })
  return { classes, samples }
}

/** The longest prefix that sets are computed for. */
const PREFIX_MAX = 64

/** A pattern that can be followed through bytes. */
export class Automaton {
  readonly #nfa: Nfa
  readonly #fromHere: Dfa
  #fromAnywhere: Dfa | undefined
  /** The number of bytes that longest() has read in all. */
  steps = 0

  constructor(root: PatternNode) {
    this.#nfa = nfaOf(root)
    this.#fromHere = new Dfa(this.#nfa, false)
  }

  /** Returns the length of the longest match that begins at `at` and ends at `end` or before; 0 for none. */
  longest(bytes: Uint8Array, at: number, end: number): number {
    const dfa = this.#fromHere
    const { classes } = dfa
    let { table } = dfa
    let state = dfa.start
    let found = at
    let i = at
    while (i < end) {
      const byte = bytes[i++] as number
      let to = table[(state >> 1) + (classes[byte] as number)] as number
      if (to === UNKNOWN) {
        to = dfa.follow(state, byte)
        table = dfa.table
      }
      if (to === DEAD) break
      if (to & 1) {
        found = i
        if (to === 1) break
      }
      state = to
    }
    this.steps += i - at
    return found - at
  }

  /** Returns the first place at which a match ends that begins at `at` or after it; -1 for none. */
  firstEnd(bytes: Uint8Array, at: number, end: number): number {
    this.#fromAnywhere ??= new Dfa(this.#nfa, true)
    const dfa = this.#fromAnywhere
    const { classes } = dfa
    let { table } = dfa
    let state = dfa.start
    for (let i = at; i < end; i++) {
      const byte = bytes[i] as number
      let to = table[(state >> 1) + (classes[byte] as number)] as number
      if (to === UNKNOWN) {
        to = dfa.follow(state, byte)
        table = dfa.table
      }
      if (to & 1) return i + 1
      state = to
    }
    return -1
  }

  /** Returns the bytes that a match can have at its first places, as far as every match reaches. */
  prefix(): ByteSet[] {
    const { reads, next, other, start, end } = this.#nfa
    const sets: ByteSet[] = []
    let states = [start]
    while (sets.length < PREFIX_MAX) {
      const set = new Uint8Array(256)
      const seen = new Set<number>()
      const stack = [...states]
      const after = new Set<number>()
      for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
        if (at < 0 || seen.has(at)) continue
        seen.add(at)
        // A match has at least one byte.
        if (at === end && sets.length > 0) return sets
        const read = reads[at]
        if (read === undefined) stack.push(other[at] as number, next[at] as number)
        else {
          after.add(next[at] as number)
          for (let byte = 0; byte < 256; byte++) if (read[byte] === 1) set[byte] = 1
        }
      }
      if (after.size === 0) return sets
      sets.push(set)
      states = [...after]
    }
    return sets
  }
}
