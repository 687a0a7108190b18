/**
 * The pages of a kdump file: bitmaps tell which there are, and one descriptor for each tells its place.
 *
 * Source: ../abi/kdump.ts.
 * Gotcha: all pages of zeros share one place. No other byte of the file is seen at two addresses, so a guest's content
 * is never much larger than its file.
 */
import { DUMP_DH, KDUMP_BLOCK, PageDesc } from '../abi/kdump.js'
import { PFINFO_NOTAB } from '../abi/save-stream.js'
import { isZero } from '../bytes.js'
import { type BlockCodec, BlockDecoder } from '../codec/blocks.js'
import { DomainBuilderError } from '../errors.js'
import { addRange } from '../guest/runs.js'
import { hex, PAGE_SIZE, type Pfn, type Range } from '../units.js'
import type { ByteSource } from './byte-source.js'
import { PageIndex } from './page-index.js'
import { readBytes } from './records.js'

/** Bytes of a bitmap, or of descriptors, that are read at a time. */
const WINDOW = 1 << 16
/** The descriptors of a window. */
const DESCS = Math.floor(WINDOW / PageDesc.size)
/** The most bytes of pages that are read at a time. */
const TOGETHER = 1 << 20

const CODEC: Readonly<Record<number, BlockCodec>> = {
  [DUMP_DH.COMPRESSED_ZLIB]: 'zlib',
  [DUMP_DH.COMPRESSED_LZO]: 'lzo',
  [DUMP_DH.COMPRESSED_SNAPPY]: 'snappy',
  [DUMP_DH.COMPRESSED_ZSTD]: 'zstd',
}

/** Returns the frames whose bits are set in a bitmap, the first `count` bits of it. */
export function bitmapRanges(source: ByteSource, offset: number, count: number): Range<Pfn>[] {
  const ranges: Range<Pfn>[] = []
  const bytes = Math.ceil(count / 8)
  for (let done = 0; done < bytes; done += WINDOW) {
    const part = readBytes(source, offset + done, Math.min(WINDOW, bytes - done), 'bitmap')
    for (let i = 0; i < part.length; i++) {
      const byte = part[i] as number
      if (byte === 0) continue
      const pfn = (done + i) * 8
      if (byte === 0xff && pfn + 8 <= count) addRange(ranges, pfn, pfn + 8)
      else
        for (let bit = 0; bit < 8; bit++)
          if (byte & (1 << bit) && pfn + bit < count) addRange(ranges, pfn + bit, pfn + bit + 1)
    }
  }
  return ranges
}

/** The pages with descriptors. */
export interface KdumpPages {
  /** Places of the descriptors of pages that are not zero. */
  readonly index: PageIndex
  /** Frames of pages that share a page of zeros with an earlier one. */
  readonly zeros: readonly Range<Pfn>[]
  /** Frames whose content a dump that was not finished has not. */
  readonly missing: readonly Range<Pfn>[]
}

interface Desc {
  readonly offset: number
  readonly size: number
  readonly flags: number
}

/**
 * Returns the pages, whose descriptors are in order of frame. All descriptors are read and checked.
 * @param start file offset of the first descriptor.
 * @param isIncomplete whether descriptors may be empty.
 */
export function kdumpPages(
  source: ByteSource,
  frames: readonly Range<Pfn>[],
  start: number,
  isIncomplete: boolean,
): KdumpPages {
  const index = new PageIndex(PageDesc.size)
  const zeros: Range<Pfn>[] = []
  const missing: Range<Pfn>[] = []
  let shared: Desc | undefined
  let end = 0
  let at = start
  for (const range of frames) {
    for (let pfn = range.start; pfn < range.end; ) {
      const count = Math.min(DESCS, range.end - pfn)
      const view = viewOf(readBytes(source, at, count * PageDesc.size, 'page descriptors'))
      for (let i = 0; i < count; i++, pfn++, at += PageDesc.size) {
        if (isIncomplete && isEmpty(view, i * PageDesc.size)) {
          addRange(missing, pfn, pfn + 1)
          continue
        }
        const desc = descAt(view, i * PageDesc.size, at, source.size)
        if (desc.offset >= end) {
          end = desc.offset + desc.size
          index.add(pfn, 1, PFINFO_NOTAB, at)
          continue
        }
        shared ??= requireZero(source, desc, at)
        if (desc.offset !== shared.offset || desc.size !== shared.size || desc.flags !== shared.flags) {
          refuseAt(at, 'the bytes of a page are those of another one', `at least ${hex(end)}`, hex(desc.offset))
        }
        addRange(zeros, pfn, pfn + 1)
      }
    }
  }
  index.finish()
  return { index, zeros, missing }
}

