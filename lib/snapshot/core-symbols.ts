/**
 * The symbols of an elf-core, as an ELF image in the file and as sections of the file itself.
 *
 * gdb takes no symbols from a core. It loads those of the vDSO, an ELF image in memory that the auxiliary vector of a
 * process names. So the image has an address, and a note names it. readelf and other programs read the sections.
 *
 * Source: the System V ABI, chapter 4; getauxval(3) and vdso(7); for PN_XNUM, elf(5).
 * Gotcha: gdb shows a symbol only if its section covers its address. So there are sections without bytes, which span
 * the kernel: code and data in turn.
 */
import { SYMBOLS_VADDR } from '../abi/core-files.js'
import {
  Ehdr64,
  ET_EXEC,
  Phdr64,
  PN_XNUM,
  SHF_ALLOC,
  SHF_EXECINSTR,
  SHF_WRITE,
  SHN_ABS,
  SHT_NOBITS,
  SHT_NULL,
  SHT_STRTAB,
  SHT_SYMTAB,
  Shdr64,
  STB_GLOBAL,
  STB_LOCAL,
  STB_WEAK,
  STT_FUNC,
  STT_OBJECT,
  Sym64,
  symbolInfo,
} from '../abi/elf.js'
import { concat } from '../bytes.js'
import type { KernelSymbol, SymbolTable } from '../symbols/symbol-table.js'
import { alignUp, PADDR_MAX, PAGE_SIZE, type Vaddr } from '../units.js'
import { elfHeader, loadHeader } from './elf-file.js'

/** The end of a file with symbols, or with more program headers than its ELF header can count. */
interface SymbolsPart {
  readonly bytes: Uint8Array
  /** The bytes of the image, from the start of the part. */
  readonly imageBytes: number
  /** The fields of the ELF header for the sections. */
  readonly header: Pick<ReturnType<typeof Ehdr64.decode>, 'e_shoff' | 'e_shnum' | 'e_shentsize' | 'e_shstrndx'>
}

type SectionFields = ReturnType<typeof Shdr64.decode>
type Section = Partial<SectionFields> & { readonly name: string }

/** The alignment of tables in an ELF64. */
const TABLE_ALIGN = 8
/** The most sections of code and data; with more, one section spans all. */
const MAX_SPANS = 40
/** Symbols below this address are offsets, as of per-CPU variables, and belong to no section. */
const LOWEST = 1n << 20n

/** Returns the image and the sections, which begin at that offset of the file; undefined where none is needed. */
export function symbolsPart(
  at: number,
  machine: number,
  phnum: number,
  symbols: SymbolTable | undefined,
): SymbolsPart | undefined {
  const isMany = phnum >= PN_XNUM
  if (symbols === undefined && !isMany) return undefined
  const { bytes, sections } = symbols
    ? symbolImage(machine, symbols)
    : { bytes: new Uint8Array(0), sections: [nullSection] }
  const ofFile = sections.map((section, i) => {
    if (i === 0) return Shdr64.encode({ ...section, sh_info: isMany ? phnum : 0 })
    return Shdr64.encode({ ...section, sh_offset: section.sh_offset + BigInt(at) })
  })
  return {
    bytes: concat([bytes, ...ofFile]),
    imageBytes: bytes.length,
    header: {
      e_shoff: BigInt(at + bytes.length),
      e_shnum: sections.length,
      e_shentsize: Shdr64.size,
      e_shstrndx: symbols ? sections.length - 1 : 0,
    },
  }
}

/** Returns an ELF image with nothing but symbols, whose one segment is itself, and its section headers. */
function symbolImage(machine: number, symbols: SymbolTable): { bytes: Uint8Array; sections: SectionFields[] } {
  const start = Ehdr64.size + Phdr64.size
  const parts: Uint8Array[] = []
  let end = start
  const put = (bytes: Uint8Array): { sh_offset: bigint; sh_size: bigint } => {
    const from = alignUp(end, TABLE_ALIGN)
    parts.push(new Uint8Array(from - end), bytes)
    end = from + bytes.length
    return { sh_offset: BigInt(from), sh_size: BigInt(bytes.length) }
  }
  const spans = spansOf(symbols)
  const { table, strings, locals } = symbolTables(symbols, spans)
  const named: Section[] = [
    { name: '' },
    ...spans.map(({ start, end, isCode }) => ({
      name: isCode ? '.text' : '.data',
      sh_type: SHT_NOBITS,
      sh_flags: BigInt(SHF_ALLOC | SHF_WRITE | (isCode ? SHF_EXECINSTR : 0)),
      sh_addr: start,
      sh_size: end - start,
    })),
    {
      name: '.symtab',
      sh_type: SHT_SYMTAB,
      sh_entsize: BigInt(Sym64.size),
      sh_link: spans.length + 2,
      sh_info: locals,
      ...put(table),
    },
    { name: '.strtab', sh_type: SHT_STRTAB, ...put(strings) },
  ]
  const names = stringTable([...named.map(({ name }) => name), '.shstrtab'])
  named.push({ name: '.shstrtab', sh_type: SHT_STRTAB, ...put(names.bytes) })
  const sections = named.map(({ name, ...fields }) => ({ ...nullSection, ...fields, sh_name: names.offsetOf(name) }))
  const { sh_offset: shoff } = put(concat(sections.map((section) => Shdr64.encode(section))))
  const header = elfHeader(machine, {
    e_type: ET_EXEC,
    e_phoff: BigInt(Ehdr64.size),
    e_phentsize: Phdr64.size,
    e_phnum: 1,
    e_shoff: shoff,
    e_shentsize: Shdr64.size,
    e_shnum: sections.length,
    e_shstrndx: sections.length - 1,
  })
  // Whole pages, as a mapping has.
  put(new Uint8Array(alignUp(end, PAGE_SIZE) - alignUp(end, TABLE_ALIGN)))
  const segment = loadHeader({ offset: 0, filesz: end, paddr: PADDR_MAX, memsz: end }, SYMBOLS_VADDR)
  return { bytes: concat([header, segment, ...parts]), sections }
}

