/**
 * The kdump format: a compressed dump for crash and drgn, as makedumpfile and QEMU's dump-guest-memory write it.
 *
 * Source: ../abi/kdump.ts.
 * Gotcha: pages of zeros share one place. A page that is in no dump reads as zero only if nothing else was left out,
 * which the dump level tells.
 */
import {
  CORE_NOTE_OWNER,
  GUEST_NOTE_OWNER,
  NT_GUEST_JSON,
  NT_PRSTATUS,
  Prstatus64,
  VMCOREINFO_OWNER,
} from '../abi/core-files.js'
import { EM_386, EM_X86_64 } from '../abi/elf.js'
import {
  DiskDumpHeader32,
  DiskDumpHeader64,
  DUMP_DH,
  DUMP_LEVEL_ZERO,
  KDUMP_BLOCK,
  KDUMP_MAGIC,
  KDUMP_SINCE,
  KdumpSubHeader32,
  KdumpSubHeader64,
} from '../abi/kdump.js'
import { decodeLatin1, decodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import { narrow, PAGE_SIZE, type Pfn, paddrOf, type Range } from '../units.js'
import type { ByteSource } from './byte-source.js'
import { coreGuest } from './core-guest.js'
import { crashedGuest } from './crashed-guest.js'
import { type FoundNote, readCoreNotes } from './elf-file.js'
import { type SnapshotFormat, startOf } from './format.js'
import { isFlattened, unflattened } from './kdump-flat.js'
import { bitmapRanges, type KdumpPages, kdumpPages, pageReader } from './kdump-pages.js'
import { kdumpSlices } from './kdump-write.js'
import { qemuGuest, qemuNotes } from './qemu-core.js'
import { readBytes } from './records.js'

/** The structs of a machine's width. */
const LAYOUTS = [
  { Header: DiskDumpHeader32, SubHeader: KdumpSubHeader32 },
  { Header: DiskDumpHeader64, SubHeader: KdumpSubHeader64 },
] as const

/** The machines that are read, as uname(1) names them. */
const MACHINE = /^(x86_64|i[3-6]86)?$/
/** The longest vmcoreinfo that is read: Linux's has at most a page. */
const VMCOREINFO_MAX = 1 << 16

interface Headers {
  /** Which pages the dump has not: 1 or 0 if all others are zero. */
  readonly level: number
  readonly isIncomplete: boolean
  /** File offset of the first bitmap, and bytes of each. */
  readonly bitmaps: number
  readonly bitmapBytes: number
  /** Frames that the bitmaps tell of. */
  readonly frames: number
  readonly notes: readonly FoundNote[]
  readonly vmcoreinfo: string
}

const isKdump = (source: ByteSource): boolean => decodeLatin1(startOf(source, KDUMP_MAGIC.length)) === KDUMP_MAGIC

/**
 * Returns the guest in a kdump file that we wrote, QEMU or makedumpfile, flattened or not.
 * @throws DomainBuilderError `bad-snapshot` or `truncated` with an offset; in a flattened file, that of the file that
 *   it makes. `unknown-format` for a dump without registers.
 */
function openKdump(file: ByteSource): Domain {
  const source = isFlattened(file) ? unflattened(file) : file
  if (!isKdump(source)) refuse('the magic is missing', JSON.stringify(KDUMP_MAGIC), 'something else', 0)
  const headers = readHeaders(source)
  const { bitmaps, bitmapBytes, frames, notes } = headers
  const dumped = bitmapRanges(source, bitmaps + bitmapBytes, frames)
  const pages = kdumpPages(source, dumped, bitmaps + 2 * bitmapBytes, headers.isIncomplete)
  const ours = notes.find(({ owner, type }) => owner === GUEST_NOTE_OWNER && type === NT_GUEST_JSON)
  // Whether a page without a descriptor is zero or was left out, only this level tells.
  const isWhole = headers.level <= DUMP_LEVEL_ZERO && pages.missing.length === 0
  const ranges = isWhole ? bitmapRanges(source, bitmaps, frames) : without(dumped, pages.missing)
  if (ranges.length === 0) refuse('the guest has no memory', 'a page', 'none', bitmaps)
  if (ours) {
    // makedumpfile keeps the note when it leaves pages out.
    const place = (memory: GuestMemory) => placeZeros(isWhole ? memory : new GuestMemory(ranges), pages)
    return coreGuest(ours, (memory) => placePages(source, place(memory), pages))
  }
  const memory = placePages(source, new GuestMemory(ranges), pages)
  const ofQemu = qemuNotes(notes)
  const is64 = isLongMode(notes)
  return ofQemu.length > 0
    ? qemuGuest(ofQemu, is64 ? EM_X86_64 : EM_386, memory)
    : crashedGuest(notes, headers.vmcoreinfo, is64, memory)
}

/** QEMU writes the status of a 64-bit processor in 64-bit mode alone. */
const isLongMode = (notes: readonly FoundNote[]): boolean =>
  notes.find(({ owner, type }) => owner === CORE_NOTE_OWNER && type === NT_PRSTATUS)?.desc.length === Prstatus64.size

function readHeaders(source: ByteSource): Headers {
  const start = readBytes(source, 0, DiskDumpHeader64.size, 'kdump header')
  const found = LAYOUTS.find(({ Header }) => {
    const { block_size, sub_hdr_size } = Header.decode(start)
    return block_size === KDUMP_BLOCK && sub_hdr_size > 0
  })
  if (found === undefined) {
    const offset = DiskDumpHeader64.offsetOf('block_size')
    const { block_size } = DiskDumpHeader64.decode(start)
    return refuse('the size of a block is not that of x86', `${KDUMP_BLOCK}`, `${block_size}`, offset)
  }
  const { Header, SubHeader } = found
  const header = Header.decode(start)
  if (!MACHINE.test(header.utsname.machine)) {
    const at = Header.offsetOf('utsname.machine')
    refuse('the machine is not x86', 'x86_64 or i686', `'${header.utsname.machine}'`, at)
  }
  const sub = SubHeader.decode(readBytes(source, KDUMP_BLOCK, SubHeader.size, 'kdump sub header'))
  const has = (field: keyof typeof KDUMP_SINCE): boolean => header.header_version >= KDUMP_SINCE[field]
  if (has('split') && sub.split !== 0) {
    const at = KDUMP_BLOCK + SubHeader.offsetOf('split')
    refuse('the file is one part of a dump', 'the output of makedumpfile --reassemble', 'makedumpfile --split', at)
  }
  const bitmaps = (1 + header.sub_hdr_size) * KDUMP_BLOCK
  const bitmapBytes = Math.floor(header.bitmap_blocks / 2) * KDUMP_BLOCK
  const max = has('pfn64') ? sub.max_mapnr_64 : BigInt(header.max_mapnr)
  if (max > BigInt(8 * bitmapBytes)) {
    const at = Header.offsetOf('bitmap_blocks')
    refuse('the bitmaps are too short', `${8 * bitmapBytes} frames at most`, `${max}`, at)
  }
  if (bitmaps + 2 * bitmapBytes > source.size) {
    throw new DomainBuilderError('truncated', 'kdump: the file is too short for its bitmaps', {
      expected: `at least ${bitmaps + 2 * bitmapBytes} bytes`,
      found: `${source.size}`,
      offset: Header.offsetOf('bitmap_blocks'),
    })
  }
  const place = (name: 'offset_note' | 'offset_vmcoreinfo', offset: bigint, size: bigint | number) =>
    placeOf(source, KDUMP_BLOCK + SubHeader.offsetOf(name), offset, BigInt(size))
  const notesAt = has('note') ? place('offset_note', sub.offset_note, sub.size_note) : NOWHERE
  const notes = readCoreNotes(source, notesAt.start, notesAt.end - notesAt.start)
  const infoAt = has('vmcoreinfo') ? place('offset_vmcoreinfo', sub.offset_vmcoreinfo, sub.size_vmcoreinfo) : NOWHERE
  const info = readBytes(source, infoAt.start, Math.min(VMCOREINFO_MAX, infoAt.end - infoAt.start), 'vmcoreinfo')
  const noted = notes.find(({ owner }) => owner === VMCOREINFO_OWNER)?.desc
  return {
    level: sub.dump_level,
    isIncomplete: (header.status & DUMP_DH.COMPRESSED_INCOMPLETE) !== 0,
    bitmaps,
    bitmapBytes,
    frames: Number(max),
    notes,
    vmcoreinfo: decodeUtf8(info.length > 0 ? info : (noted ?? info)),
  }
}

const NOWHERE: Range<number> = { start: 0, end: 0 }

/** Returns a part of the file, which a field of the sub header at `at` tells. */
function placeOf(source: ByteSource, at: number, offset: bigint, size: bigint): Range<number> {
  if (size === 0n) return NOWHERE
  const end = narrow(offset + size, 'the end of the notes', { max: source.size, offset: at })
  return { start: Number(offset), end }
}

/** Returns the first ranges without the second ones, which lie in them. */
function without(ranges: readonly Range<Pfn>[], gaps: readonly Range<Pfn>[]): Range<Pfn>[] {
  const left: Range<Pfn>[] = []
  let next = 0
  for (const { start, end } of ranges) {
    let from = start
    for (let gap = gaps[next]; gap !== undefined && gap.start < end; gap = gaps[++next]) {
      if (gap.start > from) left.push({ start: from, end: gap.start })
      from = gap.end
    }
    if (from < end) left.push({ start: from, end })
  }
  return left
}

function placePages(source: ByteSource, memory: GuestMemory, { index }: KdumpPages): GuestMemory {
  const read = pageReader(source, index)
  for (const { pfn, pages, offset = 0 } of index.runs()) {
    if (!memory.covers(paddrOf(pfn), pages * PAGE_SIZE)) {
      refuse(
        'pages with content lie outside the guest',
        'frames of the first bitmap',
        `${pages} from ${pfn} on`,
        offset,
      )
    }
    memory.generate(paddrOf(pfn), pages * PAGE_SIZE, (done, out) => read(pfn + done / PAGE_SIZE, out))
  }
  return memory
}

/** Places zeros, which are content in a guest that is still to run. */
function placeZeros(memory: GuestMemory, { zeros }: KdumpPages): GuestMemory {
  for (const { start, end } of zeros) {
    memory.generate(paddrOf(start), (end - start) * PAGE_SIZE, (_, out) => void out.fill(0))
  }
  return memory
}

function refuse(what: string, expected: string, found: string, offset: number): never {
  throw new DomainBuilderError('bad-snapshot', `kdump: ${what}`, { expected, found, offset })
}

/** The format that crash, drgn and makedumpfile open. */
export const kdumpFormat: SnapshotFormat = {
  name: 'kdump',
  summary: 'a compressed dump for crash, drgn and makedumpfile',
  extensions: ['kdump'],
  files: [''],
  sniff: ({ main }) => isKdump(main) || isFlattened(main),
  open: ({ main }) => openKdump(main),
  *write(domain, options) {
    return [yield* kdumpSlices(domain, options)]
  },
}
