/**
 * An expectation: a part of the JSON that describes a guest, and its differences from a guest.
 *
 * Source: schemas/expectation-1.json; ../inspect/describe.ts makes the JSON of a guest.
 * Gotcha: an object compares the members that it names, but a list compares its length as well.
 */
import { didYouMean } from '../closest.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { describeDomain } from '../inspect/describe.js'
import type { Json } from '../inspect/json.js'
import { jsonText } from '../printable.js'
import { shown } from '../units.js'

/**
 * A part of the JSON that `xdb inspect --json` prints for a guest. An object stands for the members that it names, a list
 * for a list of the same length, and null for a member that the guest must not have. Hex strings are compared as numbers.
 */
export type Expectation = { readonly [member: string]: Json }

/** A value that is not as expected. Null stands for an absent one. */
export interface Difference {
  /** The path of the value, such as `vcpus[0].registers.rip`. */
  readonly at: string
  readonly expected: Json
  readonly found: Json
  /** Text that may help. */
  readonly hint?: string
}

/** The name of an expectation's shape. */
const SCHEMA = 'xen-domain-builder/expectation/1'
/** The answer of `inspect` is an expectation as well. */
const SCHEMAS: readonly unknown[] = [SCHEMA, 'xen-domain-builder/guest/1']

const isObject = (value: unknown): value is { readonly [member: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * Returns an expectation without the members that name its schema.
 * @param what its name in an error.
 * @throws DomainBuilderError `bad-config` for a value that is no object, and for one of another schema.
 */
export function checkExpectation(value: unknown, what: string): Expectation {
  if (!isObject(value)) {
    throw new DomainBuilderError('bad-config', `${what} is not a part of a guest's JSON`, {
      expected: 'an object such as { "type": "pvh" }',
      found: shown(value),
    })
  }
  const { schema, $schema, ...expectation } = value
  if (schema === undefined || SCHEMAS.includes(schema)) return expectation
  throw new DomainBuilderError('bad-config', `${what} has another schema`, {
    expected: SCHEMA,
    found: shown(schema),
  })
}

/** Returns whether an expectation names the symbol of a vcpu, for which a guest's symbols are needed. */
export const namesSymbol = ({ vcpus }: Expectation): boolean =>
  Array.isArray(vcpus) && vcpus.some((vcpu) => isObject(vcpu) && Object.hasOwn(vcpu, 'symbol'))

const IS_HEX = /^0x[0-9a-f]+$/i

/** Whether two values without parts are the same. */
const isSame = (a: Json, b: Json): boolean =>
  a === b ||
  (typeof a === 'string' && typeof b === 'string' && IS_HEX.test(a) && IS_HEX.test(b) && BigInt(a) === BigInt(b))

/** Returns the differences of a part of a guest's JSON from an expectation, in the order of the expectation. */
export function differencesOf(found: Json, expected: Json, at = ''): Difference[] {
  if (isObject(expected) && isObject(found)) {
    return Object.entries(expected).flatMap(([name, value]) => {
      const path = at === '' ? name : `${at}.${name}`
      if (Object.hasOwn(found, name)) return differencesOf(found[name] ?? null, value, path)
      if (value === null) return []
      const hint = didYouMean(name, Object.keys(found)).replace(/^; /, '')
      return [{ at: path, expected: value, found: null, ...(hint === '' ? {} : { hint }) }]
    })
  }
  if (Array.isArray(expected) && Array.isArray(found)) {
    const length =
      expected.length === found.length ? [] : [{ at: `${at}.length`, expected: expected.length, found: found.length }]
    const shared = expected.slice(0, found.length)
    return [...length, ...shared.flatMap((value, i) => differencesOf(found[i] as Json, value as Json, `${at}[${i}]`))]
  }
  return isSame(found, expected) ? [] : [{ at, expected, found }]
}

/** Returns a difference on one line. */
export function differenceText({ at, expected, found, hint }: Difference): string {
  const text = (value: Json): string => (value === null ? 'nothing' : jsonText(value))
  return `${at}: expected ${text(expected)}, found ${text(found)}${hint === undefined ? '' : `; ${hint}`}`
}

/** Returns the parts of a guest's JSON that an expectation names, and every element that a list has in addition. */
export function namedParts(found: Json, expected: Json): Json {
  if (isObject(expected) && isObject(found)) {
    const parts = Object.entries(expected).flatMap(([name, value]): [string, Json][] => {
      if (Object.hasOwn(found, name)) return [[name, namedParts(found[name] as Json, value)]]
      return value === null ? [[name, null]] : []
    })
    return Object.fromEntries(parts)
  }
  if (Array.isArray(expected) && Array.isArray(found)) {
    return found.map((one: Json, i) => (i < expected.length ? namedParts(one, expected[i] as Json) : one))
  }
  return isSame(found, expected) ? expected : found
}

/** Returns the JSON of a guest to expect again: without the sha-256 of the kernel, which every build changes. */
export function expectationOf(domain: Domain): Expectation {
  const { kernel, ...guest } = describeDomain(domain)
  if (!isObject(kernel)) return guest
  const { sha256, ...origin } = kernel
  const { type, abi, name, memory, ...rest } = guest as { readonly [member: string]: Json }
  return { type, abi, name, memory, kernel: origin, ...rest } as Expectation
}

/** The longest line with more than one value. */
const WIDTH = 100

/** Returns JSON that has an object or a list without inner ones on one line, if it fits. */
function laidOut(value: Json, indent: string, room: number): string {
  const isList = Array.isArray(value)
  if (!isList && !isObject(value)) return jsonText(value)
  const members: [string, Json][] = isList
    ? value.map((one: Json) => ['', one])
    : Object.entries(value).map(([name, one]) => [`${jsonText(name)}: `, one as Json])
  const [open, close] = isList ? '[]' : '{}'
  if (members.length === 0) return `${open}${close}`
  if (members.every(([, one]) => typeof one !== 'object' || one === null)) {
    const texts = members.map(([name, one]) => name + jsonText(one)).join(', ')
    const line = isList ? `[${texts}]` : `{ ${texts} }`
    if (line.length <= room) return line
  }
  const inner = `${indent}  `
  const lines = members.map(
    ([name, one]) => `${inner}${name}${laidOut(one, inner, WIDTH - inner.length - name.length - 1)}`,
  )
  return `${open}\n${lines.join(',\n')}\n${indent}${close}`
}

/** Returns the text of an expectation's file: equal for equal expectations, and a value has its own line or element. */
export const expectationText = (expectation: Expectation): string =>
  `${laidOut({ schema: SCHEMA, ...expectation }, '', 0)}\n`

/**
 * Returns a guest as text that a person reads and a test runner keeps: all that `xdb inspect --json` prints, except the
 * sha-256 of the kernel. It is the same on every machine and in every version of Node, and equals the file that
 * `xdb test --expect FILE --update` writes.
 *
 * @example
 * ```ts
 * // vitest: vitest -u writes the file. node:test has t.assert.fileSnapshot(), and tap t.matchSnapshot().
 * await expect(goldenText(guest)).toMatchFileSnapshot('guest.json')
 * ```
 */
export const goldenText = (domain: Domain): string => expectationText(expectationOf(domain))
