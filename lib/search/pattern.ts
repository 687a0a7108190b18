/**
 * A pattern over bytes: text, hex digits with wildcards, or a regular expression. All three are one tree of byte sets.
 *
 * Source: our own design; the words are those of automata theory. ./regex.ts parses regular expressions.
 * Gotcha: a repeat is expanded into its copies, so the size of the tree is checked before anything is made from it.
 */
import { encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { shown } from '../units.js'
import { type ByteSet, byteSet, copiesOf, literal, type PatternNode } from './byte-tree.js'
import { parseRegex } from './regex.js'

/** The most bytes of a match; a longer one is cut there. */
const MATCH_MAX = 4096
/** The most characters of a pattern. */
const PATTERN_MAX = 4096
/** The most parts of a pattern, with every copy of a repeat. */
const PARTS_MAX = 2 ** 14

/** A checked pattern. Made by textPattern(), hexPattern() and regexPattern(). */
export interface BytePattern {
  /** As it was given. */
  readonly source: string
  /** The fewest bytes of a match, at least 1. */
  readonly shortest: number
  /** The most bytes of a match. A longer run of matching bytes gives several matches. */
  readonly longest: number
  /** The tree of byte sets. */
  readonly root: PatternNode
}

/**
 * Returns the pattern of a text: its bytes in UTF-8.
 * @throws DomainBuilderError `bad-config` for an empty text, and for one that is too long.
 *
 * @example
 * ```ts
 * for await (const { paddr } of searchMemory(guest, textPattern('Linux version'))) console.log(paddr.toString(16))
 * ```
 */
export function textPattern(text: string): BytePattern {
  checkLength(text)
  return checked(text, literal(encodeUtf8(text)))
}

/**
 * Returns the pattern of bytes in hex, such as `48 8b ?? 05`: two digits for each byte, `??` for any byte, and `?` for
 * one digit. White space between bytes is ignored.
 * @throws DomainBuilderError `bad-config` for other text, and for one that is too long.
 */
export function hexPattern(text: string): BytePattern {
  checkLength(text)
  const parts: PatternNode[] = []
  for (const word of text.trim().split(/\s+/)) {
    const digits = word.replace(/^0x/i, '')
    if (!/^(?:[0-9a-f?]{2})+$/i.test(digits)) {
      throw new DomainBuilderError('bad-config', 'the hex pattern is invalid', {
        expected: 'two digits for each byte, or ??, such as 48 8b ?? 05',
        found: shown(word),
      })
    }
    for (const pair of digits.match(/../g) ?? []) parts.push({ kind: 'set', set: hexSet(pair) })
  }
  return checked(text, { kind: 'sequence', parts })
}

function hexSet(pair: string): ByteSet {
  const [high = -1, low = -1] = [...pair].map((digit) => (digit === '?' ? -1 : Number.parseInt(digit, 16)))
  const all = Array.from({ length: 256 }, (_, byte) => byte)
  return byteSet(all.filter((byte) => (high < 0 || byte >> 4 === high) && (low < 0 || (byte & 15) === low)))
}

/**
 * Returns the pattern of a regular expression over bytes. It has literals, `.` (any byte except a line break), sets such
 * as `[^a-z\x00]`, `\d \w \s \D \W \S`, `\xHH`, groups, `|`, and `* + ? {2} {2,} {2,5}`. A match is the longest one at the
 * first place. Assertions, back references and lazy repeats have no meaning here and are refused.
 * @throws DomainBuilderError `bad-config` for an invalid or unsupported expression, and for one that is too large.
 */
export function regexPattern(text: string): BytePattern {
  checkLength(text)
  return checked(text, parseRegex(text))
}

/**
 * Returns the pattern of at least `least` characters, one after another.
 * @param set the first byte of a character. @param after its other bytes. @param longest the most bytes of a match.
 */
export function runPattern(
  source: string,
  { set, after, least, longest }: { set: ByteSet; after: readonly number[]; least: number; longest: number },
): BytePattern {
  const character: PatternNode = {
    kind: 'sequence',
    parts: [{ kind: 'set', set }, ...after.map((byte) => literal([byte]))],
  }
  const root: PatternNode = { kind: 'repeat', part: character, least, most: Number.POSITIVE_INFINITY }
  return checked(source, root, longest)
}

function checkLength(text: string): void {
  if (text.length > 0 && text.length <= PATTERN_MAX) return
  const defect = text.length === 0 ? 'empty' : 'too long'
  throw new DomainBuilderError('bad-config', `the pattern is ${defect}`, {
    expected: `1 to ${PATTERN_MAX} characters`,
    found: `${text.length}`,
  })
}

function checked(source: string, root: PatternNode, cut = MATCH_MAX): BytePattern {
  const parts = partsOf(root)
  if (parts > PARTS_MAX) {
    throw new DomainBuilderError('bad-config', 'the pattern is too large', {
      expected: `at most ${PARTS_MAX} parts, with every copy of a repeat`,
      found: `${parts}`,
    })
  }
  const { least, most } = lengthsOf(root)
  if (most === 0) throw new DomainBuilderError('bad-config', 'the pattern is empty', { found: shown(source) })
  return { source, root, shortest: Math.max(1, least), longest: Math.min(most, cut) }
}

/** The number of nodes of the expanded tree. */
function partsOf(node: PatternNode): number {
  switch (node.kind) {
    case 'set':
      return 1
    case 'sequence':
      return 1 + sum(node.parts.map(partsOf))
    case 'choice':
      return 1 + sum(node.options.map(partsOf))
    case 'repeat':
      return 1 + partsOf(node.part) * copiesOf(node)
  }
}

/** The fewest and the most bytes of a match. */
function lengthsOf(node: PatternNode): { readonly least: number; readonly most: number } {
  switch (node.kind) {
    case 'set':
      return { least: 1, most: 1 }
    case 'sequence': {
      const all = node.parts.map(lengthsOf)
      return { least: sum(all.map(({ least }) => least)), most: sum(all.map(({ most }) => most)) }
    }
    case 'choice': {
      const all = node.options.map(lengthsOf)
      return { least: Math.min(...all.map(({ least }) => least)), most: Math.max(...all.map(({ most }) => most)) }
    }
    case 'repeat': {
      const { least, most } = lengthsOf(node.part)
      return { least: least * node.least, most: most === 0 || node.most === 0 ? 0 : most * node.most }
    }
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0)
