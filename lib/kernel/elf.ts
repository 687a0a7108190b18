/**
 * ELF headers and segments, every u64 exact and every range checked against the file.
 *
 * elfy reads the ELF header and finds each program header. It rounds a u64 through a double and turns types into names,
 * so our structs read those fields again, on top.
 *
 * Source: the System V ABI, chapters 4 and 5 (https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html).
 * Gotcha: the file may be longer than its ELF: a bzImage's payload has a relocation table after it.
 */
import elfy from 'elfy'
import { BufferView } from '../abi/buffer.js'
import {
  Ehdr32,
  Ehdr64,
  EI_NIDENT,
  ELF_MAGIC,
  ELFCLASS32,
  ELFCLASS64,
  ELFDATA2LSB,
  ELFDATA2MSB,
  ET_REL,
  PF_RWX,
  Phdr32,
  Phdr64,
  PN_XNUM,
  PT_LOAD,
  PT_NULL,
} from '../abi/elf.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'
import { atOnce, type Slices } from '../work.js'
import {
  endOfSections,
  HEADERS_IN_SLICE,
  readSections,
  type Section,
  type Sections,
  sectionTable,
} from './elf-sections.js'

export type { Section } from './elf-sections.js'

/** One program header, fields as in the file. */
export interface Segment {
  /** p_type: PT_LOAD 1, PT_NOTE 4, ... */
  readonly type: number
  /** PF_X | PF_W | PF_R. */
  readonly flags: number
  /** Bytes from the start of the ELF; offset + filesz lies within the file unless filesz is 0. */
  readonly offset: number
  /** p_vaddr. */
  readonly vaddr: bigint
  /** p_paddr, bytes: the segment's load address. */
  readonly paddr: bigint
  /** Bytes; filesz <= memsz for every PT_LOAD. */
  readonly filesz: number
  /** p_memsz, bytes in memory; those beyond filesz are zero. */
  readonly memsz: bigint
  /** p_align, bytes. */
  readonly align: bigint
}

/** An ELF: its header, segments and sections, every u64 exact. Source: the System V ABI, chapters 4 and 5. */
export interface ElfImage {
  /** Bits: ELFCLASS32 or ELFCLASS64. */
  readonly class: 32 | 64
  /** e_type: ET_EXEC, ET_DYN, ... */
  readonly type: number
  /** e_machine: EM_386 or EM_X86_64. */
  readonly machine: number
  /** e_entry. */
  readonly entry: bigint
  /** In the order of the file, except those that `fault` concerns. */
  readonly segments: readonly Segment[]
  /** The reason why the ELF cannot be loaded: a damaged program header, or none, or another byte order than x86's. */
  readonly fault?: DomainBuilderError
  /** Headers whose range lies within the file; empty if the file has none or they are damaged. */
  readonly sections: readonly Section[]
  /** Headers whose range does not lie within the file. Harmless unless one of them is needed. */
  readonly outsideSections: readonly Section[]
  /** The reason why sections that the header promises are missing. Xen refuses such a file; other uses accept it. */
  readonly sectionFault?: DomainBuilderError
  /** The whole file, including the bytes after the ELF. A view, never copied. */
  readonly bytes: Uint8Array
  /** The end of the ELF itself: the last byte of any header, segment or section, plus one. */
  readonly end: number
}

/** A program header, its addresses widened to u64 in both classes. */
interface ProgramHeader {
  readonly p_type: number
  readonly p_flags: number
  readonly p_offset: bigint
  readonly p_vaddr: bigint
  readonly p_paddr: bigint
  readonly p_filesz: bigint
  readonly p_memsz: bigint
  readonly p_align: bigint
}

/** elfy's parser, with the fields of the file on top: all of the ELF header, and each program header. */
class HeaderParser extends elfy.Parser {
  override parseHeader(bytes: BufferView) {
    const header = super.parseHeader(bytes)
    return { ...header, ...(header.class === '64' ? Ehdr64 : Ehdr32).decode(bytes) }
  }

  override parseProgram(entry: BufferView, header: { class: '32' | '64' }): ProgramHeader {
    if (header.class === '64') return Phdr64.decode(entry)
    const { p_type, p_flags, ...addresses } = Phdr32.decode(entry)
    return {
      p_type,
      p_flags,
      p_offset: BigInt(addresses.p_offset),
      p_vaddr: BigInt(addresses.p_vaddr),
      p_paddr: BigInt(addresses.p_paddr),
      p_filesz: BigInt(addresses.p_filesz),
      p_memsz: BigInt(addresses.p_memsz),
      p_align: BigInt(addresses.p_align),
    }
  }
}
/** The ELF header: elfy's fields, and those of the file, which begin with e_. */
type Header = ReturnType<HeaderParser['parseHeader']>

/** Whether the bytes begin with the ELF magic; the rest is not checked. */
export function isElf(bytes: Uint8Array): boolean {
  return ELF_MAGIC.every((byte, i) => bytes[i] === byte)
}

/** Whether Xen loads a segment: a PT_LOAD that is readable, writable or executable. */
function isLoadable(segment: Segment): boolean {
  return segment.type === PT_LOAD && (segment.flags & PF_RWX) !== 0
}

