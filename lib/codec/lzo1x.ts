/**
 * LZO1X blocks, as a WebAssembly function.
 *
 * Source: Linux Documentation/staging/lzo.rst, https://docs.kernel.org/staging/lzo.html, which describes the byte
 * codes; "state" is its word for the literals of the last instruction: 0 to 3 copied, or 4 after a run of them.
 * Gotcha: a code below 16 has three meanings, by the state. A length that does not fit its code continues in zero
 * bytes, each worth 255, and a last byte that is not zero.
 */
import { type BlockFunction, blockStart, STOP } from './block-machine.js'
import { copies } from './copy.js'
import { type Code, type I32, i32, type Label, type Local } from './wasm.js'

/** A first byte above this is a run of literals; the difference is their number. */
const FIRST_RUN = 17
const AFTER_RUN = 4
/** The distance that ends the block. */
const END_DISTANCE = 16384

export function lzo1xFunction(): BlockFunction {
  const { f, input, inputEnd, out, outEnd, start, state, pause, begin, end } = blockStart()
  const op = f.local('i32')
  const low = f.local('i32')
  const byte = f.local('i32')
  const length = f.local('i32')
  const distance = f.local('i32')
  const status = f.local('i32')
  const copy = copies(f)
  const c = i32.const

  const nextByte = (into: Local<'i32'>, stop: Label): Code => [
    status.set(c(STOP.endsEarly)),
    stop.jumpIf(i32.geU(input, inputEnd)),
    into.set(i32.load8(input)),
    input.set(i32.add(input, c(1))),
  ]
  /** Sets `length` to `least` plus `bits` of the code. If they are zero, to `bits` plus the bytes that follow. */
  const readLength = (bits: number, least: number, stop: Label): Code => [
    length.set(i32.and(op, c(bits))),
    f.if(i32.eq(length, c(0)), () => [
      length.set(c(bits)),
      f.loop((again) => [
        nextByte(byte, stop),
        f.if(i32.eq(byte, c(0)), () => [
          length.set(i32.add(length, c(255))),
          status.set(c(STOP.pastEnd)),
          stop.jumpIf(i32.gtU(length, i32.sub(outEnd, out))),
          again.jump(),
        ]),
      ]),
      length.set(i32.add(length, byte)),
    ]),
    length.set(i32.add(length, c(least))),
  ]
  /** Reads two bytes, little-endian: a distance's low 14 bits above two bits of state. */
  const readDistance16 = (base: I32, stop: Label): Code => [
    nextByte(low, stop),
    nextByte(byte, stop),
    distance.set(i32.add(base, i32.or(i32.shrU(low, c(2)), i32.shl(byte, c(6))))),
  ]
  /** Reads one byte, the distance's bits above those in the code. The code also holds the state. */
  const readDistance8 = (bits: number, base: number, stop: Label): Code => [
    nextByte(byte, stop),
    low.set(op),
    distance.set(i32.add(i32.or(i32.shl(byte, c(bits)), i32.and(i32.shrU(op, c(2)), c((1 << bits) - 1))), c(base))),
  ]
  const copyLiterals = (count: I32, stop: Label): Code => [
    status.set(c(STOP.endsEarly)),
    stop.jumpIf(i32.gtU(count, i32.sub(inputEnd, input))),
    status.set(c(STOP.pastEnd)),
    stop.jumpIf(i32.gtU(count, i32.sub(outEnd, out))),
    copy.literals(out, input, count),
    input.set(i32.add(input, count)),
  ]

  const body: Code = [
    begin,
    f.block((stop) => [
      f.if(i32.eq(out, start), () => [
        nextByte(op, stop),
        f.if(
          i32.gtU(op, c(FIRST_RUN)),
          () => [
            length.set(i32.sub(op, c(FIRST_RUN))),
            copyLiterals(length, stop),
            state.set(i32.select(i32.ltU(length, c(AFTER_RUN)), length, c(AFTER_RUN))),
          ],
          () => input.set(i32.sub(input, c(1))),
        ),
      ]),
      f.loop((again) => [
        status.set(c(STOP.paused)),
        stop.jumpIf(i32.geU(out, pause)),
        nextByte(op, stop),
        f.block((match) => [
          f.block((below64) => [
            below64.jumpIf(i32.ltU(op, c(64))),
            f.if(
              i32.ltU(op, c(128)),
              () => length.set(i32.add(i32.and(i32.shrU(op, c(5)), c(1)), c(3))),
              () => length.set(i32.add(i32.and(i32.shrU(op, c(5)), c(3)), c(5))),
            ),
            readDistance8(3, 1, stop),
            match.jump(),
          ]),
          f.block((below32) => [
            below32.jumpIf(i32.ltU(op, c(32))),
            readLength(31, 2, stop),
            readDistance16(c(1), stop),
            match.jump(),
          ]),
          f.block((below16) => [
            below16.jumpIf(i32.ltU(op, c(16))),
            readLength(7, 2, stop),
            readDistance16(i32.add(c(END_DISTANCE), i32.shl(i32.and(op, c(8)), c(11))), stop),
            match.jumpIf(i32.gtU(distance, c(END_DISTANCE))),
            status.set(i32.select(i32.eq(input, inputEnd), c(STOP.done), c(STOP.goesOn))),
            stop.jump(),
          ]),
          f.if(i32.eq(state, c(0)), () => [
            readLength(15, 3, stop),
            copyLiterals(length, stop),
            state.set(c(AFTER_RUN)),
            again.jump(),
          ]),
          f.if(
            i32.eq(state, c(AFTER_RUN)),
            () => [length.set(c(3)), readDistance8(2, 2049, stop)],
            () => [length.set(c(2)), readDistance8(2, 1, stop)],
          ),
        ]),
        status.set(c(STOP.badDistance)),
        stop.jumpIf(i32.gtU(distance, i32.sub(out, start))),
        status.set(c(STOP.pastEnd)),
        stop.jumpIf(i32.gtU(length, i32.sub(outEnd, out))),
        copy.match(out, distance, length),
        state.set(i32.and(low, c(3))),
        f.if(state, () => copyLiterals(state, stop)),
        again.jump(),
      ]),
    ]),
    end,
    status,
  ]
  return { func: f, body }
}
