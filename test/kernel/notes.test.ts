/** Tests of the note walker: both layouts, both places, and the end of each. */

import t from 'tap'
import { checkXenOwners, noteNumber, noteString, noteU32s } from '../../lib/kernel/notes.js'
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
  t.same(names({ notes: xen, notesHeader: { p_offset: 0 } }), [])
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
