/**
 * XXH64 of bytes in memory, as two WebAssembly functions: zstd's checksum is its low half.
 *
 * Source: xxHash fast digest algorithm, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md; seed 0.
 * Gotcha: every sum and product has 64 bits and wraps: TypeScript would need bigint, so this is WebAssembly.
 */
import { type Code, Func, type I64, i32, i64, type Local } from './wasm.js'

const P1 = 0x9e3779b185ebca87n
const P2 = 0xc2b2ae3d27d4eb4fn
const PRIME_1 = i64.const(P1)
const PRIME_2 = i64.const(P2)
const PRIME_3 = i64.const(0x165667b19e3779f9n)
const PRIME_4 = i64.const(0x85ebca77c2b2ae63n)
const PRIME_5 = i64.const(0x27d4eb2f165667c5n)
const ZERO = i64.const(0)

/** The bytes of one step; lanes() takes only whole stripes. */
export const STRIPE = 32
/** The four lanes before the first stripe: u64. */
export const LANES = [P1 + P2, P2, 0n, -P1].map((lane) => BigInt.asUintN(64, lane))

const round = (lane: I64, input: I64): I64 =>
  i64.mul(i64.rotl(i64.add(lane, i64.mul(input, PRIME_2)), i64.const(31)), PRIME_1)

const lanesOf = (f: Func) => [f.local('i64'), f.local('i64'), f.local('i64'), f.local('i64')] as const

/** The function lanes(state, from, to): hashes whole stripes into the lanes at `state`; returns the rest's start. */
export function lanesFunction(): { func: Func; body: Code } {
  const f = new Func('lanes', ['i32', 'i32', 'i32'], 'i32')
  const state = f.param(0, 'i32')
  const at = f.param(1, 'i32')
  const end = f.param(2, 'i32')
  const lanes = lanesOf(f)
  const body: Code = [
    lanes.map((lane, index) => lane.set(i64.load(state, 8 * index))),
    f.block((done) =>
      f.loop((again) => [
        done.jumpIf(i32.ltU(i32.sub(end, at), i32.const(STRIPE))),
        lanes.map((lane, index) => lane.set(round(lane, i64.load(at, 8 * index)))),
        at.set(i32.add(at, i32.const(STRIPE))),
        again.jump(),
      ]),
    ),
    lanes.map((lane, index) => i64.store(state, lane, 8 * index)),
    at,
  ]
  return { func: f, body }
}

/** The function digest(state, from, to, length): the hash of `length` bytes, those in the lanes and the rest. */
export function digestFunction(): { func: Func; body: Code } {
  const f = new Func('digest', ['i32', 'i32', 'i32', 'i64'], 'i64')
  const state = f.param(0, 'i32')
  const at = f.param(1, 'i32')
  const end = f.param(2, 'i32')
  const length = f.param(3, 'i64')
  const hash = f.local('i64')
  const lanes = lanesOf(f)

  const turned = (lane: Local<'i64'>, by: number): I64 => i64.rotl(lane, i64.const(by))
  const fold = (shift: number): Code => hash.set(i64.xor(hash, i64.shrU(hash, i64.const(shift))))
  const mix = (input: I64, by: number, times: I64, plus: I64): Code =>
    hash.set(i64.add(i64.mul(i64.rotl(i64.xor(hash, input), i64.const(by)), times), plus))
  /** Repeats while at least `size` bytes are left. */
  const whileLeft = (size: number, step: Code): Code =>
    f.block((done) =>
      f.loop((again) => [
        done.jumpIf(i32.ltU(i32.sub(end, at), i32.const(size))),
        step,
        at.set(i32.add(at, i32.const(size))),
        again.jump(),
      ]),
    )

  const body: Code = [
    f.if(
      i64.ltU(length, i64.const(STRIPE)),
      () => hash.set(PRIME_5),
      () => [
        lanes.map((lane, index) => lane.set(i64.load(state, 8 * index))),
        hash.set(
          i64.add(
            i64.add(turned(lanes[0], 1), turned(lanes[1], 7)),
            i64.add(turned(lanes[2], 12), turned(lanes[3], 18)),
          ),
        ),
        lanes.map((lane) => mix(round(ZERO, lane), 0, PRIME_1, PRIME_4)),
      ],
    ),
    hash.set(i64.add(hash, length)),
    whileLeft(8, mix(round(ZERO, i64.load(at)), 27, PRIME_1, PRIME_4)),
    whileLeft(4, mix(i64.mul(i64.load32(at), PRIME_1), 23, PRIME_2, PRIME_3)),
    whileLeft(1, mix(i64.mul(i64.load8(at), PRIME_5), 11, PRIME_1, ZERO)),
    fold(33),
    hash.set(i64.mul(hash, PRIME_2)),
    fold(29),
    hash.set(i64.mul(hash, PRIME_3)),
    fold(32),
    hash,
  ]
  return { func: f, body }
}
