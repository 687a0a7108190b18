/**
 * The parts of an ELF file that snapshots use: notes, and headers read within bounds.
 *
 * Source: the System V ABI, chapters 4 and 5; Linux's convention that notes are padded to 4 bytes.
 * Gotcha: a count or an offset in a header is a claim; each is compared with the file before anything is read for it.
 */
import {
  Ehdr32,
  Ehdr64,
  EI_NIDENT,
  ELF_MAGIC,
  ELFCLASS32,
  ELFCLASS64,
  ELFDATA2LSB,
  ET_CORE,
  EV_CURRENT,
  Nhdr,
  NOTE_ALIGN,
  PF_RWX,
  Phdr32,
  Phdr64,
  PN_XNUM,
  PT_LOAD,
  PT_NOTE,
  Shdr32,
  Shdr64,
} from '../abi/elf.js'
import { concat, decodeLatin1, encodeUtf8, equal } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { alignUp, PAGE_SIZE } from '../units.js'
import type { ByteSource } from './byte-source.js'
import { readBytes } from './records.js'

/** The most bytes of all notes, which are read whole: sidecars of large guests have a few MB. */
const NOTES_MAX = 64 << 20
/** The most notes of one file: each vcpu has a few. */
const NOTES_COUNT_MAX = 1 << 15
const MAX_SECTIONS = 64
/** The most program headers. QEMU writes one for each mapping, and Linux maps one page 65,536 times (espfix). */
const MAX_SEGMENTS = 1 << 18

const LAYOUTS = {
  [ELFCLASS32]: { Ehdr: Ehdr32, Phdr: Phdr32, Shdr: Shdr32 },
  [ELFCLASS64]: { Ehdr: Ehdr64, Phdr: Phdr64, Shdr: Shdr64 },
} as const
type ElfClass = keyof typeof LAYOUTS

export interface CoreNote {
  readonly owner: string
  readonly type: number
  readonly desc: Uint8Array
}

/** A note and its place in the file. */
export interface FoundNote extends CoreNote {
  readonly offset: number
}

export function encodeNote({ owner, type, desc }: CoreNote): Uint8Array {
  const name = encodeUtf8(`${owner}\0`)
  const padded = (bytes: Uint8Array): Uint8Array => {
    const out = new Uint8Array(alignUp(bytes.length, NOTE_ALIGN))
    out.set(bytes)
    return out
  }
  const header = Nhdr.encode({ n_namesz: name.length, n_descsz: desc.length, n_type: type })
  return concat([header, padded(name), padded(desc)])
}

/** Returns the notes in a part of a file. */
export function readCoreNotes(source: ByteSource, offset: number, length: number): FoundNote[] {
  if (length > NOTES_MAX) refuseElf('the notes are too long', `at most ${NOTES_MAX} bytes`, `${length}`, offset)
  const bytes = readBytes(source, offset, length, 'ELF notes')
  const notes: FoundNote[] = []
  for (let at = 0; at + Nhdr.size <= length; ) {
    const { n_namesz, n_descsz, n_type } = Nhdr.decode(bytes, at)
    const name = at + Nhdr.size
    const desc = name + alignUp(n_namesz, NOTE_ALIGN)
    const end = desc + alignUp(n_descsz, NOTE_ALIGN)
    if (desc + n_descsz > length) {
      refuseElf('a note runs past its part of the file', `${length - at} bytes`, `${end - at}`, offset + at)
    }
    const owner = decodeLatin1(bytes.subarray(name, name + n_namesz)).replace(/\0.*$/s, '')
    if (notes.length === NOTES_COUNT_MAX) {
      refuseElf('the number of notes is too large', `at most ${NOTES_COUNT_MAX}`, 'more', offset + at)
    }
    notes.push({ owner, type: n_type, desc: bytes.subarray(desc, desc + n_descsz), offset: offset + at })
    at = end
  }
  return notes
}

/** Returns the header of a 64-bit little-endian file, a core unless the fields say otherwise. */
export function elfHeader(machine: number, fields: Partial<ReturnType<typeof Ehdr64.decode>>): Uint8Array {
  return Ehdr64.encode({
    ei_magic: ELF_MAGIC,
    ei_class: ELFCLASS64,
    ei_data: ELFDATA2LSB,
    ei_version: EV_CURRENT,
    ei_osabi: 0,
    ei_abiversion: 0,
    ei_pad: new Uint8Array(EI_NIDENT - 9),
    e_type: ET_CORE,
    e_machine: machine,
    e_version: EV_CURRENT,
    e_entry: 0n,
    e_phoff: 0n,
    e_shoff: 0n,
    e_flags: 0,
    e_ehsize: Ehdr64.size,
    e_phentsize: 0,
    e_phnum: 0,
    e_shentsize: 0,
    e_shnum: 0,
    e_shstrndx: 0,
    ...fields,
  })
}

