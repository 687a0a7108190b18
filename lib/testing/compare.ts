/**
 * compare: a failed comparison as an error that every test runner shows, with one line for each difference.
 *
 * Source: https://nodejs.org/api/assert.html#class-assertassertionerror; tap, node:test and vitest show its `actual` and
 * `expected`.
 * Gotcha: only named fields are compared: a difference in another field does not fail the test.
 */
import { equal, toHex } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { hex, shown } from '../units.js'

/** An AssertionError like node:assert's, in every runtime; test runners show it as a failed comparison. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError'
  readonly code = 'ERR_ASSERTION'
  readonly generatedMessage = false
  readonly operator = 'deepStrictEqual'
  readonly actual: unknown
  readonly expected: unknown

  constructor(message: string, actual: unknown, expected: unknown) {
    super(message)
    this.actual = actual
    this.expected = expected
  }
}

const show = (value: unknown): string => {
  if (typeof value === 'number' || typeof value === 'bigint') return hex(value)
  if (typeof value === 'string') return `'${value}'`
  if (value instanceof Uint8Array) return toHex(value)
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`
  if (typeof value !== 'object' || value === null) return String(value)
  return `{ ${Object.entries(value)
    .map(([name, field]) => `${name}: ${show(field)}`)
    .join(', ')} }`
}

/** Whether a value has fields to compare one by one. */
const hasFields = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)

/** The parts of `found` that `expected` names, at all levels; a list is kept whole. */
function narrowed(found: unknown, expected: unknown): unknown {
  if (!hasFields(found) || !hasFields(expected)) return found
  return Object.fromEntries(Object.entries(expected).map(([name, value]) => [name, narrowed(found[name], value)]))
}

/** Whether two values are the same at all levels: the fields of structs, and the elements of lists in order. */
function same(a: unknown, b: unknown): boolean {
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    return a instanceof Uint8Array && b instanceof Uint8Array && equal(a, b)
  }
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((one, i) => same(one, b[i]))
  if (!hasFields(a) || !hasFields(b)) return Object.is(a, b)
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => name in b && same(a[name], b[name]))
}

/** One line for each different value. */
function differences(path: string, actual: unknown, expected: unknown): string[] {
  if (same(actual, expected)) return []
  if (!hasFields(actual) || !hasFields(expected))
    return [`  ${path}: expected ${show(expected)}, found ${show(actual)}`]
  return Object.keys(expected).flatMap((name) => differences(`${path}.${name}`, actual[name], expected[name]))
}

/**
 * Compares the parts of a value that are expected.
 * @param more returns lines that help to find the cause; they follow the differences.
 * @throws AssertionError with `actual` and `expected` and a message of one line for each difference.
 */
export function compare(
  what: string,
  found: unknown,
  expected: unknown,
  caller: (...given: never[]) => void,
  more: () => readonly string[] = () => [],
): void {
  const actual = narrowed(found, expected)
  const lines = differences(what, actual, expected)
  if (lines.length > 0) fail(what, [...lines, ...more().map((line) => `  ${line}`)], actual, expected, caller)
}

/** @throws AssertionError with the lines of the differences, and `caller` as the place. */
export function fail(
  what: string,
  lines: readonly string[],
  actual: unknown,
  expected: unknown,
  caller: (...given: never[]) => void,
): never {
  const error = new AssertionError(`${what} is not what the test expects:\n${lines.join('\n')}`, actual, expected)
  // Makes the test the first line of the stack. Not every engine can do that.
  Error.captureStackTrace?.(error, caller)
  throw error
}

/** @throws DomainBuilderError `bad-config` for a first argument that is no guest, such as a forgotten `await`. */
export function requireGuest(domain: Domain): void {
  if (typeof domain === 'object' && domain !== null && 'memory' in domain && 'vcpus' in domain) return
  const found = (domain as unknown) instanceof Promise ? 'a Promise: an await is missing' : shown(domain)
  throw new DomainBuilderError('bad-config', 'the first argument is not a guest', {
    expected: 'a Domain, as buildDomain() returns it',
    found,
  })
}

/** @throws DomainBuilderError `bad-config` for a virtual address that is not a bigint. */
export function requireVaddr(vaddr: unknown): void {
  if (typeof vaddr === 'bigint') return
  throw new DomainBuilderError('bad-config', 'the virtual address is not a bigint', {
    expected: 'such as 0xffffffff80000000n',
    found: shown(vaddr),
  })
}
