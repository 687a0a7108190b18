/**
 * BSD_SYMTAB: the kernel's own symbol table, placed after its image in the form that BSD kernels expect.
 *
 * Source: xen/include/public/elfnote.h, XEN_ELFNOTE_BSD_SYMTAB; the layout confirmed against libxenguest.
 * Gotcha: both classes use the header layout of 64-bit structures, but the reserved room is that of the class. So on
 * 32-bit the tables end up to 68 bytes after it, and libxenguest dies if that crosses a page. This code reserves more.
 */
import { Ehdr32, Ehdr64, EV_CURRENT, SHT_STRTAB, SHT_SYMTAB, Shdr32, Shdr64 } from '../abi/elf.js'
import { DomainBuilderError } from '../errors.js'
import { hex, PAGE_SIZE } from '../units.js'
import type { ElfImage, Section } from './elf.js'

/** The bytes to place after the image. */
export interface BsdSymtab {
  /**
   * Physical range, in the unit of p_paddr: pstart is aligned. All pieces lie within the pages up to pend. On 32-bit,
   * with Xen's count, the last piece may end after pend itself.
   */
  readonly pstart: bigint
  readonly pend: bigint
  /** Offsets count from pstart. The tables are views of the file. */
  readonly pieces: readonly { readonly offset: number; readonly bytes: Uint8Array }[]
}

const PAGE = BigInt(PAGE_SIZE)
/** The null section, the symbols, the strings. */
const SECTIONS = 3
const SYMTAB_INDEX = 1
const STRTAB_INDEX = 2
/** Bytes of the size, a u32, that comes first. */
const SIZE_FIELD = 4
/** Offset of the section headers, after the size and an ELF header of either class. */
const HEADERS = SIZE_FIELD + Ehdr64.size
/** Offset of the symbols, before alignment: after three section headers of the larger class. */
const TABLES = HEADERS + SECTIONS * Shdr64.size

/**
 * Returns the symbol table to place after an image; undefined if the file has none.
 * @throws DomainBuilderError `truncated` if the table lies outside the file.
 */
export function bsdSymtab(
  elf: ElfImage,
  image: { readonly pstart: bigint; readonly pend: bigint },
): BsdSymtab | undefined {
  if (elf.sectionFault !== undefined) throw elf.sectionFault
  const symbols = elf.sections.find(({ type }) => type === SHT_SYMTAB)
  const outside = elf.outsideSections.find(
    ({ type, index }) => type === SHT_SYMTAB || (type === SHT_STRTAB && index === symbols?.link),
  )
  if (outside !== undefined) {
    throw new DomainBuilderError('truncated', 'the symbol table that the kernel needs is missing from the file', {
      expected: `sh_offset + sh_size at most ${hex(elf.bytes.length)}`,
      found: `${hex(outside.offset)} + ${hex(outside.size)}`,
      offset: outside.headerOffset,
    })
  }
  const strings = elf.sections.find(({ index, type }) => index === symbols?.link && type === SHT_STRTAB)
  if (symbols === undefined || strings === undefined) return undefined

  const align = elf.class / 8
  const up = (value: number) => Math.ceil(value / align) * align
  const wide = BigInt(align)
  const pstart = ((image.pend + wide - 1n) / wide) * wide

  const symbolsAt = up(TABLES)
  const stringsAt = up(symbolsAt + symbols.size)
  const end = stringsAt + strings.size
  const shdrSize = elf.class === 64 ? Shdr64.size : Shdr32.size
  // Xen's room, so that later parts have the same places: the size counted twice, section headers of the class.
  const reserved = up(up(up(SIZE_FIELD + HEADERS + SECTIONS * shdrSize) + symbols.size) + strings.size)

  const pagesTo = (offset: number) => (pstart + BigInt(offset) - image.pstart + PAGE - 1n) / PAGE

  const header = new Uint8Array(HEADERS + SECTIONS * shdrSize)
  // Counted from the ELF header, like every offset in it.
  new DataView(header.buffer).setUint32(0, (end - SIZE_FIELD) >>> 0, true)
  header.set(symtabHeader(elf), SIZE_FIELD)
  const put = (index: number, section: Section, changes: { offset: number; link?: number }) =>
    header.set(sectionHeader(elf, section, changes), HEADERS + index * shdrSize)
  put(SYMTAB_INDEX, symbols, { offset: symbolsAt - SIZE_FIELD, link: STRTAB_INDEX })
  put(STRTAB_INDEX, strings, { offset: stringsAt - SIZE_FIELD })

  const bytesOf = ({ offset, size }: Section) => elf.bytes.subarray(offset, offset + size)
  return {
    pstart,
    pend: pstart + BigInt(pagesTo(reserved) < pagesTo(end) ? end : reserved),
    pieces: [
      { offset: 0, bytes: header },
      { offset: symbolsAt, bytes: bytesOf(symbols) },
      { offset: stringsAt, bytes: bytesOf(strings) },
    ],
  }
}

/** The kernel's own ELF header with only the three sections. */
function symtabHeader(elf: ElfImage): Uint8Array {
  const sections = { e_version: EV_CURRENT, e_shnum: SECTIONS, e_shstrndx: 0, e_phentsize: 0, e_phnum: 0 }
  if (elf.class === 64) {
    return Ehdr64.encode({
      ...Ehdr64.decode(elf.bytes),
      ...sections,
      e_ehsize: Ehdr64.size,
      e_phoff: 0n,
      e_shoff: BigInt(HEADERS - SIZE_FIELD),
      e_shentsize: Shdr64.size,
    })
  }
  return Ehdr32.encode({
    ...Ehdr32.decode(elf.bytes),
    ...sections,
    e_ehsize: Ehdr32.size,
    e_phoff: 0,
    e_shoff: HEADERS - SIZE_FIELD,
    e_shentsize: Shdr32.size,
  })
}

function sectionHeader(
  elf: ElfImage,
  { headerOffset }: Section,
  { offset, link }: { offset: number; link?: number },
): Uint8Array {
  if (elf.class === 64) {
    const header = Shdr64.decode(elf.bytes, headerOffset)
    return Shdr64.encode({ ...header, sh_offset: BigInt(offset), sh_link: link ?? header.sh_link })
  }
  const header = Shdr32.decode(elf.bytes, headerOffset)
  return Shdr32.encode({ ...header, sh_offset: offset, sh_link: link ?? header.sh_link })
}
