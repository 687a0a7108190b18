/**
 * The WebAssembly instance that runs a decoder of independent blocks (lz4, lzo): an input window, then the output.
 *
 * Source: our own layout. Every such decoder is one function, block(inEnd, outEnd, start, pause), that returns one of
 * STOP. It reads its position from FIELDS and saves it there, so that it can pause.
 * Gotcha: a distance that reaches before its own block's output is an error: blocks are independent.
 */

import type { Slices } from '../work.js'
import { COPY_SLACK } from './copy.js'
import { GrowingBytes } from './growing-bytes.js'
import { type Source, sliceEnds } from './source.js'
import { assemble, type Code, Func, i32 } from './wasm.js'

/** The reasons why a block function returns; done and paused are not failures. */
export const STOP = { done: 0, paused: 1, endsEarly: 2, badDistance: 3, pastEnd: 4, goesOn: 5 } as const
const MEANING: Readonly<Record<number, string>> = {
  [STOP.endsEarly]: 'the block ends early',
  [STOP.badDistance]: 'a match reaches before the start of its block',
  [STOP.pastEnd]: 'the block is too large',
  [STOP.goesOn]: 'the block goes on after its end',
}

/** The state kept between calls: u32 each, at these addresses. */
const FIELDS = {
  /** Next input byte. */
  in: 16,
  /** Next output byte. */
  out: 20,
  /** The format's own state between instructions; 0 at the start. */
  state: 24,
} as const
const WINDOW_AT = 64

type Block = (inEnd: number, outEnd: number, start: number, pause: number) => number

export interface BlockFunction {
  readonly func: Func
  readonly body: Code
}

/** The start of every block function: its variables, and the code that restores and saves them. */
export function blockStart() {
  const f = new Func('block', ['i32', 'i32', 'i32', 'i32'], 'i32')
  const [input, out, state] = [f.local('i32'), f.local('i32'), f.local('i32')]
  const kept = [
    [input, FIELDS.in],
    [out, FIELDS.out],
    [state, FIELDS.state],
  ] as const
  const zero = i32.const(0)
  return {
    f,
    input,
    out,
    state,
    /** The end of the input. */
    inputEnd: f.param(0, 'i32'),
    /** No byte may be written here or after it. */
    outEnd: f.param(1, 'i32'),
    /** The block's first output byte. */
    start: f.param(2, 'i32'),
    /** Pause before an instruction that would start to write here or after it. */
    pause: f.param(3, 'i32'),
    begin: kept.map(([local, at]) => local.set(i32.load(zero, at))) as Code,
    end: kept.map(([local, at]) => i32.store(zero, local, at)) as Code,
  }
}

export class BlockMachine {
  readonly #source: Source
  readonly #output: GrowingBytes
  readonly #outputAt: number
  readonly #block: Block

  /** @param blockBytes the most compressed bytes of one block; the window is never larger than the whole input. */
  constructor(source: Source, module: WebAssembly.Module, blockBytes: number) {
    this.#source = source
    const window = Math.min(blockBytes, source.bytes.length) + COPY_SLACK
    this.#outputAt = (WINDOW_AT + window + 15) & ~15
    this.#output = new GrowingBytes(source, this.#outputAt, COPY_SLACK)
    const { exports } = new WebAssembly.Instance(module, { env: { memory: this.#output.memory } })
    this.#block = exports.block as Block
  }

  get length(): number {
    return this.#output.length
  }

  bytes(from = 0): Uint8Array<ArrayBuffer> {
    return this.#output.bytes(from)
  }

  *append(bytes: Uint8Array): Slices<void> {
    let at = 0
    for (const end of sliceEnds(0, bytes.length)) {
      this.#output.append(bytes.subarray(at, end))
      at = end
      yield
    }
  }

  /** Appends a block that decodes to at most `most` bytes; `at` is its offset in the source. */
  *run(input: Uint8Array, most: number, at: number): Slices<void> {
    // Makes room for the largest block within the ceiling: a block that passes the ceiling is cut there and refused.
    const room = Math.min(most, this.#source.ceiling - this.length)
    this.#output.reserve(room)
    const { all } = this.#output
    let copied = 0
    for (const end of sliceEnds(0, input.length)) {
      all.set(input.subarray(copied, end), WINDOW_AT + copied)
      copied = end
      yield
    }
    const start = this.#outputAt + this.length
    const fields = new DataView(all.buffer)
    fields.setUint32(FIELDS.in, WINDOW_AT, true)
    fields.setUint32(FIELDS.out, start, true)
    fields.setUint32(FIELDS.state, 0, true)
    for (const end of sliceEnds(start, start + room)) {
      const pause = end === start + room ? end + 1 : end
      const stop = this.#block(WINDOW_AT + input.length, start + room, start, pause)
      this.#output.length = fields.getUint32(FIELDS.out, true) - this.#outputAt
      if (stop === STOP.done) return
      if (stop !== STOP.paused) {
        if (stop === STOP.pastEnd && room < most) this.#source.tooLarge()
        this.#source.damaged(MEANING[stop] ?? 'the block is damaged', {}, at)
      }
      yield
    }
  }
}

/** A module that is compiled at its first use. */
export function compileLater(build: () => readonly BlockFunction[]): () => WebAssembly.Module {
  let module: WebAssembly.Module | undefined
  return () => {
    module ??= new WebAssembly.Module(assemble(build()))
    return module
  }
}
