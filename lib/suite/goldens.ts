/**
 * Expectations of guests, and those that are written anew.
 *
 * Source: schemas/expectation-1.json; ../testing/expectation.ts.
 * Gotcha: two tests may share a file. Only the first one writes it, and the others are compared with what it wrote.
 */
import type { Domain } from '../guest/domain.js'
import { describeDomain } from '../inspect/describe.js'
import type { SymbolTable } from '../symbols/symbol-table.js'
import {
  type Difference,
  differencesOf,
  type Expectation,
  expectationOf,
  expectationText,
  namedParts,
  namesSymbol,
} from '../testing/expectation.js'
import type { ExpectedGuest } from './test-file.js'

/** Compares guests with expectations, and collects the new text of files. */
export class Goldens {
  readonly #files: ReadonlyMap<string, Expectation>
  readonly #isUpdate: boolean
  readonly #written = new Map<string, Expectation>()

  /**
   * @param files the expectation of each file that exists.
   * @param isUpdate whether a file gets what is found, instead of being compared.
   */
  constructor(files: ReadonlyMap<string, Expectation>, isUpdate: boolean) {
    this.#files = files
    this.#isUpdate = isUpdate
  }

  /** The new text of each file. */
  get texts(): ReadonlyMap<string, string> {
    return new Map([...this.#written].map(([file, expectation]) => [file, expectationText(expectation)]))
  }

  /**
   * Returns the differences of a guest from an expectation. A file that is written anew has none: it gets the members that
   * it named before, or all of them if it did not exist.
   */
  async compare(
    domain: Domain,
    expected: ExpectedGuest,
    symbolsOf: (domain: Domain) => Promise<SymbolTable | undefined>,
  ): Promise<Difference[]> {
    if ('inline' in expected) return differencesOf(await described(domain, expected.inline, symbolsOf), expected.inline)
    const { file } = expected
    const known = this.#written.get(file) ?? this.#files.get(file)
    const found = known && (await described(domain, known, symbolsOf))
    if (known && found && (!this.#isUpdate || this.#written.has(file))) return differencesOf(found, known)
    const now = known && found ? (namedParts(found, known) as Expectation) : expectationOf(domain)
    this.#written.set(file, now)
    return []
  }
}

/** Returns the JSON of a guest, with the symbols of its vcpus if the expectation names them. */
const described = async (
  domain: Domain,
  expected: Expectation,
  symbolsOf: (domain: Domain) => Promise<SymbolTable | undefined>,
) => describeDomain(domain, namesSymbol(expected) ? await symbolsOf(domain) : undefined)
