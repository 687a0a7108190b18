/**
 * A block of lz4 or lzo: a cursor over its compressed bytes, and the output that they make.
 *
 * Source: the definition of a match in every LZ77 format (RFC 1951, section 3.2.3: a length may exceed its distance).
 * Gotcha: a distance that reaches before its own block's output is an error: blocks are independent.
 */

import type { GrowingBytes } from './growing-bytes.js'
import { SLICE_BYTES, type Source } from './source.js'

/** From this many bytes on, the engine's copies are faster than a loop. */
const LONG = 64

export class Block {
  readonly #source: Source
  readonly #at: number
  readonly #output: GrowingBytes
  readonly #input: Uint8Array
  readonly #bytes: Uint8Array
  readonly #start: number
  readonly #end: number
  /** Whether the block was cut at the source's ceiling. */
  readonly #isCut: boolean
  #in = 0
  #out: number
  #pause: number

  /** @param most bytes that the input may decode to. @param at offset of the block, for messages. */
  constructor(source: Source, input: Uint8Array, output: GrowingBytes, most: number, at: number) {
    this.#source = source
    this.#at = at
    this.#input = input
    // Room for the largest block within the ceiling: one that passes the ceiling is cut there and refused.
    const room = Math.min(most, output.left)
    output.reserve(room)
    this.#isCut = room < most
    this.#output = output
    this.#bytes = output.all
    this.#start = output.length
    this.#out = this.#start
    this.#end = this.#start + room
    this.#pause = this.#start + SLICE_BYTES
  }

  /** Compressed bytes left. */
  get left(): number {
    return this.#input.length - this.#in
  }

  /** Bytes that may still be written. */
  get room(): number {
    return this.#end - this.#out
  }

  /** Whether the work since the last time makes a slice. */
  isSlice(): boolean {
    if (this.#out < this.#pause) return false
    this.#pause = this.#out + SLICE_BYTES
    return true
  }

  damaged(what: string): never {
    return this.#source.damaged(what, {}, this.#at)
  }

  endsEarly(): never {
    return this.damaged('the block ends early')
  }

  #pastEnd(): never {
    if (this.#isCut) this.#source.tooLarge()
    return this.damaged('the block is too large')
  }

  u8(): number {
    if (this.#in >= this.#input.length) this.endsEarly()
    return this.#input[this.#in++] as number
  }

  /** Copies the next `length` bytes of the input, a slice at most. Returns the number of those left. */
  literals(length: number): number {
    if (length > this.left) this.endsEarly()
    if (length > this.room) this.#pastEnd()
    const bytes = this.#bytes
    const input = this.#input
    const end = this.#in + Math.min(length, SLICE_BYTES)
    const left = length - (end - this.#in)
    let out = this.#out
    if (length < LONG) for (let at = this.#in; at < end; at++) bytes[out++] = input[at] as number
    else {
      bytes.set(input.subarray(this.#in, end), out)
      out += end - this.#in
    }
    this.#in = end
    this.#out = out
    return left
  }

  /** Repeats `length` bytes from `distance` bytes back, a slice at most. Returns the number of those left. */
  match(distance: number, length: number): number {
    const bytes = this.#bytes
    const from = this.#out - distance
    if (distance === 0 || from < this.#start) this.damaged('a match reaches before the start of its block')
    if (length > this.room) this.#pastEnd()
    const end = this.#out + Math.min(length, SLICE_BYTES)
    const left = length - (end - this.#out)
    let out = this.#out
    if (length < LONG) for (let at = from; out < end; at++) bytes[out++] = bytes[at] as number
    // Each copy is a whole number of patterns, and doubles them.
    else for (; out < end; out += out - from) bytes.copyWithin(out, from, Math.min(out, from + end - out))
    this.#out = end
    return left
  }

  /** Appends the block's bytes to the output. */
  finish(): void {
    this.#output.length = this.#out
  }
}
