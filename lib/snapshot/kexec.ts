/**
 * The kexec format: an ELF whose PT_LOADs are the segments that kexec_load(2) takes, and whose e_entry is its entry.
 * One segment is our purgatory. A note before the segments lets the file read back as the same guest.
 *
 * Source: kexec_load(2) (https://man7.org/linux/man-pages/man2/kexec_load.2.html); docs/formats.md, "The kexec format".
 * Gotcha: memory outside the segments keeps the old kernel's bytes. So zeros that a guest relies on are part of a
 * segment, as the memory after its bytes: memsz is larger than bufsz.
 */
import { GUEST_NOTE_OWNER, NT_KEXEC_JSON } from '../abi/core-files.js'
import { Ehdr64, EM_X86_64, ET_EXEC, Nhdr, Phdr64, PT_LOAD } from '../abi/elf.js'
import { KEXEC_SEGMENT_MAX } from '../abi/kexec.js'
import { concat, encodeUtf8, equal } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import type { GuestMemory } from '../guest/memory.js'
import type { Run } from '../guest/runs.js'
import { alignUp, FRAMES_MAX, hex, PADDR_MAX, PAGE_SIZE, type Paddr, type Pfn, paddrOf, pfnOf } from '../units.js'
import type { WorkOptions } from '../work.js'
import { freePage, requireBareGuest } from './bare-guest.js'
import type { ByteSource } from './byte-source.js'
import { coreGuest, guestNote } from './core-guest.js'
import { dataRuns, pageContents } from './data-pages.js'
import {
  elfHeader,
  encodeNote,
  type FileSegment,
  loadHeader,
  noteHeader,
  readSegments,
  refuseElf,
  sniffElf,
} from './elf-file.js'
import { placeFile } from './file-memory.js'
import { type SnapshotFormat, startOf } from './format.js'
import { openPair } from './guest-json.js'
import type { JsonValue } from './json-value.js'
import { purgatory } from './purgatory.js'
import { SnapshotFile, solid, zeros } from './snapshot-file.js'

/** The bytes of the headers that a file is detected by: the note follows the program headers, which are few. */
const KEXEC_SNIFFED = Ehdr64.size + (KEXEC_SEGMENT_MAX + 1) * Phdr64.size + Nhdr.size + GUEST_NOTE_OWNER.length + 1

/** The number of zero pages in a row that are worth a separate segment: shorter ones are bytes of the file. */
const WORTH_A_CUT = 256

/** A segment as kexec_load takes it: `filled` pages of bytes, and zeros up to `pages`. */
interface Segment {
  readonly pfn: Pfn
  readonly filled: number
  readonly pages: number
}

/**
 * Returns a guest as kexec segments.
 * @throws DomainBuilderError `does-not-fit` for a guest that kexec cannot enter, or one in too many pieces.
 */
export function writeKexec(domain: Domain, options: WorkOptions = {}): SnapshotFile {
  const vcpu = requireBareGuest(domain, 'kexec')
  const guest = guestSegments(domain, KEXEC_SEGMENT_MAX - 1)
  const page = purgatoryPage(domain, guest)
  const code = new Uint8Array(PAGE_SIZE)
  code.set(purgatory(vcpu, page))
  const own: Segment = { pfn: pfnOf(page), filled: 1, pages: 1 }
  const segments = [...guest, own].sort((a, b) => a.pfn - b.pfn)
  const data = [...domain.memory.pages()].map(({ pfn, pages }) => [pfn, pages])
  const note = encodeNote(guestNote(domain, NT_KEXEC_JSON, { data }))

  const noteAt = Ehdr64.size + (segments.length + 1) * Phdr64.size
  const contentsAt = alignUp(noteAt + note.length, PAGE_SIZE)
  let offset = contentsAt
  const loads = segments.map(({ pfn, filled, pages }) => {
    const header = loadHeader({
      offset,
      filesz: filled * PAGE_SIZE,
      paddr: paddrOf(pfn),
      memsz: pages * PAGE_SIZE,
    })
    offset += filled * PAGE_SIZE
    return header
  })
  const header = elfHeader(EM_X86_64, {
    e_type: ET_EXEC,
    e_entry: BigInt(page),
    e_phoff: BigInt(Ehdr64.size),
    e_phentsize: Phdr64.size,
    e_phnum: segments.length + 1,
  })
  const contents = segments.map((segment) =>
    segment === own ? solid(code) : pageContents(domain, [{ pfn: segment.pfn, pages: segment.filled }]),
  )
  const headers = concat([header, ...loads, noteHeader(noteAt, note.length), note])
  return new SnapshotFile('', [solid(headers), zeros(contentsAt - noteAt - note.length), ...contents], options)
}

/**
 * Returns the data of the guest, one segment for each run. Long runs of zeros split it further, largest first, up to
 * `room` segments.
 */
function guestSegments(domain: Domain, room: number): Segment[] {
  const runs = dataRuns(domain)
  if (runs.length > room) {
    throw new DomainBuilderError('does-not-fit', 'the guest has too many segments for kexec_load', {
      expected: `at most ${KEXEC_SEGMENT_MAX}, the purgatory included`,
      found: `${runs.length + 1}`,
    })
  }
  const data = [...domain.memory.pages()]
  const inside = (run: Run) => data.filter(({ pfn }) => pfn >= run.pfn && pfn < run.pfn + run.pages)
  const zeros = runs.flatMap((run) => {
    let end = run.pfn
    return inside(run).map(({ pfn, pages }) => {
      const gap = { pfn, pages: pfn - end }
      end = pfn + pages
      return gap
    })
  })
  const cuts = zeros
    .filter(({ pages }) => pages >= WORTH_A_CUT)
    .sort((a, b) => b.pages - a.pages || a.pfn - b.pfn)
    .slice(0, room - runs.length)
    .map(({ pfn }) => pfn)
  return runs.flatMap((run) => {
    const end = run.pfn + run.pages
    const own = inside(run)
    const starts = [run.pfn, ...cuts.filter((pfn) => pfn > run.pfn && pfn < end).sort((a, b) => a - b)]
    return starts.map((pfn, i) => {
      const next = starts[i + 1] ?? end
      const last = own.findLast((piece) => piece.pfn >= pfn && piece.pfn < next)
      return { pfn, filled: last === undefined ? 0 : last.pfn + last.pages - pfn, pages: next - pfn }
    })
  })
}

