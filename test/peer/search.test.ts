/**
 * Searches of a guest against grep, strings and hexdump over the same memory as a flat file.
 *
 * Source: grep(1), strings(1) of GNU binutils, hexdump(1) of util-linux, all run here.
 * Gotcha: grep works line by line and its `.` does not match every byte, so the memory for expressions has no line breaks.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { GuestMemory } from '../../lib/guest/memory.js'
import {
  type BytePattern,
  type Domain,
  findStrings,
  hexPattern,
  PAGE_SIZE,
  regexPattern,
  searchMemory,
  textPattern,
} from '../../lib/index.js'
import { hexdump } from '../../lib/inspect/hexdump.js'
import { pagedGuest } from '../fixtures/paged-guest.js'
import { Random } from '../fixtures/random.js'
import { findCommand } from './command.js'
import { requirePeer } from './require-peer.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-search-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

const PAGES = 150
const WORDS = [
  'Linux',
  'version',
  'root=',
  '/dev/xvda1',
  '6.1.0-13',
  'aab',
  'abab',
  '00',
  'x86_64',
  ' ',
  '\t',
  'zz',
  '-',
  '.',
]

/** A guest with holes, and its whole memory. */
interface Flat {
  readonly domain: Domain
  readonly bytes: Uint8Array
  readonly file: string
}

/** Returns a guest whose pages are made by a function; a third of them are holes. */
function flat(name: string, random: Random, page: () => Uint8Array): Flat {
  const memory = new GuestMemory(PAGES)
  const bytes = new Uint8Array(PAGES * PAGE_SIZE)
  for (let pfn = 0; pfn < PAGES; pfn++) {
    if (random.percent(33)) continue
    const content = page()
    memory.place(pfn * PAGE_SIZE, content)
    bytes.set(content, pfn * PAGE_SIZE)
  }
  const file = path.join(folder, name)
  writeFileSync(file, bytes)
  return { domain: { ...pagedGuest(1, new Map()), memory }, bytes, file }
}

function wordsPage(random: Random, separators: readonly string[]): Uint8Array {
  let text = ''
  while (text.length < PAGE_SIZE) text += random.percent(70) ? random.pick(WORDS) : random.pick(separators)
  return new Uint8Array(Buffer.from(text.slice(0, PAGE_SIZE), 'latin1'))
}

/** Returns the lines of a program's output. */
function run(name: string, args: readonly string[], file: string): string[] {
  const { status, stdout, stderr } = spawnSync(name, [...args, file], {
    env: { ...process.env, LC_ALL: 'C' },
    maxBuffer: 2 ** 28,
    encoding: 'latin1',
  })
  if (status === null || status > 1) throw new Error(`${name} ${args.join(' ')}: ${stderr}`)
  return stdout.split('\n').slice(0, -1)
}

/** Returns the offsets of grep's matches. */
const grepped = (how: string, pattern: string, file: string): string[] =>
  run('grep', ['-abo', how, '--', pattern], file).flatMap((line) => /^(\d+):/.exec(line)?.[1] ?? [])

async function found(domain: Domain, pattern: BytePattern): Promise<string[]> {
  const places: string[] = []
  for await (const { paddr } of searchMemory(domain, pattern)) places.push(String(paddr))
  return places
}

