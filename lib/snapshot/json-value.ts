/**
 * Checked reading of JSON: every value is checked before it is used, and an error names its path.
 *
 * Source: https://www.rfc-editor.org/rfc/rfc8259
 * Gotcha: u64 and addresses are hex strings, because a JSON number is a double.
 */
import { fromBase64 } from '../bytes.js'
import { didYouMean } from '../closest.js'
import { DomainBuilderError, type ErrorCode } from '../errors.js'

/** The most items of a list: far above the count of any guest, far below a harmful one. */
const LIST_MAX = 1 << 20
/** The most characters of a value that a message shows. */
const SHOWN_MOST = 60

/** A cursor into parsed JSON that knows its own path, so that an error can name it. */
export class JsonValue {
  readonly #value: unknown
  readonly #path: string
  readonly #code: ErrorCode

  /** @param code of every error. */
  constructor(value: unknown, path: string, code: ErrorCode = 'bad-snapshot') {
    this.#value = value
    this.#path = path
    this.#code = code
  }

  static parse(text: string, path: string, code: ErrorCode = 'bad-snapshot'): JsonValue {
    try {
      return new JsonValue(JSON.parse(text), path, code)
    } catch (cause) {
      throw new DomainBuilderError(code, `${path} is not JSON`, { cause })
    }
  }

  get present(): boolean {
    return this.#value !== undefined && this.#value !== null
  }

  /** Its path, for errors. */
  get path(): string {
    return this.#path
  }

  /** Whether it is text. */
  get isText(): boolean {
    return typeof this.#value === 'string'
  }

  /** Whether it is a list. */
  get isList(): boolean {
    return Array.isArray(this.#value)
  }

  /** The value without any check. */
  get unchecked(): unknown {
    return this.#value
  }

  /** @throws DomainBuilderError for a member with another name, and for one that is null. */
  requireKnown(names: readonly string[]): void {
    for (const key of this.keys()) {
      if (!names.includes(key)) {
        throw new DomainBuilderError(this.#code, `${this.#path} has an unknown member`, {
          expected: names.join(', '),
          found: `${shown(key)}${didYouMean(key, names)}`,
        })
      }
      if (this.at(key).#value === null) this.at(key).refuse('a value, or no such member')
    }
  }

  at(key: string): JsonValue {
    if (typeof this.#value !== 'object' || this.#value === null || Array.isArray(this.#value)) this.refuse('an object')
    const value = Object.hasOwn(this.#value as object, key) ? (this.#value as Record<string, unknown>)[key] : undefined
    return new JsonValue(value, `${this.#path}.${key}`, this.#code)
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
      this.#code,
    )
  }

  keys(): string[] {
    if (typeof this.#value !== 'object' || this.#value === null || Array.isArray(this.#value)) this.refuse('an object')
    return Object.keys(this.#value as object)
  }

  list(max = LIST_MAX): JsonValue[] {
    if (!Array.isArray(this.#value) || this.#value.length > max) this.refuse(`a list of at most ${max}`)
    return (this.#value as unknown[]).map((value, i) => new JsonValue(value, `${this.#path}[${i}]`, this.#code))
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
    throw new DomainBuilderError(this.#code, `${this.#path} cannot be used`, {
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
