/**
 * npm run mutation: changes sources in one small place at a time, and tells which changes no unit test notices.
 *
 *   npm run mutation -- [--json] [FILE...]
 *
 * Source: the modules below; ./equivalent.json has the changes that no test can notice, each with the reason.
 * Gotcha: the tests run from the TypeScript sources; dist is only needed for the few files that tests read there.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import * as path from 'node:path'
import { parseArgs } from 'node:util'
import { root, textOf } from '../sources.js'
import { bundleTests, unitTests } from './bundles.js'
import { type Mutant, mutantsOf } from './mutants.js'
import { Runner } from './pool.js'
import { surveyAll, testsOf } from './reach.js'

const MODULES = [
  'lib/kernel/elf.ts',
  'lib/kernel/notes.ts',
  'lib/kernel/xen-params.ts',
  'lib/kernel/bzimage.ts',
  'lib/guest/p2m.ts',
  'lib/guest/page-tables.ts',
  'lib/guest/linear-tables.ts',
  'lib/guest/memory.ts',
  'lib/guest/allocator.ts',
  'lib/guest/start-info.ts',
  'lib/guest/boot-params.ts',
  'lib/guest/hvm-start-info.ts',
  'lib/guest/vcpu.ts',
  'lib/protocol/xen-pv-layout.ts',
  'lib/protocol/linux-boot-params.ts',
  'lib/snapshot/libxc-stream.ts',
  'lib/snapshot/libxc-reader.ts',
] as const

const AT_ONCE = 2
/** A mutant may take this many times the processor time of the tests, and some more. */
const SLOWER = 5
const LIMIT_LEAST_MS = 1000
/** The processor time of the tests of one mutant, except those of the module's own test file: others are not run. */
const BUDGET_MS = 1000

/** More than a module has mutants: a changed module leaves the others' numbers as they were. */
const IDS_OF_MODULE = 10_000

type Outcome = 'killed' | 'timeout' | 'survived' | 'unreached'

/** A change that no test can notice. */
interface Equivalent {
  readonly file: string
  /** The line in the file, trimmed. */
  readonly source: string
  readonly original: string
  readonly mutated: string
  readonly why: string
}

const { values, positionals } = parseArgs({
  options: { json: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const say = (line: string) => process.stdout.write(`${line}\n`)
const oneLine = (text: string) => text.replace(/\s+/g, ' ')

const chosen = positionals.length === 0 ? MODULES : positionals.map((file) => path.relative(root, path.resolve(file)))
const equivalents = JSON.parse(textOf('test/mutation/equivalent.json')) as readonly Equivalent[]
const folder = path.join(root, '.cache/mutation')

/** All modules have their mutants in the bundles, so that what was measured serves every choice of modules. */
const replaced = new Map<string, string>()
const mutants: { readonly file: string; readonly mutant: Mutant }[] = []
const modules = [...new Set([...MODULES, ...chosen])]
for (const [i, file] of modules.entries()) {
  const made = mutantsOf(file, textOf(file), i * IDS_OF_MODULE)
  replaced.set(file, made.code)
  mutants.push(...made.mutants.map((mutant) => ({ file, mutant })))
}
const bundles = await bundleTests(unitTests(), replaced, path.join(folder, 'bundles'))
const surveys = await surveyAll(bundles, modules.length * IDS_OF_MODULE, path.join(folder, 'reach'), say)

/** The mutants that were killed before, each by a test file whose content is the same today. */
const KILLED = path.join(folder, 'killed')
const killed = new Map(
  (existsSync(KILLED) ? readFileSync(KILLED, 'utf8') : '')
    .split('\n')
    .map((line) => line.split(' ') as [string, Outcome]),
)

async function tryOut(runner: Runner, file: string, { id }: Mutant): Promise<Outcome> {
  let budget = BUDGET_MS
  const tests = testsOf(surveys, id, file)
  const before = tests
    .map(({ bundle }) => killed.get(`${bundle.digest}:${id}`))
    .find((outcome) => outcome !== undefined)
  if (before !== undefined) return before
  for (const { bundle, only, cpu, isOwn } of tests) {
    if (!isOwn) budget -= cpu
    if (budget < 0) break
    const answer = await runner.run({ bundle, mutant: id, only }, SLOWER * cpu + LIMIT_LEAST_MS)
    if (answer !== 'ended' && answer.failed === undefined) continue
    const outcome = answer === 'ended' ? 'timeout' : 'killed'
    appendFileSync(KILLED, `${bundle.digest}:${id} ${outcome}\n`)
    return outcome
  }
  return tests.length === 0 ? 'unreached' : 'survived'
}

const matches = (one: Equivalent, file: string, { source, original, mutated }: Mutant): boolean =>
  one.file === file && one.source === source && one.original === oneLine(original) && one.mutated === oneLine(mutated)

/** Runs a module's mutants, and shows what is left. */
async function runModule(file: string) {
  const start = performance.now()
  const waiting = mutants.filter((one) => one.file === file).map(({ mutant }) => mutant)
  const all = waiting.length
  const outcomes = new Map<Mutant, Outcome>()
  const work = async () => {
    const runner = new Runner()
    for (let mutant = waiting.shift(); mutant; mutant = waiting.shift()) {
      outcomes.set(mutant, await tryOut(runner, file, mutant))
    }
    runner.close()
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  const left = [...outcomes].filter(([, outcome]) => outcome === 'survived' || outcome === 'unreached')
  const explained = left.filter(([mutant]) => equivalents.some((one) => matches(one, file, mutant)))
  const unexplained = left.filter((one) => !explained.includes(one)).sort(([a], [b]) => a.id - b.id)
  const stale = equivalents.filter((one) => one.file === file && !left.some(([mutant]) => matches(one, file, mutant)))
  for (const [mutant, outcome] of unexplained) {
    say(`${file}:${mutant.line} ${outcome}: ${oneLine(mutant.original)} -> ${oneLine(mutant.mutated) || 'removed'}`)
  }
  for (const { source, original, mutated } of stale) say(`${file}: stale: ${original} -> ${mutated} in "${source}"`)
  const count = (wanted: Outcome) => [...outcomes.values()].filter((outcome) => outcome === wanted).length
  const [killed, timeout, equivalent] = [count('killed'), count('timeout'), explained.length]
  return {
    module: file,
    mutants: all,
    killed,
    timeout,
    equivalent,
    survived: unexplained.length,
    stale: stale.length,
    score: Math.floor((1000 * (killed + timeout)) / (all - equivalent)) / 10,
    seconds: Math.round((performance.now() - start) / 1000),
  }
}

const COLUMNS = ['mutants', 'killed', 'timeout', 'equivalent', 'survived', 'stale', 'score', 'seconds'] as const
const row = (cells: readonly (string | number)[]) =>
  say(cells.map((cell, i) => (i === 0 ? String(cell).padEnd(34) : String(cell).padStart(10))).join(' '))

const results = []
if (!values.json) row(['module', ...COLUMNS])
for (const file of chosen) {
  const result = await runModule(file)
  results.push(result)
  if (!values.json) row([file, ...COLUMNS.map((column) => result[column])])
}
if (values.json) say(JSON.stringify(results, undefined, 2))
process.exitCode = results.some(({ survived, stale }) => survived + stale > 0) ? 1 : 0
