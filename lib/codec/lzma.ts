/**
 * The .lzma container ("LZMA alone"): 13 bytes of header and one LZMA stream.
 *
 * Source: "LZMA specification" (lzma-specification.txt) in the LZMA SDK, https://www.7-zip.org/sdk.html.
 * Gotcha: there is no checksum, and an end marker may follow even if the size is known. If the size is unknown (all
 * ones), the end marker ends the stream.
 */
import { hex } from '../units.js'
import type { Slices } from '../work.js'
import { LZMA_STOP, MAX_LC_LP } from './lzma-core.js'
import { LzmaMachine, parseProperties, WINDOW_BYTES } from './lzma-machine.js'
import { type Decoded, SLICE_BYTES, type Source } from './source.js'

/** The longest match, and so the most bytes by which one passes a pause. */
const MATCH_MAX = 273
/**
 * Output bytes between two pauses. The engine switches to optimised code only when a function is called, so the first
 * pauses come early.
 */
const PAUSE_MIN = 2 ** 16
const PAUSE_MAX = SLICE_BYTES

export function* decodeLzma(source: Source): Slices<Decoded> {
  const byte = source.u8()
  const properties = parseProperties(byte)
  if (properties === undefined || properties.lc + properties.lp > MAX_LC_LP) {
    source.unsupported('this byte of properties', { expected: 'lc + lp of at most 4', found: hex(byte) }, 0)
  }
  // The dictionary's size only matters to a decoder that allocates one.
  source.take(4)
  const low = source.u32le()
  const high = source.u32le()
  const size = low === 0xffffffff && high === 0xffffffff ? undefined : high * 2 ** 32 + low
  if (size !== undefined && size > source.ceiling) source.tooLarge()

  const machine = new LzmaMachine(source)
  machine.resetState(properties)
  machine.startRange(source.take(5))

  const end = size ?? source.ceiling
  let pause = PAUSE_MIN
  /** Decodes up to `outputLength` or the end of a window; true at the end marker. */
  const run = (outputLength: number, matchEnd: number): boolean => {
    const input = source.bytes.subarray(source.at, source.at + WINDOW_BYTES)
    const isLast = input.length === source.left
    const { stop, used } = machine.run(input, isLast, outputLength, matchEnd)
    if (used > input.length) source.need(used)
    source.at += used
    if (stop === LZMA_STOP.pastEnd) {
      if (size === undefined) source.tooLarge()
      source.damaged('a match passes the end', { expected: `${size} bytes` })
    }
    return stop === LZMA_STOP.marker
  }

  let isMarked = false
  while (!isMarked && machine.length < end) {
    const target = Math.min(machine.length + pause, end)
    machine.reserve(Math.min(target + MATCH_MAX, end) - machine.length)
    isMarked = run(target, Math.min(target + MATCH_MAX, end))
    pause = Math.min(2 * pause, PAUSE_MAX)
    yield
  }
  // The size is reached: only an end marker may follow. It follows if the range coder has not ended, and must follow if
  // the size was unknown.
  if (!isMarked && (size === undefined || !machine.rangeIsFinished)) {
    const before = machine.length
    isMarked = run(before + 1, before)
    if (!isMarked) {
      if (size === undefined) source.tooLarge()
      source.damaged('the stream goes on after its end', { expected: `${size} bytes` })
    }
  }
  if (size !== undefined && machine.length !== size) {
    source.damaged('the end marker comes early', { expected: `${size} bytes`, found: `${machine.length}` })
  }
  if (!machine.rangeIsFinished) source.damaged('the range coder does not end as it should')
  return { bytes: yield* machine.result(), consumed: source.at }
}
