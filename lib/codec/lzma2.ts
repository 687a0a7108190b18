/**
 * LZMA2: LZMA in chunks of at most 64 KiB compressed and 2 MiB plain. Each chunk says what it resets.
 *
 * Source: the chunk headers are described in the LZMA SDK (Lzma2Dec) and, in prose, at
 * https://en.wikipedia.org/wiki/Lempel-Ziv-Markov_chain_algorithm#LZMA2_format.
 * Gotcha: an uncompressed chunk does not reset LZMA's state and probabilities; only the control byte does.
 */
import { hex } from '../units.js'
import type { Slices } from '../work.js'
import { LZMA_STOP, MAX_LC_LP } from './lzma-core.js'
import { type LzmaMachine, type Properties, parseProperties } from './lzma-machine.js'
import { type Source, sliceEnds } from './source.js'

/** Control bytes of chunks with plain bytes; 0 ends the stream, and from LZMA on chunks hold LZMA. */
const PLAIN_AFTER_RESET = 1
const PLAIN = 2
const LZMA = 0x80
/** Values of bits 5 and 6 of an LZMA chunk's control byte; each resets all that those before it do. */
const RESET_STATE = 1
const RESET_PROPERTIES = 2
const RESET_DICTIONARY = 3

/** Appends one LZMA2 stream's output, a chunk in each slice, and leaves the source after its end mark. */
export function* decodeLzma2(source: Source, machine: LzmaMachine): Slices<void> {
  // The least that the next chunk must reset.
  let owes = RESET_DICTIONARY
  let properties: Properties | undefined
  for (;;) {
    const at = source.at
    const control = source.u8()
    if (control === 0) return
    if (control > PLAIN && control < LZMA)
      source.damaged('LZMA2 control byte is out of range', { found: hex(control) }, at)
    if (control <= PLAIN) {
      if (control === PLAIN_AFTER_RESET) {
        machine.resetDictionary()
        owes = RESET_PROPERTIES
      } else if (owes === RESET_DICTIONARY) {
        source.damaged('the first LZMA2 chunk does not reset the dictionary', { found: hex(control) }, at)
      }
      machine.append(source.take(source.u16be() + 1))
      yield
      continue
    }

    const resets = (control >> 5) & 3
    if (resets < owes) source.damaged('an LZMA2 chunk resets too little', { found: hex(control) }, at)
    owes = 0
    const plainLength = (control & 0x1f) * 0x10000 + source.u16be() + 1
    const length = source.u16be() + 1
    if (resets >= RESET_PROPERTIES) {
      const byte = source.u8()
      properties = parseProperties(byte)
      if (properties === undefined || properties.lc + properties.lp > MAX_LC_LP) {
        source.damaged('LZMA2 properties are out of range', { found: hex(byte) }, source.at - 1)
      }
    }
    if (resets === RESET_DICTIONARY) machine.resetDictionary()
    if (resets >= RESET_STATE && properties !== undefined) machine.resetState(properties)

    if (length < 5) source.damaged('an LZMA2 chunk has no room for its range coder', { found: `${length} bytes` }, at)
    source.need(length)
    machine.reserve(plainLength)
    machine.startRange(source.take(5))
    const input = source.take(length - 5)
    const end = machine.length + plainLength
    let used = 0
    let stop: number = LZMA_STOP.atLimit
    for (const sliceEnd of sliceEnds(machine.length, end)) {
      const ran = machine.run(input.subarray(used), true, sliceEnd, end)
      used += ran.used
      stop = ran.stop
      if (stop !== LZMA_STOP.atLimit || used > input.length) break
      yield
    }
    if (stop !== LZMA_STOP.atLimit || machine.length !== end || used !== input.length || !machine.rangeIsFinished) {
      source.damaged(
        'an LZMA2 chunk does not end where it says',
        {
          expected: `${plainLength} bytes from ${input.length}`,
          found: `${machine.length - end + plainLength} bytes from ${used}`,
        },
        at,
      )
    }
  }
}
