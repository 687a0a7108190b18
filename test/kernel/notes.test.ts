/** Tests of the note walker: both layouts, both places, and the end of each. */

import t from 'tap'
import { checkXenOwners, noteNumber, noteString, noteU32s, readNotes as readSlices } from '../../lib/kernel/notes.js'
import { buildElf, type ElfSpec, gnuPropertyNote, type NoteSpec, xenNotes } from '../../lib/testing/index.js'
import { parseElf, readNotes, walkNotes } from '../fixtures/elf-at-once.js'
import { refuses } from './refusal.js'

const build = (changes: Partial<ElfSpec>) =>
  buildElf({ class: 64, entry: 0x1000, segments: [{ paddr: 0x1000, data: new Uint8Array(16) }], ...changes })
const read = (changes: Partial<ElfSpec>) => readNotes(parseElf(build(changes)))
const names = (changes: Partial<ElfSpec>) => read(changes).map(({ owner, name, type }) => `${owner}/${name ?? type}`)

const xen = xenNotes({ GUEST_OS: 'linux', ENTRY: 0x1000n, PAE_MODE: 'yes' })
const buildId: NoteSpec = { owner: 'GNU', type: 3, desc: new Uint8Array(20).fill(7) }

t.test('segments: every owner, in order, with the place in the file', async (t) => {
  const bytes = build({ notes: [buildId, ...xen, { type: 0x777, desc: 'x' }] })
  const notes = readNotes(parseElf(bytes))
  t.same(
    notes.map(({ owner, name, type, isXen, from }) => [owner, name, type, isXen, from]),
    [
      ['GNU', undefined, 3, false, 'PT_NOTE'],
      ['Xen', 'GUEST_OS', 6, true, 'PT_NOTE'],
      ['Xen', 'ENTRY', 1, true, 'PT_NOTE'],
      ['Xen', 'PAE_MODE', 9, true, 'PT_NOTE'],
      ['Xen', undefined, 0x777, true, 'PT_NOTE'],
    ],
  )
  for (const { offset, type } of notes) t.equal(new DataView(bytes.buffer).getUint32(offset + 8, true), type)
})

t.test('a merged, 8-aligned segment: the others are found at any position of the property note', async (t) => {
  // 36 bytes: with the next note 8-aligned, four zeros follow them, which are not a note.
  const orders = [
    [gnuPropertyNote, buildId, ...xen],
    [buildId, gnuPropertyNote, ...xen],
    [...xen, buildId, gnuPropertyNote],
    [buildId, gnuPropertyNote, buildId, gnuPropertyNote, ...xen],
  ]
  for (const notes of orders) {
    const found = names({ notes, notesAlign: 8 })
    t.same(
      found.filter((name) => name.startsWith('Xen/')),
      ['Xen/GUEST_OS', 'Xen/ENTRY', 'Xen/PAE_MODE'],
    )
    t.equal(found.length, notes.length)
  }
  t.same(names({ notes: xen, notesAlign: 0x1000 }), ['Xen/GUEST_OS', 'Xen/ENTRY', 'Xen/PAE_MODE'])
})

t.test('sections are the fallback: only where no segment has a note of Xen', async (t) => {
  t.same(
    read({ notes: xen, notesIn: 'section' }).map(({ from }) => from),
    ['SHT_NOTE', 'SHT_NOTE', 'SHT_NOTE'],
  )
  t.same(
    read({ notes: xen, notesIn: 'both' }).map(({ from }) => from),
    ['PT_NOTE', 'PT_NOTE', 'PT_NOTE'],
  )
  t.same(
    read({ notes: [buildId], notesIn: 'both' }).map(({ from }) => from),
    ['PT_NOTE'],
    'not the same note twice',
  )
  const damaged = { e_shoff: 0x100000 }
  t.same(names({ notes: xen, notesIn: 'section', header: damaged }), [], 'without section headers nothing is there')
  t.same(names({ notes: xen, notesIn: 'both', header: damaged }).length, 3, 'and segments need none')
})

t.test("a segment at offset 0 is binutils' mistake, not notes", async (t) => {
  const found = walkNotes(parseElf(build({ notes: xen, notesHeader: { p_offset: 0 } })))
  t.same(found, { notes: [], unreadable: [] })
})

