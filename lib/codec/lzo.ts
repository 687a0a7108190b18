/**
 * The lzop container: a file header, then blocks of LZO1X, each with checksums.
 *
 * Source: lzop 1.04's format as Linux reads it, lib/decompress_unlzo.c, and lzop's manual, https://www.lzop.org.
 * All numbers are big-endian.
 * Gotcha: a stored block, one that would not shrink, has no checksum of its compressed bytes.
 */

import { hex } from '../units.js'
import type { Slices } from '../work.js'
import { Block } from './block.js'
import { crc32 } from './crc.js'
import { GrowingBytes } from './growing-bytes.js'
import { decodeLzo1x } from './lzo1x.js'
import { type Decoded, type Source, sliceEnds } from './source.js'

const MAGIC_BYTES = 9
/** lzop itself refuses larger blocks; it writes 256 KiB. */
const BLOCK_MAX = 64 * 2 ** 20

/** Since this version a header has a level, the version required to read it and a second word of time. */
const VERSION_WITH_LEVEL = 0x0940
/** LZO1X-1, LZO1X-1(15) and LZO1X-999 are compressors of one format. */
const METHODS_LZO1X = [1, 2, 3]

const FLAG = {
  adler32Plain: 0x0001,
  adler32Compressed: 0x0002,
  extraField: 0x0040,
  crc32Plain: 0x0100,
  crc32Compressed: 0x0200,
  multipart: 0x0400,
  filter: 0x0800,
  crc32Header: 0x1000,
} as const

export function* decodeLzo(source: Source): Slices<Decoded> {
  source.take(MAGIC_BYTES)
  const flags = readHeader(source)
  const output = new GrowingBytes(source)
  for (;;) {
    const at = source.at
    const plainLength = source.u32be()
    if (plainLength === 0) break
    const length = source.u32be()
    if (plainLength > BLOCK_MAX || length > plainLength) {
      source.damaged('block sizes are out of range', { found: `${length} bytes for ${plainLength}` }, at)
    }
    if (plainLength > output.left) source.tooLarge()

    const plainAdler = flags & FLAG.adler32Plain ? source.u32be() : undefined
    const plainCrc = flags & FLAG.crc32Plain ? source.u32be() : undefined
    const isStored = length === plainLength
    const adler = flags & FLAG.adler32Compressed && !isStored ? source.u32be() : undefined
    const crc = flags & FLAG.crc32Compressed && !isStored ? source.u32be() : undefined
    const input = source.take(length)
    if (adler !== undefined) source.check('compressed block', 'Adler-32', yield* sum(adler32, input), adler, at)
    if (crc !== undefined) source.check('compressed block', 'CRC32', yield* sum(crc32, input), crc, at)

    const from = output.length
    if (isStored) {
      for (const end of sliceEnds(0, length)) {
        output.append(input.subarray(output.length - from, end))
        yield
      }
    } else yield* decodeLzo1x(new Block(source, input, output, plainLength, at))
    const plain = output.bytes(from)
    if (plain.length !== plainLength) {
      source.damaged("the block's size is wrong", { expected: `${plainLength}`, found: `${plain.length}` }, at)
    }
    if (plainAdler !== undefined) source.check('block', 'Adler-32', yield* sum(adler32, plain), plainAdler, at)
    if (plainCrc !== undefined) source.check('block', 'CRC32', yield* sum(crc32, plain), plainCrc, at)
    yield
  }
  return { bytes: yield* output.result(), consumed: source.at }
}

/** Computes a checksum in slices. */
function* sum(checksum: (bytes: Uint8Array, before?: number) => number, bytes: Uint8Array): Slices<number> {
  let value: number | undefined
  let at = 0
  for (const end of sliceEnds(0, bytes.length)) {
    value = checksum(bytes.subarray(at, end), value)
    at = end
    yield
  }
  return value as number
}

/** Returns the flags. */
function readHeader(source: Source): number {
  const start = source.at
  const version = source.u16be()
  const isRecent = version >= VERSION_WITH_LEVEL
  source.take(2)
  if (isRecent) source.take(2)
  const method = source.u8()
  if (!METHODS_LZO1X.includes(method)) source.unsupported('method', { found: hex(method) }, source.at - 1)
  if (isRecent) source.take(1)
  const flags = source.u32be()
  if (flags & (FLAG.filter | FLAG.multipart))
    source.unsupported('a filter or a multipart file', { found: hex(flags) }, source.at - 4)
  // Mode and time, then the file's name.
  source.take(isRecent ? 12 : 8)
  source.take(source.u8())
  checkHeader(source, flags, start)
  if (flags & FLAG.extraField) {
    const extra = source.at
    source.take(source.u32be())
    checkHeader(source, flags, extra)
  }
  return flags
}

function checkHeader(source: Source, flags: number, start: number): void {
  const bytes = source.bytes.subarray(start, source.at)
  const stored = source.u32be()
  if (flags & FLAG.crc32Header) source.check('header', 'CRC32', crc32(bytes), stored, start)
  else source.check('header', 'Adler-32', adler32(bytes), stored, start)
}

/** RFC 1950, section 8.2. @param before the Adler-32 of the bytes before them. */
function adler32(bytes: Uint8Array, before = 1): number {
  let a = before & 0xffff
  let b = before >>> 16
  // The most bytes after which b still fits 32 bits.
  const run = 5552
  for (let at = 0; at < bytes.length; at += run) {
    const end = Math.min(at + run, bytes.length)
    for (let i = at; i < end; i++) {
      a = (a + (bytes[i] as number)) | 0
      b = (b + a) | 0
    }
    a %= 65521
    b = (b >>> 0) % 65521
  }
  return b * 65536 + a
}
