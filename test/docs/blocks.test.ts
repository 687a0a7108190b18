/**
 * Every block of every page is tested, and the tests that type the pages can fail.
 *
 * Source: blocks.ts, for the blocks that a page may hold.
 * Gotcha: a dead link breaks a guide as well, so links are checked too.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { ERROR_CODES } from '../../lib/errors.js'
import { projectRoot } from '../peer/paths.js'
import { blocksOf, isForServer, type Session } from './blocks.js'
import { ELSEWHERE, runsElsewhere } from './elsewhere.js'
import { findingsOf, readPage, typeFinding } from './page.js'
import { PAGES } from './pages.js'
import { isShown } from './shown.js'

const pages = [
  'README.md',
  ...readdirSync(join(projectRoot, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
]
const sessionsOf = (page: string): Session[] =>
  blocksOf(readPage(page)).filter((block): block is Session => block.kind === 'session')

t.test('every page is typed by a test', (t) => {
  t.same(Object.keys(PAGES).sort(), pages.sort())
  for (const { test } of Object.values(PAGES)) t.ok(existsSync(join(projectRoot, test)), test)
  t.end()
})

t.test('no page types a name that npx would fetch from somebody else', (t) => {
  for (const { command } of pages.flatMap(sessionsOf).flatMap(({ commands }) => commands))
    t.notMatch(command, /npx xdb\b/)
  t.end()
})

t.test('what the tests of pages leave out is listed, and nothing else', (t) => {
  const left = pages.flatMap(sessionsOf).filter(runsElsewhere)
  t.same(left.flatMap(({ commands }) => commands.map(({ command }) => command)).sort(), Object.keys(ELSEWHERE).sort())
  for (const [command, by] of Object.entries(ELSEWHERE)) t.comment(`not typed here: ${command} (${by})`)
  const server = pages.filter((page) => sessionsOf(page).some(isForServer))
  t.same(server, ['docs/running.md'], 'test/xen/documented.ts types the sessions of that page that need a Xen host')
  t.end()
})

t.test('every example has a way in', (t) => {
  const told = pages.map(readPage).join('\n')
  for (const name of readdirSync(join(projectRoot, 'examples'))) t.ok(told.includes(name), name)
  t.end()
})

t.test('every link leads somewhere', (t) => {
  const wrong: string[] = []
  for (const page of pages) {
    for (const [, target = ''] of readPage(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [file = '', heading] = target.split('#')
      const at = file === '' ? page : join(dirname(page), file)
      const anchors = () =>
        [...readPage(at).matchAll(/^#+ (.+)$/gm)].map(([, text = '']) =>
          text
            .toLowerCase()
            .replace(/[^\w\s-]/g, '')
            .trim()
            .replaceAll(' ', '-'),
        )
      if (!existsSync(join(projectRoot, at)) || (heading !== undefined && !anchors().includes(heading))) {
        wrong.push(`${page}: ${target}`)
      }
    }
  }
  t.same(wrong, [])
  t.end()
})

t.test('every error code is shown once, as it comes out', (t) => {
  const shown = sessionsOf('docs/errors.md').flatMap(({ commands }) => commands.flatMap((command) => command.shown))
  for (const code of Object.keys(ERROR_CODES)) {
    const lines = shown.filter((line) => line.replace('xen-domain-builder: ', '').startsWith(`${code}: `))
    t.equal(lines.length, 1, code)
  }
  t.end()
})

t.test('a page that says something else is found out', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'xen-domain-builder-blocks-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const wrongOf = (page: string): string[] => {
    const { findings, programs } = findingsOf(page, directory, true)
    const types = programs.length > 0 ? [typeFinding(directory, programs)] : []
    return [...findings, ...types].flatMap(({ name, wrong }) => (wrong === undefined ? [] : [name]))
  }
  const session = (...lines: readonly string[]): string => ['```console', ...lines, '```'].join('\n')
  t.same(wrongOf(session('$ echo one; echo two', 'one', 'two')), [])
  t.same(wrongOf(session('$ echo one; echo two', '...', 'two')), [])
  t.same(wrongOf(session('$ printf "a longer line"', 'a ... line')), [])
  t.same(wrongOf(session('$ echo one; echo two', 'one', 'three')), ['echo one; echo two'], 'another word')
  t.same(wrongOf(session('$ echo one; echo two', 'one')), ['echo one; echo two'], 'a line too few')
  t.same(wrongOf(session('$ echo one', 'one', 'two')), ['echo one'], 'a line too many')
  t.same(wrongOf(session('$ echo one')), ['echo one'], 'output that is not shown')
  t.same(wrongOf(session('$ false', '$ true')), ['false'], 'a command that fails')
  t.same(wrongOf(session('$ true', 'xen-domain-builder: bad-elf: it is')), ['true'], 'an accepted command')
  t.same(wrongOf(session('$ true', '$ exit 3', '$ true')), ['exit 3', 'true'], 'a shell that ends')
  t.same(
    wrongOf(session('$ false; echo "exit code $?"', 'exit code 1', '$ cd /', '$ pwd', '/')),
    [],
    'one shell for all',
  )
  t.same(wrongOf('```js\n// a.mjs\nconsole.log(1)\n```'), ['a.mjs'], 'a program that does not run')
  t.same(wrongOf(`\`\`\`js\n// a.mjs\nconsole.log(1)\n\`\`\`\n${session('$ node a.mjs', '1')}`), [])
  t.same(
    wrongOf(`\`\`\`js\n// a.mjs\nconst a = 'one'\nconsole.log(a - 1)\n\`\`\`\n${session('$ node a.mjs', 'NaN')}`),
    ['tsc a.mjs'],
    'a program that no type allows',
  )
  t.same(wrongOf('Typed by itself:\n\n    echo one\n'), ['echo one'], 'an indented line is a command')
  t.throws(() => blocksOf('```sh\nls\n```'), /line 1: neither/)
  t.throws(() => blocksOf('```console\n$ ls'), /does not end/)
  t.throws(() => blocksOf('```console\nls\n```'), /begins with/)
  t.end()
})

t.test('with another kernel the words must be the same, the numbers need not', (t) => {
  const shown = ['  0x4a00      1    4 KiB  0xffffffff84a00000  start_info']
  t.ok(isShown(shown, '  0x5c00     12  1.5 MiB  0xffffffff85c00000  start_info\n', false))
  t.notOk(isShown(shown, '  0x5c00     12  1.5 MiB  0xffffffff85c00000  start_info\n', true))
  t.notOk(isShown(shown, '  0x4a00      1    4 KiB  0xffffffff84a00000  console\n', false))
  t.end()
})
