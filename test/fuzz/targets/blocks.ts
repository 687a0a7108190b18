/**
 * Compressed pages of dumps: a page or a refusal, never anything else. zlib's are also decoded by Node, and snappy's by
 * plain code.
 *
 * Source: lib/codec/blocks.ts; the format of snappy, as in lib/codec/snappy.ts.
 * Gotcha: the first byte of an input chooses the codec.
 */
import { inflateSync } from 'node:zlib'
import { concat } from '../../../lib/bytes.js'
import { BLOCK_CODECS, BlockDecoder } from '../../../lib/codec/blocks.js'
import { PAGE_SIZE } from '../../../lib/index.js'
import { packed } from '../../fixtures/kdump.js'
import { Random } from '../../fixtures/random.js'
import { expectSame, type Target } from '../target.js'
import { structuredData } from './codec.js'

/** Returns the bytes of a block that is known to be sound. */
function plainSnappy(block: Uint8Array): Uint8Array {
  const out: number[] = []
  let at = 0
  while ((block[at++] ?? 0) >= 0x80);
  const number = (bytes: number): number => {
    let value = 0
    for (let i = 0; i < bytes; i++) value += (block[at++] ?? 0) * 2 ** (8 * i)
    return value
  }
  while (at < block.length) {
    const tag = block[at++] ?? 0
    const kind = tag & 3
    if (kind === 0) {
      const length = 1 + (tag >> 2 < 60 ? tag >> 2 : number((tag >> 2) - 59))
      for (let i = 0; i < length; i++) out.push(block[at++] ?? 0)
      continue
    }
    const length = kind === 1 ? 4 + ((tag >> 2) & 7) : 1 + (tag >> 2)
    const offset = kind === 1 ? (tag >> 5) * 256 + number(1) : number(kind === 2 ? 2 : 4)
    for (let i = 0; i < length; i++) out.push(out[out.length - offset] ?? 0)
  }
  return Uint8Array.from(out)
}

export const blocksTarget = (): Target => {
  const decoder = new BlockDecoder(PAGE_SIZE)
  const out = new Uint8Array(PAGE_SIZE)
  return {
    name: 'blocks',
    executions: 10_000,
    maxBytes: 8192,
    tokens: [Uint8Array.of(0x80, 0x20), Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd), Uint8Array.of(0x11, 0, 0)],
    async seeds() {
      const pages = [1, 2, 3].map((seed) => {
        const page = new Uint8Array(PAGE_SIZE)
        page.set(structuredData(new Random(seed)).subarray(0, PAGE_SIZE))
        return page
      })
      return BLOCK_CODECS.flatMap((codec, i) =>
        [...pages, new Uint8Array(PAGE_SIZE).fill(0x5a)].map((page) => concat([Uint8Array.of(i), packed(codec, page)])),
      )
    },
    async run(bytes) {
      const codec = BLOCK_CODECS[(bytes[0] ?? 0) % BLOCK_CODECS.length] ?? 'zlib'
      const block = bytes.subarray(1)
      decoder.decode(codec, block, out, 0)
      if (codec === 'zlib') expectSame(out, new Uint8Array(inflateSync(block)), 'zlib and Node')
      if (codec === 'snappy') expectSame(out, plainSnappy(block), 'snappy and plain code')
    },
  }
}
