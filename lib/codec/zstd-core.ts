/**
 * zstd's two hot loops as WebAssembly functions: Huffman-coded literals, and sequences of literals and matches.
 *
 * Source: RFC 8878, https://www.rfc-editor.org/rfc/rfc8878, sections 3.1.1.3.1 and 3.1.1.3.2; names are its names.
 * Gotcha: a damaged bit stream may be read some bytes before its start, so there must be memory. Bit streams are read
 * from the end towards the start. Bits above the highest byte's marker do not count, and a stream must end exactly at
 * its first bit.
 */
import { COPY_SLACK, copies } from './copy.js'
import { type Code, Func, type I32, type I64, i32, i64, type Local } from './wasm.js'

/** Literals have codes of at most 11 bits. */
export const HUFFMAN_BITS_MAX = 11
/** The most bytes of a block, compressed or not. */
export const BLOCK_MAX = 2 ** 17
const SYMBOL_TABLE_MAX = 512

/** The lanes of a frame's checksum: four u64, after ZSTD_FIELDS. */
export const HASH_AT = 64
/** The addresses of everything. There is room before the block for reads before a stream's start. */
export const HUFFMAN_AT = 1024
export const TABLE_AT = {
  literalLength: 8192,
  offset: 8192 + 8 * SYMBOL_TABLE_MAX,
  matchLength: 8192 + 16 * SYMBOL_TABLE_MAX,
}
export const BLOCK_AT = 2 ** 16
export const LITERALS_AT = BLOCK_AT + BLOCK_MAX + 2 ** 12
export const OUTPUT_AT = LITERALS_AT + BLOCK_MAX + 2 ** 12
export const OUTPUT_SLACK = COPY_SLACK

/** The state that sequences() reads and writes: u32 each, at these addresses. */
export const ZSTD_FIELDS = {
  /** The frame's first output byte: no offset may reach before it. */
  frameStart: 16,
  out: 20,
  outEnd: 24,
  literal: 28,
  literalEnd: 32,
  /** Repeated offsets. */
  rep1: 36,
  rep2: 40,
  rep3: 44,
  /** Bits of the tables' states. */
  literalLengthLog: 48,
  offsetLog: 52,
  matchLengthLog: 56,
} as const

export const RESULT = { done: 0, badBits: 1, badOffset: 2, pastLiterals: 3, pastEnd: 4 } as const

/** A cursor that reads bits backwards. */
class BackwardBits {
  readonly #start: Local<'i32'>
  /** The address of the current word; its upper `used` bits are already read. */
  readonly #at: Local<'i32'>
  readonly #used: Local<'i64'>
  readonly #word: Local<'i64'>

  constructor(f: Func, start: Local<'i32'>) {
    this.#start = start
    this.#at = f.local('i32')
    this.#used = f.local('i64')
    this.#word = f.local('i64')
  }

  /** `marker` is the number of bits at the top of the last byte, before the first bit that counts. */
  begin(end: I32, marker: I32): Code {
    return [
      this.#at.set(i32.sub(end, i32.const(8))),
      this.#used.set(i64.extend(marker)),
      this.#word.set(i64.load(this.#at)),
    ]
  }

  /** Makes 57 bits available. */
  refill(): Code {
    return [
      this.#at.set(i32.sub(this.#at, i32.wrap(i64.shrU(this.#used, i64.const(3))))),
      this.#used.set(i64.and(this.#used, i64.const(7))),
      this.#word.set(i64.load(this.#at)),
    ]
  }

