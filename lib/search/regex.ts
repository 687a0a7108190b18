/**
 * The parser of regular expressions over bytes.
 *
 * Source: the syntax that ECMAScript and PCRE share, https://262.ecma-international.org/#sec-patterns.
 * Gotcha: an expression that matches other bytes here than elsewhere is worse than none. So everything else that has a
 * meaning elsewhere is refused by name.
 */
import { encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { clip } from '../units.js'
import { type ByteSet, byteRange, byteSet, literal, type PatternNode } from './byte-tree.js'

/** The most groups within one another: each is a call within a call. */
const DEPTH_MAX = 100
/** The most repetitions that an expression can ask for. */
const REPEAT_MAX = 4096

const LINE_BREAK = 0x0a
const except = (set: ByteSet): ByteSet => set.map((is) => 1 - is)
const union = (sets: readonly ByteSet[]): ByteSet => sets.reduce((all, set) => all.map((is, i) => is | (set[i] ?? 0)))

const DIGIT = byteRange(0x30, 0x39)
const WORD = union([DIGIT, byteRange(0x41, 0x5a), byteRange(0x61, 0x7a), byteSet([0x5f])])
const SPACE = byteSet([0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x20])
const CLASSES: Readonly<Record<string, ByteSet>> = {
  d: DIGIT,
  D: except(DIGIT),
  w: WORD,
  W: except(WORD),
  s: SPACE,
  S: except(SPACE),
}
const CONTROLS: Readonly<Record<string, number>> = { n: 0x0a, r: 0x0d, t: 0x09, f: 0x0c, v: 0x0b, 0: 0 }

/** Returns the tree of an expression. @throws DomainBuilderError `bad-config` */
export function parseRegex(text: string): PatternNode {
  const parser = new Parser(text)
  const root = parser.choice(0)
  parser.end()
  return root
}

class Parser {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  choice(depth: number): PatternNode {
    if (depth > DEPTH_MAX) this.#refuse('has groups that are nested too deeply', `at most ${DEPTH_MAX}`)
    const options = [this.#sequence(depth)]
    while (this.#take('|')) options.push(this.#sequence(depth))
    return options.length === 1 ? (options[0] as PatternNode) : { kind: 'choice', options }
  }

  /** @throws DomainBuilderError if anything is left. */
  end(): void {
    if (this.#at < this.#text.length) this.#refuse('has a ) without a (')
  }

  #sequence(depth: number): PatternNode {
    const parts: PatternNode[] = []
    while (this.#at < this.#text.length && !/^[|)]/.test(this.#rest(1))) parts.push(this.#repeated(this.#atom(depth)))
    return parts.length === 1 ? (parts[0] as PatternNode) : { kind: 'sequence', parts }
  }

  #repeated(part: PatternNode): PatternNode {
    const counts = this.#counts()
    if (counts === undefined) return part
    if (/^[?+]/.test(this.#rest(1))) {
      this.#refuse(`has a lazy or possessive repeat: a match is always the longest`, 'a repeat such as * or {2,5}')
    }
    if (this.#counts() !== undefined) this.#refuse('has two repeats in a row', 'a group between them')
    return { kind: 'repeat', part, ...counts }
  }

  #counts(): { readonly least: number; readonly most: number } | undefined {
    const many = Number.POSITIVE_INFINITY
    if (this.#take('*')) return { least: 0, most: many }
    if (this.#take('+')) return { least: 1, most: many }
    if (this.#take('?')) return { least: 0, most: 1 }
    const braces = /^\{(\d{1,9})(,?)(\d{0,9})\}/.exec(this.#rest(24))
    if (braces === null) return undefined
    const [all, first = '', comma, last = ''] = braces
    const least = Number(first)
    const most = comma === '' ? least : last === '' ? many : Number(last)
    if (least > most || (comma === '' && last !== ''))
      this.#refuse('has an invalid repeat', 'such as {2}, {2,} or {2,5}')
    if (least > REPEAT_MAX || (most !== many && most > REPEAT_MAX)) {
      this.#refuse('has a repeat that is too large', `at most ${REPEAT_MAX}`)
    }
    this.#at += all.length
    return { least, most }
  }

  #atom(depth: number): PatternNode {
    if (this.#take('(')) {
      if (this.#rest(1) === '?' && !this.#take('?:')) {
        this.#refuse('has an assertion, a flag or a named group, which is not supported', 'a group (...) or (?:...)')
      }
      const group = this.choice(depth + 1)
      if (!this.#take(')')) this.#refuse('has a ( without a )')
      return group
    }
    if (this.#take('[')) return { kind: 'set', set: this.#set() }
    if (this.#take('.')) return { kind: 'set', set: except(byteSet([LINE_BREAK])) }
    const next = this.#rest(1)
    if (/[*+?]/.test(next) || this.#counts() !== undefined) this.#refuse('repeats nothing', 'a byte before the repeat')
    if (/[\^$]/.test(next))
      this.#refuse(`has the assertion ${next}: memory has no lines`, `\\${next} for the character`)
    if (this.#take('\\')) {
      const escaped = this.#escape()
      return typeof escaped === 'number' ? literal([escaped]) : { kind: 'set', set: escaped }
    }
    const character = String.fromCodePoint(this.#text.codePointAt(this.#at) ?? 0)
    this.#at += character.length
    return literal(encodeUtf8(character))
  }

  /** Reads the rest of an escape: a set, or one byte. */
  #escape(): ByteSet | number {
    const letter = this.#text.charAt(this.#at)
    if (letter === '') this.#refuse('ends with a backslash')
    this.#at++
    if (letter === 'x') {
      const digits = /^[0-9a-f]{2}/i.exec(this.#rest(2))?.[0]
      if (digits === undefined) this.#refuse('has an invalid \\x', 'two hex digits after it')
      this.#at += 2
      return Number.parseInt(digits, 16)
    }
    if (Object.hasOwn(CLASSES, letter)) return CLASSES[letter] as ByteSet
    if (Object.hasOwn(CONTROLS, letter) && !(letter === '0' && /^\d/.test(this.#rest(1))))
      return CONTROLS[letter] as number
    if (/^[!-/:-@[-`{-~ ]$/.test(letter)) return letter.charCodeAt(0)
    this.#at--
    return this.#refuse(`has the escape \\${letter}, which is not supported`, '\\xHH for a byte')
  }

  #set(): ByteSet {
    const negated = this.#take('^')
    const sets: ByteSet[] = [new Uint8Array(256)]
    do {
      const first = this.#member()
      if (typeof first !== 'number') sets.push(first)
      else if (this.#rest(1) === '-' && this.#rest(2) !== '-]') {
        this.#at++
        const last = this.#member()
        if (typeof last !== 'number' || last < first) this.#refuse('has an invalid range in a set', 'such as [a-z]')
        sets.push(byteRange(first, last))
      } else sets.push(byteSet([first]))
    } while (!this.#take(']'))
    const set = union(sets)
    return negated ? except(set) : set
  }

  #member(): ByteSet | number {
    if (this.#at >= this.#text.length) this.#refuse('has a [ without a ]')
    if (/^\[[:.=]/.test(this.#rest(2)))
      this.#refuse('has a class of POSIX, which is not supported', 'such as [0-9] or \\d')
    if (this.#take('\\')) return this.#escape()
    const code = this.#text.charCodeAt(this.#at)
    if (code > 0x7f) this.#refuse('has a character in a set that is several bytes', 'a choice such as (?:a|b)')
    this.#at++
    return code
  }

  #take(word: string): boolean {
    if (!this.#text.startsWith(word, this.#at)) return false
    this.#at += word.length
    return true
  }

  #rest(length: number): string {
    return this.#text.slice(this.#at, this.#at + length)
  }

  #refuse(defect: string, expected?: string): never {
    throw new DomainBuilderError('bad-config', `the regular expression ${defect}`, {
      ...(expected === undefined ? {} : { expected }),
      found: `'${clip(this.#text.slice(this.#at)) || this.#text.slice(-1)}' at character ${this.#at + 1}`,
    })
  }
}