const nullSection: SectionFields = {
  sh_name: 0,
  sh_type: SHT_NULL,
  sh_flags: 0n,
  sh_addr: 0n,
  sh_offset: 0n,
  sh_size: 0n,
  sh_link: 0,
  sh_info: 0,
  sh_addralign: 1n,
  sh_entsize: 0n,
}

/** Strings, each once and with a NUL after it; the first is empty. */
function stringTable(texts: Iterable<string>): { bytes: Uint8Array; offsetOf(text: string): number } {
  const offsets = new Map<string, number>([['', 0]])
  let length = 1
  for (const text of texts) {
    if (offsets.has(text)) continue
    offsets.set(text, length)
    length += text.length + 1
  }
  const bytes = new Uint8Array(length)
  // Names are bytes of a file, one for each character.
  for (const [text, at] of offsets) for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i)
  return { bytes, offsetOf: (text) => offsets.get(text) as number }
}

/** Addresses whose symbols are all code, or all data. */
interface Span {
  readonly start: Vaddr
  readonly end: Vaddr
  readonly isCode: boolean
}

const isCodeSymbol = ({ type }: KernelSymbol): boolean => /[tw]/i.test(type)
const isPlaced = ({ address, type }: KernelSymbol): boolean => address >= LOWEST && !/a/i.test(type)

function spansOf({ symbols }: SymbolTable): Span[] {
  const spans: { start: Vaddr; end: Vaddr; isCode: boolean }[] = []
  for (const symbol of symbols) {
    if (!isPlaced(symbol)) continue
    const isCode = isCodeSymbol(symbol)
    const last = spans.at(-1)
    if (last) last.end = symbol.address
    // A symbol that ends the code before it is at the first address of the data, and the other way round.
    if (last === undefined || (last.isCode !== isCode && symbol.address > last.start)) {
      spans.push({ start: symbol.address, end: symbol.address, isCode })
    }
  }
  const [first, last] = [spans[0], spans.at(-1)]
  if (first === undefined || last === undefined) return []
  last.end += BigInt(PAGE_SIZE)
  return spans.length <= MAX_SPANS ? spans : [{ start: first.start, end: last.end, isCode: true }]
}

/** Returns .symtab, with local symbols first, and .strtab. */
function symbolTables({ symbols }: SymbolTable, spans: readonly Span[]) {
  const names = stringTable(symbols.map(({ name }) => name))
  const isLocal = ({ type }: KernelSymbol): boolean => type !== type.toUpperCase()
  const sorted = [...symbols.filter(isLocal), ...symbols.filter((symbol) => !isLocal(symbol))]
  const table = new Uint8Array((sorted.length + 1) * Sym64.size)
  let [span, before] = [0, 0n]
  for (const [i, symbol] of sorted.entries()) {
    const { address } = symbol
    if (address < before) span = 0
    before = address
    while (span + 1 < spans.length && (spans[span + 1] as Span).start <= address) span++
    const binding = isLocal(symbol) ? STB_LOCAL : /[WV]/.test(symbol.type) ? STB_WEAK : STB_GLOBAL
    const fields = {
      st_name: names.offsetOf(symbol.name),
      st_info: symbolInfo(binding, isCodeSymbol(symbol) ? STT_FUNC : STT_OBJECT),
      st_other: 0,
      // The null section comes first.
      st_shndx: isPlaced(symbol) ? span + 1 : SHN_ABS,
      st_value: address,
      st_size: BigInt(symbol.bytes ?? 0),
    }
    table.set(Sym64.encode(fields), (i + 1) * Sym64.size)
  }
  return { table, strings: names.bytes, locals: 1 + sorted.filter(isLocal).length }
}
