/**
 * Checks for untyped configuration values, from a JSON file or from JavaScript. Each value is read once, and is either
 * valid or refused in one line.
 *
 * Source: our own rule; `../errors.ts` has the code, `bad-config`.
 * Gotcha: an object may have no prototype, or a getter that throws. Only checkedObject and checkedArray read objects.
 */
import { closest } from '../closest.js'
import { DomainBuilderError } from '../errors.js'
import { clip, hex, PADDR_MAX, PAGE_SIZE, type Paddr, type Range, shown, showRange } from '../units.js'

/** The unchecked values of some keys; `undefined` is absent. */
export type Words<K extends string> = { readonly [Key in K]?: unknown }

/** Every key that a member of a union has. */
export type KeysOf<T> = T extends unknown ? keyof T : never

/** Returns every key of a table, typed: a table cannot lack a key of its type, an array could. */
export const keysOf = <K extends string>(table: Readonly<Record<K, true>>): readonly K[] => Object.keys(table) as K[]

/** The most ranges in one list: no real configuration has as many. */
const MAX_RANGES = 1024

export function badConfig(message: string, expected: string, found: string): DomainBuilderError {
  return new DomainBuilderError('bad-config', message, { expected, found })
}

/** Runs code that reads a caller's object. @throws DomainBuilderError `bad-config` if that throws. */
export function reading<T>(what: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    if (cause instanceof DomainBuilderError) throw cause
    throw new DomainBuilderError('bad-config', `${what} cannot be read`, { cause })
  }
}

/**
 * Returns the values of an object's keys, inherited ones too, and the first unknown key.
 * @throws DomainBuilderError `bad-config` for anything except an object, and for an object that cannot be read.
 */
export function readObject<K extends string>(
  value: unknown,
  what: string,
  keys: readonly K[],
): { readonly words: Words<K>; readonly unknown?: string } {
  return reading(what, () => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw badConfig(`${what} cannot be used`, 'an object', Array.isArray(value) ? 'a list' : shown(value))
    }
    const object = value as Readonly<Record<string, unknown>>
    const known: readonly string[] = keys
    const words = Object.fromEntries(keys.map((key) => [key, object[key]])) as Words<K>
    for (const key in object) {
      if (!known.includes(key) && object[key] !== undefined) return { words, unknown: key }
    }
    return { words }
  })
}

/** Returns the values of an object without unknown keys. @throws DomainBuilderError `bad-config`. */
export function checkedObject<K extends string>(value: unknown, what: string, keys: readonly K[]): Words<K> {
  const { words, unknown } = readObject(value, what, keys)
  if (unknown !== undefined) throw unknownKey(unknown, what, keys, keys)
  return words
}

/** Returns the error for an unknown key. @param known keys to suggest, @param taken keys to list if none is close. */
export function unknownKey(
  key: string,
  owner: string,
  known: readonly string[],
  taken: readonly string[],
): DomainBuilderError {
  const meant = closest(key, known)
  const what = `${owner} has an unknown key ${clip(key)}`
  if (meant !== undefined) return new DomainBuilderError('bad-config', `${what}: did you mean ${meant}?`)
  return new DomainBuilderError('bad-config', what, { expected: `one of ${taken.join(', ')}` })
}

/** Returns a copy of a list of at most `max` elements. @throws DomainBuilderError `bad-config`. */
export function checkedArray(value: unknown, what: string, max: number): readonly unknown[] {
  return reading(what, () => {
    if (!Array.isArray(value)) throw badConfig(`${what} cannot be used`, 'a list', shown(value))
    if (value.length > max) throw badConfig(`${what} is too long`, `at most ${max}`, `${value.length}`)
    return Array.from(value as readonly unknown[])
  })
}

/** Returns one of a few words or numbers. @throws DomainBuilderError `bad-config`. */
export function checkedChoice<const T extends string | number>(value: unknown, what: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === value)
  if (found === undefined) throw badConfig(`${what} cannot be used`, choices.join(' or '), shown(value))
  return found
}

/** @throws DomainBuilderError `bad-config`. */
export function checkedBoolean(value: unknown, what: string): boolean {
  if (typeof value !== 'boolean') throw badConfig(`${what} cannot be used`, 'true or false', shown(value))
  return value
}

/** Returns text that a C string can hold. @throws DomainBuilderError `bad-config`. */
export function checkedText(value: unknown, what: string): string {
  if (typeof value === 'string' && !value.includes('\0')) return value
  throw badConfig(`${what} cannot be used`, 'text without NUL', typeof value === 'string' ? 'a NUL' : shown(value))
}

/** Returns bytes that still exist: a transferred buffer has lost its bytes. @throws DomainBuilderError `bad-config`. */
export function checkedBytes(value: unknown, what: string): Uint8Array {
  // A proxy of an array passes instanceof, and every use of it throws; isView detects it.
  if (!ArrayBuffer.isView(value) || !(value instanceof Uint8Array)) {
    throw badConfig(`${what} cannot be used`, 'bytes (a Uint8Array)', shown(value))
  }
  if (value.length === 0 && isDetached(value.buffer)) {
    throw badConfig(`${what} cannot be used`, 'bytes', 'an ArrayBuffer that was transferred')
  }
  return value
}

/** Detects a transferred buffer: ArrayBuffer.detached is not in Node 20. */
function isDetached(buffer: ArrayBufferLike): boolean {
  try {
    new Uint8Array(buffer)
    return false
  } catch {
    return true
  }
}

/** Returns a half-open, non-empty range of physical addresses. @throws DomainBuilderError `bad-config`. */
export function checkedRange(value: unknown, what: string): Range<Paddr> {
  const { start, end } = checkedObject(value, what, ['start', 'end'])
  if (isAddress(start) && isAddress(end) && start < end) return { start, end }
  throw badConfig(`${what} cannot be used`, 'START-END, half-open, physical addresses', `${shown(start)}-${shown(end)}`)
}

const isAddress = (value: unknown): value is Paddr =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= PADDR_MAX

/** Returns such a range of whole pages. @throws DomainBuilderError `bad-config`. */
export function checkedPageRange(value: unknown, what: string): Range<Paddr> {
  const range = checkedRange(value, what)
  if (range.start % PAGE_SIZE === 0 && range.end % PAGE_SIZE === 0) return range
  throw badConfig(`${what} is not page-aligned`, `multiples of ${hex(PAGE_SIZE)}`, showRange(range))
}

/** Returns a list of ranges, each checked by `check`. @throws DomainBuilderError `bad-config`. */
export function checkedRanges(
  value: unknown,
  what: string,
  check: (value: unknown, what: string) => Range<Paddr>,
): readonly Range<Paddr>[] {
  return checkedArray(value, what, MAX_RANGES).map((range) => check(range, `a range of ${what}`))
}

/** Returns the checked value, or undefined for an absent one. */
export const optional = <T>(value: unknown, check: (value: unknown) => T): T | undefined =>
  value === undefined ? undefined : check(value)
