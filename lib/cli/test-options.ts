/**
 * The tests that a command line describes: those of a test file, or one of a kernel with the options of `build`.
 *
 * Source: ../suite/test-file.ts, ./build-options.ts.
 * Gotcha: the options of a test in a file are those of `build`, and its files are relative to the test file.
 */
import * as path from 'node:path'
import { decodeUtf8 } from '../bytes.js'
import { didYouMean } from '../closest.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import type { Kernel } from '../kernel/kernel.js'
import { lazy } from '../lazy.js'
import type { DomainConfig } from '../protocol/config.js'
import { QEMU_MACHINE_NAMES } from '../snapshot/qemu-machine.js'
import { consoleText } from '../suite/console.js'
import { checkEnding } from '../suite/ending.js'
import type { GuestSource, GuestTest } from '../suite/suite.js'
import { type OptionValue, parseTestFile, type RunSpec, type TestSpec, TIMEOUT_MAX } from '../suite/test-file.js'
import { moveSymbols } from '../symbols/move-symbols.js'
import { readSymbols } from '../symbols/read-symbols.js'
import type { SymbolTable } from '../symbols/symbol-table.js'
import { checkValue } from './arguments.js'
import { buildOptions, purposeOption, readConfig, typedOptions } from './build-options.js'
import {
  type Invocation,
  invalidValue,
  type Option,
  type Options,
  oneOf,
  text,
  texts,
  UsageError,
  type Values,
} from './command.js'
import { nameFilesFrom, readInput } from './files.js'
import { describeGuest, guestOptions, readPolicies } from './guest-options.js'
import { isTextFile, openKernel } from './input.js'
import type { Progress } from './progress.js'
import { symbolsOf, symbolsOption } from './symbols-option.js'

/** The purpose of a guest without another one: QEMU and other VMMs start it. */
const PURPOSE = 'vmm'

const purpose = purposeOption(PURPOSE)

/** The options of a test in a file. */
const FILE_OPTIONS: Options = { ...buildOptions, purpose }

/** The options of the command that describe the one test of a kernel. */
export const kernelTestOptions = {
  expect: {
    type: 'string',
    value: 'FILE',
    elsewhere: ['expected', 'golden', 'snapshot'],
    help: 'a part of the JSON that inspect prints; the guest must have it',
  },
  'expect-console': {
    type: 'string',
    multiple: true,
    value: 'TEXT',
    elsewhere: ['console', 'expect-output', 'grep'],
    help: 'text that the guest prints; may be given more than once, for texts in that order',
  },
  ends: {
    type: 'string',
    value: 'HOW',
    elsewhere: ['end', 'exit', 'expect-end'],
    help: 'the end of the run: exit N, reset, poweroff, reboot, crash, suspend, timeout, exception N, hypercall NAME',
  },
  variants: {
    type: 'boolean',
    elsewhere: ['all-variants', 'awkward'],
    help: 'every unusual but legal machine, each as a case',
  },
} as const satisfies Options

const SYMBOLS_HELP =
  "names of addresses: a System.map, a kernel file or another ELF (default: the kernel's, or those in the guest's memory)"

/** The guest's own options of the command. */
export const testedGuestOptions = {
  symbols: { ...symbolsOption.symbols, help: SYMBOLS_HELP },
  ...guestOptions,
  purpose,
  ...typedOptions,
} as const satisfies Options

/** The tests of a command line. */
interface DescribedTests {
  /** The name of the suite: the file without its folder. */
  readonly suite: string
  readonly tests: readonly GuestTest[]
}

/**
 * Returns the tests of an operand: a kernel, an xl.cfg or a test file, detected by its content.
 * @throws UsageError for options of a kernel next to a test file; DomainBuilderError for an invalid test file.
 */
