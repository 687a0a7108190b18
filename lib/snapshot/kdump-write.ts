/**
 * A guest as a kdump file: pages under zlib, and one page for all that are zero.
 *
 * Source: ../abi/kdump.ts.
 * Gotcha: descriptors come before the pages, so pages are compressed before the first byte is written. Those of a large
 * guest do not stay in memory, and are compressed again. A page that does not shrink is stored as it is.
 */
import { VMCOREINFO_OWNER } from '../abi/core-files.js'
import { Nhdr, NOTE_ALIGN } from '../abi/elf.js'
import {
  DiskDumpHeader32,
  DiskDumpHeader64,
  DUMP_DH,
  DUMP_LEVEL_ZERO,
  KDUMP_BLOCK,
  KDUMP_MAGIC,
  KDUMP_VERSION,
  KdumpSubHeader32,
  KdumpSubHeader64,
  NewUtsname,
  PageDesc,
} from '../abi/kdump.js'
import { concat, decodeUtf8, encodeLatin1, isZero } from '../bytes.js'
import { DeflateBlocks } from '../codec/gzip.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import type { GuestMemory } from '../guest/memory.js'
import { addRange, type Run } from '../guest/runs.js'
import { alignUp, PAGE_SIZE, paddrOf, type Range, U32_MAX } from '../units.js'
import { atOnce, type Slices, type WorkOptions } from '../work.js'
import { crashPhysBase, crashUtsname } from './crashed-guest.js'
import { dataRuns } from './data-pages.js'
import { coreNotes } from './elf-core.js'
import { encodeNote } from './elf-file.js'
import { flowing, type Part, SnapshotFile, solid, zeros } from './snapshot-file.js'

/** The pages that are made together: at most 256 KiB. */
const GROUP_PAGES = 64
/** The descriptors that are made together. */
const DESCS_TOGETHER = 8192
const PAGES_PER_BLOCK = 8 * KDUMP_BLOCK
/** The size of a page of zeros here; in the file it is that of a page. */
const ZERO = 0
/** The most bytes of compressed pages that stay in memory until they are written. */
const KEPT_MAX = 256 << 20

/** Returns a guest as a kdump file. All of its content is read once before the size of the file is known. */
export function writeKdump(domain: Domain, options: WorkOptions = {}): SnapshotFile {
  return atOnce(kdumpSlices(domain, options))
}

