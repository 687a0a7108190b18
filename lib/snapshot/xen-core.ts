/**
 * The xen-core format: the output of `xl dump-core`, an ELF of sections without program headers.
 *
 * Source: Xen docs/misc/dump-core-format.txt.
 * Gotcha: pages without content are not in the file, which the format allows. The guest's size, and everything else
 * that the format cannot express, is in our own note. A file of another tool has no such note, and is understood
 * by its guest's memory.
 */

import {
  DUMPCORE_FORMAT_VERSION,
  DUMPCORE_SECTION,
  DumpcoreFormatVersion,
  DumpcoreHeader,
  DumpcoreXenVersion,
  GUEST_NOTE_OWNER,
  NT_GUEST_JSON,
  XC_CORE_MAGIC,
  XC_CORE_MAGIC_HVM,
} from '../abi/core-files.js'
import { Ehdr64, EM_386, EM_X86_64, SHT_NOTE, SHT_NULL, SHT_PROGBITS, SHT_STRTAB, Shdr64 } from '../abi/elf.js'
import { XEN_ELFNOTE, XEN_NOTE_OWNER } from '../abi/elfnote.js'
import { NEWEST_XEN, releaseNumbers } from '../abi/xen-release.js'
import { HYPERVISOR_VIRT_START } from '../abi/xen-x86-64.js'
import { concat, encodeUtf8 } from '../bytes.js'
import type { Domain } from '../guest/domain.js'
import { BLOCK_BYTES, GuestMemory } from '../guest/memory.js'
import type { P2m } from '../guest/p2m.js'
import { decodePvContext, encodePvContext, pvContextBytes } from '../guest/pv-context.js'
import { discoverPv, findStartInfo } from '../guest/pv-discover.js'
import { addRange, type Growing, type Run, runBefore } from '../guest/runs.js'
import type { Vcpu } from '../guest/vcpu.js'
import { MAX_VCPUS } from '../guest/vcpu.js'
import { throughWords } from '../guest/words.js'
import { alignUp, FRAMES_MAX, PAGE_SIZE, type Pfn, paddrOf, type Range } from '../units.js'
import type { WorkOptions } from '../work.js'
import type { ByteSource } from './byte-source.js'
import { coreGuest, guestNote } from './core-guest.js'
import { bytesOf, dataRuns, pageContents } from './data-pages.js'
import {
  type CoreNote,
  elfHeader,
  encodeNote,
  isCore,
  readCoreNotes,
  readCoreSections,
  refuseElf,
  type Section,
  withinElf,
} from './elf-file.js'
import { placeFile } from './file-memory.js'
import { type SnapshotFormat, startOf } from './format.js'
import { readBytes } from './records.js'
import { flowing, type Part, SnapshotFile, type Stretch, solid, zeros } from './snapshot-file.js'
import { hvmGuest } from './xen-core-hvm.js'

/** The section that holds all section names. */
const SECTION_NAMES = '.shstrtab'
/** The entries of the frame list that are made or read at a time; an entry has at most 16 bytes. */
const ENTRIES_AT_ONCE = BLOCK_BYTES / 16

const isPv = (domain: Domain): boolean => domain.type === 'pv'
const contextAbi = (domain: Domain): 'x86_64' | 'x86_32p' =>
  domain.abi === 'x86_32p' && isPv(domain) ? 'x86_32p' : 'x86_64'

interface PlannedSection {
  readonly name: string
  readonly type: number
  readonly entsize: number
  readonly align: number
  readonly part: Part
}

/** Returns a guest as a dump-core file. */
export function writeXenCore(domain: Domain, options: WorkOptions = {}): SnapshotFile {
  const planned = plannedSections(domain)
  const names = sectionNames(planned)
  const sections = [
    ...planned,
    { name: SECTION_NAMES, type: SHT_STRTAB, entsize: 0, align: 1, part: solid(names.table) },
  ]
  const header = elfHeader(domain.abi === 'x86_64' ? EM_X86_64 : EM_386, {
    e_shoff: BigInt(Ehdr64.size),
    e_shentsize: Shdr64.size,
    e_shnum: sections.length,
    e_shstrndx: sections.length - 1,
  })
  const headers: Uint8Array[] = []
  const parts: Part[] = []
  let end = Ehdr64.size + sections.length * Shdr64.size
  for (const section of sections) {
    const offset = alignUp(end, section.align)
    headers.push(sectionHeader(section, names.offsetOf(section.name), offset))
    parts.push(zeros(offset - end), section.part)
    end = offset + section.part.length
  }
  return new SnapshotFile('', [solid(concat([header, ...headers])), ...parts], options)
}

