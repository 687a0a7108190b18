/**
 * The parts of ELF files: notes, program headers and sections, and claims that are larger than the file.
 *
 * Source: the System V ABI, chapters 4 and 5.
 * Gotcha: several program headers may show the same notes, so both each part and the sum have a bound.
 */
import t from 'tap'
import { Ehdr64, EM_X86_64, Shdr64 } from '../../lib/abi/elf.js'
import { concat } from '../../lib/bytes.js'
import { bytesSource, DomainBuilderError } from '../../lib/index.js'
import {
  elfHeader,
  encodeNote,
  isCore,
  isCore32,
  noteHeader,
  readCoreNotes,
  readCoreSections,
  readSegments,
  withinElf,
} from '../../lib/snapshot/elf-file.js'
import { withinDescription } from '../../lib/snapshot/qemu-stream-reader.js'
import { within as withinRecord } from '../../lib/snapshot/records.js'

const MOST_BYTES = 64 << 20
const MOST_NOTES = 1 << 15
const refused = (act: () => unknown, message: RegExp, code = 'bad-snapshot') => t.throws(act, { code, message })
const holes = (size: number) => ({ size, readInto: (_: number, out: Uint8Array) => void out.fill(0) })

t.test('notes', async (t) => {
  const notes = concat([
    encodeNote({ owner: 'A', type: 7, desc: Uint8Array.of(1, 2, 3) }),
    encodeNote({ owner: 'LONGER', type: 8, desc: new Uint8Array(0) }),
  ])
  t.same(readCoreNotes(bytesSource(concat([new Uint8Array(4), notes])), 4, notes.length), [
    { owner: 'A', type: 7, desc: Uint8Array.of(1, 2, 3), offset: 4 },
    { owner: 'LONGER', type: 8, desc: new Uint8Array(0), offset: 24 },
  ])
  const cut = notes.slice(0, 17)
  refused(
    () => readCoreNotes(bytesSource(cut), 0, cut.length),
    /^ELF: a note runs past its part of the file: expected 17 bytes, found 20 \(file offset 0x0\)$/,
  )
  refused(
    () => readCoreNotes(holes(MOST_BYTES + 1), 0, MOST_BYTES + 1),
    /^ELF: the notes are too long: expected at most 67108864 bytes, found 67108865/,
  )
  const bytes = 12 * (MOST_NOTES + 1)
  refused(
    () => readCoreNotes(holes(bytes), 0, bytes),
    /^ELF: the number of notes is too large: expected at most 32768, found more \(file offset 0x60000\)$/,
  )
})

t.test('notes in several parts of a file', async (t) => {
  const file = (parts: number, length: number) => {
    const header = elfHeader(EM_X86_64, { e_phoff: BigInt(Ehdr64.size), e_phentsize: 56, e_phnum: parts })
    const start = concat([header, ...Array.from({ length: parts }, () => noteHeader(4096, length))])
    return {
      size: 4096 + length,
      readInto: (at: number, out: Uint8Array) => {
        out.fill(0)
        if (at < start.length) out.set(start.subarray(at, at + out.length))
      },
    }
  }
  t.equal(readSegments(file(2, 1200)).notes.length, 200)
  refused(
    () => readSegments(file(2, MOST_BYTES / 2 + 4)),
    /^ELF: the notes are too long: expected at most 67108864 bytes in all, found 67108872 \(file offset 0x40\)$/,
  )
  refused(
    () => readSegments(file(2, 12 * 20_000)),
    /^ELF: the number of notes is too large: expected at most 32768, found more \(file offset 0x78\)$/,
  )
})

t.test('sections by name', async (t) => {
  const names = Buffer.from('\0.one\0.two')
  const section = (name: number, at: number, size: number) =>
    Shdr64.encode({ ...Shdr64.zero, sh_name: name, sh_offset: BigInt(at), sh_size: BigInt(size) })
  const file = (fields: Parameters<typeof elfHeader>[1] = {}) =>
    bytesSource(
      concat([
        elfHeader(EM_X86_64, {
          ...{ e_shoff: BigInt(Ehdr64.size + names.length), e_shentsize: Shdr64.size, e_shnum: 3, e_shstrndx: 0 },
          ...fields,
        }),
        names,
        section(0, Ehdr64.size, names.length),
        section(1, 1, 2),
        section(6, 3, 4),
      ]),
    )
  const found = readCoreSections(file())
  t.same(found.get('.one'), { offset: 1, length: 2 })
  t.same(found.get('.two'), { offset: 3, length: 4 }, 'a name that ends with the names')
  for (const [fields, shown] of [
    [{ e_shnum: 65 }, '65 of 64'],
    [{ e_shentsize: 63 }, '3 of 63'],
    [{ e_shstrndx: 3 }, '3 of 64'],
  ] as const) {
    const message = new RegExp(
      `^ELF: the section header table is invalid: expected at most 64 of 64 bytes, found ${shown}`,
    )
    refused(() => readCoreSections(file(fields)), message)
  }
  refused(() => readCoreSections(file({ e_shoff: 1n << 60n })), /^ELF: the file is too short for the sect/, 'truncated')
})

t.test('a file that is too short is no core', async (t) => {
  const start = elfHeader(EM_X86_64, {})
  t.ok(isCore(start))
  t.notOk(isCore32(start))
  for (const is of [isCore, isCore32]) t.notOk(is(start.subarray(0, -1)))
})

t.test('an error with a place keeps it, and any other one gets it', async (t) => {
  const fail = (offset?: number) => () => {
    throw new DomainBuilderError('bad-snapshot', 'x is invalid', offset === undefined ? {} : { offset })
  }
  for (const [within, name] of [
    [(part: () => never) => withinElf(5, part), 'ELF: '],
    [(part: () => never) => withinRecord({ name: 'X', offset: 5 }, part), 'X record: '],
    [(part: () => never) => withinDescription(5, part), "QEMU's stream: "],
  ] as const) {
    t.throws(() => within(fail(7)), { message: 'x is invalid (file offset 0x7)', offset: 7 })
    t.throws(() => within(fail()), {
      code: 'bad-snapshot',
      message: `${name}x is invalid (file offset 0x5)`,
      offset: 5,
    })
  }
})
