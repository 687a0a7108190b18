/** Compares ELF headers, segments and sections with their file. */

import t from 'tap'
import {
  Ehdr32,
  Ehdr64,
  EM_386,
  EM_X86_64,
  ET_DYN,
  PF_R,
  Phdr32,
  Phdr64,
  PN_XNUM,
  PT_LOAD,
  PT_NULL,
  SHT_NOBITS,
  SHT_NULL,
} from '../../lib/abi/elf.js'
import { isElf, loadable, parseElf as parseSlices, physicalExtent, segmentBytes } from '../../lib/kernel/elf.js'
import { buildElf, type ElfSpec, patternBytes } from '../../lib/testing/index.js'
import { hex } from '../../lib/units.js'
import { atOnce } from '../../lib/work.js'
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

/** Returns the ELF with its fault, which is not thrown. */
const parts = (bytes: Uint8Array) => atOnce(parseSlices(bytes))

t.test('every damage has the offset of its field', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const [ehdr, phdr] = elfClass === 64 ? [Ehdr64, Phdr64] : [Ehdr32, Phdr32]
    const segments = [
      { paddr: 0x1000, data: code },
      { paddr: 0x2000, data: code },
    ]
    const make = (changes: Partial<ElfSpec>) => buildElf({ class: elfClass, entry: 0x1000, segments, ...changes })
    const good = make({})
    const at = (field: Parameters<typeof ehdr.offsetOf>[0]) => ehdr.offsetOf(field)
    const fault = (changes: Partial<ElfSpec>, expected: object) =>
      t.match(parts(make(changes)).fault, expected, `${elfClass}-bit: ${JSON.stringify(expected)}`)
    fault({ type: 1, header: { e_phnum: 0 } }, { code: 'bad-elf', message: /object file/, offset: at('e_type') })
    t.equal(parts(make({ type: 1 })).fault, undefined, 'an object file with program headers')
    fault({ header: { e_phnum: 0 } }, { message: /e_phnum.*1 to 0xfffe, found 0x0/, offset: at('e_phnum') })
    fault({ header: { e_phnum: PN_XNUM } }, { message: /found 0xffff/, offset: at('e_phnum') })
    fault({ header: { e_phentsize: 1 } }, { expected: `${phdr.size}`, offset: at('e_phentsize') })
    fault({ header: { e_phoff: 0 } }, { code: 'truncated', found: 'e_phoff 0', offset: at('e_phoff') })
    const room = good.length - 2 * phdr.size
    fault({ header: { e_phoff: room + 1 } }, { code: 'truncated', found: hex(good.length + 1), offset: at('e_phoff') })
    t.equal(parts(make({ header: { e_phoff: room } })).fault?.offset === at('e_phoff'), false, 'a table up to the end')
    const second = (header: Record<string, bigint>, expected: object) => {
      const changed = make({ segments: [segments[0] as never, { paddr: 0x2000, data: code, header }] })
      const elf = parts(changed)
      t.match(elf.fault, expected, JSON.stringify(expected))
      t.equal(elf.segments.length, 1, 'the other one is there')
    }
    const own = ehdr.size + phdr.size
    second(
      { p_offset: BigInt(good.length - code.length + 1) },
      { code: 'truncated', offset: own + phdr.offsetOf('p_offset') },
    )
    second({ p_memsz: 0x122n }, { code: 'bad-elf', offset: own + phdr.offsetOf('p_filesz') })
    const top = elfClass === 64 ? 1n << 64n : 1n << 32n
    second(
      { p_paddr: top - 0x122n },
      { expected: `p_paddr + p_memsz at most ${hex(top)}`, offset: own + phdr.offsetOf('p_paddr') },
    )
    second(
      { p_vaddr: top - 0x122n },
      { expected: `p_vaddr + p_memsz at most ${hex(top)}`, offset: own + phdr.offsetOf('p_vaddr') },
    )
    const whole = make({
      segments: [
        segments[0] as never,
        { paddr: 0x2000, data: code, header: { p_offset: BigInt(good.length - code.length) } },
      ],
    })
    t.equal(parts(whole).segments.length, 2, 'a segment up to the end of the file')
  }
})

