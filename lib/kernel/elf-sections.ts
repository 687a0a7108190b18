/**
 * Section headers, read only as a fallback: SHT_NOTE, __xen_guest, BSD_SYMTAB.
 *
 * Source: the System V ABI, chapter 4, "Sections" (https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.sheader.html).
 * Gotcha: a kernel loads without sections, so do not refuse it for damaged ones: the damage is recorded for code that
 * needs them. Names may overlap: without a limit, a thousand headers could each read the same megabytes.
 */

import { Ehdr32, Ehdr64, SHT_NOBITS, SHT_NULL, Shdr32, Shdr64 } from '../abi/elf.js'
import type { Infer } from '../abi/struct.js'
import { decodeLatin1 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'
import type { Slices } from '../work.js'

/** One section header, read only as a fallback. */
export interface Section {
  /** Its index in the header table, which sh_link uses. */
  readonly index: number
  /** From the table of section names; empty without one. */
  readonly name: string
  /** sh_type: SHT_PROGBITS 1, SHT_NOTE 7, ... */
  readonly type: number
  /** sh_flags, SHF_* bits. */
  readonly flags: bigint
  /** sh_addr: its address in memory, if it has one. */
  readonly addr: bigint
  /** sh_offset, bytes from the start of the ELF. */
  readonly offset: number
  /** Bytes; an SHT_NOBITS section has none of them in the file. Exact for any section inside the file. */
  readonly size: number
  /** sh_link: index of the section that belongs to it. */
  readonly link: number
  /** sh_info; its meaning depends on the type. */
  readonly info: number
  /** sh_addralign, bytes. */
  readonly align: bigint
  /** sh_entsize, bytes of an entry if it is a table. */
  readonly entsize: bigint
  /** File offset of the header itself. */
  readonly headerOffset: number
}

/** The place of the headers, checked against the file; a count of 0 without readable headers. */
interface SectionTable {
  readonly is64: boolean
  readonly offset: number
  readonly entsize: number
  readonly count: number
  /** e_shstrndx. */
  readonly names: number
  readonly fault: DomainBuilderError | undefined
}

/** The most bytes of a name: no linker and no part of Xen uses a longer one. */
const NAME_MAX = 128

/** An ELF header of either class. */
type ElfHeader = { readonly class: '32' | '64' } & Infer<typeof Ehdr32 | typeof Ehdr64>

/** Finds the header table; the cost does not depend on its size. */
export function sectionTable(header: ElfHeader, fileSize: number): SectionTable {
  const is64 = header.class === '64'
  const [ehdr, shdr] = is64 ? [Ehdr64, Shdr64] : [Ehdr32, Shdr32]
  const shoff = BigInt(header.e_shoff)
  const end = shoff + BigInt(header.e_shnum) * BigInt(header.e_shentsize)
  const none = { is64, offset: 0, entsize: shdr.size, count: 0, names: 0 }
  // Xen refuses an e_shoff past the end even without headers: such a file is truncated.
  if (end > BigInt(fileSize)) {
    const fault = new DomainBuilderError('truncated', 'the section headers reach past the end of the file', {
      expected: `an end at ${hex(fileSize)} or before`,
      found: hex(end),
      offset: ehdr.offsetOf('e_shoff'),
    })
    return { ...none, fault }
  }
  if (shoff === 0n || header.e_shnum === 0) return { ...none, fault: undefined }
  if (header.e_shentsize !== shdr.size) {
    const fault = new DomainBuilderError('bad-elf', 'e_shentsize is not the size of a section header', {
      expected: `${shdr.size}`,
      found: `${header.e_shentsize}`,
      offset: ehdr.offsetOf('e_shentsize'),
    })
    return { ...none, fault }
  }
  return {
    is64,
    offset: Number(shoff),
    entsize: shdr.size,
    count: header.e_shnum,
    names: header.e_shstrndx,
    fault: undefined,
  }
}

/** Sections whose bytes are in the file, and the others. */
export interface Sections {
  readonly inside: readonly Section[]
  readonly outside: readonly Section[]
}

/** The number of headers that one slice reads. */
export const HEADERS_IN_SLICE = 2 ** 10

/** Reads all headers except null ones. */
export function* readSections(bytes: Uint8Array, table: SectionTable): Slices<Sections> {
  const shdr = table.is64 ? Shdr64 : Shdr32
  const at = (index: number) => table.offset + index * table.entsize
  const strings = table.names > 0 && table.names < table.count ? shdr.decode(bytes, at(table.names)) : undefined
  const namesOffset = strings === undefined ? bytes.length : Number(strings.sh_offset)
  const namesEnd = Math.min(bytes.length, namesOffset + (strings === undefined ? 0 : Number(strings.sh_size)))

  const sections: { inside: Section[]; outside: Section[] } = { inside: [], outside: [] }
  for (let index = 1; index < table.count; index++) {
    if (index % HEADERS_IN_SLICE === 0) yield
    const header = shdr.decode(bytes, at(index))
    if (header.sh_type === SHT_NULL) continue
    const [offset, size] = [BigInt(header.sh_offset), BigInt(header.sh_size)]
    const isInside = offset + (header.sh_type === SHT_NOBITS ? 0n : size) <= BigInt(bytes.length)
    sections[isInside ? 'inside' : 'outside'].push({
      index,
      name: nameAt(bytes, namesOffset + header.sh_name, namesEnd),
      type: header.sh_type,
      flags: BigInt(header.sh_flags),
      addr: BigInt(header.sh_addr),
      offset: Number(offset),
      size: Number(size),
      link: header.sh_link,
      info: header.sh_info,
      align: BigInt(header.sh_addralign),
      entsize: BigInt(header.sh_entsize),
      headerOffset: at(index),
    })
  }
  return sections
}

/** The end of the header table and the sections' bytes. */
export function endOfSections(table: SectionTable, sections: readonly Section[]): number {
  const tableEnd = table.offset + table.count * table.entsize
  return sections.reduce((end, { type, offset, size }) => {
    return type === SHT_NOBITS || size === 0 ? end : Math.max(end, offset + size)
  }, tableEnd)
}

/** The NUL-terminated name at `start`, cut to NAME_MAX bytes. */
function nameAt(bytes: Uint8Array, start: number, end: number): string {
  if (start >= end) return ''
  const window = bytes.subarray(start, Math.min(end, start + NAME_MAX))
  const nul = window.indexOf(0)
  return decodeLatin1(nul < 0 ? window : window.subarray(0, nul))
}
