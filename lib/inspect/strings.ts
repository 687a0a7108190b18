/**
 * findStrings: the readable text in a guest's memory, as strings(1) finds it in a file.
 *
 * Source: strings(1) of GNU binutils: characters are 0x20 to 0x7e and the tab, and a string has at least 4 of them.
 * Gotcha: a string is cut at STRING_MAX bytes, and goes on as the next one.
 */
import { decodeLatin1 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { byteRange } from '../search/byte-tree.js'
import { runPattern } from '../search/pattern.js'
import { checkedInteger, shown } from '../units.js'
import { type MemoryMatch, type SearchOptions, searchMemory } from './search.js'

/** The letter of an encoding in strings(1): `s` is ASCII, `l` is UTF-16 with the low byte first. */
export type StringEncoding = 's' | 'l'

/** The bytes after the first one of each character. */
export const STRING_ENCODINGS: Readonly<Record<StringEncoding, readonly number[]>> = { s: [], l: [0] }

/** The most bytes of a string. */
const STRING_MAX = 2 ** 14
/** The fewest characters of a string that can be asked for. */
const LEAST_MAX = 1024

const TAB = 0x09

/** A search for strings. */
export interface StringsOptions extends SearchOptions {
  /** The fewest characters of a string; default 4, at most 1024. */
  readonly least?: number
  /** `s`, the default, for ASCII; `l` for UTF-16 with the low byte first, as in Windows. */
  readonly encoding?: StringEncoding
}

/** A string in a guest's memory. */
export interface MemoryString extends Omit<MemoryMatch, 'bytes'> {
  /** Characters U+0020 to U+007E, and tabs. */
  readonly text: string
}

/**
 * Yields the strings in a guest's memory, in order of address.
 * @throws DomainBuilderError `bad-config` for an invalid option; the errors of searchMemory().
 *
 * @example
 * ```ts
 * for await (const { paddr, text } of findStrings(guest, { least: 8 })) console.log(paddr.toString(16), text)
 * ```
 */
export async function* findStrings(domain: Domain, options: StringsOptions = {}): AsyncGenerator<MemoryString> {
  const { encoding = 's', least: given = 4, ...search } = options
  const least = checkedInteger(given, 'least (characters)', 1, LEAST_MAX)
  if (!Object.hasOwn(STRING_ENCODINGS, encoding)) {
    throw new DomainBuilderError('bad-config', 'the encoding is unknown', {
      expected: 's or l',
      found: shown(encoding),
    })
  }
  const after = STRING_ENCODINGS[encoding]
  const set = byteRange(0x20, 0x7e)
  set[TAB] = 1
  const pattern = runPattern(`strings -n ${least} -e ${encoding}`, { set, after, least, longest: STRING_MAX })
  for await (const { bytes, ...place } of searchMemory(domain, pattern, search)) {
    yield { ...place, text: decodeLatin1(encoding === 's' ? bytes : bytes.filter((_, i) => i % 2 === 0)) }
  }
}