/** Returns a program header for whole pages of memory loaded at `paddr`; `vaddr` where it differs from the address. */
export function loadHeader(
  segment: { readonly offset: number; readonly filesz: number; readonly paddr: number; readonly memsz: number },
  vaddr = BigInt(segment.paddr),
): Uint8Array {
  return Phdr64.encode({
    p_type: PT_LOAD,
    p_flags: PF_RWX,
    p_offset: BigInt(segment.offset),
    p_vaddr: vaddr,
    p_paddr: BigInt(segment.paddr),
    p_filesz: BigInt(segment.filesz),
    p_memsz: BigInt(segment.memsz),
    p_align: BigInt(PAGE_SIZE),
  })
}

/** Returns a program header for notes. */
export function noteHeader(offset: number, length: number): Uint8Array {
  return Phdr64.encode({
    p_type: PT_NOTE,
    p_flags: 0,
    p_offset: BigInt(offset),
    p_vaddr: 0n,
    p_paddr: 0n,
    p_filesz: BigInt(length),
    p_memsz: 0n,
    p_align: BigInt(NOTE_ALIGN),
  })
}

/** Returns the ELF header of a file that begins as our files do: 64-bit, little-endian, of that type. */
export function sniffElf(start: Uint8Array, type: number): ReturnType<typeof Ehdr64.decode> | undefined {
  if (start.length < Ehdr64.size) return undefined
  const header = Ehdr64.decode(start)
  const { ei_magic, ei_class, ei_data, e_type } = header
  const ours = ei_class === ELFCLASS64 && ei_data === ELFDATA2LSB && e_type === type
  return ours && equal(ei_magic, ELF_MAGIC) ? header : undefined
}

/** Returns whether a file begins as a 64-bit little-endian core. */
export const isCore = (start: Uint8Array): boolean => sniffElf(start, ET_CORE) !== undefined

/** Returns whether a file begins as a 32-bit little-endian core. */
export function isCore32(start: Uint8Array): boolean {
  if (start.length < Ehdr64.size) return false
  const { ei_magic, ei_class, ei_data, e_type } = Ehdr32.decode(start)
  return equal(ei_magic, ELF_MAGIC) && ei_class === ELFCLASS32 && ei_data === ELFDATA2LSB && e_type === ET_CORE
}

/** A program header with its part of the file. */
export interface FileSegment {
  readonly p_type: number
  readonly p_paddr: bigint
  readonly p_memsz: bigint
  /** p_offset and p_filesz, within the file. */
  readonly offset: number
  readonly length: number
  /** File offset of the header. */
  readonly at: number
}

/**
 * Returns the machine, the program headers and their notes, of a file of either class. A segment without bytes has
 * any offset.
 * @throws DomainBuilderError `bad-snapshot` or `truncated`.
 */
export function readSegments(source: ByteSource): { machine: number; segments: FileSegment[]; notes: FoundNote[] } {
  const start = readBytes(source, 0, Ehdr64.size, 'ELF header')
  const { Ehdr, Phdr } = LAYOUTS[Ehdr64.decode(start).ei_class as ElfClass]
  const { e_phoff, e_phentsize, e_machine, ...header } = Ehdr.decode(start)
  const e_phnum = header.e_phnum === PN_XNUM ? countBeyond(source, start) : header.e_phnum
  if (e_phentsize !== Phdr.size || e_phnum > MAX_SEGMENTS) {
    refuseElf(
      'the program header table is invalid',
      `at most ${MAX_SEGMENTS} of ${Phdr.size} bytes`,
      `${e_phnum} of ${e_phentsize}`,
      Ehdr.offsetOf('e_phnum'),
    )
  }
  const size = BigInt(e_phnum * Phdr.size)
  const table = fileRange(source, BigInt(e_phoff), size, 'the program headers', Ehdr.offsetOf('e_phoff'))
  const bytes = readBytes(source, table.offset, table.length, 'program headers')
  const segments = Array.from({ length: e_phnum }, (_, i) => {
    const at = table.offset + i * Phdr.size
    const { p_type, p_paddr, p_memsz, p_offset, p_filesz } = Phdr.decode(bytes, i * Phdr.size)
    const offset = p_filesz ? BigInt(p_offset) : 0n
    const range = fileRange(source, offset, BigInt(p_filesz), `segment ${i}`, at)
    return { p_type, p_paddr: BigInt(p_paddr), p_memsz: BigInt(p_memsz), at, ...range }
  })
  return { machine: e_machine, segments, notes: readAllNotes(source, segments) }
}