t.test('the owner is exactly "Xen"', async (t) => {
  const strange: NoteSpec[] = ['xen', 'Xen ', 'Xe', 'XenX', ''].map((owner) => ({ owner, type: 1, desc: 1 }))
  t.same(
    read({ notes: strange }).map(({ owner, isXen }) => [owner, isXen]),
    ['xen', 'Xen ', 'Xe', 'XenX', ''].map((owner) => [owner, false]),
  )
  checkXenOwners(read({ notes: strange }))
  for (const namesz of [0, 3, 5, 8, 0xffffffff]) {
    const note: NoteSpec = { owner: 'Xen\0\0\0\0', namesz, type: 1, desc: 1 }
    const notes = read({ notes: [note] })
    t.match(notes, [{ isXen: false, name: undefined, namesz }], 'listed')
    await refuses(
      t,
      () => checkXenOwners(notes),
      'bad-note',
      `a note's owner is Xen, but its length is wrong: expected namesz 4, found ${namesz} (file offset 0x`,
    )
  }
})

t.test('numbers of every width', async (t) => {
  const desc = Uint8Array.of(0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8)
  const note = (length: number) => read({ notes: [{ type: 'ENTRY', desc: desc.subarray(0, length) }] })[0]
  for (const [length, value] of [
    [1, 0xf1n],
    [2, 0xf2f1n],
    [4, 0xf4f3f2f1n],
    [8, 0xf8f7f6f5f4f3f2f1n],
  ] as const) {
    const found = note(length)
    t.equal(found && noteNumber(found), value)
  }
  for (const length of [0, 3, 5, 7]) {
    await refuses(
      t,
      () => {
        const found = note(length)
        if (found) noteNumber(found)
      },
      'bad-note',
      `note ENTRY is not a number: expected a descriptor of 4 or 8 bytes, found ${length} (file offset 0x`,
    )
  }
})

t.test('texts: a NUL, or the padding in its place', async (t) => {
  const text = (desc: string) => {
    const [note] = read({ notes: [{ type: 'LOADER', desc: Buffer.from(desc, 'latin1') }, ...xen] })
    return note === undefined ? undefined : noteString(note)
  }
  t.equal(text('generic\0'), 'generic')
  t.equal(text('generic'), 'generic')
  t.equal(text('gen\0eric'), 'gen')
  t.equal(text('\0'), '')
  t.equal(text('\xff\0'), '\xff')
  await refuses(t, () => text(''), 'bad-note', /no NUL/)
  const cut = () => read({ notes: [{ type: 'LOADER', desc: Buffer.from('abcd'), descsz: 3 }] })[0]
  await refuses(
    t,
    () => {
      const note = cut()
      if (note) noteString(note)
    },
    'bad-note',
    /no NUL/,
    'cut short by its size',
  )
  await refuses(t, () => text('generic!'), 'bad-note', /note LOADER is not text: .*found no NUL/)
  await refuses(t, () => text(`${'a'.repeat(4097)}\0`), 'bad-note', /at most 4096 bytes/)
})

t.test('a note without a name is shown by its type', async (t) => {
  const notes = [{ owner: 'Xen', type: 0x63, desc: new Uint8Array(8).fill(0x61) }]
  const segments = [{ paddr: 0x1000, data: new Uint8Array(16) }]
  const [note] = readNotes(parseElf(buildElf({ class: 64, entry: 0x1000, segments, notes })))
  await refuses(t, () => note && noteString(note), 'bad-note', /^note 0x63 is not text: .*found no NUL/)
})

t.test('lists of u32: as many as there are', async (t) => {
  const list = (desc: Uint8Array) => {
    const [note] = read({ notes: [{ type: 'PHYS32_RELOC', desc }] })
    return note === undefined ? undefined : noteU32s(note, 3)
  }
  t.same(list(new Uint8Array(0)), [])
  t.same(list(Uint8Array.of(1, 0, 0, 0xff)), [0xff000001])
  t.same(list(new Uint8Array(16)), [0, 0, 0])
  await refuses(t, () => list(new Uint8Array(6)), 'bad-note', /not a list of u32: .*found 6 bytes/)
})