/** Makes the same in slices: compressing takes a second for each 15 MB. */
export function* kdumpSlices(domain: Domain, options: WorkOptions = {}): Slices<SnapshotFile> {
  const runs = dataRuns(domain)
  const { sizes, kept } = yield* compress(domain, runs)
  const notes = yield* coreNotes(domain, runs)
  const encoded = notes.map(encodeNote)
  const is64 = domain.abi === 'x86_64'
  const headerBytes = is64 ? KdumpSubHeader64.size : KdumpSubHeader32.size
  const notesAt = KDUMP_BLOCK + headerBytes
  const noteBytes = encoded.reduce((sum, { length }) => sum + length, 0)
  const info = notes.findIndex(({ owner }) => owner === VMCOREINFO_OWNER)
  const infoAt =
    notesAt +
    encoded.slice(0, Math.max(0, info)).reduce((sum, { length }) => sum + length, 0) +
    Nhdr.size +
    alignUp(VMCOREINFO_OWNER.length + 1, NOTE_ALIGN)
  const infoBytes = notes[info]?.desc.length ?? 0
  const vmcoreinfo = decodeUtf8(notes[info]?.desc ?? new Uint8Array(0))
  const names = crashUtsname(domain, vmcoreinfo)
  const bitmapBlocks = Math.ceil(domain.memory.endPfn / PAGES_PER_BLOCK)
  const subBlocks = Math.ceil((headerBytes + noteBytes) / KDUMP_BLOCK)
  const bitmaps = (1 + subBlocks) * KDUMP_BLOCK
  const descs = bitmaps + 2 * bitmapBlocks * KDUMP_BLOCK
  const header = {
    signature: encodeLatin1(KDUMP_MAGIC),
    header_version: KDUMP_VERSION,
    utsname: names === undefined ? { ...NewUtsname.zero, machine: is64 ? 'x86_64' : 'i686' } : NewUtsname.decode(names),
    status: DUMP_DH.COMPRESSED_ZLIB,
    block_size: KDUMP_BLOCK,
    sub_hdr_size: subBlocks,
    bitmap_blocks: 2 * bitmapBlocks,
    max_mapnr: Math.min(domain.memory.endPfn, U32_MAX),
    total_ram_blocks: 0,
    device_blocks: 0,
    written_blocks: 0,
    current_cpu: 0,
    nr_cpus: domain.vcpus.filter(({ online }) => online).length,
  }
  const sub = {
    dump_level: DUMP_LEVEL_ZERO,
    split: 0,
    offset_vmcoreinfo: infoBytes > 0 ? BigInt(infoAt) : 0n,
    offset_note: BigInt(notesAt),
    offset_eraseinfo: 0n,
    start_pfn_64: 0n,
    end_pfn_64: 0n,
    max_mapnr_64: BigInt(domain.memory.endPfn),
  }
  const wide = { start_pfn: 0n, end_pfn: 0n, size_eraseinfo: 0n }
  const narrow = { start_pfn: 0, end_pfn: 0, size_eraseinfo: 0 }
  const heads = is64
    ? [
        DiskDumpHeader64.encode({ ...header, timestamp: [0n, 0n] }),
        KdumpSubHeader64.encode({
          ...sub,
          ...wide,
          phys_base: crashPhysBase(domain, vmcoreinfo),
          size_vmcoreinfo: BigInt(infoBytes),
          size_note: BigInt(noteBytes),
        }),
      ]
    : [
        DiskDumpHeader32.encode({ ...header, timestamp: [0, 0] }),
        KdumpSubHeader32.encode({ ...sub, ...narrow, phys_base: 0, size_vmcoreinfo: infoBytes, size_note: noteBytes }),
      ]
  const [main = new Uint8Array(0), second = new Uint8Array(0)] = heads
  const rangesOfRuns = runs.map(({ pfn, pages }) => ({ start: pfn, end: pfn + pages }))
  return new SnapshotFile(
    '',
    [
      solid(main),
      zeros(KDUMP_BLOCK - main.length),
      solid(concat([second, ...encoded])),
      zeros(subBlocks * KDUMP_BLOCK - headerBytes - noteBytes),
      bitmap(domain.memory.ranges, bitmapBlocks),
      bitmap(rangesOfRuns, bitmapBlocks),
      descriptors(sizes, descs + sizes.length * PageDesc.size),
      solid(hasZero(sizes) ? new Uint8Array(PAGE_SIZE) : new Uint8Array(0)),
      contents(domain, runs, sizes, kept),
    ],
    options,
  )
}

const hasZero = (sizes: Uint16Array): boolean => sizes.includes(ZERO)

/** Compresses runs of pages. */
class Deflater {
  readonly #blocks = new DeflateBlocks(PAGE_SIZE - 1)
  readonly #pages = new Uint8Array(GROUP_PAGES * PAGE_SIZE)
  readonly #out = new Uint8Array(GROUP_PAGES * PAGE_SIZE)

  /** Fills `sizes`, and returns the bytes of all pages that are not zero, valid until the next call. */
  encode(memory: GuestMemory, { pfn, pages }: Run, sizes: Uint16Array): Uint8Array {
    const bytes = this.#pages.subarray(0, pages * PAGE_SIZE)
    memory.readInto(paddrOf(pfn), bytes)
    let at = 0
    for (let i = 0; i < pages; i++) {
      const page = bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE)
      sizes[i] = ZERO
      if (isZero(page)) continue
      const stream = this.#blocks.encode(page) ?? page
      this.#out.set(stream, at)
      sizes[i] = stream.length
      at += stream.length
    }
    return this.#out.subarray(0, at)
  }
}

/** Yields parts of the runs, in order. */
function* together(runs: readonly Run[]): Generator<Run> {
  for (const { pfn, pages } of runs) {
    for (let done = 0; done < pages; done += GROUP_PAGES) {
      yield { pfn: pfn + done, pages: Math.min(GROUP_PAGES, pages - done) }
    }
  }
}

/** Pages in order of frame. */
interface Compressed {
  /** Bytes of each page in the file, or ZERO. */
  readonly sizes: Uint16Array
  /** Bytes of the first parts of the runs. */
  readonly kept: readonly Uint8Array[]
}

function* compress({ memory }: Domain, runs: readonly Run[]): Slices<Compressed> {
  const count = runs.reduce((sum, { pages }) => sum + pages, 0)
  const sizes = new Uint16Array(count)
  const deflater = new Deflater()
  const kept: Uint8Array[] = []
  let room = KEPT_MAX
  let next = 0
  for (const part of together(runs)) {
    const bytes = deflater.encode(memory, part, sizes.subarray(next, next + part.pages))
    next += part.pages
    room -= bytes.length
    if (room >= 0) kept.push(bytes.slice())
    yield
  }
  return { sizes, kept }
}

