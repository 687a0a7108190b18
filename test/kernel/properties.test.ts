/** Properties that hold for all notes and all features. */

import fc from 'fast-check'
import t from 'tap'
import { STRING_FEATURES, XENFEAT } from '../../lib/abi/features.js'
import { DomainBuilderError } from '../../lib/errors.js'
import { parseFeatures } from '../../lib/kernel/feature-string.js'
import { noteNumber, noteString, noteU32s } from '../../lib/kernel/notes.js'
import { xenParams } from '../../lib/kernel/xen-notes.js'
import { buildElf, type NoteSpec } from '../../lib/testing/index.js'
import { parseElf, readNotes } from '../fixtures/elf-at-once.js'

/** Runs a property many times, with the same cases each time; a failure shows its counterexample. */
const holds = <T extends unknown[]>(property: fc.IProperty<T>) => fc.assert(property, { numRuns: 2000, seed: 20 })

const ignoringRefusals = (act: () => unknown): void => {
  try {
    act()
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
  }
}

// "Xen" with another length is refused; another test covers that.
const owner = fc.stringMatching(/^[A-Za-z]{0,12}$/).filter((name) => name !== 'Xen')
const anyNote: fc.Arbitrary<NoteSpec> = fc.record({
  owner: fc.oneof(owner, fc.constant('Xen')),
  type: fc.nat({ max: 0xffffffff }),
  desc: fc.uint8Array({ maxLength: 40 }),
  align: fc.constant(4 as const),
})

t.test('the walker gives back every note that was written, in its order', async (t) => {
  holds(
    fc.property(fc.array(anyNote, { maxLength: 12 }), fc.constantFrom(32 as const, 64 as const), (notes, elfClass) => {
      const elf = parseElf(
        buildElf({ class: elfClass, entry: 0, segments: [{ paddr: 0, data: new Uint8Array(4) }], notes }),
      )
      const found = readNotes(elf)
      const simple = found.map(({ owner, type, desc }) => ({ owner, type, desc: [...desc] }))
      t.strictSame(
        simple,
        notes.map(({ owner, type, desc }) => ({ owner, type, desc: [...(desc as Uint8Array)] })),
      )
    }),
  )
})

t.test('padding that a linker puts between aligned notes never hides one', async (t) => {
  const note = fc.record({
    owner: fc.constantFrom('GNU', 'Xen', 'Linux'),
    type: fc.nat({ max: 100 }),
    desc: fc.uint8Array({ minLength: 1, maxLength: 40 }),
    align: fc.constantFrom(4 as const, 8 as const),
  })
  holds(
    fc.property(fc.array(note, { minLength: 1, maxLength: 8 }), (notes) => {
      // A linker pads only GNU's notes to 8; the header and owner take 16 bytes there.
      const padded = notes.map((spec): NoteSpec => (spec.owner === 'GNU' ? spec : { ...spec, align: 4 }))
      const elf = parseElf(
        buildElf({
          class: 64,
          entry: 0,
          segments: [{ paddr: 0, data: new Uint8Array(4) }],
          notes: padded,
          notesAlign: 8,
        }),
      )
      t.strictSame(
        readNotes(elf).map(({ owner, type }) => [owner, type]),
        padded.map(({ owner, type }) => [owner, type]),
      )
    }),
  )
})

t.test('any bytes for notes: refused, or notes that lie within the segment and do not overlap', async (t) => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    // Headers consist of small words.
    fc
      .array(fc.constantFrom(0, 1, 3, 4, 5, 8, 12, 0x6e6558, 0xffffffff), { maxLength: 40 })
      .map((words) => new Uint8Array(Uint32Array.from(words).buffer)),
  )
  holds(
    fc.property(bytes, fc.constantFrom(4, 8, 16), (data, align) => {
      const elf = parseElf(
        buildElf({
          class: 64,
          entry: 0,
          segments: [
            { type: 4, paddr: 0, data, align },
            { paddr: 0, data: new Uint8Array(4) },
          ],
        }),
      )
      ignoringRefusals(() => {
        const notes = readNotes(elf)
        const segment = elf.segments[0]
        notes.forEach(({ offset }, i) => {
          t.ok(offset >= (segment?.offset ?? 0) && offset < (segment?.offset ?? 0) + data.length)
          t.ok(offset >= (notes[i - 1]?.offset ?? -12) + 12)
        })
        for (const note of notes)
          for (const read of [noteNumber, noteString, (n: typeof note) => noteU32s(n, 3)])
            ignoringRefusals(() => read(note))
        ignoringRefusals(() => xenParams(elf, notes))
      })
    }),
  )
})

const entry = fc.record({
  name: fc.oneof(fc.constantFrom(...STRING_FEATURES), fc.stringMatching(/^[a-z_]{0,20}$/)),
  required: fc.boolean(),
})
const known = (name: string) => STRING_FEATURES.some((feature) => feature === name)

t.test('FEATURES: what is required is supported, and reading ends at the first unknown requirement', async (t) => {
  holds(
    fc.property(fc.array(entry, { maxLength: 10 }), (entries) => {
      const text = entries.map(({ name, required }) => `${required ? '!' : ''}${name}`).join('|')
      const { supported, required, unknownRequired } = parseFeatures(text)
      const fatal = entries.findIndex((e) => e.required && !known(e.name))
      const seen = (fatal < 0 ? entries : entries.slice(0, fatal)).filter(({ name }) => known(name))
      const word = (of: typeof seen) =>
        of.reduce((bits, { name }) => (bits | (1 << XENFEAT[name as keyof typeof XENFEAT])) >>> 0, 0)
      t.equal(supported, word(seen))
      t.equal(required, word(seen.filter((e) => e.required)))
      t.equal((supported & required) >>> 0, required)
      t.equal(unknownRequired, entries[fatal]?.name)
    }),
  )
})

t.test('FEATURES: any text is read', async (t) => {
  holds(
    fc.property(fc.string({ maxLength: 300, unit: 'binary' }), (text) => {
      const { supported, required } = parseFeatures(text)
      t.equal((supported & required) >>> 0, required)
    }),
  )
})
