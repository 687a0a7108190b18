/**
 * Copies inside a WebAssembly decoder: literals, and matches that may overlap themselves.
 *
 * Source: the definition of a match in every LZ77 format (RFC 1951, section 3.2.3: a length may exceed its distance).
 * Gotcha: copies are whole words: they read and write up to COPY_SLACK bytes past both ends, so leave room for them. A
 * match nearer than a word repeats a pattern. It is copied from a whole number of patterns back, at least a word away.
 */
import { type Code, type Func, type I32, i32, i64, type Local } from './wasm.js'

const WORD = 8
/** By distance below a word, four bits each: the least multiple of the distance that is at least a word. */
const PATTERNS = [0, 8, 8, 9, 8, 10, 12, 14].reduce((all, bytes, distance) => all | (bytes << (4 * distance)), 0)
export const COPY_SLACK = WORD

interface Copies {
  /** Copies `length` bytes, at least one, from `from`, which lies outside the output. Moves `out` past them. */
  readonly literals: (out: Local<'i32'>, from: I32, length: I32) => Code
  /** Repeats `length` bytes, at least one, from `distance` bytes before `out`. Moves `out` past them. */
  readonly match: (out: Local<'i32'>, distance: I32, length: I32) => Code
}

export function copies(f: Func): Copies {
  const source = f.local('i32')
  const end = f.local('i32')
  const wordEnd = f.local('i32')
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
  /** Copies byte by byte up to a word or the end, then by words from a whole number of patterns back. */
  const pattern = (out: Local<'i32'>, distance: I32, length: I32): Code => [
    wordEnd.set(i32.select(i32.ltU(length, i32.const(WORD)), end, i32.add(out, i32.const(WORD)))),
    f.loop((again) => [
      i32.store8(out, i32.load8(source)),
      source.set(i32.add(source, i32.const(1))),
      out.set(i32.add(out, i32.const(1))),
      again.jumpIf(i32.ltU(out, wordEnd)),
    ]),
    f.if(i32.ltU(out, end), () => [
      source.set(i32.sub(out, i32.and(i32.shrU(i32.const(PATTERNS), i32.shl(distance, i32.const(2))), i32.const(15)))),
      words(out),
    ]),
  ]
  return {
    literals: (out, from, length) => [source.set(from), end.set(i32.add(out, length)), words(out)],
    match: (out, distance, length) => [
      source.set(i32.sub(out, distance)),
      end.set(i32.add(out, length)),
      f.if(
        i32.geU(distance, i32.const(WORD)),
        () => words(out),
        () => pattern(out, distance, length),
      ),
    ],
  }
}
