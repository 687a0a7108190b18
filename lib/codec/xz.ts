/**
 * The .xz container: streams of blocks, each filtered and checked, and an index that repeats their sizes.
 *
 * Source: "The .xz File Format" 1.2.1, https://tukaani.org/xz/xz-file-format.txt; names are its names.
 * Filters: LZMA2, alone or after the x86 filter, as Linux's scripts/xz_wrap.sh uses on x86.
 * Gotcha: the x86 filter changes bytes that later matches refer to, so it must not run before a block is complete.
 */
import { equal, isZero, toHex } from '../bytes.js'
import { newSha256 } from '../sha256.js'
import { hex } from '../units.js'
import type { Slices } from '../work.js'
import { crc32 } from './crc.js'
import { LzmaMachine } from './lzma-machine.js'
import { decodeLzma2 } from './lzma2.js'
import { CODEC_MAGIC } from './magic.js'
import { type Decoded, SLICE_BYTES, type Source, sliceEnds } from './source.js'
import { unfilterX86 } from './x86-filter.js'

const HEADER_MAGIC = Uint8Array.from(CODEC_MAGIC.xz)
const FOOTER_MAGIC = Uint8Array.of(0x59, 0x5a)
/** Check types that encoders write, by their number, and their sizes. */
const CHECKS: Readonly<
  Record<number, { readonly name: 'none' | 'CRC32' | 'CRC64' | 'SHA-256'; readonly bytes: number }>
> = {
  0: { name: 'none', bytes: 0 },
  1: { name: 'CRC32', bytes: 4 },
  4: { name: 'CRC64', bytes: 8 },
  10: { name: 'SHA-256', bytes: 32 },
}
type Check = (typeof CHECKS)[number]

/** The records of an index that one slice reads. */
const RECORDS_IN_SLICE = 2 ** 13

const FILTER_X86 = 0x04
const FILTER_LZMA2 = 0x21
const FILTER_NAMES: Readonly<Record<number, string>> = {
  3: 'delta',
  5: 'PowerPC',
  6: 'IA-64',
  7: 'ARM',
  8: 'ARM-Thumb',
  9: 'SPARC',
  10: 'ARM64',
  11: 'RISC-V',
}

/** The sizes that the index repeats for each block. */
interface BlockRecord {
  readonly unpaddedSize: number
  readonly uncompressedSize: number
}

export function* decodeXz(source: Source): Slices<Decoded> {
  const machine = new LzmaMachine(source)
  yield* decodeStream(source, machine)
  let consumed = source.at
  // Further streams may follow, with zeros in between. Other data after them is ignored.
  for (;;) {
    yield* skipPadding(source)
    if (!equal(source.peek(HEADER_MAGIC.length), HEADER_MAGIC)) break
    yield* decodeStream(source, machine)
    consumed = source.at
  }
  return { bytes: yield* machine.result(), consumed }
}

/** Moves past zeros, four at a time. */
function* skipPadding(source: Source): Slices<void> {
  while (source.left >= 4 && isZero(source.peek(4))) {
    while (source.left >= SLICE_BYTES && isZero(source.peek(SLICE_BYTES))) {
      source.at += SLICE_BYTES
      yield
    }
    const end = Math.min(source.at + SLICE_BYTES, source.bytes.length - 3)
    while (source.at < end && isZero(source.peek(4))) source.at += 4
    yield
  }
}

function* decodeStream(source: Source, machine: LzmaMachine): Slices<void> {
  const start = source.at
  if (!equal(source.take(HEADER_MAGIC.length), HEADER_MAGIC))
    source.damaged('the stream header magic is missing', {}, start)
  const flags = readFlags(source)
  const flagBytes = source.bytes.subarray(source.at - 2, source.at)
  source.check('stream header', 'CRC32', crc32(flagBytes), source.u32le(), source.at - 4)

  const records: BlockRecord[] = []
  // The index has 0 in place of a block's header size.
  while (source.peek(1)[0] !== 0) records.push(yield* decodeBlock(source, machine, flags, records.length))
  const indexSize = yield* readIndex(source, records)

  const footer = source.take(12)
  const view = new DataView(footer.buffer, footer.byteOffset, footer.length)
  const at = source.at - 12
  if (!equal(footer.subarray(10), FOOTER_MAGIC)) source.damaged('the stream footer magic is missing', {}, at + 10)
  source.check('stream footer', 'CRC32', crc32(footer.subarray(4, 10)), view.getUint32(0, true), at)
  const backwardSize = (view.getUint32(4, true) + 1) * 4
  if (backwardSize !== indexSize) {
    source.damaged('the backward size is wrong', { expected: `${indexSize}`, found: `${backwardSize}` }, at + 4)
  }
  if (!equal(footer.subarray(8, 10), flagBytes))
    source.damaged('the flags of the footer differ from those of the header', {}, at + 8)
}

function readFlags(source: Source): Check {
  const [zero, type] = source.take(2) as unknown as readonly [number, number]
  const check = CHECKS[type]
  if (zero !== 0 || check === undefined) {
    source.unsupported('the check in the stream flags', { found: hex(zero * 0x100 + type, 4) }, source.at - 2)
  }
  return check
}

