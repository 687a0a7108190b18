/**
 * The words of every text in the repository, and the form of every error message.
 *
 * Source: CONTRIBUTING.md, "How to write text"; words.json has the patterns and the usual terms.
 * Gotcha: a name in the public API can have a banned word; ALLOWED lists them, and each must still occur.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { sourceMessages } from './fixtures/messages.js'

const root = fileURLToPath(new URL('../../', import.meta.url))

const PLACES = [
  ...['README.md', 'CHANGELOG.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'package.json', '.ci'],
  ...['bench', 'bundle', 'docs', 'examples', 'lib', 'man', 'schemas', 'test'],
]
const TEXT_FILE = /\.(md|ts|json|sh|c)$|^\.ci\//
/** This list, the stored outputs of other programs, and a stored schema. */
const OMITTED = /^test\/(words\.json$|golden\/|fixtures\/cyclonedx\/.*\.json$)/

function textFiles(): string[] {
  return PLACES.flatMap((place) =>
    statSync(path.join(root, place)).isDirectory()
      ? readdirSync(path.join(root, place), { recursive: true, encoding: 'utf8' }).map((name) => path.join(place, name))
      : [place],
  ).filter((name) => TEXT_FILE.test(name) && !OMITTED.test(name) && statSync(path.join(root, name)).isFile())
}

/** A pattern without capitals matches both cases, as in ripgrep. */
const smartCase = (pattern: string): RegExp => new RegExp(pattern, /[A-Z]/.test(pattern) ? '' : 'i')

t.test('no text has a banned word', async (t) => {
  const words: Record<string, string> = JSON.parse(readFileSync(path.join(root, 'test/words.json'), 'utf8'))
  const patterns = Object.entries(words).map(([pattern, instead]) => ({ regexp: smartCase(pattern), instead }))
  const files = textFiles()
  t.ok(files.length > 300, `${files.length} files`)
  const wrong: string[] = []
  for (const file of files) {
    for (const [at, line] of readFileSync(path.join(root, file), 'utf8').split('\n').entries()) {
      for (const { regexp, instead } of patterns) {
        const [word] = regexp.exec(line) ?? []
        if (word !== undefined) wrong.push(`${file}:${at + 1}: '${word.trim()}' (usual: ${instead})`)
      }
    }
  }
  t.same(wrong, [])
})

/** A finite verb that states a defect or a demand. */
const DEFECT =
  /\b(is|are|has|have|does|do|can|cannot|must|may|needs?|ends?|reach(es)?|overlaps?|contradicts?|requires?|exceeds?|share|repeats?|starts?|begins?|names|wraps?|lies|lie|holds?|lacks?|asks?|wants?|follows?|gives?|leaves?|promises?|differs?|runs|continues|decompresses|comes)\b/
/** Openings that name nothing. */
const NAMELESS = /^(it|that|this|there|what|not|no such|such|so many|something|everything|neither|too)\b/i

/** Whether one part of a message names a thing and then its defect; a place can come first, as in `PAGE_DATA record: `. */
function isSentence(message: string): boolean {
  return message.split(/: /).some((part) => {
    const [subject = ''] = part.split(DEFECT)
    return !NAMELESS.test(part) && DEFECT.test(part) && /[a-z{]/i.test(subject)
  })
}

t.test('every error message names a thing and its defect', async (t) => {
  for (const good of ['the file is too short', 'ELF: the notes are too long', '{} is missing'])
    t.ok(isSentence(good), good)
  for (const bad of [
    'no uuid',
    'libxc image header: wrong id',
    'not a memory size',
    '{} record: it comes twice',
    'is wrong',
  ])
    t.notOk(isSentence(bad), bad)
  const messages = sourceMessages(root, 'lib')
  t.ok(messages.length > 500, `${messages.length} messages`)
  t.same(
    messages.filter(({ text }) => !isSentence(text)).map(({ file, line, text }) => `${file}:${line}: ${text}`),
    [],
  )
})
