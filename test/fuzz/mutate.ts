/**
 * Makes an input from others: with a few random changes, and sometimes the end of another input.
 *
 * Source: AFL's havoc stage, https://lcamtuf.coredump.cx/afl/technical_details.txt
 * Gotcha: the formats here have both byte orders, so numbers are written in both.
 */
import { concat } from '../../lib/bytes.js'
import type { Random } from '../fixtures/random.js'

/** Numbers at limits: signs, sizes, and one more or less. */
const EDGES = [7n, 8n, 12n, 15n, 16n, 31n, 32n, 40n, 52n, 63n, 64n].flatMap((bits) => [
  (1n << bits) - 1n,
  1n << bits,
  -(1n << bits),
])
const INTERESTING: readonly bigint[] = [0n, 1n, 2n, 3n, 4n, -1n, -2n, 0x1000n, 0xfffn, ...EDGES]
const SIZES = [1, 2, 4, 8] as const

type Change = (bytes: Uint8Array, random: Random, tokens: readonly Uint8Array[]) => Uint8Array

function withNumber(bytes: Uint8Array, random: Random, change: (was: bigint) => bigint): Uint8Array {
  const size = random.pick(SIZES)
  if (bytes.length < size) return bytes
  const at = random.below(bytes.length - size + 1)
  const little = random.percent(70)
  const place = (i: number) => at + (little ? i : size - 1 - i)
  let was = 0n
  for (let i = size - 1; i >= 0; i--) was = (was << 8n) | BigInt(bytes[place(i)] as number)
  const value = change(was)
  for (let i = 0; i < size; i++) bytes[place(i)] = Number((value >> BigInt(8 * i)) & 0xffn)
  return bytes
}

/** Returns an offset, and a length that is mostly short. */
function block(bytes: Uint8Array, random: Random): { start: number; end: number } {
  const start = random.below(bytes.length + 1)
  const longest = Math.min(bytes.length - start, random.pick([4, 16, 64, bytes.length]))
  return { start, end: start + random.below(longest + 1) }
}

const insert = (bytes: Uint8Array, at: number, piece: Uint8Array): Uint8Array =>
  concat([bytes.subarray(0, at), piece, bytes.subarray(at)])

function overwrite(bytes: Uint8Array, at: number, piece: Uint8Array): Uint8Array {
  bytes.set(piece.subarray(0, bytes.length - at), at)
  return bytes
}

const CHANGES: readonly Change[] = [
  (bytes, random) => {
    if (bytes.length === 0) return bytes
    const at = random.below(bytes.length)
    bytes[at] = (bytes[at] as number) ^ (1 << random.below(8))
    return bytes
  },
  (bytes, random) => {
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.below(256)
    return bytes
  },
  (bytes, random) => withNumber(bytes, random, () => random.pick(INTERESTING)),
  (bytes, random) => withNumber(bytes, random, (was) => was + BigInt(random.integer(-35, 35))),
  // Cuts, doubles, moves or fills bytes.
  (bytes, random) => {
    const { start, end } = block(bytes, random)
    return concat([bytes.subarray(0, start), bytes.subarray(end)])
  },
  (bytes, random) => {
    const { start, end } = block(bytes, random)
    return insert(bytes, random.below(bytes.length + 1), bytes.slice(start, end))
  },
  (bytes, random) => {
    const { start, end } = block(bytes, random)
    return overwrite(bytes, random.below(bytes.length + 1), bytes.slice(start, end))
  },
  (bytes, random) => {
    const { start, end } = block(bytes, random)
    return bytes.fill(random.pick([0, 0xff, 0x20, random.below(256)]), start, end)
  },
  (bytes, random) => insert(bytes, random.below(bytes.length + 1), random.bytes(1 + random.below(16))),
  (bytes, random, tokens) => {
    if (tokens.length === 0) return bytes
    const at = random.below(bytes.length + 1)
    const token = random.pick(tokens)
    return random.oneIn(2) ? insert(bytes, at, token) : overwrite(bytes, at, token)
  },
]

export interface Mutator {
  readonly random: Random
  readonly tokens: readonly Uint8Array[]
  readonly maxBytes: number
}

/** Returns a new input, made from one of the corpus; recent ones are taken more often. */
export function mutated(corpus: readonly Uint8Array[], { random, tokens, maxBytes }: Mutator): Uint8Array {
  const recent = random.oneIn(2) ? Math.min(corpus.length, 16) : corpus.length
  const base = corpus[corpus.length - 1 - random.below(recent)] as Uint8Array
  let bytes: Uint8Array = base.slice()
  if (random.oneIn(8)) {
    const other = random.pick(corpus)
    bytes = concat([bytes.subarray(0, random.below(bytes.length + 1)), other.subarray(random.below(other.length + 1))])
  }
  for (let left = 1 << random.below(5); left > 0; left--) bytes = random.pick(CHANGES)(bytes, random, tokens)
  return bytes.length > maxBytes ? bytes.slice(0, maxBytes) : bytes
}