/** The segments that Xen loads, in the order of the file. */
export function loadable(elf: ElfImage): readonly Segment[] {
  return elf.segments.filter(isLoadable)
}

/** A segment's bytes in the file: a view, not a copy. */
export function segmentBytes(elf: ElfImage, segment: Segment): Uint8Array {
  return elf.bytes.subarray(segment.offset, segment.offset + segment.filesz)
}

/** Lowest and highest (exclusive) p_paddr of the loadable segments, in any order; undefined without one. */
export function physicalExtent(elf: ElfImage): { readonly pstart: bigint; readonly pend: bigint } | undefined {
  let extent: { pstart: bigint; pend: bigint } | undefined
  for (const { paddr, memsz } of loadable(elf)) {
    const end = paddr + memsz
    if (extent === undefined) extent = { pstart: paddr, pend: end }
    if (paddr < extent.pstart) extent.pstart = paddr
    if (end > extent.pend) extent.pend = end
  }
  return extent
}

/**
 * Reads the header and the segments. Sections are read at their first use, unless there are thousands. A damaged program
 * header is not thrown: it is `fault`, and the rest is there to be shown.
 * @throws DomainBuilderError `not-a-kernel`, `truncated` or `bad-elf`, if not even the ELF header can be read.
 */
export function* parseElf(bytes: Uint8Array): Slices<ElfImage> {
  const { is64, bigEndian } = checkIdent(bytes)
  if (bigEndian) return bigEndianHeader(bytes, is64)
  const phdr = is64 ? Phdr64 : Phdr32
  const buffer = BufferView.over(bytes)
  const parser = new HeaderParser()
  const header = parser.parseHeader(buffer)
  let fault = tableFault(header, bytes.length)
  const count = fault === undefined ? header.phnum : 0

  const segments: Segment[] = []
  for (let done = 0; done < count; done += HEADERS_IN_SLICE) {
    const phoff = header.phoff + done * phdr.size
    const phnum = Math.min(count - done, HEADERS_IN_SLICE)
    const programs = parser.parsePrograms(buffer, { ...header, phoff, phnum }) as ProgramHeader[]
    for (const [i, program] of programs.entries()) {
      const damage = segmentFault(program, bytes.length, is64, phoff + i * phdr.size)
      if (damage === undefined) segments.push(segmentOf(program, bytes.length))
      else fault ??= damage
    }
    yield
  }

  const table = sectionTable(header, bytes.length)
  const programEnd = segments.reduce(
    (end, { filesz, offset }) => (filesz === 0 ? end : Math.max(end, offset + filesz)),
    Math.max((is64 ? Ehdr64 : Ehdr32).size, header.phoff + count * header.phentsize),
  )
  // Sections that take more than one slice are read now, others at their first use.
  let read = table.count > HEADERS_IN_SLICE ? yield* readSections(bytes, table) : undefined
  const sections = (): Sections => {
    read ??= atOnce(readSections(bytes, table))
    return read
  }
  return {
    class: is64 ? 64 : 32,
    type: header.e_type,
    machine: header.e_machine,
    entry: BigInt(header.e_entry),
    segments,
    get sections() {
      return sections().inside
    },
    get outsideSections() {
      return sections().outside
    },
    ...defined({ fault, sectionFault: table.fault }),
    bytes,
    get end() {
      return Math.max(programEnd, endOfSections(table, sections().inside))
    },
  }
}

/** Checks what decides how the ELF header is read, and that the file has all of it. */
function checkIdent(bytes: Uint8Array): { readonly is64: boolean; readonly bigEndian: boolean } {
  if (!isElf(bytes)) {
    throw new DomainBuilderError('not-a-kernel', 'the file does not begin with the ELF magic', { offset: 0 })
  }
  const [elfClass, data] = [bytes[Ehdr64.offsetOf('ei_class')], bytes[Ehdr64.offsetOf('ei_data')]]
  if (elfClass !== ELFCLASS32 && elfClass !== ELFCLASS64) {
    throw new DomainBuilderError('bad-elf', 'the ELF class (EI_CLASS) is invalid', {
      expected: '1 (32-bit) or 2 (64-bit)',
      found: elfClass === undefined ? 'the end of the file' : `${elfClass}`,
      offset: Ehdr64.offsetOf('ei_class'),
    })
  }
  if (data !== ELFDATA2LSB && data !== ELFDATA2MSB) {
    throw byteOrder(data === undefined ? 'the end of the file' : `${data}`)
  }
  const is64 = elfClass === ELFCLASS64
  const { size } = is64 ? Ehdr64 : Ehdr32
  if (bytes.length < size) {
    throw new DomainBuilderError('truncated', 'the file ends within the ELF header', {
      expected: `${size} bytes`,
      found: `${bytes.length}`,
      offset: bytes.length,
    })
  }
  return { is64, bigEndian: data === ELFDATA2MSB }
}

const byteOrder = (found: string): DomainBuilderError =>
  new DomainBuilderError('bad-elf', 'the byte order (EI_DATA) is not that of x86', {
    expected: '1 (little-endian)',
    found,
    offset: Ehdr64.offsetOf('ei_data'),
  })