/** Returns a bitmap of frames. Only blocks with a bit that is set are made. */
function bitmap(frames: readonly Range<number>[], blocks: number): Part {
  const touched: Range<number>[] = []
  for (const { start, end } of frames) {
    addRange(touched, Math.floor(start / PAGES_PER_BLOCK), Math.ceil(end / PAGES_PER_BLOCK))
  }
  return {
    length: blocks * KDUMP_BLOCK,
    content: touched.reduce((sum, { start, end }) => sum + end - start, 0) * KDUMP_BLOCK,
    *stretches() {
      let next = 0
      for (const { start, end } of touched) {
        for (let block = start; block < end; block++) {
          const from = block * PAGES_PER_BLOCK
          const bytes = new Uint8Array(KDUMP_BLOCK)
          while ((frames[next] as Range<number>).end <= from) next++
          for (let i = next; i < frames.length; i++) {
            const range = frames[i] as Range<number>
            if (range.start >= from + PAGES_PER_BLOCK) break
            setBits(bytes, Math.max(0, range.start - from), Math.min(PAGES_PER_BLOCK, range.end - from))
          }
          yield { offset: block * KDUMP_BLOCK, length: KDUMP_BLOCK, content: bytes }
        }
      }
    },
  }
}

function setBits(bytes: Uint8Array, start: number, end: number): void {
  for (let bit = start; bit < end; ) {
    const at = bit >>> 3
    if ((bit & 7) === 0 && end - bit >= 8) {
      const whole = end >>> 3
      bytes.fill(0xff, at, whole)
      bit = whole * 8
    } else bytes[at] = (bytes[at] as number) | (1 << (bit++ & 7))
  }
}

/** Returns the descriptors. @param start file offset of the pages. */
function descriptors(sizes: Uint16Array, start: number): Part {
  const zeroAt = start
  return flowing(sizes.length * PageDesc.size, function* () {
    let offset = start + (hasZero(sizes) ? PAGE_SIZE : 0)
    for (let done = 0; done < sizes.length; done += DESCS_TOGETHER) {
      const part = sizes.subarray(done, done + DESCS_TOGETHER)
      const first = offset
      yield { length: part.length * PageDesc.size, content: (out) => writeDescs(out, part, zeroAt, first) }
      for (const size of part) offset += size
    }
  })
}

const DESC = {
  offset: PageDesc.offsetOf('offset'),
  size: PageDesc.offsetOf('size'),
  flags: PageDesc.offsetOf('flags'),
  pageFlags: PageDesc.offsetOf('page_flags'),
}

function writeDescs(out: Uint8Array, sizes: Uint16Array, zeroAt: number, first: number): void {
  const view = new DataView(out.buffer, out.byteOffset, out.length)
  let offset = first
  for (let i = 0; i < sizes.length; i++) {
    const at = i * PageDesc.size
    const size = sizes[i] as number
    const isRaw = size === ZERO || size === PAGE_SIZE
    view.setBigUint64(at + DESC.offset, BigInt(size === ZERO ? zeroAt : offset), true)
    view.setUint32(at + DESC.size, size || PAGE_SIZE, true)
    view.setUint32(at + DESC.flags, isRaw ? 0 : DUMP_DH.COMPRESSED_ZLIB, true)
    view.setBigUint64(at + DESC.pageFlags, 0n, true)
    offset += size
  }
}

/** Returns all pages that are not zero. */
function contents({ memory }: Domain, runs: readonly Run[], sizes: Uint16Array, kept: readonly Uint8Array[]): Part {
  const length = sizes.reduce((sum, size) => sum + size, 0)
  return flowing(length, function* () {
    const deflater = new Deflater()
    const found = new Uint16Array(GROUP_PAGES)
    let next = 0
    let at = 0
    for (const part of together(runs)) {
      const bytes = sizes.subarray(next, next + part.pages).reduce((sum, size) => sum + size, 0)
      next += part.pages
      const content =
        kept[at++] ?? ((out: Uint8Array) => out.set(sameLength(deflater.encode(memory, part, found), bytes)))
      if (bytes > 0) yield { length: bytes, content }
    }
  })
}

function sameLength(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length === length) return bytes
  throw new DomainBuilderError('bad-snapshot', "the guest's memory differs from the one that was measured", {
    expected: `${length} bytes`,
    found: `${bytes.length}`,
  })
}
