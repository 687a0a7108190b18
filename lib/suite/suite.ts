/**
 * A suite: builds the guests of its tests, runs them and their variants, and says of each case whether it passes.
 *
 * Source: docs/unit-tests.md; ../testing/variants makes the machines.
 * Gotcha: a variant has other boot information, so only its console and its end are checked.
 */
import { didYouMean } from '../closest.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { resolvePlace } from '../inspect/place.js'
import type { Kernel } from '../kernel/kernel.js'
import { buildDomain } from '../protocol/build.js'
import type { DomainConfig } from '../protocol/config.js'
import type { GuestRun, Instant, Runner } from '../runner/guest-run.js'
import type { SymbolTable } from '../symbols/symbol-table.js'
import type { Difference } from '../testing/expectation.js'
import { type BootInfoVariant, bootInfoVariants } from '../testing/variants/index.js'
import { breathe } from '../work.js'
import { firstMissing, lastLines } from './console.js'
import { endingText, endingWords, isFailure } from './ending.js'
import type { Goldens } from './goldens.js'
import { checkMemory } from './memory-check.js'
import type { CaseResult } from './result.js'
import type { GuestChecks, MachineChoice, RunSpec, VariantChoice } from './test-file.js'

/** A kernel and the configuration of its guest. */
export interface GuestSource {
  readonly kernel: Kernel
  readonly config: DomainConfig
  /** Returns the symbols of the guest, or of one that was captured while it ran. */
  readonly symbolsOf: (domain: Domain) => Promise<SymbolTable | undefined>
}

/** A test that is ready to be done. */
export interface GuestTest extends GuestChecks {
  readonly name: string
  /** Reads the kernel and the other files. */
  load(): Promise<GuestSource>
  readonly run?: RunSpec
  readonly variants?: VariantChoice
}

/** The options of a suite. */
export interface SuiteOptions {
  readonly goldens: Goldens
  /** Returns the machine that runs guests; a text is the reason why there is no machine. */
  readonly runner: ((choice: MachineChoice) => Runner) | string
  /** Seconds for a run without its own time. */
  readonly timeout: number
  readonly signal: AbortSignal
  /** Called at the start of each case, and with the seconds that a run may take. */
  readonly onCase: (name: string, timeout?: number) => void
}

/** Does the tests in order, and yields the result of each case when it is known. */
export async function* runSuite(tests: readonly GuestTest[], options: SuiteOptions): AsyncGenerator<CaseResult> {
  for (const test of tests) yield* new TestOfGuest(test, options).cases()
}

/** A test in progress. */
class TestOfGuest {
  readonly #test: GuestTest
  readonly #options: SuiteOptions

  constructor(test: GuestTest, options: SuiteOptions) {
    this.#test = test
    this.#options = options
  }

  async *cases(): AsyncGenerator<CaseResult> {
    const { name, load, run, variants } = this.#test
    this.#begin(name)
    let built: { readonly source: GuestSource; readonly domain: Domain }
    try {
      const source = await load()
      built = { source, domain: buildDomain(source.kernel, source.config) }
    } catch (error) {
      const { code, message } = refusalOf(error, MISTAKES)
      yield failed(name, [{ at: 'build', expected: 'a guest', found: code, hint: message }])
      if (run !== undefined) yield skipped(`${name}: run`, 'the guest is not built')
      return
    }
    const { source, domain } = built
    yield judged(name, await this.#checks(domain, this.#test, source))
    if (run === undefined) return
    yield* this.#run(`${name}: run`, source, domain, run)
    if (variants !== undefined) yield* this.#variants(source, domain, run, variants)
  }

  /** Says that a case begins. @throws the signal's reason. */
  #begin(name: string, timeout?: number): void {
    this.#options.signal.throwIfAborted()
    this.#options.onCase(name, timeout)
  }