/** Returns a page next to the guest's segments: a crash kernel may have only its reservation, and no low memory. */
function purgatoryPage(domain: Domain, segments: readonly Segment[]): Paddr {
  const after = segments.map(({ pfn, pages }) => pfn + pages)
  const before = segments.map(({ pfn }) => pfn - 1)
  const taken = (page: Pfn) => segments.some(({ pfn, pages }) => page >= pfn && page < pfn + pages)
  return freePage(
    domain,
    [...after, ...before].filter((pfn) => pfn >= 0 && !taken(pfn)),
  )
}

/** Returns whether a file is of this format, by its first KEXEC_SNIFFED bytes. */
function isKexec(start: Uint8Array): boolean {
  const header = sniffElf(start, ET_EXEC)
  if (header === undefined || header.e_phentsize !== Phdr64.size || header.e_phnum > KEXEC_SEGMENT_MAX + 1) return false
  const note = start.subarray(Ehdr64.size + header.e_phnum * Phdr64.size)
  const owner = encodeUtf8(`${GUEST_NOTE_OWNER}\0`)
  if (note.length < Nhdr.size + owner.length) return false
  const { n_namesz, n_type } = Nhdr.decode(note)
  const name = note.subarray(Nhdr.size, Nhdr.size + n_namesz)
  return n_type === NT_KEXEC_JSON && equal(name, owner)
}

/**
 * Returns the guest in such a file; pages are read on demand. The purgatory is not part of the guest.
 * @throws DomainBuilderError `bad-snapshot` or `truncated`, with an offset.
 */
function openKexec(source: ByteSource): Domain {
  const { segments, notes } = readSegments(source)
  const loads = segments.filter(({ p_type }) => p_type === PT_LOAD)
  checkLoads(loads)
  const note = notes.find(({ owner, type }) => owner === GUEST_NOTE_OWNER && type === NT_KEXEC_JSON)
  if (note === undefined) {
    return refuseElf(
      'the description of the segments is missing',
      `a note of ${GUEST_NOTE_OWNER}`,
      `${notes.length} other notes`,
      0,
    )
  }
  return coreGuest(note, (memory, json) => placeData(source, memory, json, loads))
}

/** Checks the rules of kexec_load(2): whole pages, no more bytes than memory, few segments, no overlaps. */
function checkLoads(loads: readonly FileSegment[]): void {
  if (loads.length === 0 || loads.length > KEXEC_SEGMENT_MAX) {
    refuseElf(
      'the segment count is invalid',
      `1 to ${KEXEC_SEGMENT_MAX}`,
      `${loads.length}`,
      Ehdr64.offsetOf('e_phnum'),
    )
  }
  const page = BigInt(PAGE_SIZE)
  let last = { start: 0n, end: 0n }
  for (const { p_paddr, p_memsz, length, at } of loads) {
    const range = { start: p_paddr, end: p_paddr + p_memsz }
    const show = ({ start, end }: typeof range) => `[${hex(start)}, ${hex(end)})`
    if (p_paddr % page || p_memsz % page || length % PAGE_SIZE || range.end > BigInt(PADDR_MAX)) {
      refuseElf('a segment is not whole pages', `multiples of ${hex(PAGE_SIZE)}`, `${show(range)}, ${length} bytes`, at)
    }
    if (BigInt(length) > p_memsz) {
      refuseElf('a segment has more bytes than memory', `at most ${p_memsz}`, `${length}`, at)
    }
    if (range.start < last.end) {
      refuseElf('two segments overlap, or are out of order', `one from ${hex(last.end)} on`, show(range), at)
    }
    last = range
  }
}

/** Places the pages that held bytes in the original guest; they must be in the file. */
function placeData(
  source: ByteSource,
  memory: GuestMemory,
  json: JsonValue,
  loads: readonly FileSegment[],
): GuestMemory {
  const runs = json.at('data').list()
  const pieces = runs.map((run) => {
    const [pfn, pages] = openPair(run)
    const paddr = paddrOf(pfn)
    const end = paddrOf(pfn + pages)
    const load = loads.find(({ p_paddr, length }) => paddr >= Number(p_paddr) && end <= Number(p_paddr) + length)
    if (load === undefined || pfn + pages > FRAMES_MAX) return run.refuse('pages that a segment has')
    return { paddr, offset: load.offset + paddr - Number(load.p_paddr), length: pages * PAGE_SIZE }
  })
  return placeFile(memory, source, pieces, (i, expected) => (runs[i] as JsonValue).refuse(expected))
}

/** The format that kexec_load(2) takes. */
export const kexecFormat: SnapshotFormat = {
  name: 'kexec',
  summary: 'an ELF whose segments kexec_load(2) takes',
  extensions: ['kexec'],
  files: [''],
  purpose: 'vmm',
  sniff: ({ main }) => isKexec(startOf(main, KEXEC_SNIFFED)),
  open: ({ main }) => openKexec(main),
  write: (domain, options) => [writeKexec(domain, options)],
}
