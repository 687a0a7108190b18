/**
 * Checked reading of a sidecar's JSON: every value is checked before it is used.
 *
 * Source: https://www.rfc-editor.org/rfc/rfc8259
 * Gotcha: u64 and addresses are hex strings, because a JSON number is a double.
 */
import { fromBase64 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'

/** The most items of a list: far above the count of any guest, far below a harmful one. */
const LIST_MAX = 1 << 20
/** The most characters of a value that a message shows. */
const SHOWN_MOST = 60

/** A cursor into parsed JSON that knows its own path, so that an error can name it. */
export class JsonValue {
  readonly #value: unknown
  readonly #path: string

  constructor(value: unknown, path: string) {
    this.#value = value
    this.#path = path
  }

  static parse(text: string, path: string): JsonValue {
    try {
      return new JsonValue(JSON.parse(text), path)
    } catch (cause) {
      throw new DomainBuilderError('bad-snapshot', `${path} is not JSON`, { cause })
    }
  }

  get present(): boolean {
    return this.#value !== undefined && this.#value !== null
  }

  at(key: string): JsonValue {
    if (typeof this.#value !== 'object' || this.#value === null || Array.isArray(this.#value)) this.refuse('an object')
    const value = Object.hasOwn(this.#value as object, key) ? (this.#value as Record<string, unknown>)[key] : undefined
    return new JsonValue(value, `${this.#path}.${key}`)
  }

  /** Returns the member as `read` returns it, or undefined for an absent one. */
  optional<T>(key: string, read: (json: JsonValue) => T): T | undefined {
    const json = this.at(key)
    return json.present ? read(json) : undefined
  }

  /** Returns an object whose absent members are those of another one. */
  over(other: Readonly<Record<string, unknown>>): JsonValue {
    return new JsonValue(
      { ...other, ...Object.fromEntries(this.keys().map((key) => [key, this.at(key).#value])) },
      this.#path,
    )
  }

  keys(): string[] {
    if (typeof this.#value !== 'object' || this.#value === null || Array.isArray(this.#value)) this.refuse('an object')
    return Object.keys(this.#value as object)
  }

  list(max = LIST_MAX): JsonValue[] {
    if (!Array.isArray(this.#value) || this.#value.length > max) this.refuse(`a list of at most ${max}`)
    return (this.#value as unknown[]).map((value, i) => new JsonValue(value, `${this.#path}[${i}]`))
  }

  string(): string {
    return typeof this.#value === 'string' ? this.#value : this.refuse('text')
  }

  boolean(): boolean {
    return typeof this.#value === 'boolean' ? this.#value : this.refuse('true or false')
  }

  oneOf<const T extends string | number>(...allowed: readonly T[]): T {
    const found = allowed.find((value) => value === this.#value)
    return found === undefined ? this.refuse(allowed.join(' or ')) : found
  }

  integer(min: number, max: number): number {
    const value = this.#value
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
      return this.refuse(`an integer from ${min} to ${max}`)
    }
    return value
  }

  hex(bits = 64): bigint {
    const value = this.#value
    if (typeof value !== 'string' || !/^0x[0-9a-f]{1,16}$/i.test(value) || BigInt(value) >> BigInt(bits) !== 0n) {
      return this.refuse(`a hex string of at most ${bits} bits`)
    }
    return BigInt(value)
  }

  /** Returns the bytes of base64 of any length. */
  bytes(): Uint8Array {
    return fromBase64(this.string()) ?? this.refuse('base64')
  }

  base64(length: number): Uint8Array {
    const bytes = fromBase64(this.string())
    return bytes?.length === length ? bytes : this.refuse(`base64 of ${length} bytes`)
  }

  refuse(expected: string): never {
    throw new DomainBuilderError('bad-snapshot', `${this.#path} cannot be used`, {
      expected,
      found: shown(this.#value),
    })
  }
}

/** Returns a value for a message; a list or an object may be of any depth and length. */
function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === 'object' && value !== null) return 'an object'
  return JSON.stringify(typeof value === 'string' ? value.slice(0, SHOWN_MOST) : value).slice(0, SHOWN_MOST)
}
