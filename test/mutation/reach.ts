/**
 * The tests that reach each mutant, measured once for each content of a test file and its sources.
 *
 * Source: the switches of ./mutants.ts, which count when they are asked.
 * Gotcha: a test that needs an earlier one fails alone. Such a file runs as a whole.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import * as path from 'node:path'
import type { Bundle } from './bundles.js'
import type { Surveyed } from './child.js'
import { Runner } from './pool.js'

/** Some tests of a file, to run for one mutant. */
export interface Tests {
  readonly bundle: Bundle
  readonly only: readonly number[]
  /** Processor time in ms without a mutant. */
  readonly cpu: number
  /** Whether the file is the module's own test. */
  readonly isOwn: boolean
}

/** The most processor time of a test file that is used. */
const SURVEY_LIMIT_MS = 120_000

/** Returns the surveys of test files, from the folder where they were left, and undefined for a file that fails. */
export async function surveyAll(
  bundles: readonly Bundle[],
  mutants: number,
  folder: string,
  say: (line: string) => void,
): Promise<ReadonlyMap<Bundle, readonly Surveyed[]>> {
  mkdirSync(folder, { recursive: true })
  const runner = new Runner()
  const surveys = new Map<Bundle, readonly Surveyed[]>()
  for (const bundle of bundles) {
    const kept = path.join(folder, `${bundle.digest}.json`)
    if (!existsSync(kept)) {
      const answer = await runner.run({ bundle, mutants }, SURVEY_LIMIT_MS)
      const survey = answer === 'ended' ? [] : (answer.survey ?? [])
      writeFileSync(kept, JSON.stringify(survey))
      if (survey.length === 0) say(`${bundle.file} is omitted: it takes too long, or ends the process`)
      for (const { name, passed } of survey) if (!passed) say(`${bundle.file}: "${name}" fails alone`)
    }
    surveys.set(bundle, JSON.parse(readFileSync(kept, 'utf8')) as Surveyed[])
  }
  runner.close()
  return surveys
}

/** Tests that take longer, in ms of processor time, are run after all others. */
const QUICK_MS = 60

/** Returns the tests that reach a mutant: the quick ones of the module's own test file, then the quickest. */
export function testsOf(
  surveys: ReadonlyMap<Bundle, readonly Surveyed[]>,
  mutant: number,
  module: string,
): readonly Tests[] {
  const own = module.replace(/^lib\//, 'test/').replace(/\.ts$/, '.test.ts')
  const rank = ({ isOwn, isQuick }: { isOwn: boolean; isQuick: boolean }) => Number(!isQuick) + Number(!isOwn)
  return [...surveys]
    .flatMap(([bundle, survey]) => {
      const reaching = [...survey.entries()].filter(([, test]) => test.passed && test.reached.includes(mutant))
      return [true, false].flatMap((isQuick) => {
        const tests = reaching.filter(([, { cpu }]) => cpu <= QUICK_MS === isQuick)
        const cpu = tests.reduce((sum, [, test]) => sum + test.cpu, 0)
        return tests.length === 0
          ? []
          : [{ bundle, only: tests.map(([i]) => i), cpu, isQuick, isOwn: bundle.file === own }]
      })
    })
    .sort((a, b) => rank(a) - rank(b) || a.cpu - b.cpu)
}
