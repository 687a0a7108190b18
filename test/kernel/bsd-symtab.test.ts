/** BSD_SYMTAB: the symbol table after the image, as a BSD kernel walks it. */

import t from 'tap'
import {
  Ehdr32,
  Ehdr64,
  SHT_PROGBITS,
  SHT_STRTAB,
  SHT_SYMTAB,
  Shdr32,
  Shdr64,
  Sym32,
  Sym64,
} from '../../lib/abi/elf.js'
import { bsdSymtab } from '../../lib/kernel/bsd-symtab.js'
import { readKernel } from '../../lib/kernel/kernel.js'
import { pvKernel } from '../../lib/kernel/pv-kernel.js'
import { pvhKernel } from '../../lib/kernel/pvh-kernel.js'
import { buildElf, type ElfSpec, type SectionSpec, symbolSections, xenNotes } from '../../lib/testing/index.js'
import { parseElf } from '../fixtures/elf-at-once.js'
import { refuses } from './refusal.js'

const symbols = [
  { name: 'start', value: 0x1000 },
  { name: 'main_loop', value: 0x1234 },
]
const build = (
  elfClass: 32 | 64,
  sections: readonly SectionSpec[] = symbolSections(elfClass, symbols),
  changes: Partial<ElfSpec> = {},
) =>
  buildElf({
    class: elfClass,
    entry: 0x1000,
    segments: [{ paddr: 0x1000, data: new Uint8Array(0x801) }],
    sections,
    ...changes,
  })

/** Walks the placed bytes as a guest does: size, ELF header, section headers, tables. */
function walk(elfClass: 32 | 64, pieces: readonly { readonly offset: number; readonly bytes: Uint8Array }[]) {
  const memory = new Uint8Array(4096)
  for (const { offset, bytes } of pieces) memory.set(bytes, offset)
  const size = new DataView(memory.buffer).getUint32(0, true)
  const [ehdr, shdr, sym] = elfClass === 64 ? [Ehdr64, Shdr64, Sym64] : [Ehdr32, Shdr32, Sym32]
  const image = memory.subarray(4, 4 + size)
  const header = ehdr.decode(image)
  const section = (i: number) => shdr.decode(image, Number(header.e_shoff) + i * header.e_shentsize)
  const bytesOf = (i: number) =>
    image.subarray(Number(section(i).sh_offset), Number(section(i).sh_offset) + Number(section(i).sh_size))
  const strings = bytesOf(section(1).sh_link)
  const names = Array.from({ length: bytesOf(1).length / sym.size }, (_, i) => {
    const { st_name, st_value } = sym.decode(bytesOf(1), i * sym.size)
    return [Buffer.from(strings.subarray(st_name, strings.indexOf(0, st_name))).toString(), Number(st_value)]
  })
  return { header, sections: [section(0), section(1), section(2)], names, size }
}

for (const elfClass of [32, 64] as const) {
  t.test(`${elfClass}-bit`, async (t) => {
    const elf = parseElf(build(elfClass))
    const table = bsdSymtab(elf, { pstart: 0x1000n, pend: 0x1801n })
    const align = elfClass / 8
    const pages = Math.ceil((Number(table?.pend) - 0x1000) / 0x1000) * 0x1000 + 0x1000 - Number(table?.pstart)
    t.equal(table?.pstart, elfClass === 64 ? 0x1808n : 0x1804n, 'aligned after the image')
    const { header, sections, names, size } = walk(elfClass, table?.pieces ?? [])
    t.match(header, {
      e_shnum: 3,
      e_phnum: 0,
      e_shstrndx: 0,
      e_version: 1,
      e_machine: elf.machine,
      e_ehsize: elfClass === 64 ? 64 : 52,
    })
    t.same(
      sections.map(({ sh_type }) => sh_type),
      [0, SHT_SYMTAB, SHT_STRTAB],
    )
    t.equal(sections[1]?.sh_link, 2)
    t.same(names, [
      ['', 0],
      ['start', 0x1000],
      ['main_loop', 0x1234],
    ])
    for (const { offset, bytes } of table?.pieces ?? []) {
      t.equal(offset % align, 0)
      t.ok(offset + bytes.length <= pages, 'inside of the pages reserved')
    }
    t.ok(size + 4 <= pages)
  })
}

t.test('on 32-bit, where Xen reserves too little, a page more is reserved only if one is needed', async (t) => {
  const elf = parseElf(build(32))
  const size = (pend: bigint) => {
    const table = bsdSymtab(elf, { pstart: 0n, pend })
    return {
      reserved: Number((table?.pend ?? 0n) - (table?.pstart ?? 0n)),
      end: Math.max(...(table?.pieces ?? []).map(({ offset, bytes }) => offset + bytes.length)),
    }
  }
  const { reserved, end } = size(0n)
  t.ok(end > reserved, 'as Xen counts')
  t.equal(size(BigInt(0x1000 - (reserved & ~3))).reserved, end, 'over the end of a page')
  t.equal(size(BigInt(0x1000 - ((end + 3) & ~3))).reserved, reserved, 'up to the end of a page')
})

t.test('no table, no harm', async (t) => {
  const none = (sections: readonly SectionSpec[]) =>
    t.equal(bsdSymtab(parseElf(build(64, sections)), { pstart: 0n, pend: 0n }), undefined)
  none([])
  const [symtab, strtab] = symbolSections(64, symbols) as [SectionSpec, SectionSpec]
  none([{ ...symtab, link: 0 }])
  none([{ ...symtab, link: 99 }])
  none([symtab, { ...strtab, type: SHT_PROGBITS }])
})

t.test('a table that the file does not have', async (t) => {
  const [symtab, strtab] = symbolSections(64, symbols) as [SectionSpec, SectionSpec]
  const bad = (sections: SectionSpec[]) =>
    refuses(
      t,
      () => bsdSymtab(parseElf(build(64, sections)), { pstart: 0n, pend: 0n }),
      'truncated',
      'the symbol table that the kernel needs is missing from the file',
    )
  await bad([{ ...symtab, header: { sh_size: 1n << 40n } }, strtab])
  await bad([symtab, { ...strtab, header: { sh_offset: (1n << 64n) - 1n } }])
  await refuses(
    t,
    () => bsdSymtab(parseElf(build(64, [symtab, strtab], { header: { e_shoff: 0x100000 } })), { pstart: 0n, pend: 0n }),
    'truncated',
    'the section headers reach past the end',
  )
})

t.test('it belongs to the image', async (t) => {
  const notes = { XEN_VERSION: 'xen-3.0', LOADER: 'generic', PHYS32_ENTRY: [0x1000], BSD_SYMTAB: 'yes' }
  const kernel = await readKernel(build(64, undefined, { notes: xenNotes(notes) }))
  const pv = pvKernel(kernel)
  t.equal(pv.pend, 0x1801n)
  t.equal(pv.vend, pv.symtab?.pend)
  t.equal(pvhKernel(kernel).image.end, Number(pv.symtab?.pend))
  const no = await readKernel(build(64, undefined, { notes: xenNotes({ ...notes, BSD_SYMTAB: 'no' }) }))
  t.equal(pvKernel(no).symtab, undefined)
})