/** @throws DomainBuilderError `bad-snapshot` for a shared page that is not zero. */
function requireZero(source: ByteSource, desc: Desc, at: number): Desc {
  const page = new Uint8Array(PAGE_SIZE)
  decodePage(new BlockDecoder(PAGE_SIZE), desc, readBytes(source, desc.offset, desc.size, 'page'), page)
  if (!isZero(page)) refuseAt(at, 'the bytes of a page are those of another one', 'a page of zeros', hex(desc.offset))
  return desc
}

/** Returns a function that fills `out` with whole pages from a frame on; all of them must be in the index. */
export function pageReader(source: ByteSource, index: PageIndex): (pfn: Pfn, out: Uint8Array) => void {
  const decoder = new BlockDecoder(PAGE_SIZE)
  return (pfn, out) => {
    for (let done = 0; done < out.length; ) {
      const page = pfn + done / PAGE_SIZE
      const run = index.find(page)
      // Every page of a placed range has a descriptor; anything else is a bug in our code.
      /* c8 ignore next -- only an error in our code leads here */
      if (run?.offset === undefined) throw new Error(`page ${page} is not in the file`)
      const count = Math.min(DESCS, (out.length - done) / PAGE_SIZE, run.pages - (page - run.pfn))
      const at = run.offset + (page - run.pfn) * PageDesc.size
      readRun(source, decoder, at, out.subarray(done, done + count * PAGE_SIZE))
      done += count * PAGE_SIZE
    }
  }
}

/** Reads pages whose descriptors follow one another, and whose bytes do as well in nearly all files. */
function readRun(source: ByteSource, decoder: BlockDecoder, at: number, out: Uint8Array): void {
  const count = out.length / PAGE_SIZE
  const view = viewOf(readBytes(source, at, count * PageDesc.size, 'page descriptors'))
  const descs = Array.from({ length: count }, (_, i) =>
    descAt(view, i * PageDesc.size, at + i * PageDesc.size, source.size),
  )
  for (let i = 0; i < count; ) {
    const { offset } = descs[i] as Desc
    let next = i
    let end = offset
    for (let desc = descs[i]; desc?.offset === end && end + desc.size - offset <= TOGETHER; desc = descs[next]) {
      end += desc.size
      next++
    }
    const bytes = readBytes(source, offset, end - offset, 'pages')
    for (; i < next; i++) {
      const desc = descs[i] as Desc
      const from = desc.offset - offset
      decodePage(
        decoder,
        desc,
        bytes.subarray(from, from + desc.size),
        out.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE),
      )
    }
  }
}

function decodePage(decoder: BlockDecoder, { flags, offset }: Desc, bytes: Uint8Array, out: Uint8Array): void {
  const codec = CODEC[flags]
  if (codec === undefined) out.set(bytes)
  else decoder.decode(codec, bytes, out, offset)
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

const AT = { offset: PageDesc.offsetOf('offset'), size: PageDesc.offsetOf('size'), flags: PageDesc.offsetOf('flags') }

const isEmpty = (view: DataView, from: number): boolean => view.getUint32(from + AT.size, true) === 0

/** Returns a checked descriptor. @param at its file offset. */
function descAt(view: DataView, from: number, at: number, fileSize: number): Desc {
  const low = view.getUint32(from + AT.offset, true)
  const offset = view.getUint32(from + AT.offset + 4, true) * 2 ** 32 + low
  const size = view.getUint32(from + AT.size, true)
  const flags = view.getUint32(from + AT.flags, true)
  if (flags !== 0 && CODEC[flags] === undefined) {
    refuseAt(at, 'the compression of a page is unknown', Object.keys(CODEC).join(', '), hex(flags))
  }
  if (flags === 0 ? size !== KDUMP_BLOCK : size === 0 || size > KDUMP_BLOCK) {
    refuseAt(at, 'the size of a page is invalid', `${flags === 0 ? '' : 'at most '}${KDUMP_BLOCK}`, `${size}`)
  }
  if (offset + size > fileSize) {
    throw new DomainBuilderError('truncated', 'kdump: the file is too short for a page', {
      expected: `at least ${hex(offset + size)} bytes`,
      found: hex(fileSize),
      offset: at,
    })
  }
  return { offset, size, flags }
}

function refuseAt(offset: number, what: string, expected: string, found: string): never {
  throw new DomainBuilderError('bad-snapshot', `kdump: ${what}`, { expected, found, offset })
}
