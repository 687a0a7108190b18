/**
 * npm run coverage: runs the fast tests, and prints the share of lib's branches and lines that ran, by folder.
 *
 *   npm run coverage -- [--from FOLDER]
 *
 * Source: the files that Node writes with NODE_V8_COVERAGE; --from reads those of an earlier run instead.
 * Gotcha: a process that is killed writes nothing, so code that runs only in such a process counts as not reached.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { root, sources, textOf } from '../sources.js'
import { readScript } from './branches.js'
import { judge } from './exceptions.js'
import { readRuns } from './runs.js'

/** The folders of which every branch must run. */
const COMPLETE: readonly string[] = ['abi', 'guest', 'kernel', 'protocol']

/** Tests that are not run: of pages, browsers, runtimes, peers, the package and the command, which begin many processes. */
const OTHER_PROCESSES = /^test\/(?:cli|docs|examples|inspector|peer|runner|runtimes)\/|^test\/man\.test/
/** Tests that are not run: they repeat one kind of input many thousand times. */
const REPEATED = /^test\/(?:kernel\/properties|inspect\/stats|snapshot\/sequences)\.test/

const { values } = parseArgs({ options: { from: { type: 'string' } } })
const say = (line: string) => process.stdout.write(`${line}\n`)
const compiled = (file: string) => path.join(root, 'dist', file.replace(/\.ts$/, '.js'))

/** Runs the tests, and returns whether all passed. */
function runTests(folder: string): boolean {
  const files = sources('test').filter(
    (file) => file.endsWith('.test.ts') && !OTHER_PROCESSES.test(file) && !REPEATED.test(file),
  )
  const { status } = spawnSync('npx', ['tap', '--reporter=terse', ...files.map(compiled)], {
    cwd: root,
    env: { ...process.env, NODE_V8_COVERAGE: folder },
    stdio: 'inherit',
  })
  return status === 0
}

interface Figures {
  branches: number
  reached: number
  excepted: number
  lines: number
  linesReached: number
}

/** Prints the figures of lib, and returns whether every rule is kept. */
function report(folder: string): boolean {
  const library = pathToFileURL(compiled('lib/')).href
  const runs = readRuns(folder, (url) => url.startsWith(library))
  const folders = new Map<string, Figures>()
  let isKept = true
  for (const file of sources('lib')
    .filter((name) => !name.endsWith('.d.ts'))
    .sort()) {
    const script = compiled(file)
    const text = readFileSync(script, 'utf8')
    const map = JSON.parse(readFileSync(`${script}.map`, 'utf8'))
    const { branches, lines } = readScript(text, map, runs.get(pathToFileURL(script).href))
    const { unreached, excepted, faults } = judge(textOf(file), branches)

    const name = path.dirname(path.relative('lib', file)).split(path.sep)[0] as string
    const sum = folders.get(name) ?? { branches: 0, reached: 0, excepted: 0, lines: 0, linesReached: 0 }
    sum.branches += branches.length
    sum.reached += branches.length - unreached.length - excepted.length
    sum.excepted += excepted.length
    sum.lines += lines.all
    sum.linesReached += lines.ran
    folders.set(name, sum)

    for (const { line, column, code } of unreached) say(`${file}:${line}:${column}  ${code}`)
    for (const fault of faults) say(`${file}:${fault}`)
    if (faults.length > 0 || (COMPLETE.includes(name) && unreached.length > 0)) isKept = false
  }
  showFigures(folders)
  return isKept
}

const percent = (part: number, whole: number) => `${((100 * part) / whole).toFixed(1)} %`

function showFigures(folders: ReadonlyMap<string, Figures>): void {
  const row = (name: string, cells: readonly (string | number)[]) =>
    say(name.padEnd(12) + cells.map((cell) => String(cell).padStart(12)).join(''))
  say('')
  row('folder', ['branches', 'reached', 'exceptions', 'of branches', 'of lines'])
  for (const [name, one] of folders) {
    const { branches, reached, excepted, lines, linesReached } = one
    row(name, [branches, reached, excepted, percent(reached, branches - excepted), percent(linesReached, lines)])
  }
}

const folder = values.from ?? mkdtempSync(path.join(tmpdir(), 'coverage-'))
try {
  const hasPassed = values.from !== undefined || runTests(folder)
  if (!report(folder) || !hasPassed) process.exitCode = 1
} finally {
  if (values.from === undefined) rmSync(folder, { recursive: true, force: true })
}
