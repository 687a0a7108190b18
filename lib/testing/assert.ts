/**
 * Assertions on what a guest finds at its first instant, for any test runner: tap, node:test, vitest.
 *
 * Source: https://nodejs.org/api/assert.html#class-assertassertionerror, whose `actual` and `expected` all three show.
 * Gotcha: only the fields that are named are compared, so a test says what it is about and nothing else.
 */
import { isDeepStrictEqual } from 'node:util'
import type { BootParamsFields } from '../abi/boot-params.js'
import type { HvmStartInfoFields } from '../abi/hvm-start-info.js'
import { readBootParams } from '../guest/boot-params.js'
import type { Domain } from '../guest/domain.js'
import { readHvmStartInfo } from '../guest/hvm-start-info.js'
import { readStartInfo, type StartInfo } from '../guest/start-info.js'
import { type Translation, translate } from '../guest/translate.js'
import { lazy, require } from '../lazy.js'
import { hex, type Vaddr } from '../units.js'

const assert = lazy(() => require('node:assert') as typeof import('node:assert'))

const show = (value: unknown): string => {
  if (typeof value === 'number' || typeof value === 'bigint') return hex(value)
  if (typeof value === 'string') return `'${value}'`
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`
  if (typeof value !== 'object' || value === null) return String(value)
  return `{ ${Object.entries(value)
    .map(([name, field]) => `${name}: ${show(field)}`)
    .join(', ')} }`
}

/** Whether a value has fields to be compared one by one. */
const hasFields = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)

/** Of `found`, what `expected` names, all the way down; a list is compared whole. */
function narrowed(found: unknown, expected: unknown): unknown {
  if (!hasFields(found) || !hasFields(expected)) return found
  return Object.fromEntries(Object.entries(expected).map(([name, value]) => [name, narrowed(found[name], value)]))
}

/** One line for each value that differs. */
function differences(path: string, actual: unknown, expected: unknown): string[] {
  if (isDeepStrictEqual(actual, expected)) return []
  if (!hasFields(actual) || !hasFields(expected))
    return [`  ${path}: expected ${show(expected)}, found ${show(actual)}`]
  return Object.keys(expected).flatMap((name) => differences(`${path}.${name}`, actual[name], expected[name]))
}

/** @throws AssertionError of node:assert, with `actual` and `expected` and a message of one line for each difference. */
function compare(what: string, found: unknown, expected: unknown, caller: (...given: never[]) => void): void {
  const actual = narrowed(found, expected)
  const lines = differences(what, actual, expected)
  if (lines.length === 0) return
  const message = `${what} is not what the test expects:\n${lines.join('\n')}`
  throw new (assert().AssertionError)({
    message,
    actual,
    expected,
    operator: 'deepStrictEqual',
    stackStartFn: caller,
  })
}

/** Some of the fields of a struct, and of the structs within it. */
export type Some<T> = T extends Uint8Array | readonly unknown[]
  ? T
  : T extends object
    ? { readonly [K in keyof T]?: Some<T[K]> }
    : T

/**
 * start_info has these fields: names as in xen.h; nr_pages and the like are bigint, `cmd_line` text.
 * @throws AssertionError for fields that differ; DomainBuilderError `bad-config` for a guest without start_info.
 */
export function assertStartInfo(domain: Domain, expected: Some<StartInfo>): void {
  compare('start_info', readStartInfo(domain), expected, assertStartInfo)
}

/**
 * hvm_start_info has these fields: names as in start_info.h, addresses as bigint.
 * @throws AssertionError for fields that differ; DomainBuilderError `bad-config` for a guest without one.
 */
export function assertHvmStartInfo(domain: Domain, expected: Some<HvmStartInfoFields>): void {
  compare('hvm_start_info', readHvmStartInfo(domain).fields, expected, assertHvmStartInfo)
}

/**
 * boot_params has these fields, the setup header's under `hdr`.
 * @throws AssertionError for fields that differ; DomainBuilderError `bad-config` for a guest without boot_params.
 */
export function assertBootParams(domain: Domain, expected: Some<BootParamsFields>): void {
  compare('boot_params', readBootParams(domain), expected, assertBootParams)
}

/**
 * The page tables map an address, and lead where they should.
 * @param expected of the translation what the test is about: `paddr` (bytes), `pfn`, `mfn`, `writable`, `user`, `pageSize`.
 * @throws AssertionError when they do not.
 */
export function assertMapped(domain: Domain, vaddr: Vaddr, expected: Some<Translation> = {}): void {
  const found = translate(domain, vaddr)
  const where = `the page at ${hex(vaddr)}`
  if (found === undefined) compare(where, 'not mapped', 'mapped', assertMapped)
  compare(where, found, expected, assertMapped)
}

/** The page tables do not map an address. @throws AssertionError when they do, saying where it leads. */
export function assertNotMapped(domain: Domain, vaddr: Vaddr): void {
  const found = translate(domain, vaddr)
  compare(`the page at ${hex(vaddr)}`, found ?? 'not mapped', 'not mapped', assertNotMapped)
}
