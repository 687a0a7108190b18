/**
 * Copies inside a WebAssembly decoder: literals, and matches that may overlap themselves.
 *
 * Source: what every LZ77 format means by a match (RFC 1951, section 3.2.3: a length may exceed its distance).
 * Gotcha: whole words are copied, so up to COPY_SLACK bytes past both ends are read and written: leave room for them.
 */
import { type Code, type Func, type I32, i32, i64, type Local } from './wasm.js'

const WORD = 8
export const COPY_SLACK = WORD

export interface Copies {
  /** Copies `length` bytes, at least one, from `from`, which lies apart from the output. Moves `out` past them. */
  readonly literals: (out: Local<'i32'>, from: I32, length: I32) => Code
  /** Repeats what was written `distance` bytes before `out`: `length` bytes, at least one. Moves `out` past them. */
  readonly match: (out: Local<'i32'>, distance: I32, length: I32) => Code
}

export function copies(f: Func): Copies {
  const source = f.local('i32')
  const end = f.local('i32')
  const word = f.local('i64')
  const words = (out: Local<'i32'>): Code => [
    f.loop((again) => [
      word.set(i64.load(source)),
      i64.store(out, word),
      source.set(i32.add(source, i32.const(WORD))),
      out.set(i32.add(out, i32.const(WORD))),
      again.jumpIf(i32.ltU(out, end)),
    ]),
    out.set(end),
  ]
  const bytes = (out: Local<'i32'>): Code =>
    f.loop((again) => [
      i32.store8(out, i32.load8(source)),
      source.set(i32.add(source, i32.const(1))),
      out.set(i32.add(out, i32.const(1))),
      again.jumpIf(i32.ltU(out, end)),
    ])
  return {
    literals: (out, from, length) => [source.set(from), end.set(i32.add(out, length)), words(out)],
    match: (out, distance, length) => [
      source.set(i32.sub(out, distance)),
      end.set(i32.add(out, length)),
      f.if(
        i32.geU(distance, i32.const(WORD)),
        () => words(out),
        () => bytes(out),
      ),
    ],
  }
}
