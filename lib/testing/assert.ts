/**
 * Assertions on a guest's first instant, for any test runner: tap, node:test, vitest.
 *
 * Source: https://nodejs.org/api/assert.html#class-assertassertionerror; all three show its `actual` and `expected`.
 * Gotcha: only named fields are compared: a difference in another field does not fail the test.
 */

import type { BootParamsFields } from '../abi/boot-params.js'
import type { HvmStartInfoFields } from '../abi/hvm-start-info.js'
import { equal, toHex } from '../bytes.js'
import { readBootParams } from '../guest/boot-params.js'
import type { Domain } from '../guest/domain.js'
import { readHvmStartInfo } from '../guest/hvm-start-info.js'
import { readStartInfo, type StartInfo } from '../guest/start-info.js'
import { type Translation, translate } from '../guest/translate.js'
import { hex, type Vaddr } from '../units.js'

/** An AssertionError like node:assert's, in every runtime; test runners show it as a failed comparison. */
class AssertionError extends Error {
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

/** @throws AssertionError with `actual` and `expected` and a message of one line for each difference. */
function compare(what: string, found: unknown, expected: unknown, caller: (...given: never[]) => void): void {
  const actual = narrowed(found, expected)
  const lines = differences(what, actual, expected)
  if (lines.length === 0) return
  const message = `${what} is not what the test expects:\n${lines.join('\n')}`
  const error = new AssertionError(message, actual, expected)
  // Makes the test the first line of the stack. Not every engine can do that.
  Error.captureStackTrace?.(error, caller)
  throw error
}

/** Some of the fields of a struct, and of the structs within it. */
export type Some<T> = T extends Uint8Array | readonly unknown[]
  ? T
  : T extends object
    ? { readonly [K in keyof T]?: Some<T[K]> }
    : T

/**
 * Asserts that start_info has these fields: names as in xen.h; nr_pages and others are bigint, `cmd_line` is text.
 * @throws AssertionError for different fields; DomainBuilderError `bad-config` for a guest without start_info.
 */
export function assertStartInfo(domain: Domain, expected: Some<StartInfo>): void {
  compare('start_info', readStartInfo(domain), expected, assertStartInfo)
}

/**
 * Asserts that hvm_start_info has these fields: names as in start_info.h, addresses as bigint.
 * @throws AssertionError for different fields; DomainBuilderError `bad-config` for a guest without one.
 */
export function assertHvmStartInfo(domain: Domain, expected: Some<HvmStartInfoFields>): void {
  compare('hvm_start_info', readHvmStartInfo(domain).fields, expected, assertHvmStartInfo)
}

/**
 * Asserts that boot_params has these fields, the setup header's under `hdr`.
 * @throws AssertionError for different fields; DomainBuilderError `bad-config` for a guest without boot_params.
 */
export function assertBootParams(domain: Domain, expected: Some<BootParamsFields>): void {
  compare('boot_params', readBootParams(domain), expected, assertBootParams)
}

/**
 * Asserts that the page tables map an address, to the expected place.
 * @param expected parts of the translation: `paddr` (bytes), `pfn`, `mfn`, `writable`, `user`, `pageSize`.
 * @throws AssertionError if they do not.
 */
export function assertMapped(domain: Domain, vaddr: Vaddr, expected: Some<Translation> = {}): void {
  const found = translate(domain, vaddr)
  const where = `the page at ${hex(vaddr)}`
  if (found === undefined) compare(where, 'not mapped', 'mapped', assertMapped)
  compare(where, found, expected, assertMapped)
}

/** Asserts that the page tables do not map an address. @throws AssertionError, with the translation, if they do. */
export function assertNotMapped(domain: Domain, vaddr: Vaddr): void {
  const found = translate(domain, vaddr)
  compare(`the page at ${hex(vaddr)}`, found ?? 'not mapped', 'not mapped', assertNotMapped)
}