t.test("a descriptor may overrun, as in GRUB's i386-xen: its text counts, a number does not", async (t) => {
  const last = (note: NoteSpec) => {
    const bytes = build({ notes: [...xen, note] })
    return readNotes(parseElf(bytes)).at(-1)
  }
  const pae = last({ type: 'PAE_MODE', desc: 'yes', descsz: 12 })
  t.match(pae, { name: 'PAE_MODE', missing: 8 })
  t.equal(pae && noteString(pae), 'yes')
  const entry = last({ type: 'ENTRY', desc: [1], descsz: 8 })
  await refuses(
    t,
    () => entry && noteNumber(entry),
    'truncated',
    /note ENTRY reaches past the end of the file: expected .* 0x8 bytes, found 0x4/,
  )
  const reloc = last({ type: 'PHYS32_RELOC', desc: [1], descsz: 0xfffffffc })
  await refuses(t, () => reloc && noteU32s(reloc, 3), 'truncated', /found 0x4/)
  const endless = last({ type: 'LOADER', desc: Buffer.from('generic!'), descsz: 0xffffffff })
  await refuses(t, () => endless && noteString(endless), 'truncated', /note LOADER reaches past the end/)
})

t.test('a walk that is lost says where, and keeps what it found', async (t) => {
  const walk = (changes: Partial<ElfSpec>) => walkNotes(parseElf(build(changes)))
  const lost = walk({ notes: [...xen, { owner: 'GNU', type: 1, desc: 1, namesz: 0xffffffff }, buildId] })
  t.equal(lost.notes.length, 3)
  const { offset = 0, desc } = lost.notes[2] ?? {}
  t.match(lost.unreadable, [
    {
      offset: offset + 16 + (desc?.length ?? 0),
      reason: /^a name has 0xffffffff bytes, and the PT_NOTE only 0x\w+ more$/,
    },
  ])
  const long = walk({ notes: [{ owner: 'o'.repeat(5000), type: 1, desc: 1 }, ...xen] })
  t.equal(long.notes[0]?.owner, 'o'.repeat(4096), 'cut')
  t.match(long, { notes: { length: 4 }, unreadable: [] })
  const two = walk({
    segments: [{ type: 4, paddr: 0, data: new Uint8Array(20).fill(0xff), align: 4 }],
    notes: xen,
  })
  t.equal(two.notes.length, 3, 'the next segment is read')
  t.match(two.unreadable, { length: 1 })
  const cut = (by: bigint) => {
    const { length } = build({ notes: xen })
    const filesz = BigInt(length) - BigInt(readNotes(parseElf(build({ notes: xen })))[0]?.offset ?? 0) - by
    return walk({ notes: xen, notesHeader: { p_filesz: filesz } })
  }
  t.equal(cut(4n).notes.length, 3, 'the last descriptor is still in the file')
  t.match(cut(4n).unreadable, [{ reason: 'a descriptor has 0x4 bytes, and the PT_NOTE only 0x0 more' }])
  t.match(cut(5n), { notes: { length: 2 }, unreadable: [{ reason: /^a name has 0x4 bytes/ }] })
  t.match(cut(9n), {
    notes: { length: 2 },
    unreadable: [{ reason: 'the PT_NOTE ends in the middle of a note header' }],
  })
  const zeros = { type: 4, paddr: 0, data: new Uint8Array(12 * 70000), align: 4 }
  const many = walk({ segments: [zeros] })
  t.equal(many.notes.length, 65536)
  t.match(many.unreadable, [{ reason: 'there are more than 65536 notes' }])
  t.same(read({ segments: [{ ...zeros, data: new Uint8Array(11) }] }), [], 'too short for a note, and zero: padding')
})

/** Returns a note's bytes, with its name and descriptor padded to 4. */
function raw(
  owner: string,
  type: number,
  desc: Uint8Array,
  sizes: { namesz?: number; descsz?: number } = {},
): Uint8Array {
  const name = Buffer.from(owner, 'latin1')
  const header = Uint32Array.of(sizes.namesz ?? name.length, sizes.descsz ?? desc.length, type)
  const pad = (bytes: Uint8Array) => new Uint8Array(-bytes.length & 3)
  return new Uint8Array(Buffer.concat([new Uint8Array(header.buffer), name, pad(name), desc, pad(desc)]))
}
const XEN = 'Xen\0'
const four = Uint8Array.of(1, 2, 3, 4)

/** Walks a note segment of these bytes, which ends the file; offsets count from its start. */
function walkRaw(data: Uint8Array, align = 4) {
  const elf = parseElf(build({ segments: [{ type: 4, paddr: 0, data, align }] }))
  const start = elf.segments[0]?.offset ?? 0
  const cut = { ...elf, bytes: elf.bytes.subarray(0, start + data.length), sections: [] }
  const { notes, unreadable } = walkNotes(cut)
  return {
    start,
    notes: notes.map((note) => ({ ...note, offset: note.offset - start })),
    unreadable: unreadable.map(({ offset, reason }) => ({ offset: offset - start, reason })),
  }
}
const bytes = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

