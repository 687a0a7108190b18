/**
 * Text from a file, made safe to show; JSON of the same value, safe as well.
 *
 * Source: ../lib/printable.ts.
 * Gotcha: the code's own character properties would hide their errors, so the sets are listed here by number.
 */
import fc from 'fast-check'
import t from 'tap'
import { DomainBuilderError } from '../lib/errors.js'
import { jsonText, listed, messagePart, printable } from '../lib/printable.js'

const range = (first: number, last: number): number[] => Array.from({ length: last - first + 1 }, (_, i) => first + i)

/** C0, DEL and C1; bidirectional controls; line separators; invisible characters; tags; unpaired surrogates. */
const UNSAFE = [
  ...range(0x00, 0x1f),
  ...range(0x7f, 0x9f),
  ...[0xad, 0x61c, 0x180e, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2028, 0x2029],
  ...range(0x202a, 0x202e),
  ...range(0x2060, 0x206f),
  ...[0xfeff, 0xfff9, 0xfffa, 0xfffb, 0xd800, 0xdbff, 0xdc00, 0xdfff],
  ...range(0xe0000, 0xe007f),
]
const SAFE = [...range(0x20, 0x7e), 0xa0, 0xe9, 0x3b1, 0x5d0, 0x4e2d, 0x20ac, 0x1f600]

t.test('what a terminal may act on is an escape, everything else is as it is', async (t) => {
  for (const code of UNSAFE) {
    const text = `a${String.fromCodePoint(code)}b`
    const shown = printable(text)
    t.match(shown, /^a\\(x[0-9a-f]{2}|u[0-9a-f]{4}|u\{[0-9a-f]+\})b$/, code.toString(16))
    const json = jsonText({ [text]: text }, 2)
    t.same(JSON.parse(json), { [text]: text })
    t.equal(printable(json.replaceAll('\n', '')), json.replaceAll('\n', ''), 'JSON has nothing left to escape')
  }
  for (const code of SAFE) {
    const text = String.fromCodePoint(code)
    t.equal(printable(text), text)
    t.equal(jsonText(text), JSON.stringify(text))
  }
  t.equal(printable('\u001b[2J\u009b1m\u202e'), '\\x1b[2J\\x9b1m\\u202e')
})

t.test('any text: once is enough, and JSON parses to the same value', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
      const shown = printable(text, Number.POSITIVE_INFINITY)
      return printable(shown, Number.POSITIVE_INFINITY) === shown && JSON.parse(jsonText([text]))[0] === text
    }),
  )
  fc.assert(
    fc.property(fc.jsonValue(), (value) => t.same(JSON.parse(jsonText(value, 1)), JSON.parse(JSON.stringify(value)))),
  )
})

t.test('what is long is cut', async (t) => {
  t.equal(printable('x'.repeat(300)), `${'x'.repeat(256)}...`)
  const long = `${'a'.repeat(5000)}/name: no such file`
  const part = messagePart(long, 400)
  t.ok(part.length < 450)
  t.match(part, /^a+\.\.\. and 4\d\d\d more characters \.\.\.a+\/name: no such file$/)
  t.equal(listed(['a', 'b']), 'a, b')
  t.equal(listed([]), '')
  t.match(listed(range(1, 100_000).map(String)), /^1, 2, 3, .*, and 99\d\d\d more$/)
  t.ok(listed(range(1, 100_000).map(String)).length < 300)
})

t.test('an error is one line of at most a thousand characters or so, and JSON', async (t) => {
  const long = '\u001b'.repeat(100_000)
  const error = new DomainBuilderError('bad-elf', `a\n${long}`, { expected: long, found: long, offset: 7 })
  t.ok(error.message.length < 5000, `${error.message.length}`)
  t.equal(printable(error.message, Number.POSITIVE_INFINITY), error.message)
  t.match(error.message, / \(file offset 0x7\)$/)
  t.same(JSON.parse(JSON.stringify(new DomainBuilderError('overlap', 'a', { found: 'b' }))), {
    code: 'overlap',
    message: 'a: found b',
    found: 'b',
  })
  t.same(error.toJSON(), {
    code: 'bad-elf',
    message: error.message,
    expected: error.expected,
    found: error.found,
    offset: 7,
  })
})
