/**
 * The note walker: PT_NOTE segments first, SHT_NOTE sections as a fallback.
 *
 * Source: the System V ABI, chapter 5, "Note Section"; xen/include/public/elfnote.h.
 * Gotcha: do not pad by p_align: name and descriptor are padded to 4 bytes. GNU property notes in a merged segment with
 * p_align 8 are padded to 8, so the walk resynchronises there. GRUB's i386-xen boots, although its last note, PAE_MODE,
 * claims more than its segment and the file have. Such a note counts, but nothing after it can be found: Xen ignores
 * the rest of that segment in silence, and so do we, except that we say so.
 */

import { Nhdr, NOTE_ALIGN, PT_NOTE, SHT_NOTE } from '../abi/elf.js'
import { XEN_NOTE_OWNER, xenNoteName } from '../abi/elfnote.js'
import type { Infer } from '../abi/struct.js'
import { decodeLatin1, encodeLatin1, startsWith } from '../bytes.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { logNotes } from '../log.js'
import { alignUp, hex } from '../units.js'
import type { Slices } from '../work.js'
import type { ElfImage } from './elf.js'

/** An ELF note of the file. */
export interface ElfNote {
  /** As in the file, without its NUL; at most 4096 characters. */
  readonly owner: string
  /** n_namesz, the owner's bytes with its NUL. */
  readonly namesz: number
  /** Whether the owner is `Xen` in 4 bytes, NUL included: the only spelling whose types are Xen's. */
  readonly isXen: boolean
  /** Set if the owner is `Xen` in another number of bytes: some readers take the note for Xen's, others do not. */
  readonly misnamed?: true
  /** n_type: XEN_ELFNOTE_* if the owner is Xen. */
  readonly type: number
  /** Name of a known type if the owner is Xen, e.g. ENTRY. */
  readonly name?: string
  /** The part of the descriptor that the file has. */
  readonly desc: Uint8Array
  /** Whether zero padding follows the descriptor: it ends a text without a NUL. */
  readonly zeroPadded: boolean
  /** Bytes that n_descsz claims after the end of the file, if any. */
  readonly missing?: number
  /** File offset of the note's header. */
  readonly offset: number
  /** The header that led to it: a program header, or a section header if no program header did. */
  readonly from: 'PT_NOTE' | 'SHT_NOTE'
}

/** The rest of a segment or a section of notes, which cannot be read because of a damaged note. */
export interface UnreadableNotes {
  /** File offset of the damaged note's header. */
  readonly offset: number
  /** A few words. */
  readonly reason: string
}

/** The notes of a file, and the places from which on they cannot be read. */
interface KernelNotes {
  readonly notes: readonly ElfNote[]
  readonly unreadable: readonly UnreadableNotes[]
}

/** The most notes, as in Xen; a kernel has a dozen. */
const NOTES_MAX = 65536
const NOTES_IN_SLICE = 2 ** 10
/** The most bytes of an owner or a text, as in Xen (ELF_MAX_STRING_LENGTH). */
const TEXT_MAX = 4096
/** If a linker has merged notes of this alignment with Xen's, its padding lies between them. */
const MERGED_ALIGN = 8

/** Xen's name as it must be in the file. */
const XEN_NAME = encodeLatin1(`${XEN_NOTE_OWNER}\0`)

/** A range of the file that holds notes. */
interface NoteRange {
  readonly start: number
  readonly end: number
  readonly align: bigint
  readonly from: ElfNote['from']
}

/**
 * Returns every note of the file, in its order. Sections are read only if no segment holds a Xen note. A damaged note
 * ends its segment or section, and is never thrown.
 */
export function* readNotes(elf: ElfImage): Slices<KernelNotes> {
  const inSegments = new Found()
  for (const { type, offset, filesz, align } of elf.segments) {
    // Some binutils leave p_offset 0 in a note segment, which then covers the ELF header.
    if (type !== PT_NOTE || offset === 0) continue
    yield* walk(elf.bytes, { start: offset, end: offset + filesz, align, from: 'PT_NOTE' }, inSegments)
  }
  const inSections = new Found()
  if (!inSegments.notes.some(({ isXen }) => isXen)) {
    for (const { type, offset, size, align } of elf.sections) {
      if (type !== SHT_NOTE) continue
      yield* walk(elf.bytes, { start: offset, end: offset + size, align, from: 'SHT_NOTE' }, inSections)
    }
  }
  // A section usually lies in a segment already walked, with the same notes and the same damage.
  const notes = withNew(inSegments.notes, inSections.notes)
  const unreadable = withNew([], [...inSegments.unreadable, ...inSections.unreadable])
  logNotes('%d notes, %d of Xen', notes.length, notes.filter(({ isXen }) => isXen).length)
  return { notes, unreadable }
}

