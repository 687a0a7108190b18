/**
 * buildElf: builds tiny kernels for tests, well-formed unless a test says otherwise.
 *
 * Source: the System V ABI, chapters 4 and 5 (https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html).
 * Gotcha: Xen places a segment by `paddr` and ignores `vaddr`, which is the value a linker would write.
 *
 * ```ts
 * const kernel = buildElf({
 *   class: 64,
 *   entry: 0x1000,
 *   segments: [{ paddr: 0x1000, data: code }],
 *   notes: xenNotes({ XEN_VERSION: 'xen-3.0', LOADER: 'generic', ENTRY: 0x1000, VIRT_BASE: 0 }),
 * })
 * ```
 */
import {
  Ehdr32,
  Ehdr64,
  ELF_MAGIC,
  ELFCLASS32,
  ELFCLASS64,
  ELFDATA2LSB,
  EM_386,
  EM_X86_64,
  ET_EXEC,
  EV_CURRENT,
  PF_R,
  PF_RWX,
  Phdr32,
  Phdr64,
  PT_LOAD,
  PT_NOTE,
  SHT_NOTE,
  SHT_PROGBITS,
  SHT_STRTAB,
  SHT_SYMTAB,
  Shdr32,
  Shdr64,
  ST_INFO_GLOBAL,
  Sym32,
  Sym64,
} from '../abi/elf.js'
import type { Infer, Struct } from '../abi/struct.js'
import { encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { PAGE_SIZE } from '../units.js'
import { encodeNotes, type NoteSpec } from './notes.js'

/** Header fields that a test overrides, with valid or invalid values, by their names in <elf.h>. */
type Overrides<S> = {
  readonly [K in keyof Infer<S>]?: Infer<S>[K] extends Uint8Array ? Uint8Array : number | bigint
}

/** A program header and its bytes. */
export interface SegmentSpec {
  /** Default PT_LOAD. */
  readonly type?: number
  /** p_paddr, bytes. */
  readonly paddr: number | bigint
  /** Default: paddr. */
  readonly vaddr?: number | bigint
  /** Default: empty, a segment of zeros only. */
  readonly data?: Uint8Array
  /** Bytes in memory; default: data's length. */
  readonly memsz?: number | bigint
  /** Default PF_R | PF_W | PF_X. */
  readonly flags?: number
  /** Default 0x1000. The data's file offset is congruent to vaddr modulo this, or modulo a page if this is larger. */
  readonly align?: number
  /** Fields that override all of the above. */
  readonly header?: Overrides<typeof Phdr64>
}

/** A section, named and typed as in <elf.h>. */
export interface SectionSpec {
  /** Such as `.text`. */
  readonly name: string
  /** Default SHT_PROGBITS. */
  readonly type?: number
  /** The section's bytes; sh_size is their number. */
  readonly data: Uint8Array
  /** sh_addr, default 0. */
  readonly addr?: number | bigint
  /** Index of another section, or its name. */
  readonly link?: number | string
  /** sh_info, default 0. */
  readonly info?: number
  /** sh_entsize, bytes, default 0. */
  readonly entsize?: number
  /** Default 1. */
  readonly align?: number
  /** Fields that override all of the above. */
  readonly header?: Overrides<typeof Shdr64>
}

/** The parts of the ELF to build; sizes, addresses and alignments are bytes. */
export interface ElfSpec {
  /** Bits: ELFCLASS32 or ELFCLASS64. */
  readonly class: 32 | 64
  /** Default: EM_386 or EM_X86_64 by the class. */
  readonly machine?: number
  /** Default ET_EXEC. */
  readonly type?: number
  /** e_entry. */
  readonly entry: number | bigint
  /** One program header each, in this order. */
  readonly segments: readonly SegmentSpec[]
  /** Default: none. */
  readonly notes?: readonly NoteSpec[]
  /** A PT_NOTE segment (default), only an SHT_NOTE section named .note.Xen, or both over the same bytes. */
  readonly notesIn?: 'segment' | 'section' | 'both'
  /** p_align and sh_addralign of the notes, default 4. 8 is for a segment that a linker merged: see gnuPropertyNote. */
  readonly notesAlign?: number
  /** Fields of the notes' own program header. */
  readonly notesHeader?: Overrides<typeof Phdr64>
  /** Sections other than the notes; the null section and .shstrtab are added automatically. */
  readonly sections?: readonly SectionSpec[]
  /** Fields of the ELF header, for files with false claims. */
  readonly header?: Overrides<typeof Ehdr64>
  /** Bytes after the ELF, such as the relocation table that ends a Linux payload. */
  readonly trailing?: Uint8Array
}

/** Encodes each field with the number type of its class; fields without a value are zero. */
function encodeAs<T extends object>(
  struct: Struct<T>,
  ...values: readonly Readonly<Record<string, number | bigint | Uint8Array | undefined>>[]
): Uint8Array {
  const zero = struct.zero as Record<string, unknown>
  const fields: Record<string, unknown> = { ...zero }
  for (const [name, value] of values.flatMap((v) => Object.entries(v))) {
    if (value === undefined) continue
    fields[name] = value instanceof Uint8Array ? value : typeof zero[name] === 'bigint' ? BigInt(value) : Number(value)
  }
  return struct.encode(fields as T)
}

/** The places of the file's pieces; offsets only grow. */
class Layout {
  readonly pieces: { readonly offset: number; readonly data: Uint8Array }[] = []
  end = 0

  /** Reserves `size` bytes at the next offset that is congruent to `to` modulo `align`. */
  reserve(size: number, align = 1, to = 0): number {
    const offset = this.end + ((((to - this.end) % align) + align) % align)
    this.end = offset + size
    return offset
  }

  place(data: Uint8Array, align = 1, to = 0): number {
    const offset = this.reserve(data.length, align, to)
    this.pieces.push({ offset, data })
    return offset
  }

  bytes(): Uint8Array {
    const out = new Uint8Array(this.end)
    for (const { offset, data } of this.pieces) out.set(data, offset)
    return out
  }
}

/** A table of names, one after another, each with its NUL, the empty one first. */
function stringTable(names: readonly string[]): { readonly data: Uint8Array; readonly at: readonly number[] } {
  let text = '\0'
  const at = names.map((name) => {
    if (name === '') return 0
    const offset = encodeUtf8(text).length
    text += `${name}\0`
    return offset
  })
  return { data: encodeUtf8(text), at }
}

/**
 * Returns a .symtab and the .strtab it links to, for kernels that request BSD_SYMTAB.
 * Spread them into `sections`.
 */
export function symbolSections(
  elfClass: 32 | 64,
  symbols: readonly { readonly name: string; readonly value: number | bigint; readonly size?: number }[],
): SectionSpec[] {
  const sym = elfClass === 64 ? Sym64 : Sym32
  const strings = stringTable(symbols.map(({ name }) => name))
  const table = new Uint8Array((symbols.length + 1) * sym.size)
  symbols.forEach(({ value, size = 0 }, i) => {
    const fields = { st_name: strings.at[i], st_value: value, st_size: size, st_info: ST_INFO_GLOBAL, st_shndx: 1 }
    table.set(elfClass === 64 ? encodeAs(Sym64, fields) : encodeAs(Sym32, fields), (i + 1) * sym.size)
  })
  return [
    // sh_info: the first symbol that is not local, after the null one.
    {
      name: '.symtab',
      type: SHT_SYMTAB,
      data: table,
      link: '.strtab',
      info: 1,
      entsize: sym.size,
      align: elfClass / 8,
    },
    { name: '.strtab', type: SHT_STRTAB, data: strings.data },
  ]
}

/**
 * Returns the file: the same bytes for the same description on every machine.
 * @throws DomainBuilderError `bad-range` for a number that its field cannot hold, `bad-config` for a link to nowhere.
 */
export function buildElf(spec: ElfSpec): Uint8Array {
  const is64 = spec.class === 64
  const [ehsize, phentsize] = is64 ? [Ehdr64.size, Phdr64.size] : [Ehdr32.size, Phdr32.size]
  const notes = spec.notes === undefined ? undefined : encodeNotes(spec.notes, spec.class)
  const notesIn = spec.notesIn ?? 'segment'
  const notesAlign = spec.notesAlign ?? 4
  const notesSegment = notes !== undefined && notesIn !== 'section'
  const phnum = spec.segments.length + (notesSegment ? 1 : 0)

  const file = new Layout()
  file.reserve(ehsize + phnum * phentsize)

  const programs = spec.segments.map((segment) => placeSegment(file, segment))
  const sections: SectionSpec[] = [...(spec.sections ?? [])]
  let notesOffset = 0
  if (notes !== undefined) {
    notesOffset = file.place(notes, notesAlign)
    if (notesSegment) {
      programs.push({
        p_type: PT_NOTE,
        p_flags: PF_R,
        p_offset: notesOffset,
        p_vaddr: 0,
        p_paddr: 0,
        p_filesz: notes.length,
        p_memsz: notes.length,
        p_align: notesAlign,
        ...spec.notesHeader,
      })
    }
    if (notesIn !== 'segment') {
      const header = { sh_offset: notesOffset, sh_size: notes.length }
      sections.unshift({ name: '.note.Xen', type: SHT_NOTE, data: new Uint8Array(0), align: notesAlign, header })
    }
  }

  const table = placeSections(file, sections, is64)
  const header = elfHeader(spec, phnum, table)
  if (spec.trailing !== undefined) file.place(spec.trailing)

  const out = file.bytes()
  out.set(is64 ? encodeAs(Ehdr64, header, spec.header ?? {}) : encodeAs(Ehdr32, header, spec.header ?? {}))
  programs.forEach((program, i) => {
    out.set(is64 ? encodeAs(Phdr64, program) : encodeAs(Phdr32, program), ehsize + i * phentsize)
  })
  return out
}

/** Places a segment's bytes. Returns its program header. */
function placeSegment(file: Layout, segment: SegmentSpec) {
  const { data = new Uint8Array(0), paddr, vaddr = paddr, align = PAGE_SIZE } = segment
  // More than a page would only make the file longer: 2 MiB of zeros before a few bytes of code.
  const congruence = Math.max(1, Math.min(align, PAGE_SIZE))
  return {
    p_type: segment.type ?? PT_LOAD,
    p_flags: segment.flags ?? PF_RWX,
    p_offset: file.place(data, congruence, Number(BigInt(vaddr) % BigInt(congruence))),
    p_vaddr: vaddr,
    p_paddr: paddr,
    p_filesz: data.length,
    p_memsz: segment.memsz ?? data.length,
    p_align: align,
    ...segment.header,
  }
}

/** Returns the ELF header, as far as the description itself does not say otherwise. */
function elfHeader(spec: ElfSpec, phnum: number, sections: { readonly offset: number; readonly count: number }) {
  const is64 = spec.class === 64
  const ehsize = (is64 ? Ehdr64 : Ehdr32).size
  const shentsize = (is64 ? Shdr64 : Shdr32).size
  return {
    ei_magic: ELF_MAGIC,
    ei_class: is64 ? ELFCLASS64 : ELFCLASS32,
    ei_data: ELFDATA2LSB,
    ei_version: EV_CURRENT,
    e_type: spec.type ?? ET_EXEC,
    e_machine: spec.machine ?? (is64 ? EM_X86_64 : EM_386),
    e_version: EV_CURRENT,
    e_entry: spec.entry,
    e_phoff: ehsize,
    e_shoff: sections.offset,
    e_ehsize: ehsize,
    e_phentsize: (is64 ? Phdr64 : Phdr32).size,
    e_phnum: phnum,
    e_shentsize: sections.count === 0 ? 0 : shentsize,
    e_shnum: sections.count,
    e_shstrndx: Math.max(0, sections.count - 1),
  }
}

/** Places sections' data, their names and the header table; nothing without a section. */
function placeSections(
  file: Layout,
  sections: readonly SectionSpec[],
  is64: boolean,
): { readonly offset: number; readonly count: number } {
  if (sections.length === 0) return { offset: 0, count: 0 }
  const names = ['', ...sections.map(({ name }) => name), '.shstrtab']
  const strings = stringTable(names)
  const linkOf = (link: number | string): number => {
    const index = typeof link === 'number' ? link : names.indexOf(link)
    if (index < 0) {
      throw new DomainBuilderError('bad-config', 'the target of a section link is missing', { found: `'${link}'` })
    }
    return index
  }
  const all: SectionSpec[] = [...sections, { name: '.shstrtab', type: SHT_STRTAB, data: strings.data }]
  const headers = all.map((section, i) => ({
    sh_name: strings.at[i + 1],
    sh_type: section.type ?? SHT_PROGBITS,
    sh_addr: section.addr ?? 0,
    sh_offset: file.place(section.data, section.align ?? 1),
    sh_size: section.data.length,
    sh_link: linkOf(section.link ?? 0),
    sh_info: section.info ?? 0,
    sh_addralign: section.align ?? 1,
    sh_entsize: section.entsize ?? 0,
    ...section.header,
  }))
  const empty = new Uint8Array(is64 ? Shdr64.size : Shdr32.size)
  const offset = file.place(empty, 8)
  for (const header of headers) file.place(is64 ? encodeAs(Shdr64, header) : encodeAs(Shdr32, header))
  return { offset, count: names.length }
}
