/**
 * Runs bundled test files in a process that stays warm: once for each mutant, with the tests that reach it.
 *
 * Source: https://node-tap.org/api/ (class Test: a test that is not tap's own root).
 * Gotcha: a mutant may never return. The parent watches the processor time of this process and ends it.
 */
import { readFileSync } from 'node:fs'
import { constants, Script } from 'node:vm'
import { configureGlobal } from 'fast-check'
import * as tap from 'tap'
import type { Bundle } from './bundles.js'

/** A run of a file with one mutant, of all its tests or of some, or of each test alone without a mutant. */
export type Task =
  | { readonly bundle: Bundle; readonly mutant: number; readonly only?: readonly number[] }
  | { readonly bundle: Bundle; readonly mutants: number }

/** A test of a file, run alone. */
export interface Surveyed {
  readonly name: string
  /** Processor time in ms, the file's own beginning included. */
  readonly cpu: number
  readonly passed: boolean
  /** The mutants that it reaches. */
  readonly reached: readonly number[]
}

/** The answer to a task. */
export interface Answer {
  /** The first test that failed, if any. */
  readonly failed?: string
  readonly survey?: readonly Surveyed[]
}

export interface Message {
  readonly answer?: Answer
}

type Packages = ReadonlyMap<string, unknown>
type RunFile = (packages: Packages, isOn: (mutant: number) => boolean) => Promise<void>

// The parent limits the time.
tap.t.setTimeout(0)
// The smallest failing input is not needed.
configureGlobal({ endOnFailure: true })

const loaded = new Map<string, RunFile>()

function load({ path, digest }: Bundle): RunFile {
  const known = loaded.get(digest)
  if (known !== undefined) return known
  const script = new Script(readFileSync(path, 'utf8'), {
    filename: path,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  })
  const run = script.runInThisContext() as RunFile
  loaded.set(digest, run)
  return run
}

/** A failure outside the tests' own promises. */
let escaped: string | undefined
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    escaped ??= String(error)
  })
}

/** Runs a file's tests, or those of some numbers, up to the first that fails. Returns their names, and the failure. */
async function run(bundle: Bundle, isOn: (mutant: number) => boolean, only?: ReadonlySet<number>) {
  const runFile = load(bundle)
  const packages = new Map<string, unknown>()
  for (const name of bundle.packages) if (name !== 'tap') packages.set(name, await import(name))
  const names: string[] = []
  escaped = undefined
  let failed: string | undefined
  let last: { readonly name: string; readonly sub: tap.Test } | undefined
  const look = () => {
    if (last?.sub.passing() === false) failed ??= last.name
  }
  const top = new tap.Test({
    name: bundle.file,
    bail: true,
    timeout: 0,
    cb: async (t: tap.Test) => {
      const test = t.test.bind(t) as (...args: unknown[]) => Promise<unknown>
      const select = (...args: unknown[]): Promise<unknown> => {
        const name = String(args[0])
        names.push(name)
        if (only !== undefined && !only.has(names.length - 1)) return Promise.resolve()
        const body = args.pop() as (sub: tap.Test) => unknown
        return test(...args, (sub: tap.Test) => {
          look()
          if (failed !== undefined) return undefined
          last = { name, sub }
          return body(sub)
        })
      }
      Object.defineProperty(t, 'test', { value: select })
      await runFile(packages.set('tap', { default: t, test: select }), isOn)
    },
  })
  top.resume()
  await new Promise<void>((resolve) => {
    // After a failure, the test that failed may wait forever.
    top.on('bailout', () => resolve())
    top.runMain(resolve)
  })
  look()
  const passed = top.results?.ok === true && escaped === undefined
  return { names, failed: passed ? undefined : (failed ?? 'the file itself') }
}

/** Runs each test alone, and finds the mutants that it reaches. */
async function survey(bundle: Bundle, mutants: number): Promise<readonly Surveyed[]> {
  const { names } = await run(bundle, () => false, new Set())
  const found: Surveyed[] = []
  for (const [i, name] of names.entries()) {
    const reached = new Uint8Array(mutants)
    const start = process.cpuUsage()
    const { failed } = await run(
      bundle,
      (mutant) => {
        reached[mutant] = 1
        return false
      },
      new Set([i]),
    )
    const { user, system } = process.cpuUsage(start)
    found.push({
      name,
      cpu: (user + system) / 1000,
      passed: failed === undefined,
      reached: [...reached.keys()].filter((mutant) => reached[mutant] === 1),
    })
  }
  return found
}

/** tap sends messages too, so an answer is marked. */
const answer = (answer: Answer) => process.send?.({ answer } satisfies Message)

process.on('message', async (task: Task) => {
  if ('mutants' in task) {
    answer({ survey: await survey(task.bundle, task.mutants) })
    return
  }
  const { failed } = await run(task.bundle, (mutant) => mutant === task.mutant, task.only && new Set(task.only))
  answer(failed === undefined ? {} : { failed })
})
