/**
 * test KERNEL|CFG|TESTS: builds guests, checks them, runs them, and prints each result.
 *
 * Source: ../suite/suite.ts; docs/unit-tests.md, "From any language".
 * Gotcha: results are printed as they are known, so a fault in the middle ends the output with `Bail out!`.
 */
import { decodeUtf8, encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { Goldens } from '../suite/goldens.js'
import { junitXml } from '../suite/junit.js'
import { type CaseResult, countResults } from '../suite/result.js'
import { type GuestTest, runSuite, type SuiteOptions } from '../suite/suite.js'
import { TAP_VERSION, tapBailOut, tapCase, tapPlan } from '../suite/tap.js'
import { checkExpectation, type Expectation } from '../testing/expectation.js'
import { type Command, type Invocation, Refused, text, UsageError, type Values } from './command.js'
import { exists, pathOf, readInput, readReplaced, writeBytes } from './files.js'
import { machineOption } from './output.js'
import { printLines, say } from './printer.js'
import type { Progress } from './progress.js'
import { stoppable } from './stoppable.js'
import { describeTests, kernelTestOptions, readTimeout, testedGuestOptions } from './test-options.js'

/** Seconds of a run without its own time: a Linux needs about 20 without hardware virtualization. */
const TIMEOUT = 60

export const command: Command = {
  usage: 'test KERNEL|CFG|TESTS.json [--run] [--variants] [options]',
  help: `Builds guests, checks what is expected of them, and prints the results in the Test Anything Protocol. With --run, also starts each guest in QEMU.
A test file has many tests, each with the options of build; docs/unit-tests.md describes it. Exit status 0 if no test fails.`,
  options: {
    ...kernelTestOptions,
    update: {
      type: 'boolean',
      elsewhere: ['u', 'update-snapshots', 'bless', 'accept'],
      help: 'writes the files of expectations anew from what is found',
    },
    run: { type: 'boolean', elsewhere: ['boot', 'qemu'], help: 'runs the guests in QEMU' },
    xen: {
      type: 'string',
      value: 'HOST-SCRIPT',
      elsewhere: ['host', 'xen-host'],
      help: 'runs the guests under a Xen: HOST-SCRIPT FILE restores FILE, prints its console and exits with its SHUTDOWN_ code',
    },
    machine: { ...machineOption, help: "QEMU's machine (default: the smallest that has room for the guest)" },
    timeout: {
      type: 'string',
      value: 'SECONDS',
      elsewhere: ['time', 'limit'],
      help: `the longest run (default ${TIMEOUT}); a test file can have another one for each test`,
    },
    junit: {
      type: 'string',
      value: 'FILE',
      elsewhere: ['xml', 'junitxml', 'junit-xml', 'output-junit'],
      help: 'the results as JUnit XML as well',
    },
    ...testedGuestOptions,
  },
  operands: [{ name: 'KERNEL', file: true, optional: true, elsewhere: ['kernel', 'k'] }],
  examples: [
    'test vmlinuz --memory 256M',
    'test vmlinuz --type pvh --expect guest.json --update',
    'test vmlinuz --type pvh --expect guest.json',
  ],
  async run(invocation) {
    const { values, json, progress, answer } = invocation
    const { suite, tests } = describeTests(invocation)
    const isUpdate = values.update === true
    const files = expectedFiles(tests)
    if (isUpdate && files.length === 0) {
      throw new UsageError('--update needs an expectation in a file: --expect FILE, or "expect": "FILE"')
    }
    const goldens = new Goldens(readExpectations(files, isUpdate), isUpdate)
    const runner = await runnerOf(values)
    const results = await stoppable(`${suite}: not finished`, (signal) =>
      doTests(tests, { goldens, signal, runner, timeout: readTimeout(values) ?? TIMEOUT }, invocation),
    )
    await writeOutputs(goldens, text(values, 'junit'), () => junitXml(suite, results))
    progress.end()
    const counts = countResults(results)
    if (json) answer('test', { json: () => ({ suite, ...counts, cases: results }) })
    if (counts.fail > 0) throw new Refused()
  },
}

/** Returns the names of the files with expectations. */
const expectedFiles = (tests: readonly GuestTest[]): string[] =>
  tests
    .flatMap(({ expect, run }) => [expect, ...(run?.moments ?? []).map((moment) => moment.expect)])
    .flatMap((expect) => (expect !== undefined && 'file' in expect ? [expect.file] : []))

/** Does the tests and prints each result in TAP. @throws the errors that are not a test's; the output then says so. */
async function doTests(
  tests: readonly GuestTest[],
  options: Omit<SuiteOptions, 'onCase'>,
  { json, progress }: Invocation,
): Promise<CaseResult[]> {
  const results: CaseResult[] = []
  const print = (lines: readonly string[]): void => {
    progress.end()
    if (!json) printLines(results.length === 1 ? [TAP_VERSION, ...lines] : lines)
  }
  const watch = new Watch(progress)
  try {
    for await (const result of runSuite(tests, { ...options, onCase: (name, timeout) => watch.begin(name, timeout) })) {
      results.push(result)
      print(tapCase(result, results.length))
    }
    if (!json) printLines([...(results.length === 0 ? [TAP_VERSION] : []), tapPlan(results.length)])
    return results
  } catch (error) {
    if (!json && results.length > 0 && error instanceof DomainBuilderError) printLines([tapBailOut(error.message)])
    throw error
  } finally {
    watch.end()
  }
}

/** Milliseconds between two looks at the time of a run. */
const LOOK = 500

/** Shows the case that is being done, and how much of its time has passed. */
class Watch {
  readonly #progress: Progress
  #timer: NodeJS.Timeout | undefined

  constructor(progress: Progress) {
    this.#progress = progress
  }

  begin(name: string, timeout = 0): void {
    this.end()
    const started = performance.now()
    const show = (): void => {
      const done = Math.min(timeout, (performance.now() - started) / 1000)
      this.#progress.say(`testing ${name}`, { done, total: timeout })
    }
    show()
    this.#timer = setInterval(show, LOOK)
  }

  end(): void {
    clearInterval(this.#timer)
    this.#progress.end()
  }
}

/** Returns the expectations by file, except those that --update writes for the first time. */
function readExpectations(files: readonly string[], isUpdate: boolean): Map<string, Expectation> {
  const known = new Map<string, Expectation>()
  for (const file of new Set(files)) {
    const name = pathOf(file)
    if (!isUpdate && !exists(file)) {
      throw new DomainBuilderError('cannot-read', `the expectation ${name} is missing: --update writes it`)
    }
    const bytes = isUpdate ? readReplaced(file) : readInput(file)
    if (bytes !== undefined) known.set(file, checkExpectation(parsed(decodeUtf8(bytes), name), name))
  }
  return known
}

function parsed(content: string, name: string): unknown {
  try {
    return JSON.parse(content)
  } catch (cause) {
    throw new DomainBuilderError('bad-config', `${name} is not JSON`, { cause })
  }
}

/** Writes the expectations that are new and the report: all of them, or none. */
async function writeOutputs(goldens: Goldens, junit: string | undefined, report: () => string): Promise<void> {
  const changed = [...goldens.texts]
    .map(([file, content]) => ({ name: pathOf(file), bytes: encodeUtf8(content), old: readReplaced(file) }))
    .filter(({ bytes, old }) => old === undefined || Buffer.compare(old, bytes) !== 0)
  const files = [...changed, ...(junit === undefined ? [] : [{ name: junit, bytes: encodeUtf8(report()) }])]
  if (files.length > 0) await writeBytes(files)
  for (const { name } of changed) say(`${name}: written`)
}

/** Returns the machine that runs guests, or the reason why nothing runs. */
async function runnerOf(values: Values): Promise<SuiteOptions['runner']> {
  const script = text(values, 'xen')
  if (script === undefined && values.run !== true) return 'a run needs --run, or --xen HOST-SCRIPT'
  const { openQemu, openXenHost } = await import('../runner/index.js')
  return script === undefined ? openQemu : () => openXenHost(script)
}