/** Returns all sections except the one with their names. */
function plannedSections(domain: Domain): PlannedSection[] {
  const runs = dataRuns(domain)
  const pages = bytesOf(runs) / PAGE_SIZE
  const abi = contextAbi(domain)
  const { boot } = domain
  const shared = boot.kind === 'start_info' ? boot.sharedInfo : undefined
  const bits = (name: string, entsize: number, part: Part, align = 8): PlannedSection => ({
    name,
    type: SHT_PROGBITS,
    entsize,
    align,
    part,
  })
  const notes = solid(concat([...coreNotes(domain, pages).map(encodeNote)]))
  const contexts = solid(concat([...domain.vcpus.map((vcpu) => encodePvContext(vcpu, abi))]))
  const frames = isPv(domain) ? { name: DUMPCORE_SECTION.p2m, bytes: 16 } : { name: DUMPCORE_SECTION.pfn, bytes: 8 }
  return [
    { name: '', type: SHT_NULL, entsize: 0, align: 1, part: solid(new Uint8Array(0)) },
    { name: DUMPCORE_SECTION.notes, type: SHT_NOTE, entsize: 0, align: 4, part: notes },
    bits(DUMPCORE_SECTION.prstatus, pvContextBytes(abi), contexts),
    ...(shared ? [bits(DUMPCORE_SECTION.sharedInfo, shared.length, solid(shared))] : []),
    bits(
      frames.name,
      frames.bytes,
      flowing(pages * frames.bytes, () => frameList(domain, runs)),
    ),
    bits(DUMPCORE_SECTION.pages, PAGE_SIZE, pageContents(domain, runs), PAGE_SIZE),
  ]
}

function coreNotes(domain: Domain, pages: number): CoreNote[] {
  const [major, minor] = releaseNumbers(NEWEST_XEN)
  const known = {
    major_version: BigInt(major),
    minor_version: BigInt(minor),
    virt_start: HYPERVISOR_VIRT_START,
    pagesize: BigInt(PAGE_SIZE),
  }
  const note = (type: number, desc: Uint8Array): CoreNote => ({ owner: XEN_NOTE_OWNER, type, desc })
  return [
    note(XEN_ELFNOTE.DUMPCORE_NONE, new Uint8Array(0)),
    note(
      XEN_ELFNOTE.DUMPCORE_HEADER,
      DumpcoreHeader.encode({
        xch_magic: isPv(domain) ? XC_CORE_MAGIC : XC_CORE_MAGIC_HVM,
        xch_nr_vcpus: BigInt(domain.vcpus.length),
        xch_nr_pages: BigInt(pages),
        xch_page_size: BigInt(PAGE_SIZE),
      }),
    ),
    note(XEN_ELFNOTE.DUMPCORE_XEN_VERSION, DumpcoreXenVersion.encode({ ...DumpcoreXenVersion.zero, ...known })),
    note(XEN_ELFNOTE.DUMPCORE_FORMAT_VERSION, DumpcoreFormatVersion.encode({ version: DUMPCORE_FORMAT_VERSION })),
    guestNote(domain),
  ]
}

function sectionNames(sections: readonly PlannedSection[]): { table: Uint8Array; offsetOf(name: string): number } {
  const text = `${sections.map(({ name }) => `${name}\0`).join('')}${SECTION_NAMES}\0`
  return {
    table: encodeUtf8(text),
    offsetOf: (name) => (name === '' ? 0 : text.indexOf(`\0${name}\0`) + 1),
  }
}

function sectionHeader({ type, align, entsize, part }: PlannedSection, sh_name: number, offset: number): Uint8Array {
  const isNull = type === SHT_NULL
  return Shdr64.encode({
    sh_name,
    sh_type: type,
    sh_flags: 0n,
    sh_addr: 0n,
    sh_offset: isNull ? 0n : BigInt(offset),
    sh_size: BigInt(part.length),
    sh_link: 0,
    sh_info: 0,
    sh_addralign: isNull ? 0n : BigInt(align),
    sh_entsize: BigInt(entsize),
  })
}

/** Yields .xen_p2m: pairs of pfn and mfn, or .xen_pfn: pfns alone. */
function* frameList(domain: Domain, runs: readonly Run[]): Generator<Omit<Stretch, 'offset'>> {
  const entryWords = isPv(domain) ? 4 : 2
  for (const run of runs) {
    for (let done = 0; done < run.pages; done += ENTRIES_AT_ONCE) {
      const pfn = run.pfn + done
      const count = Math.min(ENTRIES_AT_ONCE, run.pages - done)
      const content = (out: Uint8Array) =>
        throughWords(out, (words) => {
          for (let i = 0; i < count; i++) {
            const at = i * entryWords
            setFrame(words, at, pfn + i)
            if (entryWords === 4) setFrame(words, at + 2, domain.p2m.mfn(pfn + i))
          }
        })
      yield { length: 4 * entryWords * count, content }
    }
  }
}