t.test('only what a segment uses is checked', async (t) => {
  const one = (type: number, header: Record<string, bigint>) =>
    parts(buildElf(spec({ segments: [{ type, paddr: 0x1000, data: code, header }] })))
  const past = { p_offset: 1n << 40n }
  t.match(one(PT_NULL, past), { fault: undefined, segments: [{ filesz: 0 }] })
  t.match(one(PT_LOAD, { ...past, p_filesz: 0n }), { fault: undefined, segments: [{ filesz: 0, offset: 2 ** 40 }] })
  t.match(one(4, past).fault, { code: 'truncated' }, 'a note segment has bytes too')
  t.match(one(4, { p_memsz: 0n }), { fault: undefined, segments: [{ filesz: 0x123 }] }, 'but no memory')
  t.match(one(4, { p_paddr: (1n << 64n) - 1n }), { fault: undefined, segments: [{ type: 4 }] })
  t.match(one(PT_LOAD, { p_memsz: 0x123n }), { fault: undefined, segments: [{ memsz: 0x123n }] })
  const { length } = buildElf(spec())
  const at = (p_offset: bigint) => one(PT_LOAD, { p_offset, p_filesz: 0n }).segments[0]?.offset
  t.equal(at(2n ** 53n - 1n), 2 ** 53 - 1)
  t.equal(at(2n ** 53n), length, 'an offset that is no exact number is the end of the file')
})

t.test('the first fault counts, and each field of a segment is read', async (t) => {
  const bad = { p_memsz: 1n }
  const elf = parts(
    buildElf(
      spec({
        segments: [
          { paddr: 0x1000, data: code, header: bad },
          { paddr: 0x2000, data: code, header: { p_offset: 1n << 40n } },
          { paddr: 0x3000, data: code, flags: PF_R, align: 0x200, memsz: 0x999 },
        ],
      }),
    ),
  )
  t.match(elf.fault, { code: 'bad-elf' })
  t.match(elf.segments, [{ type: PT_LOAD, flags: PF_R, paddr: 0x3000n, vaddr: 0x3000n, memsz: 0x999n, align: 0x200n }])
})

t.test('a right of any kind makes a segment loadable', async (t) => {
  for (const flags of [1, 2, 4, 7, 0xf]) {
    t.equal(loadable(parseElf(buildElf(spec({ segments: [{ paddr: 0, data: code, flags }] })))).length, 1)
  }
  for (const flags of [0, 8, 0xfffffff8]) {
    t.equal(loadable(parseElf(buildElf(spec({ segments: [{ paddr: 0, data: code, flags }] })))).length, 0)
  }
})

t.test('the extent of one segment, and of a second one inside, before and after it', async (t) => {
  const extent = (...segments: readonly (readonly [number, number])[]) =>
    physicalExtent(parseElf(buildElf(spec({ segments: segments.map(([paddr, memsz]) => ({ paddr, memsz })) }))))
  t.same(extent([0x1000, 0x10]), { pstart: 0x1000n, pend: 0x1010n })
  t.same(extent([0x1000, 0x1000], [0x1800, 0x10]), { pstart: 0x1000n, pend: 0x2000n })
  t.same(extent([0x1000, 0x10], [0x800, 0x10]), { pstart: 0x800n, pend: 0x1010n })
  t.same(extent([0x1000, 0x10], [0x2000, 0x10]), { pstart: 0x1000n, pend: 0x2010n })
})

t.test('the magic is four bytes', async (t) => {
  t.equal(isElf(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46)), true)
  t.equal(isElf(Uint8Array.of(0x7f, 0x45, 0x4c)), false)
  t.equal(isElf(new Uint8Array(0)), false)
  for (let i = 0; i < 4; i++) {
    const bytes = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 1)
    bytes[i] = 0
    t.equal(isElf(bytes), false)
  }
})

t.test('the end of the ELF: its header, its tables, its segments', async (t) => {
  const end = (changes: Partial<ElfSpec>) => parts(buildElf(spec({ trailing: new Uint8Array(5000), ...changes }))).end
  t.equal(end({ segments: [{ paddr: 0, memsz: 5 }] }), 64 + 56, 'the program headers')
  t.equal(end({ segments: [{ paddr: 0, data: code, header: { p_offset: 300n } }] }), 300 + 0x123)
  t.equal(end({ segments: [{ paddr: 0, memsz: 5, header: { p_offset: 3000n } }] }), 64 + 56, 'not an empty segment')
  t.equal(end({ segments: [{ paddr: 0, memsz: 5 }], header: { e_phoff: 1000 } }), 1056)
  t.equal(end({ header: { e_phnum: 0, e_phoff: 0 } }), 64, 'no program headers: the ELF header')
  const none = buildElf({ class: 32, entry: 0, segments: [], header: { e_phoff: 0, e_shoff: 0, e_shnum: 0 } })
  t.equal(parts(none).end, 52)
  const two = [100n, 300n].map((p_offset) => ({ paddr: 0, data: code, header: { p_offset } }))
  t.equal(end({ segments: two }), 300 + 0x123)
  t.equal(end({ segments: two.reverse() }), 300 + 0x123)
})