function* decodeBlock(source: Source, machine: LzmaMachine, check: Check, number: number): Slices<BlockRecord> {
  const start = source.at
  const block = `block ${number}`
  const header = readBlockHeader(source, block)
  if (header.uncompressedSize !== undefined && header.uncompressedSize > source.ceiling - machine.length)
    source.tooLarge()

  const from = machine.length
  const dataAt = source.at
  machine.resetDictionary()
  yield
  yield* decodeLzma2(source, machine)
  const compressedSize = source.at - dataAt
  const unpaddedSize = source.at - start + check.bytes
  const uncompressedSize = machine.length - from
  for (const [what, promised, found] of [
    ['compressed size', header.compressedSize, compressedSize],
    ['uncompressed size', header.uncompressedSize, uncompressedSize],
  ] as const) {
    if (promised !== undefined && promised !== found) {
      source.damaged(`${block}: ${what} is wrong`, { expected: `${promised}`, found: `${found}` }, start)
    }
  }
  readPadding(source, start)

  const output = machine.bytes(from)
  if (header.x86Start !== undefined) yield* unfilterX86(output, header.x86Start)
  const stored = source.take(check.bytes)
  const view = new DataView(stored.buffer, stored.byteOffset, stored.length)
  const storedAt = source.at - check.bytes
  if (check.name === 'CRC32' || check.name === 'CRC64') {
    const promised = check.name === 'CRC32' ? BigInt(view.getUint32(0, true)) : view.getBigUint64(0, true)
    source.check(block, check.name, yield* machine.crc(check.name, from), promised, storedAt)
  } else if (check.name === 'SHA-256') {
    const hash = newSha256()
    let at = 0
    for (const end of sliceEnds(0, output.length)) {
      hash.update(output.subarray(at, end))
      at = end
      yield
    }
    source.check(block, check.name, BigInt(`0x${toHex(hash.digest())}`), BigInt(`0x${toHex(stored)}`), storedAt)
  }
  return { unpaddedSize, uncompressedSize }
}

interface BlockHeader {
  readonly compressedSize: number | undefined
  readonly uncompressedSize: number | undefined
  /** Start address of the x86 filter; undefined without one. */
  readonly x86Start: number | undefined
}

function readBlockHeader(source: Source, block: string): BlockHeader {
  const start = source.at
  const end = start + (source.u8() + 1) * 4
  source.need(end - source.at)
  source.check(`${block} header`, 'CRC32', crc32(source.bytes.subarray(start, end - 4)), le32(source, end - 4), end - 4)

  const flags = source.u8()
  if (flags & 0x3c) source.unsupported(`${block}: a reserved flag`, { found: hex(flags) }, start + 1)
  const compressedSize = flags & 0x40 ? readInteger(source) : undefined
  const uncompressedSize = flags & 0x80 ? readInteger(source) : undefined
  let x86Start: number | undefined
  const filters = (flags & 3) + 1
  for (let filter = 1; filter <= filters; filter++) {
    const at = source.at
    const id = readInteger(source)
    const properties = source.take(readInteger(source))
    if (id === FILTER_X86 && filter === 1 && filters === 2 && (properties.length === 0 || properties.length === 4)) {
      x86Start = properties.length === 0 ? 0 : le32(source, source.at - 4)
    } else if (id !== FILTER_LZMA2 || filter !== filters || properties.length !== 1) {
      source.unsupported(
        `${block}: a chain of ${filters} filters with this one at place ${filter}`,
        { expected: 'LZMA2, or x86 then LZMA2', found: FILTER_NAMES[id] ?? hex(id) },
        at,
      )
    }
  }
  if (source.at > end - 4) source.damaged(`${block}: the header's fields do not fit in it`, {}, start)
  while (source.at < end - 4) {
    if (source.u8() !== 0) source.damaged(`${block}: the header's padding is not zero`, {}, source.at - 1)
  }
  source.at = end
  return { compressedSize, uncompressedSize, x86Start }
}

/** Returns the index's size in bytes. */
function* readIndex(source: Source, records: readonly BlockRecord[]): Slices<number> {
  const start = source.at
  source.u8()
  const count = readInteger(source)
  if (count !== records.length) {
    source.damaged(
      'the number of records in the index is wrong',
      { expected: `${records.length}`, found: `${count}` },
      start + 1,
    )
  }
  for (const [number, record] of records.entries()) {
    for (const name of ['unpaddedSize', 'uncompressedSize'] as const) {
      const at = source.at
      const found = readInteger(source)
      if (found !== record[name]) {
        source.damaged(
          `index record ${number}: ${name} is wrong`,
          { expected: `${record[name]}`, found: `${found}` },
          at,
        )
      }
    }
    if (number % RECORDS_IN_SLICE === 0) yield
  }
  readPadding(source, start)
  let computed = 0
  let at = start
  for (const end of sliceEnds(start, source.at)) {
    computed = crc32(source.bytes.subarray(at, end), computed)
    at = end
    yield
  }
  source.check('index', 'CRC32', computed, source.u32le(), source.at - 4)
  return source.at - start
}

/** Reads zeros up to a multiple of four bytes from `start`. */
function readPadding(source: Source, start: number): void {
  while ((source.at - start) % 4 !== 0) {
    if (source.u8() !== 0) source.damaged('padding is not zero', {}, source.at - 1)
  }
}

/** Reads a "multibyte integer": seven bits a byte, the lowest first. */
function readInteger(source: Source): number {
  const at = source.at
  let value = 0
  for (let weight = 1; ; weight *= 0x80) {
    const byte = source.u8()
    value += (byte & 0x7f) * weight
    if (!Number.isSafeInteger(value)) source.damaged('a multibyte integer is too large', { expected: 'below 2^53' }, at)
    if (byte < 0x80) return value
    // A number never ends in a zero byte and has at most nine bytes.
    if (weight >= 2 ** 56) source.damaged('a multibyte integer does not end', {}, at)
  }
}

function le32(source: Source, at: number): number {
  return new DataView(source.bytes.buffer, source.bytes.byteOffset + at, 4).getUint32(0, true)
}