t.test('padding: names and descriptors of every length are padded to 4 bytes', async (t) => {
  for (let name = 0; name <= 5; name++) {
    for (let desc = 0; desc <= 5; desc++) {
      const owner = 'n'.repeat(name)
      const one = raw(owner, 7, new Uint8Array(desc).fill(0xdd))
      const { notes, unreadable } = walkRaw(bytes(one, raw(XEN, 1, four)))
      t.same(unreadable, [])
      t.match(notes, [
        { owner, namesz: name, type: 7, offset: 0, desc: new Uint8Array(desc).fill(0xdd), isXen: false },
        { owner: 'Xen', type: 1, name: 'ENTRY', isXen: true, offset: one.length, desc: four },
      ])
      t.equal(notes[0]?.zeroPadded, desc % 4 !== 0)
    }
  }
  const filled = raw(XEN, 1, Uint8Array.of(1, 2, 3))
  filled[19] = 9
  t.match(walkRaw(filled).notes, [{ zeroPadded: false }], 'padding that is not zero')
  const next = bytes(raw(XEN, 1, four), raw('', 0, new Uint8Array(0)))
  t.equal(walkRaw(next).notes[0]?.zeroPadded, false, 'a zero of the next note is no padding')
  t.match(walkRaw(raw(XEN, 1, four)).notes, [{ zeroPadded: false }], 'no padding')
})

t.test('the end of a segment: exact, and a byte short', async (t) => {
  const two = bytes(raw(XEN, 1, four), raw(XEN, 2, four))
  t.match(walkRaw(two), { notes: { length: 2 }, unreadable: { length: 0 } })
  t.match(walkRaw(two.subarray(0, 39)), {
    notes: { length: 2 },
    unreadable: [{ offset: 20, reason: 'a descriptor has 0x4 bytes, and the PT_NOTE only 0x3 more' }],
  })
  t.match(walkRaw(two.subarray(0, 36)).unreadable, [{ offset: 20, reason: /only 0x0 more/ }])
  t.match(walkRaw(two.subarray(0, 35)), {
    notes: { length: 1 },
    unreadable: [{ offset: 20, reason: 'a name has 0x4 bytes, and the PT_NOTE only 0x3 more' }],
  })
  t.match(walkRaw(two.subarray(0, 32)).unreadable, [{ reason: /a name has 0x4 bytes, and the PT_NOTE only 0x0 more/ }])
  t.match(walkRaw(two.subarray(0, 31)).unreadable, [{ offset: 20, reason: /middle of a note header/ }])
  const bare = raw('', 5, new Uint8Array(0))
  t.match(walkRaw(bytes(bare, bare)), { notes: { length: 2 }, unreadable: { length: 0 } }, 'headers alone')
  const odd = raw('abcde', 5, new Uint8Array(0)).subarray(0, 17)
  t.match(
    walkRaw(odd),
    { notes: [{ owner: 'abcde' }], unreadable: { length: 0 } },
    'an empty descriptor needs no padding',
  )
  t.match(walkRaw(raw('abcde', 5, four).subarray(0, 18)), {
    notes: [{ missing: 6 }],
    unreadable: [{ reason: 'a descriptor has 0x4 bytes, and the PT_NOTE only 0x0 more' }],
  })
  t.match(walkRaw(raw('abcde', 5, Uint8Array.of(1)).subarray(0, 17)).unreadable, [
    { reason: /a descriptor has 0x1 bytes/ },
  ])
  t.same(walkRaw(bytes(raw(XEN, 1, four), new Uint8Array(11))).unreadable, [], 'zeros too short for a header')
  const rest = new Uint8Array(11)
  rest[10] = 1
  t.match(walkRaw(bytes(raw(XEN, 1, four), rest)).unreadable, [{ offset: 20 }])
})

t.test('a descriptor that claims more than the file: the claim, and the bytes that are there', async (t) => {
  const claims = (descsz: number, desc = four) => walkRaw(raw(XEN, 1, desc, { descsz })).notes[0]
  t.equal(claims(4)?.missing, undefined)
  t.match(claims(5), { missing: 1, desc: four })
  t.match(claims(100), { missing: 96, desc: four })
  t.equal(claims(0, new Uint8Array(0))?.missing, undefined)
  t.equal(walkRaw(raw('abcde', 1, new Uint8Array(0)).subarray(0, 17)).notes[0]?.missing, undefined)
  const inFile = walkRaw(bytes(raw(XEN, 1, four, { descsz: 8 }), four)).notes[0]
  t.match(inFile, { desc: bytes(four, four) })
  t.equal(inFile?.missing, undefined)
})

