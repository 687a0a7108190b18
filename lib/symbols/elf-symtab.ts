/**
 * The symbols of an ELF's own symbol table, with the letters that nm shows.
 *
 * Source: the System V ABI, chapter 4, "Symbol Table" (https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.symtab.html);
 * nm(1).
 * Gotcha: names may overlap in the string table. Without a limit, each symbol could show the same megabytes.
 */
import {
  SHF_EXECINSTR,
  SHF_WRITE,
  SHN_ABS,
  SHN_COMMON,
  SHN_UNDEF,
  SHT_NOBITS,
  SHT_STRTAB,
  SHT_SYMTAB,
  STB_LOCAL,
  STB_WEAK,
  STT_FILE,
  STT_OBJECT,
  STT_SECTION,
  Sym32,
  Sym64,
  symbolBinding,
  symbolType,
} from '../abi/elf.js'
import { decodeLatin1 } from '../bytes.js'
import type { ElfImage, Section } from '../kernel/elf.js'
import type { Slices } from '../work.js'
import type { KernelSymbol } from './symbol-table.js'

/** The most bytes of a name; those of the kernel have at most 512. */
const MAX_NAME = 1024
const IN_SLICE = 1 << 12

/** Returns the symbols of an ELF's SHT_SYMTAB; none without one. Files, sections and undefined symbols are omitted. */
export function* elfSymbols(elf: ElfImage): Slices<KernelSymbol[]> {
  const table = elf.sections.find(({ type }) => type === SHT_SYMTAB)
  const strings = elf.sections.find(({ index, type }) => index === table?.link && type === SHT_STRTAB)
  const symbols: KernelSymbol[] = []
  if (table === undefined || strings === undefined) return symbols
  const sections = new Map(elf.sections.map((section) => [section.index, section]))
  const names = elf.bytes.subarray(strings.offset, strings.offset + strings.size)
  const Sym = elf.class === 64 ? Sym64 : Sym32
  const count = Math.floor(table.size / Sym.size)
  for (let i = 0; i < count; i++) {
    if (i % IN_SLICE === 0) yield
    const { st_name, st_info, st_shndx, st_value, st_size } = Sym.decode(elf.bytes, table.offset + i * Sym.size)
    const type = symbolType(st_info)
    if (st_shndx === SHN_UNDEF || type === STT_SECTION || type === STT_FILE) continue
    const window = names.subarray(st_name, st_name + MAX_NAME)
    const nul = window.indexOf(0)
    const name = decodeLatin1(nul < 0 ? window : window.subarray(0, nul))
    if (name === '') continue
    const letter = letterOf(st_shndx, symbolBinding(st_info), type, sections.get(st_shndx))
    const bytes = Number(st_size)
    symbols.push({ name, address: BigInt(st_value), type: letter, ...(bytes > 0 ? { bytes } : {}) })
  }
  return symbols
}

/** Returns the letter that nm shows, lower case for a local symbol. */
function letterOf(index: number, binding: number, type: number, section: Section | undefined): string {
  if (binding === STB_WEAK) return type === STT_OBJECT ? 'V' : 'W'
  const letter = index === SHN_ABS ? 'A' : index === SHN_COMMON ? 'C' : section === undefined ? '?' : kindOf(section)
  return binding === STB_LOCAL ? letter.toLowerCase() : letter
}

function kindOf({ flags, type }: Section): string {
  if (flags & BigInt(SHF_EXECINSTR)) return 'T'
  if (type === SHT_NOBITS) return 'B'
  return flags & BigInt(SHF_WRITE) ? 'D' : 'R'
}
