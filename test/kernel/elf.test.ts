/** Compares ELF headers, segments and sections with their file. */

import t from 'tap'
import {
  Ehdr32,
  Ehdr64,
  EM_386,
  EM_X86_64,
  ET_DYN,
  PF_R,
  Phdr64,
  PN_XNUM,
  PT_LOAD,
  PT_NULL,
  SHT_NOBITS,
  SHT_NULL,
} from '../../lib/abi/elf.js'
import { loadable, physicalExtent, segmentBytes } from '../../lib/kernel/elf.js'
import { buildElf, type ElfSpec, patternBytes } from '../../lib/testing/index.js'
import { parseElf } from '../fixtures/elf-at-once.js'
import { refuses } from './refusal.js'

const code = patternBytes(0x123)
const spec = (changes: Partial<ElfSpec> = {}): ElfSpec => ({
  class: 64,
  entry: 0xffffffff81000000n,
  segments: [{ paddr: 0x1000000, vaddr: 0xffffffff81000000n, data: code, memsz: 0x2000 }],
  ...changes,
})

t.test('both classes, every u64 exact', async (t) => {
  const elf = parseElf(buildElf(spec({ type: ET_DYN, entry: 0xffffffff81000123n })))
  t.match(elf, { class: 64, type: ET_DYN, machine: EM_X86_64, entry: 0xffffffff81000123n })
  t.match(elf.segments, [
    { type: PT_LOAD, vaddr: 0xffffffff81000000n, paddr: 0x1000000n, filesz: 0x123, memsz: 0x2000n },
  ])
  const [segment] = elf.segments
  t.same(segment && segmentBytes(elf, segment), code)
  const elf32 = parseElf(
    buildElf(spec({ class: 32, entry: 0xc0000000, segments: [{ paddr: 0x1000, vaddr: 0xc0000000, data: code }] })),
  )
  t.match(elf32, { class: 32, machine: EM_386, entry: 0xc0000000n })
  t.match(elf32.segments, [{ vaddr: 0xc0000000n, paddr: 0x1000n, filesz: 0x123, memsz: 0x123n }])
})

t.test('a file is looked into, not copied', async (t) => {
  const bytes = buildElf(spec())
  // At an odd offset of a larger buffer, which shows a reader that starts at the buffer's first byte.
  const padded = new Uint8Array(bytes.length + 7)
  padded.set(bytes, 5)
  const elf = parseElf(padded.subarray(5, 5 + bytes.length))
  const [segment] = elf.segments
  t.same(segment && segmentBytes(elf, segment), code)
  t.equal(elf.bytes.buffer, padded.buffer)
})

t.test('loadable: PT_LOAD with a right to it; the extent ignores their order', async (t) => {
  const elf = parseElf(
    buildElf(
      spec({
        segments: [
          { paddr: 0x5000, data: code },
          { paddr: 0x1000, data: code, flags: PF_R },
          { paddr: 0x100, data: code, flags: 0 },
          { type: PT_NULL, paddr: 0, data: code },
          { paddr: 0x3000, memsz: 0x5000 },
        ],
      }),
    ),
  )
  t.same(
    loadable(elf).map(({ paddr }) => paddr),
    [0x5000n, 0x1000n, 0x3000n],
  )
  t.same(physicalExtent(elf), { pstart: 0x1000n, pend: 0x8000n })
  t.equal(physicalExtent(parseElf(buildElf(spec({ segments: [{ paddr: 0, flags: 0 }] })))), undefined)
})

t.test('the end of the ELF, and the bytes after it', async (t) => {
  const bss = { name: '.bss', type: SHT_NOBITS, data: new Uint8Array(0), header: { sh_size: 0xffff_ffffn } }
  for (const sections of [[], [{ name: '.data', data: code }], [{ name: '.data', data: code }, bss]]) {
    const plain = buildElf(spec({ sections }))
    const elf = parseElf(buildElf(spec({ sections, trailing: patternBytes(100) })))
    t.equal(elf.end, plain.length)
    t.equal(elf.bytes.length, plain.length + 100)
  }
})

t.test('sections', async (t) => {
  const sections = [
    { name: '__xen_guest', data: code, addr: 0x1000 },
    { name: '.bss', type: SHT_NOBITS, data: new Uint8Array(0), header: { sh_size: 0xffff_ffff_ffffn } },
    { name: '.lost', data: code, header: { sh_offset: 0x7fff_ffff_ffff_ffffn } },
  ]
  const elf = parseElf(buildElf(spec({ sections })))
  t.same(
    elf.sections.map(({ index, name }) => [index, name]),
    [
      [1, '__xen_guest'],
      [2, '.bss'],
      [4, '.shstrtab'],
    ],
  )
  t.equal(elf.sectionFault, undefined)

  t.test('a section without a type is omitted, and an empty segment lies in any file', async (t) => {
    const typeless = parseElf(
      buildElf(spec({ sections: sections.map((one, i) => (i === 0 ? { ...one, type: SHT_NULL } : one)) })),
    )
    t.equal(typeless.sections.length, parseElf(buildElf(spec({ sections }))).sections.length - 1)
    const unended = buildElf(spec({ sections }))
    const last = parseElf(unended).sections.at(-1)
    unended.fill(0x61, last?.offset, (last?.offset ?? 0) + (last?.size ?? 0))
    t.match(parseElf(unended).sections.at(-1)?.name, /^a+$/, 'a name ends with its table')
    const file = buildElf(spec({ segments: [{ paddr: 0x1000, data: new Uint8Array(0) }] }))
    new DataView(file.buffer).setBigUint64(Ehdr64.size + Phdr64.offsetOf('p_offset'), 2n ** 60n, true)
    t.match(parseElf(file).segments[0], { offset: file.length, filesz: 0 })
  })

  t.test('their damage is reported for them alone', async (t) => {
    const cut = parseElf(buildElf(spec({ sections, header: { e_shoff: 0x100000 } })))
    t.same(cut.sections, [])
    t.match(cut.sectionFault, { code: 'truncated', message: /section headers reach past the end/ })
    const odd = parseElf(buildElf(spec({ sections, header: { e_shentsize: 63 } })))
    t.same(odd.sections, [])
    t.match(odd.sectionFault, { code: 'bad-elf', offset: Ehdr64.offsetOf('e_shentsize') })
    const nameless = parseElf(buildElf(spec({ sections, header: { e_shstrndx: 0xfff0 } })))
    t.same(
      nameless.sections.map(({ name }) => name),
      ['', '', ''],
    )
  })
})

