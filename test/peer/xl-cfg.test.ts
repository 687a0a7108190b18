/**
 * Compares our reading of xl.cfg texts with libxlutil, xl's own parser: the same values, the same refusals.
 *
 * Source: oracle/xl-cfg.c, compiled against Debian's libxen-dev.
 * Gotcha: libxlutil accepts an invalid last character at the end of a text, so every text here ends with a newline.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { DomainBuilderError } from '../../lib/errors.js'
import { decodeXlCfg, parseXlCfg } from '../../lib/protocol/xl-cfg.js'
import { peerSources } from './paths.js'
import { requirePeer } from './require-peer.js'

/** One line for each key: its name, then the text in hex, or the items of a list. */
function ours(text: string): string {
  try {
    const settings = parseXlCfg(text)
    const show = (value: unknown): string =>
      typeof value === 'string' ? `s${Buffer.from(value).toString('hex')}` : 'nested'
    return ['a', 'b']
      .map((key) => {
        const value = settings.get(key)
        return typeof value === 'object'
          ? `${key} [${value.map(show).join(' ')}]`
          : value === undefined
            ? `${key} none`
            : `${key} ${show(value)}`
      })
      .join('\n')
  } catch (error) {
    if (error instanceof DomainBuilderError && error.code === 'bad-config') return 'refused'
    throw error
  }
}

t.test('the same values and refusals as libxlutil', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'xl-cfg-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const program = path.join(folder, 'xl-cfg')
  const found = await requirePeer(t, async () => {
    try {
      execFileSync('cc', ['-o', program, path.join(peerSources, 'oracle/xl-cfg.c'), '-lxlutil'], { stdio: 'pipe' })
      return { found: program }
    } catch {
      return { missing: 'a C compiler and libxen-dev, to run libxlutil' }
    }
  })
  if (!found) return
  const theirs = (text: string): string => {
    const ran = spawnSync(found, ['a', 'b'], { input: text, encoding: 'utf8' })
    return ran.status === 0 ? ran.stdout.trimEnd() : 'refused'
  }
  const piece = fc.constantFrom(
    'a', 'b', '=', '+=', '1', '0x1f', '017', '"x y"', "'it\\'s'", '"\\n\\t\\\\"', '"\\q"', '"\\x41"', '[', ']', ',', ';', '\n', ' ', '# c\n', '(', 'A',
  ) // biome-ignore format: one line of pieces
  const value = fc.constantFrom(
    '1',
    '"x"',
    "'\\\\'",
    '[1,2]',
    '[\n"x",\n]',
    '[]',
    '[[1],"y"]',
    '[1 2]',
    '[,]',
    'b',
    '"open',
  )
  const statement = fc
    .tuple(fc.constantFrom('a', 'b'), fc.constantFrom('=', ' = ', '+='), value)
    .map((parts) => parts.join(''))
  const texts = fc.oneof(
    fc.array(statement, { maxLength: 5 }).map((lines) => lines.map((line) => `${line}\n`).join('')),
    fc.array(piece, { maxLength: 9 }).map((pieces) => `${pieces.join('')}\n`),
  )
  const outcomes = new Map<boolean, number>()
  t.same([ours('\ufeffa=1\n'), theirs('\ufeffa=1\n')], ['refused', 'refused'], 'a byte order mark')
  for (const text of fc.sample(texts, { numRuns: 600, seed: 4242 })) {
    const mine = ours(text)
    t.equal(mine, theirs(text), JSON.stringify(text))
    outcomes.set(mine === 'refused', (outcomes.get(mine === 'refused') ?? 0) + 1)
  }
  t.ok((outcomes.get(true) ?? 0) > 50 && (outcomes.get(false) ?? 0) > 50, 'both outcomes were seen')
})

t.test('a refusal names line, column, what was expected and what was found', async (t) => {
  const cases: [string, RegExp][] = [
    ['a=1\nb=c\n', /line 2, column 3: expected a string, a number or \[, found 'c'/],
    ['a="\\x41"\n', /line 1, column 4: .*found '\\x'/],
    ['a="\\101"\n', /line 1, column 4/],
    ['a=[1\n', /line 2, column 1: expected , or \], found the end/],
    ['a=1 # no newline', /newline after the comment/],
    ['a=[1]\na+="x"\n', /line 2, column 1/],
    [`a=${'['.repeat(20)}`, /at most 16 deep/],
    ['\n'.repeat(2 ** 20 + 1), /too long/],
  ]
  for (const [text, message] of cases) t.throws(() => parseXlCfg(text), { code: 'bad-config', message })
  for (const [text, encoding] of [
    [Buffer.from('\ufeffa=1\n'), 'UTF-8'],
    [Buffer.from('\ufeffa=1\n', 'utf16le'), 'UTF-16'],
    [Buffer.from('\ufeffa=1\n', 'utf16le').swap16(), 'big-endian UTF-16'],
  ] as const) {
    const message = `the xl.cfg begins with a byte order mark: expected UTF-8 without one, found that of ${encoding}`
    t.throws(() => decodeXlCfg(text), { code: 'bad-config', message })
  }
  t.throws(() => parseXlCfg('\ufeffa=1\n'), { message: /begins with a byte order mark/ }, 'also in a string')
})