/** The result so far of the walks over segments, or over sections. */
class Found {
  readonly notes: ElfNote[] = []
  readonly unreadable: UnreadableNotes[] = []
}

/** Adds the elements at offsets that are not there yet. */
function withNew<T extends { readonly offset: number }>(all: readonly T[], more: readonly T[]): readonly T[] {
  const byOffset = new Map(more.map((one) => [one.offset, one]))
  for (const { offset } of all) byOffset.delete(offset)
  return [...all, ...byOffset.values()]
}

function* walk(bytes: Uint8Array, range: NoteRange, { notes, unreadable }: Found): Slices<void> {
  const { end, from } = range
  let at = range.start
  const stop = (reason: string) => {
    unreadable.push({ offset: at, reason })
  }
  while (at < end) {
    if (isPadding(bytes, at, range)) {
      at += NOTE_ALIGN
      continue
    }
    if (end - at < Nhdr.size) {
      // The rest is too short for a note: valid as padding, otherwise an earlier note was misread.
      const isPad = bytes.subarray(at, end).every((byte) => byte === 0)
      return isPad ? undefined : stop(`the ${from} ends in the middle of a note header`)
    }
    if (notes.length >= NOTES_MAX) return stop(`there are more than ${NOTES_MAX} notes`)
    const header = Nhdr.decode(bytes, at)
    const { n_namesz, n_descsz } = header
    const nameAt = at + Nhdr.size
    const nameFits = nameAt + n_namesz <= end
    if (nameFits || readsAsXen(bytes, nameAt, end)) notes.push(noteAt(bytes, at, header, range))
    if (!nameFits) return stop(`a name has ${hex(n_namesz)} bytes, and the ${from} only ${hex(end - nameAt)} more`)
    const descAt = nameAt + alignUp(n_namesz, NOTE_ALIGN)
    if (n_descsz > 0 && descAt + n_descsz > end) {
      const left = Math.max(0, end - descAt)
      return stop(`a descriptor has ${hex(n_descsz)} bytes, and the ${from} only ${hex(left)} more`)
    }
    at = descAt + alignUp(n_descsz, NOTE_ALIGN)
    if (notes.length % NOTES_IN_SLICE === 0) yield
  }
}

/** Returns the note whose header is at `at`, as far as its range and the file have it. */
function noteAt(bytes: Uint8Array, at: number, header: Infer<typeof Nhdr>, { end, from }: NoteRange): ElfNote {
  const { n_namesz, n_descsz, n_type } = header
  const nameAt = at + Nhdr.size
  const descAt = nameAt + alignUp(n_namesz, NOTE_ALIGN)
  const rawName = bytes.subarray(nameAt, Math.min(nameAt + n_namesz, nameAt + TEXT_MAX, end))
  const owner = decodeLatin1(rawName.at(-1) === 0 ? rawName.subarray(0, -1) : rawName)
  const isXen = n_namesz === XEN_NAME.length && owner === XEN_NOTE_OWNER
  const name = isXen ? xenNoteName(n_type) : undefined
  const missing = n_descsz === 0 ? 0 : Math.max(0, descAt + n_descsz - bytes.length)
  return defined({
    owner,
    namesz: n_namesz,
    isXen,
    misnamed: (!isXen && (owner === XEN_NOTE_OWNER || readsAsXen(bytes, nameAt, end))) || undefined,
    type: n_type,
    name,
    desc: bytes.subarray(descAt, descAt + n_descsz),
    zeroPadded: n_descsz % NOTE_ALIGN !== 0 && bytes[descAt + n_descsz] === 0,
    missing: missing || undefined,
    offset: at,
    from,
  })
}