  /** The next `count` bits, maybe none, by two shifts: one by 64 would do nothing. */
  peek(count: I64): I64 {
    return i64.shrU(i64.shrU(i64.shl(this.#word, this.#used), i64.const(1)), i64.sub(i64.const(63), count))
  }

  skip(count: I64): Code {
    return this.#used.set(i64.add(this.#used, count))
  }

  /** The number of bits left; negative, so a huge number, if too many were read. */
  left(): I32 {
    const bytes = i32.sub(this.#at, this.#start)
    return i32.sub(i32.add(i32.shl(bytes, i32.const(3)), i32.const(64)), i32.wrap(this.#used))
  }
}

/**
 * The function huffman(start, end, marker, out, outEnd, maxBits): RESULT. Decodes a stream into outEnd - out literals.
 */
export function huffmanFunction(): { func: Func; body: Code } {
  const f = new Func('huffman', ['i32', 'i32', 'i32', 'i32', 'i32', 'i32'], 'i32')
  const start = f.param(0, 'i32')
  const end = f.param(1, 'i32')
  const marker = f.param(2, 'i32')
  const out = f.param(3, 'i32')
  const outEnd = f.param(4, 'i32')
  const maxBits = f.param(5, 'i32')
  const bits = new BackwardBits(f, start)
  const width = f.local('i64')
  const entry = f.local('i64')
  const status = f.local('i32')

  /** Decodes a symbol. An entry is a symbol above the number of bits of its code. */
  const decodeSymbol = (at: number): Code => [
    entry.set(i64.load16(i32.shl(i32.wrap(bits.peek(width)), i32.const(1)), HUFFMAN_AT)),
    bits.skip(i64.and(entry, i64.const(0xff))),
    i32.store8(out, i32.wrap(i64.shrU(entry, i64.const(8))), at),
  ]
  const body: Code = [
    width.set(i64.extend(maxBits)),
    bits.begin(end, marker),
    status.set(i32.const(RESULT.badBits)),
    f.block((stop) => [
      f.block((tail) =>
        f.loop((again) => [
          tail.jumpIf(i32.ltU(i32.sub(outEnd, out), i32.const(5))),
          bits.refill(),
          // Reads have passed the start of the stream.
          stop.jumpIf(i32.gtU(bits.left(), i32.const(8 * BLOCK_MAX))),
          [0, 1, 2, 3, 4].map(decodeSymbol),
          out.set(i32.add(out, i32.const(5))),
          again.jump(),
        ]),
      ),
      bits.refill(),
      f.block((done) =>
        f.loop((again) => [
          done.jumpIf(i32.geU(out, outEnd)),
          decodeSymbol(0),
          out.set(i32.add(out, i32.const(1))),
          again.jump(),
        ]),
      ),
      stop.jumpIf(bits.left()),
      status.set(i32.const(RESULT.done)),
    ]),
    status,
  ]
  return { func: f, body }
}

/**
 * The function sequences(start, end, marker, count): RESULT. Decodes and executes them between the limits in ZSTD_FIELDS.
 */
export function sequencesFunction(): { func: Func; body: Code } {
  const f = new Func('sequences', ['i32', 'i32', 'i32', 'i32'], 'i32')
  const start = f.param(0, 'i32')
  const end = f.param(1, 'i32')
  const marker = f.param(2, 'i32')
  const count = f.param(3, 'i32')
  const c = i32.const
  const names = ['frameStart', 'out', 'outEnd', 'literal', 'literalEnd', 'rep1', 'rep2', 'rep3'] as const
  const locals = Object.fromEntries(names.map((name) => [name, f.local('i32')])) as Record<
    (typeof names)[number],
    Local<'i32'>
  >
  const { frameStart, out, outEnd, literal, literalEnd, rep1, rep2, rep3 } = locals
  const bits = new BackwardBits(f, start)
  const copy = copies(f)
  const status = f.local('i32')
  const width = f.local('i64')

  /**
   * A table's state is the index of its entry. An entry is, from low to high: u16 the next state's base, u8 its bits,
   * u8 the bits that add to the value, u32 the value's base.
   */
  const table = (at: number, log: number) => {
    const state = f.local('i32')
    const entry = f.local('i64')
    const take = (into: Local<'i32'>, base: I64, bitCount: I64): Code => [
      width.set(bitCount),
      into.set(i32.wrap(i64.add(base, bits.peek(width)))),
      bits.skip(width),
    ]
    const field = (shift: number, mask: number): I64 => i64.and(i64.shrU(entry, i64.const(shift)), i64.const(mask))
    return {
      begin: (): Code => take(state, i64.const(0), i64.load32(c(0), log)),
      load: (): Code => entry.set(i64.load(i32.shl(state, c(3)), at)),
      value: (into: Local<'i32'>): Code => take(into, i64.shrU(entry, i64.const(32)), field(24, 0xff)),
      advance: (): Code => take(state, field(0, 0xffff), field(16, 0xff)),
    }
  }
  const literalLengths = table(TABLE_AT.literalLength, ZSTD_FIELDS.literalLengthLog)
  const offsets = table(TABLE_AT.offset, ZSTD_FIELDS.offsetLog)
  const matchLengths = table(TABLE_AT.matchLength, ZSTD_FIELDS.matchLengthLog)

  const literalLength = f.local('i32')
  const offset = f.local('i32')
  const matchLength = f.local('i32')
  const index = f.local('i32')

  /** Offset values 1 to 3 are repeated offsets; without literals before them, each means the next one. */
  const resolveOffset = (): Code =>
    f.if(
      i32.gtU(offset, c(3)),
      () => [rep3.set(rep2), rep2.set(rep1), rep1.set(i32.sub(offset, c(3)))],
      () => [
        index.set(i32.select(literalLength, i32.sub(offset, c(1)), offset)),
        f.if(index, () => [
          f.if(
            i32.eq(index, c(1)),
            () => offset.set(rep2),
            () => [offset.set(i32.select(i32.eq(index, c(2)), rep3, i32.sub(rep1, c(1)))), rep3.set(rep2)],
          ),
          rep2.set(rep1),
          rep1.set(offset),
        ]),
      ],
    )

  const body: Code = [
    names.map((name) => locals[name].set(i32.load(c(0), ZSTD_FIELDS[name]))),
    bits.begin(end, marker),
    literalLengths.begin(),
    offsets.begin(),
    matchLengths.begin(),
    f.block((stop) => [
      f.loop((again) => [
        literalLengths.load(),
        offsets.load(),
        matchLengths.load(),
        bits.refill(),
        status.set(c(RESULT.badBits)),
        stop.jumpIf(i32.gtU(bits.left(), c(8 * BLOCK_MAX))),
        offsets.value(offset),
        matchLengths.value(matchLength),
        bits.refill(),
        literalLengths.value(literalLength),
        resolveOffset(),

        status.set(c(RESULT.pastLiterals)),
        stop.jumpIf(i32.gtU(literalLength, i32.sub(literalEnd, literal))),
        status.set(c(RESULT.pastEnd)),
        stop.jumpIf(i32.gtU(i32.add(literalLength, matchLength), i32.sub(outEnd, out))),
        f.if(literalLength, () => [
          copy.literals(out, literal, literalLength),
          literal.set(i32.add(literal, literalLength)),
        ]),
        status.set(c(RESULT.badOffset)),
        stop.jumpIf(i32.geU(i32.sub(rep1, c(1)), i32.sub(out, frameStart))),
        copy.match(out, rep1, matchLength),

        count.set(i32.sub(count, c(1))),
        f.if(count, () => [literalLengths.advance(), matchLengths.advance(), offsets.advance(), again.jump()]),
      ]),
      status.set(c(RESULT.badBits)),
      stop.jumpIf(bits.left()),
      status.set(c(RESULT.done)),
    ]),
    names.map((name) => i32.store(c(0), locals[name], ZSTD_FIELDS[name])),
    status,
  ]
  return { func: f, body }
}
