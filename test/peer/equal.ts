/**
 * `npm run equal -- N [SEED]`: builds N generated kernels and guests with this library and with libxenguest, and compares.
 *
 * Source: generated.ts, which the tests use too. A case is its seed alone, so one can be repeated: `-- 1 SEED`.
 * Gotcha: XDB_EQUAL_SUITE=bullseye, trixie or sid takes that suite's libxenguest instead of the installed one. SIGINT and
 * SIGTERM end the run after the current case, with its summary.
 */
import { type Comparison, compareCases, TRAITS } from './generated.js'
import { KNOWN_DIFFERENCES } from './known-differences.js'
import { SUITES } from './libxenguests.js'
import { findOracle } from './oracle.js'

const SHOWN_EVERY_MS = 10_000
const [cases = 1000, first = 1] = process.argv.slice(2).map(Number)
const suite = SUITES.find((name) => name === process.env.XDB_EQUAL_SUITE)
const print = (line: string): boolean => process.stdout.write(`${line}\n`)

/** Compares and prints. Returns the exit status: 1 for a difference, which ends the run. */
async function main(): Promise<number> {
  if (!Number.isSafeInteger(cases) || !Number.isSafeInteger(first) || cases < 1 || first < 0) {
    print('usage: npm run equal -- CASES [SEED]')
    return 2
  }
  const oracle = await findOracle(suite)
  if ('missing' in oracle) {
    print(oracle.missing)
    return 2
  }
  const { release } = oracle.found
  const started = Date.now()
  const rate = (done: number): string => `${((done * 1000) / Math.max(1, Date.now() - started)).toFixed(1)} a second`
  print(`libxenguest ${release}: ${cases} cases from seed ${first}`)
  let shown = started
  let last: Comparison | undefined
  let stopped = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => (stopped = true))
  for await (const comparison of compareCases(oracle.found, first, cases)) {
    last = comparison
    const [difference] = comparison.failures
    if (difference !== undefined) {
      print(
        `seed ${first + comparison.cases - 1} differs; npm run equal -- 1 ${first + comparison.cases - 1} repeats it`,
      )
      print(difference)
      break
    }
    if (stopped) break
    if (Date.now() - shown < SHOWN_EVERY_MS) continue
    shown = Date.now()
    print(`${comparison.cases} of ${cases}, ${rate(comparison.cases)}`)
  }
  if (last === undefined) return 2
  print('guests that both build, with')
  for (const name of TRAITS) print(`${String(last.seen.get(name) ?? 0).padStart(8)}  ${name}`)
  print('known differences')
  for (const { name } of KNOWN_DIFFERENCES) print(`${String(last.seen.get(name) ?? 0).padStart(8)}  ${name}`)
  const { outcomes } = last
  const counts = Object.entries(outcomes).map(([name, count]) => `${name} ${count}`)
  const seconds = Math.round((Date.now() - started) / 1000)
  print(
    `libxenguest ${release}, seeds ${first} to ${first + last.cases - 1}: ${last.cases} cases in ${seconds} s, ${rate(last.cases)}: ${counts.join(', ')}`,
  )
  return outcomes.different > 0 ? 1 : 0
}

process.exitCode = await main()
