/**
 * The LZMA decoder's hot loop, as a WebAssembly function: from range-coded bits to literals and matches.
 *
 * Source: "LZMA specification" (lzma-specification.txt, public domain) in the LZMA SDK, https://www.7-zip.org/sdk.html;
 * names are its names. Shared by .lzma and by the LZMA2 chunks in .xz.
 * How it is fast: a kernel's bits are hard to predict, and a wrong guess costs a processor more than ten instructions.
 * So bits that only select the next probability (literals, lengths, distance slots) are decoded without a branch. The
 * sign of `code - bound`, spread over 64 bits, is a mask that selects an outcome. Only bits that select the
 * next step (IsMatch, IsRep...) branch. The output is the dictionary: nothing is copied from it.
 * Gotcha: without spare room, it would leave its buffers: it may overread the input by up to MAX_SYMBOL_BYTES before it
 * notices, and overwrite the output by COPY_SLACK.
 */
import { copies } from './copy.js'
import { type Code, Func, type I32, i32, i64, type Label } from './wasm.js'

/** Probabilities are 11-bit fractions; each bit moves one by 1/32 of the way. */
const PROB_BITS = 11
const PROB_ONE = 1 << PROB_BITS
const PROB_MOVE = 5
/** The first value of every probability: one half. */
export const PROB_INIT = PROB_ONE / 2
/** Reading input bytes keeps the range at or above this. */
const RANGE_TOP = 1 << 24

const STATES = 12
const POS_STATES = 16
/** States below this follow a literal. */
const LITERAL_STATES = 7
/** The most lc + lp of LZMA2 and of every .lzma encoder in use. */
export const MAX_LC_LP = 4
const LITERAL_PROBS = 0x300

/** LenDecoder: two choices, then trees of 3, 3 and 8 bits; each posState has its own first two. */
const LEN = { choice: 0, choice2: 1, low: 2, mid: 2 + POS_STATES * 8, high: 2 + POS_STATES * 16 }
const LEN_PROBS = LEN.high + 256
const MATCH_MIN = 2

const ALIGN_BITS = 4
/** Slots from here on have `direct` distance bits and an aligned tail; those from 4 to here have a separate tree. */
const END_POS_MODEL = 14
const FULL_DISTANCES = 128

/** The number of probabilities in each group. */
const groups = {
  isMatch: STATES * POS_STATES,
  isRep: STATES,
  isRepG0: STATES,
  isRepG1: STATES,
  isRepG2: STATES,
  isRep0Long: STATES * POS_STATES,
  posSlot: 4 * 64,
  posSpecial: FULL_DISTANCES,
  align: 1 << ALIGN_BITS,
  len: LEN_PROBS,
  repLen: LEN_PROBS,
  literal: LITERAL_PROBS << MAX_LC_LP,
}
/** The address of the probabilities in memory: u16 each. */
export const PROBS_AT = 1024
let next = 0
const PROB = Object.fromEntries(
  Object.entries(groups).map(([name, count]) => {
    const at = PROBS_AT + 2 * next
    next += count
    return [name, at]
  }),
) as Record<keyof typeof groups, number>
export const PROB_COUNT = next

/** The state kept between calls, and the caller's limits: u32 each, at these addresses. */
export const LZMA_FIELDS = {
  /** Next input byte. */
  in: 16,
  /** Stop before a symbol that would start at or after this input byte. */
  inStop: 20,
  /** Next output byte. */
  out: 24,
  /** Stop before a symbol that would start at or after this output byte. */
  outStop: 28,
  /** No match may write at or after this output byte. */
  outEnd: 32,
  /** The output byte where the dictionary begins: no distance reaches before it. */
  dictStart: 36,
  /** The byte before `out`, 0 at a dictionary's start. */
  previous: 40,
  state: 44,
  rep0: 48,
  rep1: 52,
  rep2: 56,
  rep3: 60,
  /** 8 - lc: the shift of the previous byte. */
  lcShift: 64,
  lpMask: 68,
  pbMask: 72,
  range: 76,
  code: 80,
} as const

/** The reasons why `lzma` returns. */
export const LZMA_STOP = { atLimit: 0, marker: 1, badDistance: 2, pastEnd: 3 } as const
/** The most input bytes of a symbol: 22 modelled bits of up to 6.1 bits each and 26 direct ones are 20; and a spare. */
export const MAX_SYMBOL_BYTES = 32

