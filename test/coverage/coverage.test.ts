/**
 * The measurement: which branches of a program ran, in which lines, and which exceptions are true.
 *
 * Source: ./planted.ts.
 * Gotcha: V8 reports no `else` that the source does not have, so none is expected here.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { type Branch, readScript } from './branches.js'
import { judge } from './exceptions.js'
import { readRuns } from './runs.js'

const script = fileURLToPath(new URL('./planted.js', import.meta.url))
const text = readFileSync(script, 'utf8')
const map = JSON.parse(readFileSync(`${script}.map`, 'utf8'))

/** Runs programs, and returns the planted script as they reached it. */
function reached(folder: string, programs: readonly string[]) {
  for (const program of programs) {
    const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
      encoding: 'utf8',
      env: { ...process.env, NODE_V8_COVERAGE: folder },
    })
    if (status !== 0) throw new Error(stderr)
  }
  const url = new URL('./planted.js', import.meta.url).href
  return readScript(text, map, readRuns(folder, (found) => found === url).get(url))
}

const planted = JSON.stringify(new URL('./planted.js', import.meta.url).href)
const missed = (branches: readonly Branch[]) => branches.filter(({ ran }) => !ran).map(({ line, code }) => [line, code])

t.test('branches that did not run, by their lines of the source', async (t) => {
  const { branches, lines } = reached(t.testdir(), [`import ${planted}`])
  t.same(missed(branches), [
    [7, '? 0'],
    [8, '?? 7'],
    [9, '() => 1'],
    [17, "return 'other'; "],
    [23, 'catch { return -1; }'],
  ])
  t.ok(branches.some(({ ran }) => ran))
  t.ok(lines.ran > 0 && lines.ran < lines.all)
})

t.test('processes add up', async (t) => {
  const more = `const { either, orElse, never, early } = await import(${planted}); either(); orElse(); never(); early(0)`
  const { branches, lines } = reached(t.testdir(), [`import ${planted}`, more])
  t.same(missed(branches), [[23, 'catch { return -1; }']])
  t.equal(lines.ran, lines.all - 2)
})

t.test('a script that no process loads did not run, and types alone are no code', async (t) => {
  const { branches, lines } = readScript(text, map, undefined)
  t.match(branches, [{ ran: false }])
  t.equal(branches.length, 1)
  t.equal(lines.ran, 0)
  t.same(readScript('export {};\n', { ...map, mappings: '' }, undefined), { branches: [], lines: { all: 0, ran: 0 } })
})

const branch = (line: number, ran: boolean): Branch => ({ line, column: 1, code: '', ran })

t.test('an exception is about its own line, or alone on a line about the next', async (t) => {
  const source = [
    'a',
    '/* c8 ignore next -- no input does this */',
    'b',
    'c /* c8 ignore next -- nor this */',
    'd',
  ].join('\n')
  const all = [branch(1, true), branch(3, false), branch(4, false), branch(5, false)]
  const { unreached, excepted, faults } = judge(source, all)
  t.same(unreached, [branch(5, false)])
  t.same(excepted, [branch(3, false), branch(4, false)])
  t.same(faults, [])
})

t.test('an exception that is not true is refused', async (t) => {
  const faultsOf = (comment: string, ran: boolean) => judge(`${comment}\nb`, [branch(2, ran)]).faults
  t.same(faultsOf('/* c8 ignore next -- no input does this */', true), ['1: every branch of the exception ran'])
  const form = ['1: the exception is not "/* c8 ignore next -- REASON */"']
  for (const comment of [
    '/* c8 ignore next */',
    '/* c8 ignore next -- */',
    '/* c8 ignore next 3 -- three lines */',
    '/* c8 ignore start -- many lines */',
    '/* v8 ignore next -- another name */',
    '// c8 ignore next -- another comment',
    '/* node:coverage ignore next -- another name */',
  ]) {
    const { faults, unreached } = judge(`${comment}\nb`, [branch(2, false)])
    t.same(faults, form, comment)
    t.same(unreached, [branch(2, false)], 'and excepts nothing')
  }
  t.same(judge('a', [branch(1, false)]).excepted, [])
})