/** Writes a frame as a u64; a frame that is not in the p2m is all ones. */
function setFrame(words: Uint32Array, at: number, frame = -1): void {
  words[at] = frame
  words[at + 1] = Math.floor(frame / 2 ** 32)
}

/** Returns whether a core has the sections of this format. */
export function isXenCore(source: ByteSource): boolean {
  const { e_shnum, e_phnum } = Ehdr64.decode(readBytes(source, 0, Ehdr64.size, 'ELF header'))
  return e_shnum > 0 && e_phnum === 0
}

/**
 * Returns the guest in a dump-core file.
 * @throws DomainBuilderError `bad-snapshot` or `truncated`, with the offset of the contradiction.
 */
function openXenCore(source: ByteSource): Domain {
  const sections = readCoreSections(source)
  const section = (name: string): Section =>
    sections.get(name) ?? refuseElf(`the section ${name} is missing`, name, [...sections.keys()].join(' ') || 'none', 0)
  const noteAt = section(DUMPCORE_SECTION.notes)
  const notes = readCoreNotes(source, noteAt.offset, noteAt.length)
  const header = readHeader(notes, noteAt.offset)
  const pv = header.xch_magic === XC_CORE_MAGIC
  const contents = section(DUMPCORE_SECTION.pages)
  const list = section(pv ? DUMPCORE_SECTION.p2m : DUMPCORE_SECTION.pfn)
  const pages = Number(header.xch_nr_pages)
  if (
    header.xch_page_size !== BigInt(PAGE_SIZE) ||
    list.length !== pages * listEntryBytes(pv) ||
    contents.length !== pages * PAGE_SIZE
  ) {
    refuseElf(
      'the header note contradicts the sections',
      `${pages} pages`,
      `${list.length} bytes of list, ${contents.length} of pages`,
      list.offset,
    )
  }
  const frames = readFrames(source, list, pages, pv)
  const place = (memory: GuestMemory) => placePages(memory, source, frames, contents.offset, list.offset)
  const ours = notes.find(({ owner, type }) => owner === GUEST_NOTE_OWNER && type === NT_GUEST_JSON)
  if (ours) return coreGuest(ours, place)
  const contexts = readContexts(source, sections, Number(header.xch_nr_vcpus))
  const memory = place(new GuestMemory(rangesOf(frames)))
  return pv ? openForeign(source, sections, contexts, memory, frames) : hvmGuest(contexts.vcpus, memory)
}

/** Returns the note that says what is in the file. */
function readHeader(notes: readonly CoreNote[], offset: number) {
  const headerNote = notes.find(({ owner, type }) => owner === XEN_NOTE_OWNER && type === XEN_ELFNOTE.DUMPCORE_HEADER)
  if (headerNote?.desc.length !== DumpcoreHeader.size) {
    return refuseElf(
      'the header note is missing',
      `${DumpcoreHeader.size} bytes`,
      `${headerNote?.desc.length ?? 0}`,
      offset,
    )
  }
  return DumpcoreHeader.decode(headerNote.desc)
}

/** Returns the memory with every page in the file in its place. */
function placePages(memory: GuestMemory, source: ByteSource, frames: Frames, contents: number, list: number) {
  const { runs, entryBytes } = frames
  const pieces = runs.map(({ pfn, first, pages }) => ({
    paddr: paddrOf(pfn),
    offset: contents + first * PAGE_SIZE,
    length: pages * PAGE_SIZE,
  }))
  return placeFile(memory, source, pieces, (i, expected, found) =>
    refuseElf('a page lies outside the guest', expected, found, list + (runs[i] as FrameRun).first * entryBytes),
  )
}

/** Returns the frames that the guest has: xl's file has every one, and others are holes. */
function rangesOf({ runs }: Frames): Range<Pfn>[] {
  const ranges: Range<Pfn>[] = []
  for (const { pfn, pages } of runs) addRange(ranges, pfn, pfn + pages)
  return ranges
}

/** Bytes of an entry of the frame list: pfn and mfn, or a pfn alone. */
const listEntryBytes = (pv: boolean): 8 | 16 => (pv ? 16 : 8)