/** The function lzma(): LZMA_STOP. It decodes whole symbols until it reaches one of the limits in LZMA_FIELDS. */
export function lzmaFunction(): { func: Func; body: Code } {
  const f = new Func('lzma', [], 'i32')
  const c = i32.const
  const small = i64.const

  const input = f.local('i32')
  const inStop = f.local('i32')
  const out = f.local('i32')
  const outStop = f.local('i32')
  const outEnd = f.local('i32')
  const dictStart = f.local('i32')
  const previous = f.local('i32')
  const state = f.local('i32')
  const rep0 = f.local('i32')
  const rep1 = f.local('i32')
  const rep2 = f.local('i32')
  const rep3 = f.local('i32')
  const lcShift = f.local('i32')
  const lpMask = f.local('i32')
  const pbMask = f.local('i32')
  // 64 bits wide, so that code - bound, both u32, has a sign.
  const range = f.local('i64')
  const code = f.local('i64')

  const kept = [
    [input, LZMA_FIELDS.in],
    [inStop, LZMA_FIELDS.inStop],
    [out, LZMA_FIELDS.out],
    [outStop, LZMA_FIELDS.outStop],
    [outEnd, LZMA_FIELDS.outEnd],
    [dictStart, LZMA_FIELDS.dictStart],
    [previous, LZMA_FIELDS.previous],
    [state, LZMA_FIELDS.state],
    [rep0, LZMA_FIELDS.rep0],
    [rep1, LZMA_FIELDS.rep1],
    [rep2, LZMA_FIELDS.rep2],
    [rep3, LZMA_FIELDS.rep3],
    [lcShift, LZMA_FIELDS.lcShift],
    [lpMask, LZMA_FIELDS.lpMask],
    [pbMask, LZMA_FIELDS.pbMask],
  ] as const
  const restore = (): Code => [
    kept.map(([local, at]) => local.set(i32.load(c(0), at))),
    range.set(i64.load32(c(0), LZMA_FIELDS.range)),
    code.set(i64.load32(c(0), LZMA_FIELDS.code)),
  ]
  const save = (): Code => [
    kept.map(([local, at]) => i32.store(c(0), local, at)),
    i32.store(c(0), i32.wrap(range), LZMA_FIELDS.range),
    i32.store(c(0), i32.wrap(code), LZMA_FIELDS.code),
  ]

  // --- The range coder ---

  const normalize = (): Code =>
    f.if(i64.ltU(range, small(RANGE_TOP)), () => [
      range.set(i64.shl(range, small(8))),
      code.set(i64.or(i64.shl(code, small(8)), i64.load8(input))),
      input.set(i32.add(input, c(1))),
    ])

  const at = f.local('i32')
  const prob = f.local('i64')
  const bound = f.local('i64')
  const probLow = i32.wrap(prob)
  const splitRange = (): Code => bound.set(i64.mul(i64.shrU(range, small(PROB_BITS)), prob))

  /** Decodes a bit and runs `zero` or `one`. `index` counts bytes from `group`. */
  const branchOnBit = (index: I32, group: number, zero: () => Code, one: () => Code): Code => [
    normalize(),
    at.set(index),
    prob.set(i64.load16(at, group)),
    splitRange(),
    f.if(
      i64.ltU(code, bound),
      () => [
        range.set(bound),
        i32.store16(at, i32.add(probLow, i32.shrU(i32.sub(c(PROB_ONE), probLow), c(PROB_MOVE))), group),
        zero(),
      ],
      () => [
        range.set(i64.sub(range, bound)),
        code.set(i64.sub(code, bound)),
        i32.store16(at, i32.sub(probLow, i32.shrU(probLow, c(PROB_MOVE))), group),
        one(),
      ],
    ),
  ]

  /** All ones if the last bit was 0, all zeros if it was 1. */
  const zeroMask = f.local('i64')
  const bitMinusOne = (): I32 => i32.wrap(zeroMask)
  const bitMask = (): I32 => i32.xor(i32.wrap(zeroMask), c(-1))

  /**
   * Decodes a bit without a branch and sets zeroMask. `prob` is already loaded and is stored back to `at`. The new
   * probability after a zero, p + (2048 - p >> 5), is p - (p - 2048 + 31 >> 5) if the shift keeps the sign. So one
   * formula serves both outcomes.
   */
  const maskFromBit = (group: number): Code => [
    splitRange(),
    range.set(i64.sub(range, bound)),
    code.set(i64.sub(code, bound)),
    zeroMask.set(i64.shrS(code, small(63))),
    i32.store16(
      at,
      i32.sub(
        probLow,
        i32.shrS(i32.add(probLow, i32.and(i32.wrap(zeroMask), c((1 << PROB_MOVE) - 1 - PROB_ONE))), c(PROB_MOVE)),
      ),
      group,
    ),
    range.set(i64.add(range, i64.and(zeroMask, i64.sub(bound, range)))),
    code.set(i64.add(code, i64.and(zeroMask, bound))),
  ]

  // --- Bit trees ---

  /** Twice the node's index, which is a leading 1 and the bits so far. A probability has two bytes. */
  const node = f.local('i32')
  const descend = (): Code => node.set(i32.shl(i32.add(i32.add(node, c(1)), bitMinusOne()), c(1)))
  const symbol = (): I32 => i32.shrU(node, c(1))
  const left = f.local('i64')
  const right = f.local('i64')

  /** BitTreeDecoder, unrolled. Both children are loaded while their parent's bit is being decoded. */
  const bitTree = (tree: I32, group: number, bits: number): Code => {
    const code: Code[] = [node.set(c(2)), prob.set(i64.load16(tree, group + 2))]
    for (let bit = 0; bit < bits; bit++) {
      const isLast = bit === bits - 1
      code.push(normalize(), at.set(i32.add(tree, node)))
      if (!isLast) {
        const child = i32.add(at, node)
        code.push(left.set(i64.load16(child, group)), right.set(i64.load16(child, group + 2)))
      }
      code.push(maskFromBit(group))
      if (!isLast) code.push(prob.set(i64.xor(right, i64.and(zeroMask, i64.xor(left, right)))))
      code.push(descend())
    }
    return code
  }

  /** Decodes a bit of a tree that starts with the lowest bit. Adds `weight` to `sum` for a one. */
  const reverseBit = (tree: I32, group: number, sum: typeof rep0, weight: I32): Code => [
    normalize(),
    at.set(i32.add(tree, node)),
    prob.set(i64.load16(at, group)),
    maskFromBit(group),
    descend(),
    sum.set(i32.add(sum, i32.and(weight, bitMask()))),
  ]

  // --- Literals ---

  const tree = f.local('i32')
  const matchByte = f.local('i32')
  const matchBit = f.local('i32')
  const offset = f.local('i32')

  /** After a match, the byte at rep0 selects one of three trees: its bit is 0, its bit is 1, or a bit has differed. */
  const matchedLiteral = (): Code => {
    const bits: Code[] = []
    for (let bit = 0; bit < 8; bit++) {
      bits.push(
        normalize(),
        matchByte.set(i32.shl(matchByte, c(1))),
        matchBit.set(i32.and(matchByte, offset)),
        at.set(i32.add(i32.add(tree, i32.add(offset, matchBit)), node)),
        prob.set(i64.load16(at, PROB.literal)),
        maskFromBit(PROB.literal),
        descend(),
        offset.set(i32.and(offset, i32.xor(matchBit, bitMinusOne()))),
      )
    }
    return [
      matchByte.set(i32.shl(i32.load8(i32.sub(i32.sub(out, rep0), c(1))), c(1))),
      offset.set(c(0x200)),
      node.set(c(2)),
      bits,
    ]
  }

  const literal = (): Code => [
    tree.set(
      i32.mul(
        i32.add(i32.shl(i32.and(i32.sub(out, dictStart), lpMask), i32.sub(c(8), lcShift)), i32.shrU(previous, lcShift)),
        c(2 * LITERAL_PROBS),
      ),
    ),
    f.if(i32.ltU(state, c(LITERAL_STATES)), () => bitTree(tree, PROB.literal, 8), matchedLiteral),
    previous.set(i32.and(symbol(), c(0xff))),
    i32.store8(out, previous),
    out.set(i32.add(out, c(1))),
    state.set(i32.select(i32.ltU(state, c(4)), c(0), i32.sub(state, i32.select(i32.ltU(state, c(10)), c(3), c(6))))),
  ]

  // --- Lengths and distances ---

  const length = f.local('i32')
  const posState = f.local('i32')
  const decodeLength = (group: number): Code => {
    const lengthTree = (from: number, bits: number, first: number, each: boolean): Code => [
      tree.set(each ? i32.shl(posState, c(4)) : c(0)),
      bitTree(tree, group + 2 * from, bits),
      length.set(i32.add(symbol(), c(MATCH_MIN + first - (1 << bits)))),
    ]
    return branchOnBit(
      c(0),
      group + 2 * LEN.choice,
      () => lengthTree(LEN.low, 3, 0, true),
      () =>
        branchOnBit(
          c(0),
          group + 2 * LEN.choice2,
          () => lengthTree(LEN.mid, 3, 8, true),
          () => lengthTree(LEN.high, 8, 16, false),
        ),
    )
  }

  const posSlot = f.local('i32')
  const count = f.local('i32')
  const weight = f.local('i32')
  /** Sets rep0, the distance minus one. */
  const decodeDistance = (marker: Label): Code => [
    tree.set(i32.shl(i32.select(i32.ltU(length, c(MATCH_MIN + 4)), i32.sub(length, c(MATCH_MIN)), c(3)), c(7))),
    bitTree(tree, PROB.posSlot, 6),
    posSlot.set(i32.sub(symbol(), c(64))),
    f.if(
      i32.ltU(posSlot, c(4)),
      () => rep0.set(posSlot),
      () => [
        count.set(i32.sub(i32.shrU(posSlot, c(1)), c(1))),
        rep0.set(i32.or(c(2), i32.and(posSlot, c(1)))),
        node.set(c(2)),
        f.if(
          i32.ltU(posSlot, c(END_POS_MODEL)),
          () => [
            rep0.set(i32.shl(rep0, count)),
            tree.set(i32.shl(i32.sub(rep0, posSlot), c(1))),
            weight.set(c(1)),
            f.loop((again) => [
              reverseBit(tree, PROB.posSpecial, rep0, weight),
              weight.set(i32.shl(weight, c(1))),
              count.set(i32.sub(count, c(1))),
              again.jumpIf(count),
            ]),
          ],
          () => [
            count.set(i32.sub(count, c(ALIGN_BITS))),
            // Direct bits: each halves the range.
            f.loop((again) => [
              normalize(),
              range.set(i64.shrU(range, small(1))),
              code.set(i64.sub(code, range)),
              zeroMask.set(i64.shrS(code, small(63))),
              code.set(i64.add(code, i64.and(zeroMask, range))),
              rep0.set(i32.add(i32.add(i32.shl(rep0, c(1)), c(1)), bitMinusOne())),
              count.set(i32.sub(count, c(1))),
              again.jumpIf(count),
            ]),
            rep0.set(i32.shl(rep0, c(ALIGN_BITS))),
            [1, 2, 4, 8].map((bit) => reverseBit(c(0), PROB.align, rep0, c(bit))),
            marker.jumpIf(i32.eq(rep0, c(-1))),
          ],
        ),
      ],
    ),
  ]

  // --- Matches ---

  const stateIndex = (): I32 => i32.shl(state, c(1))
  const statePosIndex = (): I32 => i32.add(i32.shl(state, c(5)), i32.shl(posState, c(1)))
  const nextState = (afterLiteral: number, afterMatch: number): Code =>
    state.set(i32.select(i32.ltU(state, c(LITERAL_STATES)), c(afterLiteral), c(afterMatch)))

  const newMatch = (marker: Label): Code => [
    rep3.set(rep2),
    rep2.set(rep1),
    rep1.set(rep0),
    decodeLength(PROB.len),
    nextState(7, 10),
    decodeDistance(marker),
  ]

  const distance = f.local('i32')
  /** Moves an earlier distance to the front. A match of one byte jumps to `copy` at once. */
  const repeatedMatch = (copy: Label): Code => [
    branchOnBit(
      stateIndex(),
      PROB.isRepG0,
      () =>
        branchOnBit(
          statePosIndex(),
          PROB.isRep0Long,
          () => [nextState(9, 11), length.set(c(1)), copy.jump()],
          () => [],
        ),
      () => [
        branchOnBit(
          stateIndex(),
          PROB.isRepG1,
          () => distance.set(rep1),
          () => [
            branchOnBit(
              stateIndex(),
              PROB.isRepG2,
              () => distance.set(rep2),
              () => [distance.set(rep3), rep3.set(rep2)],
            ),
            rep2.set(rep1),
          ],
        ),
        rep1.set(rep0),
        rep0.set(distance),
      ],
    ),
    decodeLength(PROB.repLen),
    nextState(8, 11),
  ]

  const status = f.local('i32')
  const copy = copies(f)
  const copyMatch = (stop: Label): Code => [
    status.set(c(LZMA_STOP.badDistance)),
    stop.jumpIf(i32.geU(rep0, i32.sub(out, dictStart))),
    status.set(c(LZMA_STOP.pastEnd)),
    stop.jumpIf(i32.gtU(length, i32.sub(outEnd, out))),
    distance.set(i32.add(rep0, c(1))),
    copy.match(out, distance, length),
    previous.set(i32.load8(i32.sub(out, c(1)))),
  ]

  const body: Code = [
    restore(),
    f.block((stop) => [
      f.block((marker) => [
        f.loop((nextSymbol) => [
          status.set(c(LZMA_STOP.atLimit)),
          stop.jumpIf(i32.geU(out, outStop)),
          stop.jumpIf(i32.geU(input, inStop)),
          posState.set(i32.and(i32.sub(out, dictStart), pbMask)),
          branchOnBit(
            statePosIndex(),
            PROB.isMatch,
            () => [literal(), nextSymbol.jump()],
            () => [
              f.block((copy) =>
                branchOnBit(
                  stateIndex(),
                  PROB.isRep,
                  () => newMatch(marker),
                  () => repeatedMatch(copy),
                ),
              ),
              copyMatch(stop),
              nextSymbol.jump(),
            ],
          ),
        ]),
      ]),
      status.set(c(LZMA_STOP.marker)),
    ]),
    // The encoder's last bytes belong to the last symbol: read them now, so that `in` and `code` can be checked.
    normalize(),
    save(),
    status,
  ]
  return { func: f, body }
}
