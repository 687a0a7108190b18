/**
 * The machine that runs lzma-core, and its memory: input window, probabilities, output.
 *
 * Source: our own layout. The compressed input passes through a window of 64 KiB. The output grows at the end of the
 * memory and serves as the dictionary.
 * Gotcha: growth of the memory detaches every view of it: call bytes() again after each call that may grow it.
 */
import type { Slices } from '../work.js'
import { COPY_SLACK } from './copy.js'
import { CRC_MASK, CRC_TABLE_BYTES, type CrcName, crcFunction, crcTable } from './crc.js'
import { GrowingBytes } from './growing-bytes.js'
import { LZMA_FIELDS, LZMA_STOP, lzmaFunction, MAX_SYMBOL_BYTES, PROB_COUNT, PROB_INIT, PROBS_AT } from './lzma-core.js'
import { machineMemory, machineOf } from './machine.js'
import { type Source, sliceEnds } from './source.js'
import { WASM_PAGE } from './wasm.js'

const CRC_TABLE_AT = 32768
const WINDOW_AT = WASM_PAGE
/** The window's size in bytes: an LZMA2 chunk, at most 64 KiB, fits. */
export const WINDOW_BYTES = WASM_PAGE
const OUTPUT_AT = WINDOW_AT + WINDOW_BYTES + WASM_PAGE

if (PROBS_AT + 2 * PROB_COUNT > CRC_TABLE_AT || CRC_TABLE_AT + CRC_TABLE_BYTES > WINDOW_AT) {
  throw new RangeError('the tables of lzma-machine overlap')
}

interface Exports {
  lzma(): number
  crc(from: number, to: number, register: bigint): bigint
}

const machineOver = machineOf<Exports>(() => [lzmaFunction(), crcFunction(CRC_TABLE_AT)])

/** Literal context, literal position and position bits: one byte, (pb * 5 + lp) * 9 + lc. */
export interface Properties {
  readonly lc: number
  readonly lp: number
  readonly pb: number
}

/** The three numbers in the byte; undefined if it is out of range. */
export function parseProperties(byte: number): Properties | undefined {
  if (byte >= 9 * 5 * 5) return undefined
  return { lc: byte % 9, lp: Math.floor(byte / 9) % 5, pb: Math.floor(byte / 45) }
}

export class LzmaMachine {
  readonly #source: Source
  readonly #output: GrowingBytes
  readonly #exports: Exports
  #fields: DataView<ArrayBuffer>
  #crcName: CrcName | undefined

  constructor(source: Source) {
    this.#source = source
    this.#output = new GrowingBytes(source, OUTPUT_AT, COPY_SLACK + 1, machineMemory)
    this.#exports = machineOver(this.#output.memory)
    this.#fields = new DataView(this.#output.memory.buffer)
    this.#set('out', OUTPUT_AT)
    this.#set('dictStart', OUTPUT_AT)
  }

  #get(field: keyof typeof LZMA_FIELDS): number {
    return this.#fields.getUint32(LZMA_FIELDS[field], true)
  }

  #set(field: keyof typeof LZMA_FIELDS, value: number): void {
    this.#fields.setUint32(LZMA_FIELDS[field], value, true)
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#output.length
  }

  /** The output from byte `from` on: a view that is valid until the memory grows. */
  bytes(from = 0): Uint8Array<ArrayBuffer> {
    return this.#output.bytes(from)
  }

  /** The whole output, for the caller. */
  result(): Slices<Uint8Array<ArrayBuffer>> {
    return this.#output.result()
  }

  /** Makes room for `length` more bytes. @throws DomainBuilderError if that passes the ceiling. */
  reserve(length: number): void {
    this.#output.reserve(length)
    this.#fields = new DataView(this.#output.memory.buffer)
  }

  /** Appends bytes unchanged. */
  append(bytes: Uint8Array): void {
    this.reserve(bytes.length)
    this.#output.append(bytes)
    this.#set('out', OUTPUT_AT + this.length)
    this.#set('previous', bytes.at(-1) ?? 0)
  }

  /** Starts a new dictionary: no distance may reach before this byte. */
  resetDictionary(): void {
    this.#set('dictStart', OUTPUT_AT + this.length)
    this.#set('previous', 0)
  }

  resetState({ lc, lp, pb }: Properties): void {
    new Uint16Array(this.#output.memory.buffer, PROBS_AT, PROB_COUNT).fill(PROB_INIT)
    for (const field of ['state', 'rep0', 'rep1', 'rep2', 'rep3'] as const) this.#set(field, 0)
    this.#set('lcShift', 8 - lc)
    this.#set('lpMask', (1 << lp) - 1)
    this.#set('pbMask', (1 << pb) - 1)
  }

  /** Starts a range coder from its first five bytes. */
  startRange(first: Uint8Array): void {
    if (first[0] !== 0) this.#source.damaged('the range coder does not start with 0', { found: `${first[0]}` })
    const code = new DataView(first.buffer, first.byteOffset, 5).getUint32(1)
    this.#set('range', 0xffffffff)
    this.#set('code', code)
  }

  /** Whether the range coder is in an encoder's final state. */
  get rangeIsFinished(): boolean {
    return this.#get('code') === 0
  }

  /**
   * Decodes from `input`, at most a window long, until the output has `outputLength` bytes in all. Unless `isLast`, it
   * also stops when the input left is shorter than the longest symbol. No match may write past `matchEnd`; reserve room
   * up to there. Returns the reason of the stop and the number of input bytes used; more than `input` has means that
   * the input ends early.
   */
  run(input: Uint8Array, isLast: boolean, outputLength: number, matchEnd: number): { stop: number; used: number } {
    const inputEnd = WINDOW_AT + input.length
    const { all } = this.#output
    all.set(input, WINDOW_AT)
    all.fill(0, inputEnd, inputEnd + 2 * MAX_SYMBOL_BYTES)
    this.#set('in', WINDOW_AT)
    this.#set('inStop', isLast ? inputEnd + 1 : inputEnd - MAX_SYMBOL_BYTES)
    this.#set('outStop', OUTPUT_AT + outputLength)
    this.#set('outEnd', OUTPUT_AT + matchEnd)
    const stop = this.#exports.lzma()
    this.#output.length = this.#get('out') - OUTPUT_AT
    if (stop === LZMA_STOP.badDistance) {
      this.#source.damaged('a match reaches before the start of the dictionary', {
        expected: `a distance of at most ${this.#get('out') - this.#get('dictStart')}`,
        found: `${this.#get('rep0') + 1}`,
      })
    }
    return { stop, used: this.#get('in') - WINDOW_AT }
  }

  /** The CRC of the output from byte `from` on, in slices. */
  *crc(name: CrcName, from: number): Generator<void, bigint> {
    if (this.#crcName !== name) {
      new BigUint64Array(this.#output.memory.buffer, CRC_TABLE_AT, CRC_TABLE_BYTES / 8).set(crcTable(name))
      this.#crcName = name
    }
    let register = CRC_MASK[name]
    let at = from
    for (const end of sliceEnds(from, this.length)) {
      register = this.#exports.crc(OUTPUT_AT + at, OUTPUT_AT + end, register)
      at = end
      yield
    }
    return BigInt.asUintN(64, register) ^ CRC_MASK[name]
  }
}
