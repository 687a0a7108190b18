/**
 * Output that grows up to the source's ceiling.
 *
 * Source: WebAssembly.Memory, https://www.w3.org/TR/wasm-js-api-1/#memories; ECMAScript's ArrayBuffer.
 * Gotcha: growth replaces the buffer. Read `all` again after each reserve().
 */
import type { Slices } from '../work.js'
import { type LinearMemory, PAGES_MAX, PlainMemory } from './machine.js'
import { SLICE_BYTES, type Source } from './source.js'
import { WASM_PAGE } from './wasm.js'

/** The least growth in bytes, so that growth is rare. */
const STEP = 2 ** 25
/** Plain memory is copied when it grows, so it grows fourfold. Memory that is never written costs addresses alone. */
const GROWTH = { plain: 4, webAssembly: 1.25 }
export class GrowingBytes {
  #source: Source
  readonly #start: number
  readonly #slack: number
  readonly memory: LinearMemory
  /** The whole memory, indexed by address. */
  all: Uint8Array<ArrayBuffer>
  /** Bytes of output so far, without the discarded ones. */
  length = 0
  /** Discarded bytes of output. */
  discarded = 0
  /** Bytes of output that fit before the next growth. */
  room = 0

  /**
   * @param memoryFor makes the memory of so many pages.
   * @param start bytes reserved before the output. @param slack bytes that may be overwritten after it.
   */
  constructor(
    source: Source,
    start = 0,
    slack = 0,
    memoryFor: (pages: number) => LinearMemory = (pages) => new PlainMemory(pages),
  ) {
    this.#source = source
    this.#start = start
    this.#slack = slack
    const initial = Math.ceil((start + slack) / WASM_PAGE)
    try {
      this.memory = memoryFor(initial)
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
    const growth = this.#isPlain ? GROWTH.plain : GROWTH.webAssembly
    const room = Math.max(wanted, Math.min(Math.max(STEP, Math.ceil(growth * this.room)), most))
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

  get #isPlain(): boolean {
    return this.memory instanceof PlainMemory
  }

  /**
   * The whole output, for the caller: in plain memory of at most four times its size. It is copied out of WebAssembly's,
   * which has 10 GiB of addresses.
   */
  *result(): Slices<Uint8Array<ArrayBuffer>> {
    const bytes = this.bytes()
    if (this.#isPlain && GROWTH.plain * bytes.length >= this.all.length) return bytes
    let copy: Uint8Array<ArrayBuffer>
    try {
      copy = new Uint8Array(bytes.length)
    } catch {
      return this.#source.outOfMemory(bytes.length)
    }
    for (let at = 0; at < bytes.length; at += SLICE_BYTES) {
      copy.set(bytes.subarray(at, at + SLICE_BYTES), at)
      yield
    }
    return copy
  }
}