t.test('a thousand sections that share megabytes of one name cost nothing', async (t) => {
  const text = new Uint8Array(4 << 20).fill(0x41)
  const sections = Array.from({ length: 1000 }, () => ({ name: '', data: new Uint8Array(0), header: { sh_name: 1 } }))
  const bytes = buildElf(spec({ sections: [...sections, { name: 'x', data: text }], header: { e_shstrndx: 1001 } }))
  t.ok(parseElf(bytes).sections.every(({ name }) => name.length <= 128))
})

t.test('refusals', async (t) => {
  const bad = (
    what: string,
    bytes: Uint8Array,
    code: 'truncated' | 'bad-elf' | 'not-a-kernel',
    text: string | RegExp,
  ) => refuses(t, () => parseElf(bytes), code, text, what)
  const good = buildElf(spec())
  await bad('no magic', patternBytes(64), 'not-a-kernel', /magic/)
  await bad('magic alone', good.subarray(0, 4), 'bad-elf', /EI_CLASS.*found the end of the file/)
  await bad('magic and class', good.subarray(0, 5), 'bad-elf', /EI_DATA/)
  await bad('no byte order', Uint8Array.from(good).fill(3, 5, 6), 'bad-elf', /EI_DATA.*found 3/)
  await bad(
    'half a header',
    good.subarray(0, 63),
    'truncated',
    'ends within the ELF header: expected 64 bytes, found 63',
  )
  await bad(
    'big-endian',
    buildElf(spec({ header: { ei_data: 2 } })),
    'bad-elf',
    /byte order .*: .*found 2 \(big-endian\) \(file offset 0x5\)/,
  )
  await bad('class 3', buildElf(spec({ header: { ei_class: 3 } })), 'bad-elf', /found 3/)
  const { phnum, phentsize, phoff } = { phnum: 'e_phnum', phentsize: 'e_phentsize', phoff: 'e_phoff' } as const
  for (const value of [0, PN_XNUM])
    await bad(`phnum ${value}`, buildElf(spec({ header: { [phnum]: value } })), 'bad-elf', phnum)
  await bad(
    'phnum past the end',
    buildElf(spec({ header: { [phnum]: 0xfffe } })),
    'truncated',
    /program headers lie outside/,
  )
  for (const value of [0, 32, 55, 57, 0xffff]) {
    await bad(`phentsize ${value}`, buildElf(spec({ header: { [phentsize]: value } })), 'bad-elf', `found ${value}`)
  }
  for (const value of [
    0n,
    BigInt(good.length - 55),
    1n << 31n,
    1n << 32n,
    (1n << 53n) + 1n,
    1n << 63n,
    (1n << 64n) - 1n,
  ]) {
    await bad(
      `phoff ${value}`,
      buildElf(spec({ header: { [phoff]: value } })),
      'truncated',
      /program headers lie outside/,
    )
  }
  const segment = (header: Record<string, bigint>) =>
    buildElf(spec({ segments: [{ paddr: 0x1000, data: code, header }] }))
  const size = BigInt(good.length)
  for (const header of [
    { p_offset: size },
    { p_offset: (1n << 64n) - 1n },
    { p_filesz: size, p_memsz: size },
    { p_filesz: 1n << 63n, p_memsz: 1n << 63n },
  ]) {
    await bad(
      `segment ${Object.keys(header)}`,
      segment(header),
      'truncated',
      /past the end of the file: expected .* at most 0x/,
    )
  }
  await bad('filesz > memsz', segment({ p_memsz: 0x122n }), 'bad-elf', 'at most p_memsz, 0x122, found 0x123')
  for (const field of ['p_paddr', 'p_vaddr'] as const) {
    await bad(`${field} wraps`, segment({ [field]: (1n << 64n) - 0x122n }), 'bad-elf', /wraps/)
    t.ok(parseElf(segment({ [field]: (1n << 64n) - 0x123n })), `${field} ends with the address space`)
  }
  const seg32 = (paddr: number) => buildElf(spec({ class: 32, entry: 0, segments: [{ paddr, data: code }] }))
  await bad('32-bit wraps', seg32(0xffffff00), 'bad-elf', /wraps/)
  const short32 = seg32(0).subarray(0, Ehdr32.size - 1)
  await bad('32-bit header', short32, 'truncated', 'expected 52 bytes, found 51')
  t.equal(Phdr64.size, 56)
})

t.test('every cut of a file is refused or read, never anything else', async (t) => {
  const good = buildElf(spec({ sections: [{ name: '.data', data: code }] }))
  for (let length = 0; length <= good.length; length++) {
    try {
      parseElf(good.subarray(0, length)).sections.length
    } catch (error) {
      if ((error as { name?: string }).name !== 'DomainBuilderError') throw error
    }
  }
  t.pass()
})
