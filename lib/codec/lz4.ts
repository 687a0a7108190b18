/**
 * LZ4 in its legacy frame, which Linux kernels use: blocks of 8 MiB, no checksums, no end mark.
 *
 * Source: lz4_Frame_format.md, "Legacy frame", and lz4_Block_format.md, https://github.com/lz4/lz4/tree/dev/doc.
 * Gotcha: a frame has no end mark: it ends with the input. Another frame may follow: a magic number in place of a
 * block's size.
 */
import type { Slices } from '../work.js'
import { type BlockFunction, BlockMachine, blockStart, compileLater, STOP } from './block-machine.js'
import { copies } from './copy.js'
import type { Decoded, Source } from './source.js'
import { type Code, i32, type Label, type Local } from './wasm.js'

const MAGIC = 0x184c2102
/** The most bytes of a decompressed block. */
const BLOCK_BYTES = 8 * 2 ** 20
/** The most bytes of a block that does not compress at all (LZ4_compressBound). */
const COMPRESSED_MAX = BLOCK_BYTES + Math.floor(BLOCK_BYTES / 255) + 16

const MATCH_MIN = 4
/** A length of this in the token continues in the next bytes. */
const LENGTH_GOES_ON = 15

/** The fewest bytes after any but the last literals: a distance, the last token and the block's last five literals. */
const AFTER_LITERALS_MIN = 2 + 1 + 5

const compiled = compileLater(() => [blockFunction()])

export function* decodeLz4(source: Source): Slices<Decoded> {
  source.take(4)
  const machine = new BlockMachine(source, compiled(), COMPRESSED_MAX)
  while (source.left >= 4) {
    const at = source.at
    const size = source.u32le()
    if (size === MAGIC) continue
    if (size === 0 || size > COMPRESSED_MAX) {
      // Not a block: other data begins here.
      source.at = at
      break
    }
    yield* machine.run(source.take(size), BLOCK_BYTES, at)
  }
  return { bytes: machine.bytes(), consumed: source.at }
}

/** Sequences: a token with two lengths, literals, and a match; the last one ends after its literals. */
function blockFunction(): BlockFunction {
  const { f, input, inputEnd, out, outEnd, start, pause, begin, end } = blockStart()
  const token = f.local('i32')
  const length = f.local('i32')
  const distance = f.local('i32')
  const byte = f.local('i32')
  const status = f.local('i32')
  const copy = copies(f)
  const c = i32.const

  const nextByte = (into: Local<'i32'>, stop: Label): Code => [
    status.set(c(STOP.endsEarly)),
    stop.jumpIf(i32.geU(input, inputEnd)),
    into.set(i32.load8(input)),
    input.set(i32.add(input, c(1))),
  ]
  const checkRoom = (stop: Label): Code => [
    status.set(c(STOP.pastEnd)),
    stop.jumpIf(i32.gtU(length, i32.sub(outEnd, out))),
  ]
  const extendLength = (stop: Label): Code =>
    f.if(i32.eq(length, c(LENGTH_GOES_ON)), () =>
      f.loop((again) => [
        nextByte(byte, stop),
        length.set(i32.add(length, byte)),
        checkRoom(stop),
        again.jumpIf(i32.eq(byte, c(0xff))),
      ]),
    )

  const body: Code = [
    begin,
    f.block((stop) =>
      f.loop((again) => [
        status.set(c(STOP.paused)),
        stop.jumpIf(i32.geU(out, pause)),
        nextByte(token, stop),
        length.set(i32.shrU(token, c(4))),
        extendLength(stop),
        f.if(length, () => [
          status.set(c(STOP.endsEarly)),
          stop.jumpIf(i32.gtU(length, i32.sub(inputEnd, input))),
          checkRoom(stop),
          copy.literals(out, input, length),
          input.set(i32.add(input, length)),
        ]),
        status.set(c(STOP.done)),
        stop.jumpIf(i32.eq(input, inputEnd)),
        status.set(c(STOP.endsEarly)),
        stop.jumpIf(i32.gtU(input, i32.sub(inputEnd, c(AFTER_LITERALS_MIN)))),

        nextByte(distance, stop),
        nextByte(byte, stop),
        distance.set(i32.or(distance, i32.shl(byte, c(8)))),
        status.set(c(STOP.badDistance)),
        // Zero is an invalid distance: less one, it is the largest number.
        stop.jumpIf(i32.geU(i32.sub(distance, c(1)), i32.sub(out, start))),
        length.set(i32.and(token, c(15))),
        extendLength(stop),
        length.set(i32.add(length, c(MATCH_MIN))),
        checkRoom(stop),
        copy.match(out, distance, length),
        again.jump(),
      ]),
    ),
    end,
    status,
  ]
  return { func: f, body }
}
