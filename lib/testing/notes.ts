/**
 * ELF notes for tiny kernels: Xen's by name, those of other owners by number.
 *
 * Source: the System V ABI, chapter 5, "Note Section"; xen/include/public/elfnote.h.
 * Gotcha: a number's width depends on the class, not on its value, and Xen reads as many bytes as the note has.
 */
import { GNU_NOTE_OWNER, Nhdr, NT_GNU_PROPERTY_TYPE_0 } from '../abi/elf.js'
import { XEN_ELFNOTE, XEN_NOTE_KINDS, XEN_NOTE_OWNER, type XenNoteName } from '../abi/elfnote.js'
import { concat, encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { alignUp, hex } from '../units.js'

/**
 * A descriptor: a number takes a word of the ELF's class (8 or 4 bytes), an array one u32 for each element. Text gets a
 * NUL, and bytes stay unchanged. For a fixed width, use an array: `[0x100000]` is 4 bytes in either class.
 */
export type NoteDesc = number | bigint | string | Uint8Array | readonly number[]

/** A note to write. */
export interface NoteSpec {
  /** Default: `Xen`. */
  readonly owner?: string
  /** A Xen note by its name without XEN_ELFNOTE_, or any number. */
  readonly type: XenNoteName | number
  /** The content of the descriptor; NoteDesc gives its width. */
  readonly desc: NoteDesc
  /** Alignment of the note and of its padded descriptor, in bytes; default 4. GNU's linker uses 8 for its own notes. */
  readonly align?: 4 | 8
  /** Bytes that n_namesz claims; for tests, it may be wrong. */
  readonly namesz?: number
  /** Bytes that n_descsz claims; it may be wrong too. */
  readonly descsz?: number
}

/** Makes Xen notes from, for example, `{ ENTRY: 0x1000n, VIRT_BASE: 0n }`, in that order. */
export function xenNotes(notes: Readonly<Partial<Record<XenNoteName, NoteDesc>>>): NoteSpec[] {
  return (Object.entries(notes) as [XenNoteName, NoteDesc][]).map(([type, desc]) => ({
    type,
    // SUPPORTED_FEATURES is a u32 in either class.
    desc: typeof desc === 'number' && XEN_NOTE_KINDS[type] === 'u32s' ? [desc] : desc,
  }))
}

/** The note that a linker puts between others in a merged, 8-aligned segment: an empty x86 feature property. */
export const gnuPropertyNote: NoteSpec = {
  owner: GNU_NOTE_OWNER,
  type: NT_GNU_PROPERTY_TYPE_0,
  desc: [0xc0000002, 4, 0, 0], // GNU_PROPERTY_X86_FEATURE_1_AND, four bytes: none; then padding
  align: 8,
}

function descBytes(desc: NoteDesc, wordSize: 4 | 8): Uint8Array {
  if (desc instanceof Uint8Array) return desc
  if (typeof desc === 'string') return encodeUtf8(`${desc}\0`)
  if (typeof desc === 'number' || typeof desc === 'bigint') return numberBytes(desc, wordSize)
  const out = new Uint8Array(desc.length * 4)
  desc.forEach((value, i) => {
    out.set(numberBytes(value, 4), i * 4)
  })
  return out
}

function numberBytes(value: number | bigint, size: 4 | 8): Uint8Array {
  const bits = BigInt(size) * 8n
  if (
    (typeof value === 'number' && !Number.isSafeInteger(value)) ||
    BigInt.asUintN(Number(bits), BigInt(value)) !== BigInt(value)
  ) {
    throw new DomainBuilderError('bad-config', 'a note cannot hold that number', {
      expected: `an unsigned integer of ${size} bytes`,
      found: typeof value === 'bigint' ? hex(value) : String(value),
    })
  }
  const out = new Uint8Array(8)
  new DataView(out.buffer).setBigUint64(0, BigInt(value), true)
  return out.subarray(0, size)
}

/** The bytes of the notes in a file; its class decides the width of numbers. */
export function encodeNotes(notes: readonly NoteSpec[], elfClass: 32 | 64): Uint8Array {
  const chunks: Uint8Array[] = []
  let length = 0
  const put = (bytes: Uint8Array): void => {
    chunks.push(bytes)
    length += bytes.length
  }
  const padTo = (align: number): void => put(new Uint8Array(alignUp(length, align) - length))
  for (const note of notes) {
    const align = note.align ?? 4
    const name = encodeUtf8(`${note.owner ?? XEN_NOTE_OWNER}\0`)
    const desc = descBytes(note.desc, elfClass === 64 ? 8 : 4)
    padTo(align)
    put(
      Nhdr.encode({
        n_namesz: note.namesz ?? name.length,
        n_descsz: note.descsz ?? desc.length,
        n_type: typeof note.type === 'number' ? note.type : XEN_ELFNOTE[note.type],
      }),
    )
    put(name)
    padTo(align)
    put(desc)
    padTo(align)
  }
  return concat(chunks)
}
