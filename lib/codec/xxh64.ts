/**
 * XXH64 of a range of memory, as a WebAssembly function: zstd's checksum is its low half.
 *
 * Source: xxHash fast digest algorithm, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md; seed 0.
 * Gotcha: every sum and product is 64 bits and wraps, which is why this is not TypeScript.
 */
import { type Code, Func, type I64, i32, i64, type Local } from './wasm.js'

const PRIME_1 = i64.const(0x9e3779b185ebca87n)
const PRIME_2 = i64.const(0xc2b2ae3d27d4eb4fn)
const PRIME_3 = i64.const(0x165667b19e3779f9n)
const PRIME_4 = i64.const(0x85ebca77c2b2ae63n)
const PRIME_5 = i64.const(0x27d4eb2f165667c5n)
const ZERO = i64.const(0)

/** xxh64(from, to): the hash of those bytes. */
export function xxh64Function(): { func: Func; body: Code } {
  const f = new Func('xxh64', ['i32', 'i32'], 'i64')
  const at = f.param(0, 'i32')
  const end = f.param(1, 'i32')
  const hash = f.local('i64')
  const length = f.local('i32')
  const lanes = [f.local('i64'), f.local('i64'), f.local('i64'), f.local('i64')] as const

  const round = (lane: I64, input: I64): I64 =>
    i64.mul(i64.rotl(i64.add(lane, i64.mul(input, PRIME_2)), i64.const(31)), PRIME_1)
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
    length.set(i32.sub(end, at)),
    f.if(
      i32.ltU(length, i32.const(32)),
      () => hash.set(PRIME_5),
      () => [
        lanes[0].set(i64.add(PRIME_1, PRIME_2)),
        lanes[1].set(PRIME_2),
        lanes[2].set(ZERO),
        lanes[3].set(i64.sub(ZERO, PRIME_1)),
        whileLeft(
          32,
          lanes.map((lane, index) => lane.set(round(lane, i64.load(at, 8 * index)))),
        ),
        hash.set(
          i64.add(
            i64.add(turned(lanes[0], 1), turned(lanes[1], 7)),
            i64.add(turned(lanes[2], 12), turned(lanes[3], 18)),
          ),
        ),
        lanes.map((lane) => mix(round(ZERO, lane), 0, PRIME_1, PRIME_4)),
      ],
    ),
    hash.set(i64.add(hash, i64.extend(length))),
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