t.test('a big-endian ELF: its header alone, in its own byte order', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const bytes = buildElf({ class: elfClass, entry: 0x12345678, segments: [{ paddr: 0x1000, data: code }] })
    bytes[5] = 2
    const view = new DataView(bytes.buffer)
    view.setUint16(16, 3)
    view.setUint16(18, 20)
    if (elfClass === 64) view.setBigUint64(24, 0x1122334455667788n)
    else view.setUint32(24, 0x11223344)
    const before = bytes.slice()
    const elf = parts(bytes)
    t.same(bytes, before, 'the file is unchanged')
    t.match(elf, {
      class: elfClass,
      type: 3,
      machine: 20,
      entry: elfClass === 64 ? 0x1122334455667788n : 0x11223344n,
      end: elfClass === 64 ? 64 : 52,
      fault: { code: 'bad-elf', found: '2 (big-endian)', offset: 5 },
    })
    t.same([elf.segments, elf.sections, elf.outsideSections], [[], [], []])
    t.equal(elf.bytes, bytes)
  }
})

t.test('the identification: class and byte order, and the length of the header', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const good = buildElf({ class: elfClass, entry: 0, segments: [{ paddr: 0x1000, data: code }] })
    const { size } = elfClass === 64 ? Ehdr64 : Ehdr32
    t.throws(() => parts(good.subarray(0, size - 1)), {
      code: 'truncated',
      expected: `${size} bytes`,
      offset: size - 1,
    })
    t.match(parts(good.subarray(0, size)).fault, { code: 'truncated' }, 'a header is read')
    for (const [at, found] of [
      [4, 0],
      [4, 3],
      [5, 0],
      [5, 3],
    ] as const) {
      const bytes = good.slice()
      bytes[at] = found
      t.throws(() => parts(bytes), { code: 'bad-elf', found: `${found}`, offset: at })
    }
  }
  t.throws(() => parts(new Uint8Array(64)), { code: 'not-a-kernel', offset: 0 })
})

t.test('thousands of program headers are read in slices, each at its place', async (t) => {
  const segments = Array.from({ length: 2500 }, (_, i) => ({ paddr: 0x1000 * i, memsz: 1, flags: i & 7 }))
  const bytes = buildElf(spec({ segments }))
  const slices = parseSlices(bytes)
  let count = 0
  let step = slices.next()
  for (; !step.done; step = slices.next()) count++
  t.equal(count, 3)
  t.same(
    step.value.segments.map(({ paddr, flags }) => [paddr, flags]),
    segments.map(({ paddr, flags }) => [BigInt(paddr), flags]),
  )
  const damaged = (i: number) => {
    const changed = bytes.slice()
    new DataView(changed.buffer).setBigUint64(64 + i * 56 + 32, 2n, true)
    new DataView(changed.buffer).setBigUint64(64 + i * 56 + 8, 64n, true)
    return parts(changed)
  }
  for (const i of [0, 1023, 1024, 2499]) {
    t.match(damaged(i), { segments: { length: 2499 }, fault: { code: 'bad-elf', offset: 64 + i * 56 + 32 } }, `${i}`)
  }
})

t.test('sections are read once: at their first use, or in slices if there are more than 1024', async (t) => {
  const slicesOf = (bytes: Uint8Array) => {
    const slices = parseSlices(bytes)
    let count = 0
    let step = slices.next()
    for (; !step.done; step = slices.next()) count++
    t.equal(step.value.sections, step.value.sections, 'the same list each time')
    return count
  }
  t.equal(slicesOf(buildElf(spec({ segments: Array.from({ length: 1024 }, () => ({ paddr: 0, memsz: 1 })) }))), 1)
  // Two more sections are there: the null one, and the names.
  const sections = (count: number) => Array.from({ length: count - 2 }, () => ({ name: '', data: new Uint8Array(0) }))
  t.equal(slicesOf(buildElf(spec({ sections: sections(1024) }))), 1)
  t.ok(slicesOf(buildElf(spec({ sections: sections(1025) }))) > 1)
})