t.test('grep -F, -E and -P', async (t) => {
  if (!(await requirePeer(t, () => findCommand('grep', 'grep')))) return
  const random = new Random(21)
  const { domain, bytes, file } = flat('words', random, () => wordsPage(random, ['\0', '\x7f', '\xff', 'q']))
  let matches = 0
  const same = async (how: string, grep: string, pattern: BytePattern): Promise<void> => {
    const [ours, theirs] = [await found(domain, pattern), grepped(how, grep, file)]
    matches += ours.length
    if (ours.join() !== theirs.join()) t.same(ours.slice(0, 20), theirs.slice(0, 20), `${how} ${grep}`)
  }
  for (let round = 0; round < 60; round++) {
    const at = random.below(bytes.length - 20)
    const part = bytes.subarray(at, at + random.integer(1, 12))
    const isText = part.every((byte) => byte >= 0x20 && byte < 0x7f)
    if (isText)
      await same('-F', Buffer.from(part).toString('latin1'), textPattern(Buffer.from(part).toString('latin1')))
    // A match of zeros in a hole is omitted.
    if (part.every((byte) => byte === 0)) continue
    const hidden = Array.from(part, (byte, i) => (byte === 0 || (i > 0 && random.percent(30)) ? undefined : byte))
    if (hidden[0] === undefined) continue
    const digits = hidden.map((byte) => byte?.toString(16).padStart(2, '0'))
    const perl = digits.map((byte) => (byte === undefined ? '[\\s\\S]' : `\\x${byte}`)).join('')
    await same('-P', perl, hexPattern(digits.map((byte) => byte ?? '??').join(' ')))
  }
  for (const expression of [
    ...['[0-9]+\\.[0-9]+', 'Linux +version', '(root|dev)[=/]', 'a+b', '(ab)+', '(aab|abab|ab)+', '[a-z]{3,6}[0-9]'],
    ...['(a|ab)(ba|b)?', 'x[0-9]{2}_', 'z{2,5}', 'version|Linux|Linuxversion', '[A-Z][a-z]*-?', '-[0-9]*\\.?-'],
  ]) {
    await same('-E', expression, regexPattern(expression))
  }
  t.ok(matches > 10_000, `${matches} matches`)
})

t.test('strings', async (t) => {
  if (!(await requirePeer(t, () => findCommand('strings', 'binutils')))) return
  const random = new Random(22)
  const wide = (): Uint8Array => new Uint8Array(Buffer.from(wordsPage(random, ['\0\x01', '\n']).map((b) => b & 0x7f)))
  const utf16 = (): Uint8Array => {
    const text = Buffer.from(Buffer.from(wide()).toString('latin1'), 'utf16le')
    return Buffer.concat([text.subarray(random.below(2)), Buffer.alloc(1)]).subarray(0, PAGE_SIZE)
  }
  for (const [encoding, page] of [
    ['s', () => wordsPage(random, ['\0', '\n', '\x80', '\x01', '\r\n'])],
    ['l', utf16],
  ] as const) {
    const { domain, file } = flat(`strings-${encoding}`, random, page)
    for (const least of [1, 4, 9]) {
      const ours: string[] = []
      for await (const { paddr, text } of findStrings(domain, { least, encoding })) {
        ours.push(`${paddr.toString(16).padStart(7)} ${text}`)
      }
      const theirs = run('strings', ['-a', '-t', 'x', '-n', String(least), '-e', encoding], file)
      t.ok(ours.length > 100)
      if (ours.join('\n') === theirs.join('\n')) continue
      const at = ours.findIndex((line, i) => line !== theirs[i])
      t.same(ours.slice(at, at + 5), theirs.slice(at, at + 5), `-n ${least} -e ${encoding}`)
    }
  }
})

t.test('hexdump -C', async (t) => {
  if (!(await requirePeer(t, () => findCommand('hexdump', 'bsdextrautils')))) return
  const random = new Random(23)
  const { domain, file, bytes } = flat('dump', random, () => {
    const page = new Uint8Array(PAGE_SIZE)
    page.set(random.bytes(random.below(300)), random.below(3000))
    return page
  })
  for (let round = 0; round < 12; round++) {
    const paddr = random.below(bytes.length - 70_000)
    const length = random.integer(1, 70_000)
    const ours = [...hexdump(domain, { space: 'physical', paddr }, length)].flatMap(({ lines }) => lines)
    t.same(ours, run('hexdump', ['-C', '-s', String(paddr), '-n', String(length)], file))
  }
})