/** Returns the header of a big-endian ELF, which is for another processor. Nothing else of it is read. */
function bigEndianHeader(bytes: Uint8Array, is64: boolean): ElfImage {
  const ehdr = is64 ? Ehdr64 : Ehdr32
  const swapped = bytes.slice(0, ehdr.size)
  for (const field of ehdr.fieldNames) {
    const at = ehdr.offsetOf(field)
    if (at >= EI_NIDENT) swapped.subarray(at, at + ehdr.sizeOf(field)).reverse()
  }
  const { e_type: type, e_machine: machine, e_entry: entry } = ehdr.decode(swapped)
  return {
    class: is64 ? 64 : 32,
    type,
    machine,
    entry: BigInt(entry),
    segments: [],
    sections: [],
    outsideSections: [],
    fault: byteOrder(`${ELFDATA2MSB} (big-endian)`),
    bytes,
    end: ehdr.size,
  }
}

/** Returns the reason why the program headers cannot be read, if any. */
function tableFault(header: Header, fileSize: number): DomainBuilderError | undefined {
  const [ehdr, phdr] = header.class === '64' ? [Ehdr64, Phdr64] : [Ehdr32, Phdr32]
  if (header.phnum === 0 && header.e_type === ET_REL) {
    return new DomainBuilderError('bad-elf', 'the ELF is an object file, which has no program headers', {
      expected: 'an executable',
      found: `e_type ${ET_REL} (ET_REL)`,
      offset: ehdr.offsetOf('e_type'),
    })
  }
  if (header.phnum === 0 || header.phnum === PN_XNUM) {
    return new DomainBuilderError('bad-elf', 'the program header count (e_phnum) is invalid', {
      expected: `1 to ${hex(PN_XNUM - 1)}`,
      found: hex(header.phnum),
      offset: ehdr.offsetOf('e_phnum'),
    })
  }
  if (header.phentsize !== phdr.size) {
    return new DomainBuilderError('bad-elf', 'e_phentsize is not the size of a program header', {
      expected: `${phdr.size}`,
      found: `${header.phentsize}`,
      offset: ehdr.offsetOf('e_phentsize'),
    })
  }
  const tableEnd = header.phoff + header.phnum * header.phentsize
  if (header.phoff === 0 || tableEnd > fileSize) {
    return new DomainBuilderError('truncated', 'the program headers lie outside the file', {
      expected: `an end at ${hex(fileSize)} or before`,
      found: header.phoff === 0 ? 'e_phoff 0' : hex(tableEnd),
      offset: ehdr.offsetOf('e_phoff'),
    })
  }
  return undefined
}

/** Whether a program header has no bytes in the file: an empty range has no place, and PT_NULL's fields no meaning. */
const isEmpty = ({ p_type, p_filesz }: ProgramHeader): boolean => p_filesz === 0n || p_type === PT_NULL

/** Returns the reason why a program header is invalid, if any. */
function segmentFault(
  program: ProgramHeader,
  fileSize: number,
  is64: boolean,
  at: number,
): DomainBuilderError | undefined {
  const phdr = is64 ? Phdr64 : Phdr32
  const { p_type, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz } = program
  if (!isEmpty(program) && p_offset + p_filesz > BigInt(fileSize)) {
    return new DomainBuilderError('truncated', 'a segment reaches past the end of the file', {
      expected: `p_offset + p_filesz at most ${hex(fileSize)}`,
      found: `${hex(p_offset)} + ${hex(p_filesz)}`,
      offset: at + phdr.offsetOf('p_offset'),
    })
  }
  if (p_type !== PT_LOAD) return undefined
  if (p_filesz > p_memsz) {
    return new DomainBuilderError('bad-elf', 'a segment has more bytes in the file than in memory', {
      expected: `p_filesz at most p_memsz, ${hex(p_memsz)}`,
      found: hex(p_filesz),
      offset: at + phdr.offsetOf('p_filesz'),
    })
  }
  const limit = is64 ? 1n << 64n : 1n << 32n
  for (const [field, address] of [
    ['p_paddr', p_paddr],
    ['p_vaddr', p_vaddr],
  ] as const) {
    if (address + p_memsz > limit) {
      return new DomainBuilderError('bad-elf', 'a segment wraps around the end of the address space', {
        expected: `${field} + p_memsz at most ${hex(limit)}`,
        found: `${hex(address)} + ${hex(p_memsz)}`,
        offset: at + phdr.offsetOf(field),
      })
    }
  }
  return undefined
}

/** Returns a valid program header as a segment. */
function segmentOf(program: ProgramHeader, fileSize: number): Segment {
  const { p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align } = program
  return {
    type: p_type,
    flags: p_flags,
    offset: p_offset > BigInt(Number.MAX_SAFE_INTEGER) ? fileSize : Number(p_offset),
    vaddr: p_vaddr,
    paddr: p_paddr,
    filesz: isEmpty(program) ? 0 : Number(p_filesz),
    memsz: p_memsz,
    align: p_align,
  }
}
