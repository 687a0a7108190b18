/**
 * npm run defects: puts each defect of ./defects.json into its source, and names the unit test that finds it.
 *
 *   npm run defects -- [AREA]
 *
 * Source: ./defects.json: mistakes of a tired engineer, written by hand, ten in each area.
 * Gotcha: a defect whose text is not in its file exactly once is an error, since it would be no defect.
 */
import * as path from 'node:path'
import { parseArgs } from 'node:util'
import { root, textOf } from '../sources.js'
import { bundleTests, unitTests } from './bundles.js'
import { Runner } from './pool.js'

/** A mistake that was put in by hand. */
interface Defect {
  readonly area: string
  readonly file: string
  /** Occurs once in the file. */
  readonly text: string
  readonly replacement: string
  /** The effect that a user would see. */
  readonly user: string
}

/** A defect may make a test run forever. */
const LIMIT_MS = 60_000
/** Test files that are bundled at once. */
const AT_ONCE = 4

const { positionals } = parseArgs({ allowPositionals: true })
const say = (line: string) => process.stdout.write(`${line}\n`)
const defects = (JSON.parse(textOf('test/mutation/defects.json')) as readonly Defect[]).filter(
  ({ area }) => positionals.length === 0 || positionals.includes(area),
)
const folder = path.join(root, '.cache/mutation/defects')
const all = await bundleTests(unitTests(), new Map(), folder)

/** Returns the test files that reach a source: those of the same name and folder first, then those that reach least. */
function testsOf(file: string): readonly string[] {
  const [, suite = '', name = ''] = file.split('/')
  const far = (test: string) =>
    Number(!test.endsWith(`/${name.replace('.ts', '.test.ts')}`)) + Number(!test.includes(`/${suite}/`))
  return all
    .filter(({ sources }) => sources.includes(file))
    .sort((a, b) => far(a.file) - far(b.file) || a.sources.length - b.sources.length)
    .map((bundle) => bundle.file)
}

/** Returns the first test that fails with a defect. */
async function findingTest(runner: Runner, { file, text, replacement }: Defect): Promise<string | undefined> {
  const parts = textOf(file).split(text)
  if (parts.length !== 2) throw new Error(`${file} has this ${parts.length - 1} times: ${text}`)
  const tests = testsOf(file)
  for (let i = 0; i < tests.length; i += AT_ONCE) {
    const some = tests.slice(i, i + AT_ONCE)
    const bundles = await bundleTests(some, new Map([[file, parts.join(replacement)]]), folder)
    for (const test of some) {
      const bundle = bundles.find((one) => one.file === test)
      if (bundle === undefined) continue
      const answer = await runner.run({ bundle, mutant: 0 }, LIMIT_MS)
      if (answer === 'ended') return `${test}: it does not end`
      if (answer.failed !== undefined) return `${test}: ${answer.failed}`
    }
  }
  return undefined
}

const runner = new Runner()
let missed = 0
for (const defect of defects) {
  const test = await findingTest(runner, defect)
  if (test === undefined) missed++
  say(`${defect.area}: ${defect.user}`)
  say(`  ${test ?? 'NOT FOUND'}`)
}
runner.close()
say(`${defects.length - missed} of ${defects.length} defects were found`)
process.exitCode = missed > 0 ? 1 : 0
