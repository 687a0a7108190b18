/**
 * Text out of a file, safe to show: nothing in it can move a cursor, reorder a line or hide.
 *
 * Source: ECMA-48 (C0 and C1 control functions); Unicode UAX #9 (bidirectional controls) and UAX #44
 * (Default_Ignorable_Code_Point); RFC 8259 for the escapes of JSON.
 * Gotcha: a backslash stays as it is, so that paths stay readable: an escape cannot be told from text that looks like one.
 */

/** Control and format characters, line separators, invisible characters, halves of surrogate pairs. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu

/** Most text is plain, and that is seen faster. */
const PLAIN = /^[\x20-\x7e]*$/

const hexOf = (code: number, digits: number): string => code.toString(16).padStart(digits, '0')

function visible(character: string): string {
  const code = character.codePointAt(0) ?? 0
  if (code <= 0xff) return `\\x${hexOf(code, 2)}`
  return code <= 0xffff ? `\\u${hexOf(code, 4)}` : `\\u{${hexOf(code, 1)}}`
}

/** Longest text out of a file that a cell of a table shows. */
const CELL_MAX = 256

/** The text on one line, its unsafe characters as escapes such as `\x1b`; what is longer than `max` units is cut. */
export function printable(text: string, max = CELL_MAX): string {
  const shown = text.length > max ? `${text.slice(0, max)}...` : text
  return PLAIN.test(shown) ? shown : shown.replace(UNSAFE, visible)
}

/** Lines for people, each safe to print. */
export const printableLines = (lines: readonly string[]): string[] =>
  lines.map((line) => printable(line, Number.POSITIVE_INFINITY))

/** A part of a message, safe to print. The middle of a long one is cut: a path says most at its start and its end. */
export function messagePart(text: string, max: number): string {
  if (text.length <= max) return printable(text, max)
  const [head, tail] = [max - 100, 80]
  const cut = `... and ${text.length - head - tail} more characters ...`
  return printable(text.slice(0, head) + cut + text.slice(-tail), Number.POSITIVE_INFINITY)
}

/** A list as a message has it: as many as have room, and how many more there are. */
export function listed(words: readonly string[], separator = ', ', room = 250): string {
  let text = ''
  for (const [i, word] of words.entries()) {
    const longer = i === 0 ? word : text + separator + word
    if (i > 0 && longer.length > room) return `${text}${separator}and ${words.length - i} more`
    text = longer
  }
  return text
}

/** JSON.stringify, the unsafe characters as JSON's own escapes: it parses to the same value. */
export function jsonText(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(UNSAFE, (character) =>
    // A line that JSON.stringify breaks itself is the one control character that it leaves outside of a string.
    character === '\n' ? character : jsonEscape(character),
  )
}

/** Each UTF-16 unit as an escape, as JSON has it. */
const jsonEscape = (character: string): string =>
  character.replace(/[\s\S]/g, (unit) => `\\u${hexOf(unit.charCodeAt(0), 4)}`)
