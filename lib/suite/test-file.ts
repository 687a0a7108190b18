/**
 * A test file: guests to build, facts to expect of them, and runs of them.
 *
 * Source: schemas/tests-1.json describes the shape; docs/unit-tests.md explains it.
 * Gotcha: a misspelt member would be a check that never fails, so an unknown member is refused.
 */

import type { QemuMachineName } from '../abi/qemu-machines.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import { JsonValue } from '../snapshot/json-value.js'
import { QEMU_MACHINE_NAMES } from '../snapshot/qemu-machine.js'
import { checkExpectation, type Expectation } from '../testing/expectation.js'
import { type ConsoleText, consolePattern, consoleText } from './console.js'
import { checkEnding } from './ending.js'
import { hexBytes, type MemoryCheck, textBytes } from './memory-check.js'

/** An expectation: in the test file, or in a file that `--update` writes. */
export type ExpectedGuest = { readonly inline: Expectation } | { readonly file: string }

/** The facts that are checked of one guest. */
export interface GuestChecks {
  readonly expect?: ExpectedGuest
  readonly memory: readonly MemoryCheck[]
}

/** A moment of a run, and the facts that are checked of the guest then. */
interface MomentChecks extends GuestChecks {
  /** A symbol or another virtual address; undefined for the end of the run. */
  readonly symbol?: string
}

/** How a guest gets into QEMU. */
const HOW = ['stream', 'rom'] as const

/** A machine of QEMU, and how a guest gets into it. */
export interface MachineChoice {
  readonly how?: (typeof HOW)[number]
  readonly machine?: QemuMachineName
}

/** A run of a guest, and the expectations of it. */
export interface RunSpec {
  /** In the order in which the guest prints them. */
  readonly console: readonly ConsoleText[]
  /** Such as `exit 0` or `reset`. */
  readonly ends?: string
  /** In seconds. */
  readonly timeout?: number
  readonly moments: readonly MomentChecks[]
  readonly machine: MachineChoice
}

/** The variants of a test: those of these names, or all except some, each with the reason. */
export type VariantChoice = { readonly only: readonly string[] } | { readonly except: Readonly<Record<string, string>> }

/** A value of an option of `build`, as a test file has it. */
export type OptionValue = string | boolean | readonly string[]

/** A test of a guest. */
export interface TestSpec extends GuestChecks {
  readonly name?: string
  readonly kernel?: string
  /** The file of an xl.cfg. */
  readonly config?: string
  /** A file of symbols. */
  readonly symbols?: string
  /** Options of `build`, by their names. They are not checked yet. */
  readonly options: Readonly<Record<string, OptionValue>>
  readonly run?: RunSpec
  readonly variants?: VariantChoice
}

/** The most seconds of a run: a day. */
export const TIMEOUT_MAX = 86_400

/**
 * Returns the tests of a file.
 * @param name of the file, for errors.
 * @throws DomainBuilderError `bad-config` with the path of the invalid member.
 */
export function parseTestFile(text: string, name: string): TestSpec[] {
  const root = JsonValue.parse(text, name, 'bad-config')
  root.requireKnown(['schema', '$schema', 'tests'])
  root.optional('schema', (json) => json.oneOf('xen-domain-builder/tests/1'))
  const tests = root.at('tests').list()
  if (tests.length === 0) root.at('tests').refuse('at least one test')
  return tests.map(readTest)
}

function readTest(json: JsonValue): TestSpec {
  json.requireKnown(['name', 'kernel', 'config', 'symbols', 'options', 'expect', 'memory', 'run', 'variants'])
  if (!json.at('kernel').present && !json.at('config').present)
    json.at('kernel').refuse('the file of a kernel, or config')
  if (json.at('variants').present && !json.at('run').present) {
    json.at('run').refuse('{}, or what is expected of the run: each variant is a run')
  }
  const text = (key: string) => json.optional(key, (one) => one.string())
  return {
    ...defined({
      name: text('name'),
      kernel: text('kernel'),
      config: text('config'),
      symbols: text('symbols'),
      run: json.optional('run', readRun),
      variants: json.optional('variants', readVariants),
    }),
    options: json.optional('options', readOptions) ?? {},
    ...readChecks(json),
  }
}

