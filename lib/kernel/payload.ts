/**
 * Compressed kernels: which format is it, and what does it hold. One table: magic, name, decoder.
 *
 * Source: Linux lib/decompress.c (the magic numbers) and Documentation/arch/x86/boot.rst (payload_offset);
 * each decoder names its own format's specification.
 * Gotcha: the payload of a bzImage ends with the decompressed size, a u32 that is no part of the stream, unless it is
 * gzip, which has its own. Strip it first, and pass it as `size`: it is checked, never believed.
 */

import { decodeBzip2 } from '../codec/bzip2.js'
import { decodeGzip } from '../codec/gzip.js'
import { decodeLz4 } from '../codec/lz4.js'
import { decodeLzma } from '../codec/lzma.js'
import { decodeLzo } from '../codec/lzo.js'
import { type Bounds, type Decoded, Source } from '../codec/source.js'
import { decodeXz } from '../codec/xz.js'
import { decodeZstd } from '../codec/zstd.js'
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'

export type { Bounds, Decoded } from '../codec/source.js'

interface Codec {
  readonly magic: readonly number[]
  readonly decode: (bytes: Uint8Array, bounds: Bounds) => Decoded | Promise<Decoded>
}

const CODECS = {
  gzip: { magic: [0x1f, 0x8b], decode: decodeGzip },
  bzip2: { magic: [0x42, 0x5a, 0x68], decode: decodeBzip2 },
  // The byte of properties that every encoder writes (lc 3, lp 0, pb 2), and a dictionary of at least 64 KiB.
  lzma: { magic: [0x5d, 0x00, 0x00], decode: decodeLzma },
  lz4: { magic: [0x02, 0x21, 0x4c, 0x18], decode: decodeLz4 },
  lzo: { magic: [0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a], decode: decodeLzo },
  xz: { magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], decode: decodeXz },
  zstd: { magic: [0x28, 0xb5, 0x2f, 0xfd], decode: decodeZstd },
} as const satisfies Readonly<Record<string, Codec>>

/** The compression formats that Linux kernels come in. */
export type CodecName = keyof typeof CODECS
export const CODEC_NAMES = Object.keys(CODECS) as readonly CodecName[]

/** The format whose magic number the bytes start with. */
export function sniffCodec(bytes: Uint8Array): CodecName | undefined {
  return CODEC_NAMES.find((name) => CODECS[name].magic.every((byte, index) => bytes[index] === byte))
}

/**
 * No kernel shrinks to less than a 24th, unless it is small: what claims to is a bomb, and is refused before it has taken
 * the memory that a generous limit would let it have. (Debian's shrinks to an eighth.)
 */
const PLAUSIBLE = { ratio: 24, bytes: 128 * 2 ** 20 }

/**
 * Decompresses a stream. What follows it is left alone: `consumed` says where it ends.
 * @throws DomainBuilderError `payload-unknown`, `payload-damaged`, `payload-too-large`, or `payload-size`.
 */
export async function decode(codec: CodecName, bytes: Uint8Array, bounds: Bounds): Promise<Decoded> {
  const { size, offset = 0 } = bounds
  const limit = Math.min(bounds.limit, Math.max(PLAUSIBLE.ratio * bytes.length, PLAUSIBLE.bytes))
  const { magic } = CODECS[codec]
  if (sniffCodec(bytes) !== codec) {
    const show = (numbers: Iterable<number>): string => [...numbers].map((byte) => hex(byte, 2)).join(' ')
    throw new DomainBuilderError('payload-unknown', `${codec}: the payload does not start as it should`, {
      expected: show(magic),
      found: show(bytes.subarray(0, magic.length)) || 'nothing',
      offset,
    })
  }
  if (size !== undefined && size > limit) {
    throw new DomainBuilderError('payload-too-large', `${codec}: the payload is said to decompress to too much`, {
      expected: `at most ${limit} bytes`,
      found: `${size}`,
      offset,
    })
  }
  const decoded = await decodeWithin(codec, bytes, { ...bounds, limit })
  if (size !== undefined && decoded.bytes.length !== size) {
    throw new DomainBuilderError('payload-size', `${codec}: the payload decompresses to another size than promised`, {
      expected: `${size} bytes`,
      found: `${decoded.bytes.length}`,
      offset,
    })
  }
  return decoded
}

/** The decoder's own refusals pass; an engine's error would be a defect of ours, but must not leave as what it is. */
async function decodeWithin(codec: CodecName, bytes: Uint8Array, bounds: Bounds): Promise<Decoded> {
  try {
    return await CODECS[codec].decode(bytes, bounds)
  } catch (error) {
    return new Source(codec, bytes, bounds).failed(error)
  }
}