/** Frames whose contents are consecutive in the file, from page `first` of it on. */
interface FrameRun extends Run {
  readonly first: number
}

interface Frames {
  readonly entryBytes: number
  readonly runs: readonly FrameRun[]
  readonly end: Pfn
  /** For a PV guest, by pfn. */
  readonly mfns: Map<Pfn, number>
}

/** Reads the frame list in pieces; a file's invalid entries (all ones) are not pages. */
function readFrames(source: ByteSource, list: Section, pages: number, pv: boolean): Frames {
  const words = pv ? 2 : 1
  const runs: Growing<FrameRun>[] = []
  const mfns = new Map<Pfn, number>()
  let end = 0
  for (let first = 0; first < pages; first += ENTRIES_AT_ONCE) {
    const count = Math.min(ENTRIES_AT_ONCE, pages - first)
    const at = list.offset + first * words * 8
    const entries = new BigUint64Array(readBytes(source, at, count * words * 8, 'frame list').buffer)
    for (let i = 0; i < count; i++) {
      const frame = entries[words * i] as bigint
      if (frame === 0xffffffffffffffffn) continue
      const pfn = Number(frame)
      if (pfn >= FRAMES_MAX || pfn < end) {
        refuseElf('the frame list is not in order', `a pfn from ${end} on`, `${frame}`, at + i * words * 8)
      }
      const last = runBefore(runs, pfn)
      if (last && last.first + last.pages === first + i) last.pages++
      else runs.push({ pfn, first: first + i, pages: 1 })
      end = pfn + 1
      const mfn = Number(entries[2 * i + 1] ?? 0n)
      if (pv && mfn < FRAMES_MAX) mfns.set(pfn, mfn)
    }
  }
  return { entryBytes: listEntryBytes(pv), runs, end, mfns }
}

interface Contexts {
  readonly abi: 'x86_64' | 'x86_32p'
  readonly vcpus: readonly Vcpu[]
  /** Their place in the file. */
  readonly offset: number
}

/** Returns the vcpus' contexts: their length shows their kind. */
function readContexts(source: ByteSource, sections: Map<string, Section>, count: number): Contexts {
  const { offset, length } = sections.get(DUMPCORE_SECTION.prstatus) ?? { offset: 0, length: 0 }
  const abi = (['x86_64', 'x86_32p'] as const).find((a) => count * pvContextBytes(a) === length)
  if (!abi || count < 1 || count > MAX_VCPUS) {
    return refuseElf('the number of vcpu contexts is wrong', `${count} contexts`, `${length} bytes`, offset)
  }
  const bytes = readBytes(source, offset, length, 'vcpu contexts')
  const size = pvContextBytes(abi)
  const vcpus = Array.from({ length: count }, (_, id) =>
    decodePvContext(bytes.subarray(id * size, (id + 1) * size), abi, id),
  )
  return { abi, vcpus, offset }
}

/** Returns the guest in a file that xl wrote: a PV guest describes itself in its memory. */
function openForeign(
  source: ByteSource,
  sections: Map<string, Section>,
  { abi, vcpus, offset }: Contexts,
  memory: GuestMemory,
  frames: Frames,
): Domain {
  const shared = sections.get(DUMPCORE_SECTION.sharedInfo)
  const sharedInfo = new Uint8Array(PAGE_SIZE)
  if (shared) sharedInfo.set(readBytes(source, shared.offset, Math.min(shared.length, PAGE_SIZE), 'shared_info'))
  // As many frames as the file has, not as many as it claims.
  const { mfns } = frames
  const pfns = new Map([...mfns].map(([pfn, mfn]) => [mfn, pfn]))
  const p2m: P2m = { name: 'table', mfn: (pfn) => mfns.get(pfn), pfn: (mfn) => pfns.get(mfn) }
  const domain = {
    type: 'pv',
    abi,
    name: '',
    memory,
    maxmem: memory.pageCount * PAGE_SIZE,
    vcpus,
    p2m,
  } as const
  return withinElf(offset, () => {
    const startInfo = findStartInfo(domain) ?? refuseElf('start_info is missing', 'a page with its magic', 'none', 0)
    return discoverPv({ domain, startInfo, sharedInfo })
  })
}

/** The format that `xl dump-core` writes. */
export const xenCoreFormat: SnapshotFormat = {
  name: 'xen-core',
  summary: 'the core of xl dump-core',
  extensions: [],
  files: [''],
  sniff: ({ main }) => isCore(startOf(main, Ehdr64.size)) && isXenCore(main),
  open: ({ main }) => openXenCore(main),
  write: (domain, options) => [writeXenCore(domain, options)],
}