/** Whether C code takes a name for Xen's: it reads up to the NUL and ignores n_namesz. */
const readsAsXen = (bytes: Uint8Array, nameAt: number, end: number): boolean =>
  startsWith(bytes.subarray(0, end), XEN_NAME, nameAt)

/** @throws DomainBuilderError `bad-note` for a note that only some readers take for Xen's. */
export function checkXenOwners(notes: readonly ElfNote[]): void {
  const wrong = notes.find(({ misnamed }) => misnamed)
  if (wrong === undefined) return
  throw new DomainBuilderError('bad-note', "a note's owner is Xen, but its length is wrong", {
    expected: `namesz ${XEN_NAME.length}`,
    found: `${wrong.namesz}`,
    offset: wrong.offset,
  })
}

/** Whether a linker's padding lies here instead of a note: zeros that are not at the larger alignment. */
function isPadding(bytes: Uint8Array, at: number, { align }: NoteRange): boolean {
  if (align < MERGED_ALIGN || at % MERGED_ALIGN === 0) return false
  return bytes.subarray(at, at + NOTE_ALIGN).every((byte) => byte === 0)
}

/** A note's name in a message. */
const label = ({ name, type }: ElfNote): string => `note ${name ?? hex(type)}`

function refuseMissing(note: ElfNote): void {
  if (note.missing === undefined) return
  throw new DomainBuilderError('truncated', `${label(note)} reaches past the end of the file`, {
    expected: `a descriptor of ${hex(note.desc.length + note.missing)} bytes`,
    found: `${hex(note.desc.length)}`,
    offset: note.offset,
  })
}

/**
 * Reads a note's whole descriptor as a number.
 * @throws DomainBuilderError `bad-note` if it does not have 1, 2, 4 or 8 bytes, `truncated` if the file lacks them.
 */
export function noteNumber(note: ElfNote): bigint {
  const { desc } = note
  refuseMissing(note)
  const view = new DataView(desc.buffer, desc.byteOffset, desc.byteLength)
  switch (desc.length) {
    case 1:
      return BigInt(view.getUint8(0))
    case 2:
      return BigInt(view.getUint16(0, true))
    case 4:
      return BigInt(view.getUint32(0, true))
    case 8:
      return view.getBigUint64(0, true)
    default:
      throw new DomainBuilderError('bad-note', `${label(note)} is not a number`, {
        expected: 'a descriptor of 4 or 8 bytes',
        found: `${desc.length}`,
        offset: note.offset,
      })
  }
}

/**
 * The text of a note, without its NUL. Padding may take the place of the NUL, as it does for C code.
 * @throws DomainBuilderError `bad-note` if the text runs on past the note, or is over 4096 bytes.
 */
export function noteString(note: ElfNote): string {
  // Many notes may share one long descriptor, so each search ends at the longest text.
  const desc = note.desc.subarray(0, TEXT_MAX + 1)
  const nul = desc.indexOf(0)
  const length = nul < 0 ? desc.length : nul
  if (nul < 0) refuseMissing(note)
  if (nul < 0 && (length > TEXT_MAX || !note.zeroPadded)) {
    throw new DomainBuilderError('bad-note', `${label(note)} is not text`, {
      expected: `at most ${TEXT_MAX} bytes that end with a NUL`,
      found: 'no NUL',
      offset: note.offset,
    })
  }
  return decodeLatin1(desc.subarray(0, length))
}

/**
 * The first `max` u32 of a note; it may have fewer, or none.
 * @throws DomainBuilderError `bad-note` if its size is not a multiple of 4, `truncated` if the file lacks it.
 */
export function noteU32s(note: ElfNote, max: number): number[] {
  const { desc } = note
  refuseMissing(note)
  if (desc.length % 4 !== 0) {
    throw new DomainBuilderError('bad-note', `${label(note)} is not a list of u32`, {
      expected: 'a descriptor of a multiple of 4 bytes',
      found: `${desc.length} bytes`,
      offset: note.offset,
    })
  }
  const view = new DataView(desc.buffer, desc.byteOffset, desc.byteLength)
  return Array.from({ length: Math.min(max, desc.length / 4) }, (_, i) => view.getUint32(i * 4, true))
}
