/**
 * The ELF numbers a bootloader needs.
 *
 * Source: the System V ABI, chapters 4 and 5 (https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html), <elf.h>.
 * Gotcha: one layout does not serve both classes: program headers order their fields differently; p_flags moves.
 */
import { bytes, type Field, struct, u8, u16, u32, u64 } from './struct.js'

export const ELF_MAGIC = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46)
/** Bytes of e_ident. */
export const EI_NIDENT = 16
export const ELFCLASS32 = 1
export const ELFCLASS64 = 2
export const ELFDATA2LSB = 1
export const ELFDATA2MSB = 2
export const EV_CURRENT = 1

export const ET_REL = 1
export const ET_EXEC = 2
export const ET_DYN = 3
export const ET_CORE = 4

export const EM_386 = 3
export const EM_X86_64 = 62

export const PT_NULL = 0
export const PT_LOAD = 1
export const PT_DYNAMIC = 2
export const PT_INTERP = 3
export const PT_NOTE = 4
export const PF_X = 1
export const PF_W = 2
export const PF_R = 4
/** Xen does not load a PT_LOAD without any of these. */
export const PF_RWX = PF_R | PF_W | PF_X
/** e_phnum of a file that keeps the real count elsewhere; no kernel does. */
export const PN_XNUM = 0xffff

export const SHT_NULL = 0
export const SHT_PROGBITS = 1
export const SHT_SYMTAB = 2
export const SHT_STRTAB = 3
export const SHT_NOTE = 7
export const SHT_NOBITS = 8
/** sh_flags: the section can be written, or has machine instructions. */
export const SHF_WRITE = 1
export const SHF_EXECINSTR = 4
/** Indexes that name no section. */
export const SHN_UNDEF = 0
export const SHN_ABS = 0xfff1
export const SHN_COMMON = 0xfff2

const ident = {
  ei_magic: bytes(4),
  ei_class: u8,
  ei_data: u8,
  ei_version: u8,
  ei_osabi: u8,
  ei_abiversion: u8,
  ei_pad: bytes(7),
} as const

/** The same fields in both classes; those that are as wide as the class have `word`. */
const ehdr = <W>(name: string, size: number, word: Field<W>) =>
  struct(name, size, {
    ...ident,
    e_type: u16,
    e_machine: u16,
    e_version: u32,
    e_entry: word,
    e_phoff: word,
    e_shoff: word,
    e_flags: u32,
    e_ehsize: u16,
    e_phentsize: u16,
    e_phnum: u16,
    e_shentsize: u16,
    e_shnum: u16,
    e_shstrndx: u16,
  })
export const Ehdr32 = ehdr('Elf32_Ehdr', 52, u32)
export const Ehdr64 = ehdr('Elf64_Ehdr', 64, u64)

export const Phdr32 = struct('Elf32_Phdr', 32, {
  p_type: u32,
  p_offset: u32,
  p_vaddr: u32,
  p_paddr: u32,
  p_filesz: u32,
  p_memsz: u32,
  p_flags: u32,
  p_align: u32,
})

export const Phdr64 = struct('Elf64_Phdr', 56, {
  p_type: u32,
  p_flags: u32,
  p_offset: u64,
  p_vaddr: u64,
  p_paddr: u64,
  p_filesz: u64,
  p_memsz: u64,
  p_align: u64,
})

const shdr = <W>(name: string, size: number, word: Field<W>) =>
  struct(name, size, {
    sh_name: u32,
    sh_type: u32,
    sh_flags: word,
    sh_addr: word,
    sh_offset: word,
    sh_size: word,
    sh_link: u32,
    sh_info: u32,
    sh_addralign: word,
    sh_entsize: word,
  })
export const Shdr32 = shdr('Elf32_Shdr', 40, u32)
export const Shdr64 = shdr('Elf64_Shdr', 64, u64)

/** STB_GLOBAL << 4 | STT_NOTYPE: the st_info of a plain global symbol. */
export const ST_INFO_GLOBAL = 0x10

/** st_info has a binding and a type. */
export const STB_LOCAL = 0
export const STB_WEAK = 2
export const STT_OBJECT = 1
export const STT_SECTION = 3
export const STT_FILE = 4
export const symbolBinding = (info: number): number => info >>> 4
export const symbolType = (info: number): number => info & 0xf

export const Sym32 = struct('Elf32_Sym', 16, {
  st_name: u32,
  st_value: u32,
  st_size: u32,
  st_info: u8,
  st_other: u8,
  st_shndx: u16,
})

export const Sym64 = struct('Elf64_Sym', 24, {
  st_name: u32,
  st_info: u8,
  st_other: u8,
  st_shndx: u16,
  st_value: u64,
  st_size: u64,
})

/** The header before each note's owner and descriptor, the same in both classes. */
export const Nhdr = struct('Elf_Nhdr', 12, { n_namesz: u32, n_descsz: u32, n_type: u32 })

/** Notes, and the descriptor in each, lie at multiples of this. */
export const NOTE_ALIGN = 4

/** A GNU property note, which linkers merge into the same segment as Xen's and pad to 8 on x86-64. */
export const GNU_NOTE_OWNER = 'GNU'
export const NT_GNU_PROPERTY_TYPE_0 = 5
