/**
 * The note walker: PT_NOTE segments first, SHT_NOTE sections as a fallback.
 *
 * Source: the System V ABI, chapter 5, "Note Section"; xen/include/public/elfnote.h.
 * Gotcha: do not pad by p_align: name and descriptor are padded to 4 bytes. GNU property notes in a merged segment with
 * p_align 8 are padded to 8, so the walk resynchronises there. GRUB's i386-xen boots, although its last note, PAE_MODE,
 * claims more than its segment and the file have: a descriptor may overrun, a name may not.
 */

import { Nhdr, NOTE_ALIGN, PT_NOTE, SHT_NOTE } from '../abi/elf.js'
import { XEN_NOTE_OWNER, xenNoteName } from '../abi/elfnote.js'
import type { Infer } from '../abi/struct.js'
import { decodeLatin1, encodeLatin1 } from '../bytes.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { logNotes } from '../log.js'
import { alignUp, hex } from '../units.js'
import type { Slices } from '../work.js'
import type { ElfImage } from './elf.js'

/** An ELF note of the file. */
export interface ElfNote {
  /** Exactly as in the file, without its NUL. */
  readonly owner: string
  /** Whether the owner is `Xen` in 4 bytes, NUL included: the only spelling whose types are Xen's. */
  readonly isXen: boolean
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
 * Returns every note of the file, in its order. Sections are read only if no segment holds a Xen note.
 * @throws DomainBuilderError `truncated` or `bad-note`, if the walk cannot continue.
 */
export function* readNotes(elf: ElfImage): Slices<ElfNote[]> {
  const notes: ElfNote[] = []
  for (const { type, offset, filesz, align } of elf.segments) {
    // Some binutils leave p_offset 0 in a note segment, which then covers the ELF header.
    if (type !== PT_NOTE || offset === 0) continue
    yield* walk(elf.bytes, { start: offset, end: offset + filesz, align, from: 'PT_NOTE' }, notes)
  }
  if (!notes.some(({ isXen }) => isXen)) {
    const seen = new Set(notes.map(({ offset }) => offset))
    const found: ElfNote[] = []
    for (const { type, offset, size, align } of elf.sections) {
      if (type !== SHT_NOTE) continue
      yield* walk(elf.bytes, { start: offset, end: offset + size, align, from: 'SHT_NOTE' }, found)
    }
    // A section usually lies in a segment already walked, with the same notes.
    notes.push(...found.filter(({ offset }) => !seen.has(offset)))
  }
  logNotes('%d notes, %d of Xen', notes.length, notes.filter(({ isXen }) => isXen).length)
  return notes
}

function* walk(bytes: Uint8Array, range: NoteRange, notes: ElfNote[]): Slices<void> {
  const { end, from } = range
  let at = range.start
  while (at < end) {
    if (isPadding(bytes, at, range)) {
      at += NOTE_ALIGN
      continue
    }
    // The rest is too short for a note: valid as padding, otherwise an earlier note was misread.
    if (end - at < Nhdr.size && bytes.subarray(at, end).every((byte) => byte === 0)) return
    if (end - at < Nhdr.size) {
      throw new DomainBuilderError('truncated', `a ${from} ends in the middle of a note header`, {
        expected: `${Nhdr.size} bytes`,
        found: `${end - at}`,
        offset: at,
      })
    }
    const header = Nhdr.decode(bytes, at)
    const note = noteAt(bytes, at, header, range)
    if (notes.length >= NOTES_MAX) {
      throw new DomainBuilderError('bad-note', 'the number of notes is too large', {
        expected: `at most ${NOTES_MAX}`,
        offset: at,
      })
    }
    notes.push(note)
    at += Nhdr.size + alignUp(header.n_namesz, NOTE_ALIGN) + alignUp(header.n_descsz, NOTE_ALIGN)
    if (notes.length % NOTES_IN_SLICE === 0) yield
  }
}

/** Returns the note whose header is at `at`. */
function noteAt(bytes: Uint8Array, at: number, header: Infer<typeof Nhdr>, { end, from }: NoteRange): ElfNote {
  const { n_namesz, n_descsz, n_type } = header
  const nameAt = at + Nhdr.size
  const descAt = nameAt + alignUp(n_namesz, NOTE_ALIGN)
  if (nameAt + n_namesz > end) {
    throw new DomainBuilderError('truncated', `a note's name reaches past the end of its ${from}`, {
      expected: `namesz of at most ${hex(end - nameAt)}`,
      found: hex(n_namesz),
      offset: at,
    })
  }
  if (n_namesz > TEXT_MAX) {
    throw new DomainBuilderError('bad-note', "a note's owner is too long", {
      expected: `at most ${TEXT_MAX} bytes`,
      found: `${n_namesz}`,
      offset: at,
    })
  }
  if (n_namesz !== XEN_NAME.length && XEN_NAME.every((byte, i) => bytes[nameAt + i] === byte)) {
    // C would read Xen's name here and ignore n_namesz: some readers would take the note for Xen's, others not.
    throw new DomainBuilderError('bad-note', "a note's owner is Xen, but its length is wrong", {
      expected: `namesz ${XEN_NAME.length}`,
      found: `${n_namesz}`,
      offset: at,
    })
  }
  const rawName = bytes.subarray(nameAt, nameAt + n_namesz)
  const owner = decodeLatin1(rawName[n_namesz - 1] === 0 ? rawName.subarray(0, -1) : rawName)
  const isXen = n_namesz === XEN_NAME.length && owner === XEN_NOTE_OWNER
  const name = isXen ? xenNoteName(n_type) : undefined
  const missing = n_descsz === 0 ? 0 : Math.max(0, descAt + n_descsz - bytes.length)
  return defined({
    owner,
    isXen,
    type: n_type,
    name,
    desc: bytes.subarray(descAt, descAt + n_descsz),
    zeroPadded: n_descsz % NOTE_ALIGN !== 0 && bytes[descAt + n_descsz] === 0,
    missing: missing || undefined,
    offset: at,
    from,
  })
}

/** Whether a linker's padding lies here instead of a note: zeros that are not at the larger alignment. */
function isPadding(bytes: Uint8Array, at: number, { end, align }: NoteRange): boolean {
  if (align < MERGED_ALIGN || at % MERGED_ALIGN === 0 || end - at < NOTE_ALIGN) return false
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
  if (length > TEXT_MAX || (nul < 0 && !note.zeroPadded)) {
    throw new DomainBuilderError('bad-note', `${label(note)} is not text`, {
      expected: `at most ${TEXT_MAX} bytes that end with a NUL`,
      found: nul < 0 ? 'no NUL' : `${length} bytes`,
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
