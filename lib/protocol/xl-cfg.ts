/**
 * xl.cfg, the file that describes a guest to xl: its grammar, and the part of it that a builder can use.
 *
 * Source: xl.cfg(5); the rules of Xen's tools/libs/util/libxlu_cfg_l.l and libxlu_cfg_y.y (the meanings, not the code).
 * Gotcha: xl refuses every \x escape and drops the characters of octal ones; both are refused here.
 */
import { byteOrderMark, decodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'

/** The value of a key; xl keeps numbers as the text they were written as. */
export type XlCfgValue = string | readonly XlCfgValue[]

/** The most characters of a file, and the most nested lists: far more than any guest needs. */
const MAX_TEXT = 1 << 20
const MAX_DEPTH = 16

/** The mark as decodeUtf8() leaves it in a text. */
const BYTE_ORDER_MARK = '\ufeff'

/** A value that is being read. */
type Value = string | Value[]

/** One token, a string with its quotes. The order is the lexer's: an unclosed quote matches no token. */
const TOKEN =
  /(?<blank>[ \t]+)|(?<ident>[a-z][_0-9a-z]*)|(?<number>[0-9][0-9a-fx]*)|(?<mark>\+=|[,[\]=;])|(?<newline>\n|#[^\n]*\n)|(?<string>'(?:[^'\\\n]|\\[^\n])*'|"(?:[^"\\\n]|\\[^\n])*")/y

type TokenKind = 'ident' | 'number' | 'mark' | 'newline' | 'string' | 'end'

interface Token {
  readonly kind: TokenKind
  readonly text: string
  readonly at: number
}

const ESCAPES: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  "'": "'",
  '"': '"',
}

/** A key's value, and whether it was last changed by +=, which cannot make a number. */
export interface XlCfgSetting {
  readonly value: XlCfgValue
  readonly added: boolean
}

/**
 * Reads the text of an xl.cfg: every key with its last value, += joined to the earlier value.
 *
 * @throws DomainBuilderError `bad-config` with line and column for text that xl's own parser refuses, and for `\x` and
 *   octal escapes. Also for a text of more than 1 MiB, and lists nested more than 16 deep.
 */
export function parseXlCfg(text: string): ReadonlyMap<string, XlCfgValue> {
  return new Map([...readSettings(text)].map(([key, { value }]) => [key, value]))
}

/** Returns the text of an xl.cfg file. @throws DomainBuilderError `bad-config` for a file that is too long or has a byte order mark. */
export function decodeXlCfg(bytes: Uint8Array): string {
  // A character has at most 3 bytes for each unit of a string.
  if (bytes.length > 3 * MAX_TEXT) tooLong(`${bytes.length} bytes`)
  const mark = byteOrderMark(bytes)
  if (mark !== undefined) refuseMark(mark)
  return decodeUtf8(bytes)
}

/** Xen's parser refuses the mark as it does any other character outside of a string. */
function refuseMark(encoding: string): never {
  throw new DomainBuilderError('bad-config', 'the xl.cfg begins with a byte order mark', {
    expected: 'UTF-8 without one',
    found: `that of ${encoding}`,
  })
}

function tooLong(found: string): never {
  throw new DomainBuilderError('bad-config', 'the xl.cfg is too long', {
    expected: `at most ${MAX_TEXT} characters`,
    found,
  })
}

/** Returns the same map, with whether += made each value. @throws DomainBuilderError `bad-config`, as parseXlCfg. */
export function readSettings(text: string): ReadonlyMap<string, XlCfgSetting> {
  if (text.length > MAX_TEXT) tooLong(`${text.length}`)
  if (text.startsWith(BYTE_ORDER_MARK)) refuseMark('UTF-8')
  const tokens: Tokens = new Tokens(text)
  const settings = new Map<string, { value: Value; added: boolean }>()
  for (;;) {
    const key = tokens.next()
    if (key.kind === 'end') return settings
    if (key.kind === 'newline' || key.text === ';') continue
    if (key.kind !== 'ident') tokens.refuse(key, 'a key')
    const operator = tokens.next()
    if (operator.kind !== 'mark' || (operator.text !== '=' && operator.text !== '+='))
      tokens.refuse(operator, '= or +=')
    const value = readValue(tokens, 0)
    const added = operator.text === '+='
    const joined = join(added ? settings.get(key.text)?.value : undefined, value)
    if (joined === undefined) tokens.refuse(key, `the kind of value that ${key.text} already has`)
    settings.set(key.text, { value: joined, added })
    const end = tokens.next()
    if (end.kind === 'end') return settings
    if (end.kind !== 'newline' && end.text !== ';') tokens.refuse(end, 'the end of the line, or ;')
  }
}

/** Joins two values as += does: a list grows in place. Returns undefined for a string and a list. */
function join(before: Value | undefined, value: Value): Value | undefined {
  if (before === undefined) return value
  if (typeof before === 'string' && typeof value === 'string') return before + value
  if (typeof before === 'string' || typeof value === 'string') return undefined
  for (const element of value) before.push(element)
  return before
}

function readValue(tokens: Tokens, depth: number): Value {
  const token = tokens.next()
  if (token.kind === 'number' || token.kind === 'string') return token.text
  if (token.kind !== 'mark' || token.text !== '[' || depth === MAX_DEPTH) {
    tokens.refuse(token, depth === MAX_DEPTH ? `lists at most ${MAX_DEPTH} deep` : 'a string, a number or [')
  }
  const values: Value[] = []
  tokens.skipLines()
  while (!tokens.takes(']')) {
    values.push(readValue(tokens, depth + 1))
    tokens.skipLines()
    if (tokens.takes(']')) break
    if (!tokens.takes(',')) tokens.refuse(tokens.next(), ', or ]')
    tokens.skipLines()
  }
  return values
}

/** The text, token by token, with one token of lookahead. */
class Tokens {
  readonly #text: string
  #at = 0
  #ahead: Token | undefined

  constructor(text: string) {
    this.#text = text
  }

  next(): Token {
    const token = this.#ahead ?? this.#read()
    this.#ahead = undefined
    return token
  }

  /** Returns whether the next token is this mark, and takes it then. */
  takes(mark: string): boolean {
    this.#ahead ??= this.#read()
    const found = this.#ahead.kind === 'mark' && this.#ahead.text === mark
    if (found) this.#ahead = undefined
    return found
  }

  skipLines(): void {
    do this.#ahead ??= this.#read()
    while (this.#ahead.kind === 'newline' && this.next())
  }

  refuse({ kind, text, at }: Token, expected: string): never {
    const found = kind === 'end' ? 'the end' : kind === 'newline' ? 'the end of the line' : `'${text.slice(0, 40)}'`
    const before = this.#text.slice(0, at).split('\n')
    const place = `line ${before.length}, column ${(before.at(-1) as string).length + 1}`
    throw new DomainBuilderError('bad-config', `the xl.cfg is invalid at ${place}`, { expected, found })
  }

  #read(): Token {
    for (;;) {
      const at = this.#at
      if (at === this.#text.length) return { kind: 'end', text: '', at }
      TOKEN.lastIndex = at
      const groups = TOKEN.exec(this.#text)?.groups
      if (!groups) {
        const rest = { kind: 'string', text: this.#text.slice(at, at + 20).split('\n', 1)[0] as string, at } as const
        this.refuse(
          rest,
          this.#text[at] === '#' ? 'a newline after the comment' : 'a name, a number, a string or one of = += [ ] , ;',
        )
      }
      this.#at = TOKEN.lastIndex
      for (const kind of ['ident', 'number', 'mark', 'newline', 'string'] as const) {
        const text = groups[kind]
        if (text !== undefined) return { kind, text: kind === 'string' ? this.#dequote(text, at) : text, at }
      }
    }
  }

  #dequote(quoted: string, at: number): string {
    return quoted.slice(1, -1).replace(/\\(.)/gs, (typed, letter: string, index: number) => {
      const meant = ESCAPES[letter]
      if (meant !== undefined) return meant
      return this.refuse({ kind: 'string', text: typed, at: at + 1 + index }, 'one of \\a \\b \\f \\n \\r \\t \\v \\\\')
    })
  }
}