t.test('a merged segment: only zeros that are not at 8 bytes are padding', async (t) => {
  const zero = new Uint8Array(4)
  const gap = bytes(raw(XEN, 1, four), zero, raw(XEN, 2, four))
  const { start } = walkRaw(gap, 8)
  t.equal(start % 8, 0, 'the first note is aligned, and the zeros are not')
  t.match(walkRaw(gap, 8), { notes: [{ offset: 0 }, { offset: 24 }], unreadable: { length: 0 } })
  t.match(walkRaw(gap, 16).notes, { length: 2 }, 'a larger alignment')
  t.not(walkRaw(gap, 4).notes[1]?.offset, 24, 'in a segment of 4 there is no such padding')
  const aligned = bytes(raw(XEN, 1, bytes(four, four)), raw('', 0, new Uint8Array(0)), raw(XEN, 2, four))
  t.match(
    walkRaw(aligned, 8).notes,
    [{ offset: 0 }, { namesz: 0, type: 0, offset: 24 }, { offset: 36 }],
    'a note of zeros',
  )
  const one = bytes(raw(XEN, 1, four), Uint8Array.of(0, 0, 0, 1), new Uint8Array(8))
  t.match(walkRaw(one, 8).unreadable, [{ offset: 20, reason: /^a name has 0x1000000 bytes/ }])
  t.match(walkRaw(bytes(raw(XEN, 1, four), zero), 8), { notes: { length: 1 }, unreadable: { length: 0 } }, 'at the end')
  t.match(walkRaw(bytes(raw(XEN, 1, four), zero.subarray(1)), 8), { notes: { length: 1 }, unreadable: { length: 0 } })
})

t.test('at most 65536 notes', async (t) => {
  const notes = (count: number) => walkRaw(new Uint8Array(12 * count))
  t.match(notes(65536), { notes: { length: 65536 }, unreadable: { length: 0 } })
  t.match(notes(65537), { notes: { length: 65536 }, unreadable: [{ offset: 12 * 65536, reason: /more than 65536/ }] })
})

t.test('long walks are done in slices', async (t) => {
  const elf = parseElf(build({ segments: [{ type: 4, paddr: 0, data: new Uint8Array(12 * 3000), align: 4 }] }))
  let slices = 0
  const walk = readSlices(elf)
  for (let step = walk.next(); !step.done; step = walk.next()) slices++
  t.equal(slices, 2)
})

t.test('the owner: cut at 4096 bytes, without one NUL', async (t) => {
  const owner = (name: string, namesz?: number) =>
    walkRaw(raw(name, 1, four, namesz === undefined ? {} : { namesz })).notes[0]?.owner
  t.equal(owner('abc\0'), 'abc')
  t.equal(owner('abc\0\0'), 'abc\0')
  t.equal(owner('abc'), 'abc')
  t.equal(owner('\0'), '')
  t.equal(owner('o'.repeat(4096)), 'o'.repeat(4096))
  t.equal(owner('o'.repeat(4097)), 'o'.repeat(4096))
  t.equal(owner(`${'o'.repeat(4095)}\0`), 'o'.repeat(4095))
})

t.test('a name that only C code takes for Xen', async (t) => {
  const note = (name: string, namesz: number) => walkRaw(raw(name, 1, four, { namesz })).notes[0]
  t.match(note('Xen\0', 4), { isXen: true, misnamed: undefined })
  t.match(note('Xen\0', 3), { isXen: false, misnamed: true }, 'a byte short: the NUL is padding')
  t.match(note('Xen\0aaaa', 8), { isXen: false, misnamed: true }, 'a NUL in the middle')
  t.match(note('Xenaaaaa', 8), { isXen: false, misnamed: undefined })
  t.match(note('Xen\0', 100), { isXen: false, misnamed: true, namesz: 100 }, 'past the end')
  t.equal(note('xen\0', 100), undefined)
  t.match(note('Xena', 3), { owner: 'Xen', isXen: false, misnamed: true }, 'without a NUL')
  const end = bytes(raw('n', 1, new Uint8Array(0), { namesz: 1 }))
  t.match(walkRaw(end).notes, [{ misnamed: undefined }])
})