/** Returns the number of program headers of a file with PN_XNUM or more: sh_info of its first section header. */
function countBeyond(source: ByteSource, start: Uint8Array): number {
  const { Ehdr, Shdr } = LAYOUTS[Ehdr64.decode(start).ei_class as ElfClass]
  const { e_shoff } = Ehdr.decode(start)
  const size = BigInt(Shdr.size)
  const { offset } = fileRange(source, BigInt(e_shoff), size, 'the section header', Ehdr.offsetOf('e_shoff'))
  return Shdr.decode(readBytes(source, offset, Shdr.size, 'section header')).sh_info
}

/** Returns the notes of all parts. Parts may show the same bytes, so the bound is on their sum. */
function readAllNotes(source: ByteSource, segments: readonly FileSegment[]): FoundNote[] {
  const parts = segments.filter(({ p_type }) => p_type === PT_NOTE)
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  if (length > NOTES_MAX) {
    refuseElf('the notes are too long', `at most ${NOTES_MAX} bytes in all`, `${length}`, (parts[0] as FileSegment).at)
  }
  const notes: FoundNote[] = []
  for (const { offset, length, at } of parts) {
    for (const note of readCoreNotes(source, offset, length)) notes.push(note)
    if (notes.length > NOTES_COUNT_MAX) {
      refuseElf('the number of notes is too large', `at most ${NOTES_COUNT_MAX}`, 'more', at)
    }
  }
  return notes
}

export function refuseElf(what: string, expected: string, found: string, offset: number): never {
  throw new DomainBuilderError('bad-snapshot', `ELF: ${what}`, { expected, found, offset })
}

/** Runs code that knows nothing of files; its errors get the offset. */
export function withinElf<T>(offset: number, part: () => T): T {
  try {
    return part()
  } catch (error) {
    if (!(error instanceof DomainBuilderError) || error.offset !== undefined) throw error
    throw new DomainBuilderError('bad-snapshot', `ELF: ${error.message}`, { offset, cause: error })
  }
}

/** Returns a u64 offset and length of a header as a range within the file. */
function fileRange(
  source: ByteSource,
  offset: bigint,
  length: bigint,
  what: string,
  at: number,
): { offset: number; length: number } {
  if (offset > BigInt(source.size) || length > BigInt(source.size) || offset + length > BigInt(source.size)) {
    throw new DomainBuilderError('truncated', `ELF: the file is too short for ${what}`, {
      expected: `at most ${source.size} bytes`,
      found: `${offset + length}`,
      offset: at,
    })
  }
  return { offset: Number(offset), length: Number(length) }
}

/** The place of a section in the file. */
export interface Section {
  readonly offset: number
  readonly length: number
}

/** Returns the sections by name. */
export function readCoreSections(source: ByteSource): Map<string, Section> {
  const { e_shoff, e_shnum, e_shentsize, e_shstrndx } = Ehdr64.decode(readBytes(source, 0, Ehdr64.size, 'ELF header'))
  if (e_shentsize !== Shdr64.size || e_shnum > MAX_SECTIONS || e_shstrndx >= e_shnum) {
    refuseElf(
      'the section header table is invalid',
      `at most ${MAX_SECTIONS} of ${Shdr64.size} bytes`,
      `${e_shnum} of ${e_shentsize}`,
      Ehdr64.offsetOf('e_shnum'),
    )
  }
  const table = fileRange(
    source,
    e_shoff,
    BigInt(e_shnum * Shdr64.size),
    'the section headers',
    Ehdr64.offsetOf('e_shoff'),
  )
  const bytes = readBytes(source, table.offset, table.length, 'section headers')
  const headers = Array.from({ length: e_shnum }, (_, i) => Shdr64.decode(bytes, i * Shdr64.size))
  const ranges = headers.map((h, i) =>
    fileRange(source, h.sh_offset, h.sh_size, `section ${i}`, table.offset + i * Shdr64.size),
  )
  const strings = ranges[e_shstrndx] as Section
  const names = readBytes(source, strings.offset, Math.min(strings.length, 1 << 16), 'section names')
  return new Map(
    headers.map((h, i) => {
      const end = names.indexOf(0, h.sh_name)
      return [decodeLatin1(names.subarray(h.sh_name, end < 0 ? undefined : end)), ranges[i] as Section]
    }),
  )
}
