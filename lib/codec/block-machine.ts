/**
 * The WebAssembly instance that runs a decoder of independent blocks (lz4, lzo): an input window, then the output.
 *
 * Source: our own layout. Every such decoder is one function, block(in, inEnd, out, outEnd), that returns where its
 * output ends, or one of FAILURE: addresses start above those.
 * Gotcha: a distance may reach back to the start of its own block's output, no further: blocks stand alone.
 */
import { COPY_SLACK } from './copy.js'
import { GrowingBytes } from './growing-bytes.js'
import type { Source } from './source.js'
import { assemble, type Code, type Func } from './wasm.js'

export const FAILURE = { endsEarly: 0, badDistance: 1, pastEnd: 2, goesOn: 3 } as const
const MEANING: Readonly<Record<number, string>> = {
  [FAILURE.endsEarly]: 'the block ends early',
  [FAILURE.badDistance]: 'a match reaches before the start of its block',
  [FAILURE.pastEnd]: 'the block holds more than it may',
  [FAILURE.goesOn]: 'the block goes on after its end',
}

const WINDOW_AT = 64

type Block = (from: number, fromEnd: number, out: number, outEnd: number) => number

export interface BlockFunction {
  readonly func: Func
  readonly body: Code
}

export class BlockMachine {
  readonly #source: Source
  readonly #output: GrowingBytes
  readonly #outputAt: number
  readonly #block: Block

  /** @param blockBytes the most compressed bytes of one block; the window needs no more than all the input. */
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

  append(bytes: Uint8Array): void {
    this.#output.append(bytes)
  }

  /** Appends a block that decodes to at most `most` bytes; `at` is where it lies in the source. */
  run(input: Uint8Array, most: number, at: number): void {
    // Room is made for what the block may hold, within the ceiling: one that passes it is cut there, and refused.
    const room = Math.min(most, this.#source.ceiling - this.length)
    this.#output.reserve(room)
    this.#output.all.set(input, WINDOW_AT)
    const out = this.#outputAt + this.length
    const end = this.#block(WINDOW_AT, WINDOW_AT + input.length, out, out + room) >>> 0
    if (end < WINDOW_AT) {
      if (end === FAILURE.pastEnd && room < most) this.#source.tooLarge()
      this.#source.damaged(MEANING[end] ?? 'the block is damaged', {}, at)
    }
    this.#output.length = end - this.#outputAt
  }
}

/** A module compiled when it is first wanted. */
export function compileLater(build: () => readonly BlockFunction[]): () => WebAssembly.Module {
  let module: WebAssembly.Module | undefined
  return () => {
    module ??= new WebAssembly.Module(assemble(build()))
    return module
  }
}