t.test('sections: read only without a Xen note, and each note and damage once', async (t) => {
  const inSection = (data: Uint8Array) => ({ name: '.note', type: 7, data, align: 4 })
  const walk = (changes: Partial<ElfSpec>) => walkNotes(parseElf(build(changes)))
  const foreign = raw('GNU\0', 3, four)
  const found = walk({
    segments: [{ type: 4, paddr: 0, data: foreign, align: 4 }],
    sections: [inSection(raw(XEN, 1, four))],
  })
  t.same(
    found.notes.map(({ owner, from }) => [owner, from]),
    [
      ['GNU', 'PT_NOTE'],
      ['Xen', 'SHT_NOTE'],
    ],
  )
  const segments = [{ type: 4, paddr: 0, data: raw(XEN, 1, four), align: 4 }]
  t.same(
    walk({ segments, sections: [inSection(raw(XEN, 2, four))] }).notes.map(({ type }) => type),
    [1],
    'with a Xen note in a segment, no section is read',
  )
  const other = { ...inSection(raw(XEN, 1, four)), type: 1 }
  t.equal(walk({ sections: [other] }).notes.length, 0, 'a section of another type')
  const damaged = raw(XEN, 1, four, { descsz: 0x1000 })
  const both = walk({ sections: [inSection(damaged), inSection(damaged)] })
  t.equal(both.unreadable.length, 2, 'two damaged sections')
  const elf = parseElf(
    build({ segments: [{ type: 4, paddr: 0, data: raw('GNU\0', 3, four, { descsz: 0x1000 }), align: 4 }] }),
  )
  const [segment] = elf.segments
  const section = {
    index: 1,
    name: '.note',
    type: 7,
    offset: segment?.offset ?? 0,
    size: segment?.filesz ?? 0,
    align: 4n,
  }
  const twice = walkNotes({ ...elf, sections: [section as never] })
  t.match(twice, { notes: { length: 1 }, unreadable: { length: 1 } }, 'the same bytes in both')
})

t.test('the longest text has 4096 bytes', async (t) => {
  const text = (desc: Uint8Array, descsz = desc.length) => {
    const [note] = walkRaw(raw(XEN, 6, desc, { descsz })).notes
    return note && noteString(note)
  }
  const letters = (count: number, end: readonly number[] = []) =>
    Uint8Array.of(...new Uint8Array(count).fill(0x61), ...end)
  t.equal(text(letters(4096, [0]))?.length, 4096)
  t.throws(() => text(letters(4097, [0])), { code: 'bad-note', found: 'no NUL' })
  t.equal(text(Uint8Array.of(0, 0x61, 0x61, 0x61)), '', 'an empty text needs no padding')
  const cut = walkRaw(raw(XEN, 6, Uint8Array.of(0, 0x61, 0x61, 0x61), { descsz: 100 })).notes[0]
  t.equal(cut && noteString(cut), '', 'nor the bytes after it')
  t.throws(() => text(letters(4096)), { code: 'bad-note', found: 'no NUL' })
  t.equal(text(letters(4095))?.length, 4095, 'padding in place of the NUL')
  t.throws(() => text(letters(4097)), { code: 'bad-note' })
  t.equal(text(letters(5000, [0]).fill(0, 7, 8)), 'aaaaaaa', 'a long descriptor with a short text')
})

t.test('numbers and lists at any place of the file', async (t) => {
  const [, note] = walkRaw(bytes(raw(XEN, 1, four), raw(XEN, 1, Uint8Array.of(0xff, 0xff, 0xff, 0xff)))).notes
  t.equal(note && noteNumber(note), 0xffffffffn)
  const list = walkRaw(bytes(raw(XEN, 1, four), raw(XEN, 19, bytes(four, four, Uint8Array.of(9, 0, 0, 0))))).notes[1]
  t.same(list && noteU32s(list, 3), [0x04030201, 0x04030201, 9])
  t.same(list && noteU32s(list, 2), [0x04030201, 0x04030201])
  t.same(list && noteU32s(list, 0), [])
  t.same(list && noteU32s(list, 9).length, 3, 'as many as there are')
  const [unknown] = walkRaw(raw(XEN, 0x777, Uint8Array.of(1, 2, 3))).notes
  t.throws(() => unknown && noteNumber(unknown), { code: 'bad-note', message: /^note 0x777 is not a number/ })
})