export function describeTests({ values, positionals, progress }: Invocation): DescribedTests {
  const [operand] = positionals
  const isFile = operand !== undefined && operand !== '-' && isTextFile(operand)
  const content = isFile ? decodeUtf8(readInput(operand)) : ''
  if (isFile && /^\s*[{[]/.test(content)) return testsOfFile(operand, content, values, progress)
  if (isFile && values.config !== undefined) throw new UsageError(`${operand} and --config are both an xl.cfg`)
  const config = isFile ? operand : text(values, 'config')
  const kernel = isFile ? undefined : operand
  const named = kernel ?? config
  if (named === undefined) throw new UsageError('test needs a KERNEL, an xl.cfg or a test file')
  const name = path.basename(named)
  const given = { ...values, ...defined({ config }) }
  const load = sourceOf(given, kernel, text(values, 'symbols'), progress, lastKernel(progress))
  return { suite: name, tests: [{ name, load, ...checksOf(values), ...defined({ run: runOf(values) }) }] }
}

/** Returns what the options expect of a guest. */
function checksOf(values: Values): Pick<GuestTest, 'expect' | 'memory' | 'variants'> {
  const file = text(values, 'expect')
  return {
    memory: [],
    ...(file === undefined ? {} : { expect: { file } }),
    ...(values.variants === true ? { variants: { except: {} } } : {}),
  }
}

/** Returns the run that the options ask for, if they do. */
function runOf(values: Values): RunSpec | undefined {
  const [printed, ends] = [texts(values, 'expect-console'), text(values, 'ends')]
  const isAsked = ['run', 'xen', 'ends', 'expect-console', 'variants'].some((name) => values[name] !== undefined)
  if (!isAsked) return undefined
  return {
    console: printed.map(consoleText),
    moments: [],
    machine: defined({ machine: oneOf(values, 'machine', QEMU_MACHINE_NAMES) }),
    ...defined({ ends: ends === undefined ? undefined : checkEnding(ends) }),
  }
}

/** The options that a test file has instead. */
const OF_KERNEL = ['machine', ...Object.keys(kernelTestOptions), ...Object.keys(testedGuestOptions)]

function testsOfFile(file: string, content: string, values: Values, progress: Progress): DescribedTests {
  const given = OF_KERNEL.find((name) => values[name] !== undefined)
  if (given !== undefined) throw new UsageError(`--${given} is for a kernel; ${file} has the options of its tests`)
  const specs = parseTestFile(content, file)
  const names = specs.map(({ name, kernel, config }) => name ?? path.basename(kernel ?? config ?? ''))
  const twice = names.findIndex((name, i) => names.indexOf(name) < i)
  if (twice >= 0) {
    throw new DomainBuilderError('bad-config', `${file}.tests[${twice}] has the name of another test`, {
      expected: 'a member name that is unique',
      found: names[twice] ?? '',
    })
  }
  nameFilesFrom(file)
  const kernelOf = lastKernel(progress)
  const tests = specs.map((spec, i): GuestTest => {
    const where = `${file}.tests[${i}].options`
    return { ...spec, name: names[i] ?? '', load: loaderOf(spec, where, progress, kernelOf) }
  })
  return { suite: path.basename(file), tests }
}

/** Returns a function that reads the files of a test. @throws DomainBuilderError for an option that build lacks. */
function loaderOf(
  { kernel, config, symbols, options }: TestSpec,
  where: string,
  progress: Progress,
  kernelOf: KernelReader,
): () => Promise<GuestSource> {
  const values = inOptions(where, () => ({ ...valuesOf(options), ...defined({ config }) }))
  return async () => {
    try {
      return await sourceOf(values, kernel, symbols, progress, kernelOf)()
    } catch (error) {
      return inOptions(where, () => {
        throw error
      })
    }
  }
}

/** Returns the options of a test as the command line has them. */
function valuesOf(options: Readonly<Record<string, OptionValue>>): Values {
  const entries = Object.entries(options).flatMap(([name, value]): [string, string | boolean | string[]][] => {
    const option: Option | undefined = Object.hasOwn(FILE_OPTIONS, name) ? FILE_OPTIONS[name] : undefined
    if (option === undefined || name === 'config') {
      throw new UsageError(`build has no option '${name}'${didYouMean(name, Object.keys(FILE_OPTIONS))}`)
    }
    if (option.type === 'boolean') {
      if (typeof value !== 'boolean') throw invalidValue(name, String(value), 'true or false')
      return value ? [[name, true]] : []
    }
    const given = typeof value === 'object' ? value : [value]
    if (typeof value === 'object' && !option.multiple) throw invalidValue(name, `[${value.join(', ')}]`, 'one value')
    const texts = given.map((one) => {
      if (typeof one === 'boolean') throw invalidValue(name, String(one), `a ${option.value}`)
      checkValue({ rawName: name, value: one, inlineValue: true }, option)
      return one
    })
    return [[name, option.multiple ? texts : (texts[0] ?? '')]]
  })
  return Object.fromEntries(entries)
}

/** Does work for the options of a test. @throws DomainBuilderError with their path, instead of a usage error. */
function inOptions<T>(where: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    throw new DomainBuilderError('bad-config', `${where}: ${error.message}`, { cause: error })
  }
}

type KernelReader = (name: string) => Promise<Kernel>

/** Returns a reader that keeps the last kernel: the tests of a file share one more often than not. */
function lastKernel(progress: Progress): KernelReader {
  let last: { readonly name: string; readonly kernel: Promise<Kernel> } | undefined
  return (name) => {
    if (last?.name !== name) last = { name, kernel: openKernel(name, progress) }
    return last.kernel
  }
}

/** Returns a function that reads a kernel and what its guest is made of. */
function sourceOf(
  values: Values,
  operand: string | undefined,
  symbolsFile: string | undefined,
  progress: Progress,
  kernelOf: KernelReader,
): () => Promise<GuestSource> {
  return async () => {
    const positionals = operand === undefined ? [] : [operand]
    const guest = describeGuest({ values, positionals }, { command: 'test', options: FILE_OPTIONS })
    const config = readConfig(values, PURPOSE, guest)
    const policies = await readPolicies(values, progress)
    const kernel = await kernelOf(guest.kernel)
    return {
      kernel,
      config: { ...config, ...defined({ policies: policies?.records }) } as DomainConfig,
      symbolsOf: symbolReader(kernel, symbolsFile, progress),
    }
  }
}

/** Returns a reader of a guest's symbols: of a file, of the kernel, or of the guest's own memory. */
function symbolReader(kernel: Kernel, file: string | undefined, progress: Progress) {
  const ofKernel = lazy(() => readSymbols(kernel).catch(withoutSymbols))
  return async (domain: Domain): Promise<SymbolTable | undefined> => {
    if (file !== undefined) return symbolsOf({ symbols: file }, domain, progress)
    const table = await ofKernel()
    return table === undefined ? symbolsOf({}, domain, progress) : moveSymbols(table, domain)
  }
}

/** Returns no symbols for a kernel without any. @throws any other error. */
function withoutSymbols(error: unknown): undefined {
  if (error instanceof DomainBuilderError && error.code === 'no-symbols') return undefined
  throw error
}

/** Returns the seconds of a run. @throws UsageError for anything but a whole number of seconds. */
export function readTimeout(values: Values): number | undefined {
  const given = text(values, 'timeout')
  if (given === undefined) return undefined
  const seconds = /^\d{1,6}$/.test(given) ? Number(given) : 0
  if (seconds >= 1 && seconds <= TIMEOUT_MAX) return seconds
  throw invalidValue('--timeout', given, `a number of seconds from 1 to ${TIMEOUT_MAX}`)
}