function readOptions(json: JsonValue): Record<string, OptionValue> {
  return Object.fromEntries(json.keys().map((key) => [key, readOption(json.at(key))]))
}

function readOption(json: JsonValue): OptionValue {
  if (json.isList) return json.list().map((one) => one.string())
  const { unchecked } = json
  if (typeof unchecked === 'boolean' || typeof unchecked === 'string') return unchecked
  return typeof unchecked === 'number' ? String(unchecked) : json.refuse('text, a number, true, or a list of texts')
}

function readChecks(json: JsonValue): GuestChecks {
  return {
    ...defined({ expect: json.optional('expect', readExpect) }),
    memory: json.optional('memory', (list) => list.list().map(readMemory)) ?? [],
  }
}

function readExpect(json: JsonValue): ExpectedGuest {
  if (json.isText) return { file: json.string() }
  return { inline: checkExpectation(json.unchecked, json.path) }
}

function readMemory(json: JsonValue): MemoryCheck {
  json.requireKnown(['at', 'virtual', 'text', 'hex'])
  if (json.at('text').present === json.at('hex').present) json.refuse('either text or hex')
  const text = json.optional('text', (one) => one.string())
  const bytes = text === undefined ? inPath(json.at('hex'), hexBytes) : inPath(json.at('text'), textBytes)
  return { at: json.at('at').string(), virtual: json.optional('virtual', (one) => one.boolean()) ?? false, bytes }
}

function readRun(json: JsonValue): RunSpec {
  json.requireKnown(['expectConsole', 'ends', 'timeout', 'at', 'how', 'machine'])
  return {
    console: json.optional('expectConsole', (list) => list.list().map(readConsole)) ?? [],
    moments: json.optional('at', (list) => list.list().map(readMoment)) ?? [],
    ...defined({
      ends: json.optional('ends', (one) => inPath(one, checkEnding)),
      timeout: json.optional('timeout', (one) => one.integer(1, TIMEOUT_MAX)),
    }),
    machine: defined({
      how: json.optional('how', (one) => one.oneOf(...HOW)),
      machine: json.optional('machine', (one) => one.oneOf(...QEMU_MACHINE_NAMES)),
    }),
  }
}

function readConsole(json: JsonValue): ConsoleText {
  if (json.isText) return inPath(json, consoleText)
  json.requireKnown(['pattern'])
  return inPath(json.at('pattern'), consolePattern)
}

function readMoment(json: JsonValue): MomentChecks {
  json.requireKnown(['symbol', 'end', 'expect', 'memory'])
  if (json.at('symbol').present === json.at('end').present) json.refuse('either symbol, or end: true')
  if (json.at('end').present && json.at('end').unchecked !== true) json.at('end').refuse('true')
  return { ...defined({ symbol: json.optional('symbol', (one) => one.string()) }), ...readChecks(json) }
}

function readVariants(json: JsonValue): VariantChoice | undefined {
  if (json.isList) return { only: json.list().map((one) => one.string()) }
  if (typeof json.unchecked === 'boolean') return json.boolean() ? { except: {} } : undefined
  json.requireKnown(['except'])
  const except = json.at('except')
  return { except: Object.fromEntries(except.keys().map((name) => [name, except.at(name).string()])) }
}

/** Returns text as a reader of it takes it. @throws DomainBuilderError of the reader, with the path of the text. */
function inPath<T>(json: JsonValue, read: (text: string) => T): T {
  const text = json.string()
  try {
    return read(text)
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    throw new DomainBuilderError(error.code, `${json.path}: ${error.message}`, { cause: error })
  }
}
