/**
 * BlockDecoder: many small blocks of one size, each compressed alone, as dumps have pages.
 *
 * Source: each codec's file.
 * Gotcha: a decoder's memory takes longer to make than a page to decode, so all blocks share it. A block is decoded in
 * one call, so it must be small.
 */
import { atOnce } from '../work.js'
import { Block } from './block.js'
import { GrowingBytes } from './growing-bytes.js'
import { InflateBlocks } from './gzip.js'
import { decodeLzo1x } from './lzo1x.js'
import { decodeSnappy } from './snappy.js'
import { Source } from './source.js'
import { ZstdBlocks } from './zstd.js'

/** The compression of a block; lzo is LZO1X without a container. */
export const BLOCK_CODECS = ['zlib', 'lzo', 'snappy', 'zstd'] as const
export type BlockCodec = (typeof BLOCK_CODECS)[number]

export class BlockDecoder {
  readonly #bytes: number
  #output: GrowingBytes | undefined
  #inflate: InflateBlocks | undefined
  #zstd: ZstdBlocks | undefined

  /** @param bytes of each decoded block. */
  constructor(bytes: number) {
    this.#bytes = bytes
  }

  /**
   * Fills `out`, a whole block.
   * @param offset file offset of the compressed bytes.
   * @throws DomainBuilderError `payload-damaged`, or `payload-too-large` for a block of another size.
   */
  decode(codec: BlockCodec, input: Uint8Array, out: Uint8Array, offset: number): void {
    const source = new Source(codec, input, { limit: this.#bytes, offset })
    const bytes = this.#decode(codec, source)
    if (bytes.length !== this.#bytes) {
      source.damaged("the block's size is wrong", { expected: `${this.#bytes}`, found: `${bytes.length}` }, 0)
    }
    out.set(bytes)
  }

  #decode(codec: BlockCodec, source: Source): Uint8Array {
    if (codec === 'zlib') {
      this.#inflate ??= new InflateBlocks(this.#bytes)
      return this.#inflate.decode(source)
    }
    if (codec === 'zstd') {
      this.#zstd ??= new ZstdBlocks(source)
      return this.#zstd.decode(source)
    }
    this.#output ??= new GrowingBytes(source)
    this.#output.restart(source)
    const block = new Block(source, source.bytes, this.#output, this.#bytes, 0)
    atOnce(codec === 'lzo' ? decodeLzo1x(block) : decodeSnappy(block))
    return this.#output.bytes()
  }
}
