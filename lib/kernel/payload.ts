/**
 * Compressed kernels: decompresses their payload.
 *
 * Source: Linux Documentation/arch/x86/boot.rst (payload_offset); ../codec/magic.ts detects the format.
 * Gotcha: the payload of a bzImage ends with the decompressed size, a u32 after the stream, except for gzip, which has
 * its own. Strip it first, and pass it as `size`: it is untrusted, so it is checked.
 */

import { decodeBzip2 } from '../codec/bzip2.js'
import { decodeGzip } from '../codec/gzip.js'
import { decodeLz4 } from '../codec/lz4.js'
import { decodeLzma } from '../codec/lzma.js'
import { decodeLzo } from '../codec/lzo.js'
import { CODEC_MAGIC, type CodecName, sniffCodec } from '../codec/magic.js'
import { type Bounds, type Decoded, Source } from '../codec/source.js'
import { decodeXz } from '../codec/xz.js'
import { decodeZstd } from '../codec/zstd.js'
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'
import { doSlices, type Slices, type WorkOptions } from '../work.js'

type Decode = (source: Source) => Slices<Decoded>

const DECODE: Readonly<Record<CodecName, Decode>> = {
  gzip: decodeGzip,
  bzip2: decodeBzip2,
  lzma: decodeLzma,
  lz4: decodeLz4,
  lzo: decodeLzo,
  xz: decodeXz,
  zstd: decodeZstd,
}

/**
 * No kernel shrinks to less than a 24th, unless it is small. A payload that claims to is a bomb, and is refused before
 * it takes the memory that a generous limit would allow. (Debian's kernel shrinks to an eighth.)
 */
const PLAUSIBLE = { ratio: 24, bytes: 128 * 2 ** 20 }

/**
 * Decompresses a stream, in slices. Bytes after it are ignored: `consumed` is its length.
 * @param options progress counts bytes of the stream.
 * @throws DomainBuilderError `payload-unknown`, `payload-damaged`, `payload-too-large`, or `payload-size`; the signal's
 * reason.
 */
export async function decode(
  codec: CodecName,
  bytes: Uint8Array,
  bounds: Bounds,
  options: WorkOptions = {},
): Promise<Decoded> {
  const { size, offset = 0 } = bounds
  const limit = Math.min(bounds.limit, Math.max(PLAUSIBLE.ratio * bytes.length, PLAUSIBLE.bytes))
  const magic = CODEC_MAGIC[codec]
  if (sniffCodec(bytes) !== codec) {
    const show = (numbers: Iterable<number>): string => [...numbers].map((byte) => hex(byte, 2)).join(' ')
    throw new DomainBuilderError('payload-unknown', `${codec}: the payload has the wrong magic`, {
      expected: show(magic),
      found: show(bytes.subarray(0, magic.length)) || 'nothing',
      offset,
    })
  }
  if (size !== undefined && size > limit) {
    throw new DomainBuilderError('payload-too-large', `${codec}: the promised size of the payload is too large`, {
      expected: `at most ${limit} bytes`,
      found: `${size}`,
      offset,
    })
  }
  const source = new Source(codec, bytes, { ...bounds, limit })
  const decoded = await doSlices(decodeFrom(source, codec), options, bytes.length, () => source.at)
  if (size !== undefined && decoded.bytes.length !== size) {
    throw new DomainBuilderError('payload-size', `${codec}: the decompressed size differs from the promised one`, {
      expected: `${size} bytes`,
      found: `${decoded.bytes.length}`,
      offset,
    })
  }
  return decoded
}

/** Runs the decoder. Its own refusals pass; an engine's error, a defect in our code, becomes a DomainBuilderError. */
function* decodeFrom(source: Source, codec: CodecName): Slices<Decoded> {
  try {
    return yield* DECODE[codec](source)
  } catch (error) {
    return source.failed(error, 0)
  }
}