  async *#run(name: string, source: GuestSource, built: Domain, run: RunSpec): AsyncGenerator<CaseResult> {
    const { runner } = this.#options
    if (typeof runner === 'string') {
      yield skipped(name, runner)
      return
    }
    const machine = runner(run.machine)
    let domain: Domain
    try {
      domain = buildDomain(source.kernel, configFor(machine, source.config, built))
    } catch (error) {
      yield skipped(name, refusalOf(error).message)
      return
    }
    yield await this.#runOne(name, machine, domain, run, source)
  }

  async *#variants(
    source: GuestSource,
    built: Domain,
    run: RunSpec,
    choice: VariantChoice,
  ): AsyncGenerator<CaseResult> {
    const { runner } = this.#options
    const machine = typeof runner === 'string' ? undefined : runner(run.machine)
    const config = machine === undefined ? source.config : configFor(machine, source.config, built)
    // The registers and the memory at a moment are those of one machine.
    const survives: RunSpec = { ...run, moments: [] }
    for (const { variant, reason } of chosen(bootInfoVariants(source.kernel, config), choice, this.#test.name)) {
      const name = `${this.#test.name}: ${variant.name}`
      const result = reason === undefined ? await this.#variant(name, variant, machine, survives, source) : undefined
      const { rule, source: document } = variant
      yield {
        ...(result ?? skipped(name, reason ?? '')),
        variant: { name: variant.name, rule, source: document },
      }
    }
  }

  async #variant(
    name: string,
    variant: BootInfoVariant,
    machine: Runner | undefined,
    run: RunSpec,
    source: GuestSource,
  ): Promise<CaseResult> {
    this.#begin(name)
    await breathe()
    let domain: Domain
    try {
      domain = variant.build()
    } catch (error) {
      return skipped(name, refusalOf(error).message)
    }
    if (machine === undefined) return skipped(name, String(this.#options.runner))
    return this.#runOne(name, machine, domain, run, source)
  }

  async #runOne(
    name: string,
    machine: Runner,
    domain: Domain,
    spec: RunSpec,
    source: GuestSource,
  ): Promise<CaseResult> {
    const timeout = spec.timeout ?? this.#options.timeout
    this.#begin(name, timeout)
    let stops: readonly (bigint | undefined)[]
    try {
      stops = await addressesOf(domain, spec, source)
    } catch (error) {
      return failed(name, [{ at: 'at', expected: 'an address', found: null, hint: refusalOf(error).message }])
    }
    const wanted = stops.filter((stop) => stop !== undefined)
    const refusal = machine.refusal(domain, { stops: wanted })
    if (refusal !== undefined) return skipped(name, refusal)
    const run = await machine.run(domain, {
      timeout,
      signal: this.#options.signal,
      ...(wanted.length > 0 ? { stops: wanted } : {}),
      ...defined({ isEnough: enough(spec, wanted) }),
    })
    try {
      const differences = [...runDifferences(run, spec), ...(await this.#atMoments(run, spec, stops, source))]
      const result = judged(name, differences)
      return result.result === 'pass' ? result : { ...result, console: lastLines(run.console) }
    } finally {
      run.close()
    }
  }

  /** Returns the differences of the captured guests from what is expected of them. */
  async #atMoments(
    { instants, ending }: GuestRun,
    { moments }: RunSpec,
    stops: readonly (bigint | undefined)[],
    source: GuestSource,
  ): Promise<Difference[]> {
    const differences: Difference[] = []
    for (const [i, moment] of moments.entries()) {
      const at = stops[i] ?? 'end'
      const where = moment.symbol === undefined ? 'at the end' : `at ${moment.symbol}`
      const instant = instants.find((one) => one.at === at)
      if (instant === undefined) {
        differences.push({ at: where, expected: 'an arrival', found: endingText(ending) })
        continue
      }
      const found = await this.#checks(instant.guest, moment, source)
      differences.push(...found.map((one) => ({ ...one, at: `${where}: ${one.at}` })))
    }
    return differences
  }

  /** Returns the differences of a guest from an expectation and from checks of its memory. */
  async #checks(domain: Domain, { expect, memory }: GuestChecks, { symbolsOf }: GuestSource): Promise<Difference[]> {
    const differences: Difference[] = []
    if (expect !== undefined) differences.push(...(await this.#options.goldens.compare(domain, expect, symbolsOf)))
    for (const check of memory) {
      try {
        differences.push(...(await checkMemory(domain, check, symbolsOf)))
      } catch (error) {
        const expected = check.bytes.shown.join(' ')
        differences.push({ at: `memory at ${check.at}`, expected, found: null, hint: refusalOf(error).message })
      }
    }
    return differences
  }
}

const skipped = (name: string, reason: string): CaseResult => ({ name, result: 'skip', reason })
const failed = (name: string, differences: readonly Difference[]): CaseResult => ({ name, result: 'fail', differences })
const judged = (name: string, differences: readonly Difference[]): CaseResult =>
  differences.length === 0 ? { name, result: 'pass' } : failed(name, differences)

/** The codes of errors that say nothing about a guest: a file or a program is missing. */
const TROUBLE: readonly string[] = ['cannot-read', 'cannot-write', 'no-hypervisor', 'hypercall-failed']
/** The codes of errors that are mistakes in the description of a guest. */
const MISTAKES: readonly string[] = [...TROUBLE, 'bad-config', 'bad-range', 'unknown-format', 'no-symbols']

/** Returns an error that is the fault of a guest. @throws any other error. */
function refusalOf(error: unknown, others = TROUBLE): DomainBuilderError {
  if (error instanceof DomainBuilderError && !others.includes(error.code)) return error
  throw error
}

/** Returns the configuration of the same guest for a machine. The type stays, since `auto` depends on the purpose. */
const configFor = ({ purpose }: Runner, config: DomainConfig, built: Domain): DomainConfig =>
  ({ ...config, type: built.type, purpose }) as DomainConfig

/** Returns the address of each moment; undefined for the end of a run. */
async function addressesOf(
  domain: Domain,
  { moments }: RunSpec,
  { symbolsOf }: GuestSource,
): Promise<readonly (bigint | undefined)[]> {
  const symbols = moments.some(({ symbol }) => symbol !== undefined) ? await symbolsOf(domain) : undefined
  return moments.map(({ symbol }) => {
    if (symbol === undefined) return undefined
    const place = resolvePlace(domain, symbol, { numbers: 'virtual', ...(symbols && { symbols }) })
    return place.space === 'virtual' ? place.vaddr : BigInt(place.paddr)
  })
}

/**
 * Returns the question whether a run has shown everything that is expected of it. A run whose end is expected goes on
 * until it ends.
 */
function enough(
  { console: texts, ends, moments }: RunSpec,
  stops: readonly bigint[],
): ((console: string, instants?: readonly Instant[]) => boolean) | undefined {
  if (ends !== undefined || (texts.length === 0 && stops.length === 0)) return undefined
  if (texts.length === 0 && stops.length < moments.length) return undefined
  return (console, instants = []) =>
    stops.every((stop) => instants.some(({ at }) => at === stop)) && firstMissing(console, texts) === texts.length
}

/** Yields the differences of a run's console and end from what is expected. */
function* runDifferences(run: GuestRun, { console: texts, ends, moments }: RunSpec): Generator<Difference> {
  const missing = firstMissing(run.console, texts)
  if (missing < texts.length) {
    const after = missing === 0 ? '' : ` after ${texts[missing - 1]?.shown}`
    yield {
      at: `console${after}`,
      expected: texts[missing]?.shown ?? '',
      found: null,
      hint: `it ended by ${endingText(run.ending)}`,
    }
  }
  if (ends !== undefined) {
    if (ends !== endingWords(run.ending)) yield { at: 'end', expected: ends, found: endingText(run.ending) }
    return
  }
  // Texts and moments that are all there are enough: how the guest went on is a matter of time.
  const isSilent = texts.length === 0 && !moments.some(({ symbol }) => symbol !== undefined)
  if (isSilent && isFailure(run.ending)) yield { at: 'end', expected: 'no failure', found: endingText(run.ending) }
}

/** Returns the variants that a test asks for, with the reason for each that it leaves out. */
function chosen(
  variants: readonly BootInfoVariant[],
  choice: VariantChoice,
  test: string,
): { readonly variant: BootInfoVariant; readonly reason?: string }[] {
  const names = variants.map(({ name }) => name)
  const asked = 'only' in choice ? choice.only : Object.keys(choice.except)
  const unknown = asked.find((name) => !names.includes(name))
  if (unknown !== undefined) {
    throw new DomainBuilderError('bad-config', `${test} has no variant ${unknown}${didYouMean(unknown, names)}`, {
      expected: names.join(', '),
    })
  }
  if ('only' in choice) return variants.filter(({ name }) => asked.includes(name)).map((variant) => ({ variant }))
  return variants.map((variant) => ({ variant, ...defined({ reason: choice.except[variant.name] }) }))
}
