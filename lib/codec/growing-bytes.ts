/**
 * Output that grows in place, up to the source's ceiling, and is returned without a copy.
 *
 * Source: WebAssembly.Memory, https://www.w3.org/TR/wasm-js-api-1/#memories, the only buffer on Node 20 that can grow
 * without a copy: its addresses are reserved beforehand, and a page costs nothing until it is touched.
 * Gotcha: growth detaches every earlier view. Read `all` again after each reserve().
 */
import type { Source } from './source.js'
import { WASM_PAGE } from './wasm.js'

/** WebAssembly memory ends at 4 GiB. */
const PAGES_MAX = 65536
/** The least growth in bytes, so that growth is rare. */
const STEP = 2 ** 24

export class GrowingBytes {
  #source: Source
  readonly #start: number
  readonly #slack: number
  readonly memory: WebAssembly.Memory
  /** The whole memory, indexed by address. */
  all: Uint8Array<ArrayBuffer>
  /** Bytes of output so far, without the discarded ones. */
  length = 0
  /** Discarded bytes of output. */
  discarded = 0
  /** Bytes of output that fit before the next growth. */
  room = 0

  /** @param start bytes reserved before the output. @param slack bytes that may be overwritten after it. */
  constructor(source: Source, start = 0, slack = 0) {
    this.#source = source
    this.#start = start
    this.#slack = slack
    const initial = Math.ceil((start + slack) / WASM_PAGE)
    try {
      this.memory = new WebAssembly.Memory({ initial, maximum: PAGES_MAX })
    } catch {
      source.outOfMemory(initial * WASM_PAGE)
    }
    this.all = new Uint8Array(this.memory.buffer)
  }

  /** Discards all of the output, for that of another source. */
  restart(source: Source): void {
    this.#source = source
    this.length = 0
  }

  /** Makes room for `length` more bytes. @throws DomainBuilderError if that passes the ceiling. */
  reserve(length: number): void {
    const wanted = this.length + length
    const ceiling = this.#source.ceiling - this.discarded
    if (wanted > ceiling) this.#source.tooLarge()
    if (wanted <= this.room) return
    const most = Math.min(ceiling, PAGES_MAX * WASM_PAGE - this.#start - this.#slack)
    const room = Math.max(wanted, Math.min(Math.max(STEP, Math.ceil(1.25 * this.room)), most))
    const pages = Math.ceil((this.#start + room + this.#slack) / WASM_PAGE) - this.all.length / WASM_PAGE
    try {
      if (pages > 0) this.memory.grow(pages)
    } catch {
      this.#source.outOfMemory(room)
    }
    this.all = new Uint8Array(this.memory.buffer)
    this.room = room
  }

  /** Bytes of output that the ceiling still allows. */
  get left(): number {
    return this.#source.ceiling - this.discarded - this.length
  }

  /** Discards the first `length` bytes of the output. */
  discard(length: number): void {
    this.all.copyWithin(this.#start, this.#start + length, this.#start + this.length)
    this.length -= length
    this.discarded += length
  }

  append(bytes: Uint8Array): void {
    this.reserve(bytes.length)
    this.all.set(bytes, this.#start + this.length)
    this.length += bytes.length
  }

  fill(byte: number, length: number): void {
    this.reserve(length)
    this.all.fill(byte, this.#start + this.length, this.#start + this.length + length)
    this.length += length
  }

  /** The output from byte `from` on: a view that is valid until the next growth. */
  bytes(from = 0): Uint8Array<ArrayBuffer> {
    return this.all.subarray(this.#start + from, this.#start + this.length)
  }
}
