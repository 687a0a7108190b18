/**
 * Text from a file, safe to show: nothing in it can move a cursor, reorder a line or hide.
 *
 * Source: ECMA-48 (C0 and C1 control functions); Unicode UAX #9 (bidirectional controls) and UAX #44
 * (Default_Ignorable_Code_Point); RFC 8259 for the escapes of JSON.
 * Gotcha: the result cannot be decoded. Backslashes stay, so that paths stay readable; text may look like an escape.
 */

/** Control and format characters, line separators, invisible characters, halves of surrogate pairs. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu

/** Most text is plain, and this test is faster. */
const PLAIN = /^[\x20-\x7e]*$/

const hexOf = (code: number, digits: number): string => code.toString(16).padStart(digits, '0')

/** A character as a readable escape of its number. */
export function visible(character: string): string {
  const code = character.codePointAt(0) ?? 0
  if (code <= 0xff) return `\\x${hexOf(code, 2)}`
  return code <= 0xffff ? `\\u${hexOf(code, 4)}` : `\\u{${hexOf(code, 1)}}`
}

/** The most characters of a file's text that a table cell shows. */
const CELL_MAX = 256

/** The text on one line, unsafe characters as escapes such as `\x1b`, cut after `max` UTF-16 units. */
export function printable(text: string, max = CELL_MAX): string {
  const shown = text.length > max ? `${text.slice(0, max)}...` : text
  return PLAIN.test(shown) ? shown : shown.replace(UNSAFE, visible)
}

/** Lines for people, each safe to print. */
export const printableLines = (lines: readonly string[]): string[] =>
  lines.map((line) => printable(line, Number.POSITIVE_INFINITY))

/** A part of a message, safe to print. A long one loses its middle: a path's start and end say most. */
export function messagePart(text: string, max: number): string {
  if (text.length <= max) return printable(text, max)
  const [head, tail] = [max - 100, 80]
  const cut = `... and ${text.length - head - tail} more characters ...`
  return printable(text.slice(0, head) + cut + text.slice(-tail), Number.POSITIVE_INFINITY)
}

/** A list for a message: as many words as there is room for, then how many more there are. */
export function listed(words: readonly string[], separator = ', ', room = 250): string {
  let text = ''
  for (const [i, word] of words.entries()) {
    const longer = i === 0 ? word : text + separator + word
    if (i > 0 && longer.length > room) return `${text}${separator}and ${words.length - i} more`
    text = longer
  }
  return text
}

/** JSON.stringify with unsafe characters as JSON's own escapes. It parses to the same value. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(UNSAFE, (character) =>
    // The line breaks of JSON.stringify are the only control characters outside of strings.
    character === '\n' ? character : jsonEscape(character),
  )
}

/** Each UTF-16 unit as a JSON escape. */
const jsonEscape = (character: string): string =>
  character.replace(/[\s\S]/g, (unit) => `\\u${hexOf(unit.charCodeAt(0), 4)}`)
