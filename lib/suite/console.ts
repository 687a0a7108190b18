/**
 * The texts that a guest must print, in order.
 *
 * Source: ../search: a pattern is a regular expression as `xdb search --regex` takes it, read in linear time.
 * Gotcha: a guest may end its lines with CR LF, so each CR before LF is removed before anything is compared.
 */
import { encodeUtf8 } from '../bytes.js'
import { Finder } from '../search/finder.js'
import { regexPattern, textPattern } from '../search/pattern.js'

/** A text that a guest must print, or a pattern of one. */
export interface ConsoleText {
  /** For messages: the text in quotes, or the pattern between slashes. */
  readonly shown: string
  readonly finder: Finder
}

/** Returns a text to find. @throws DomainBuilderError `bad-config` for an empty one, and for one that is too long. */
export const consoleText = (text: string): ConsoleText => ({ shown: text, finder: new Finder(textPattern(text)) })

/** Returns a pattern to find. @throws DomainBuilderError `bad-config` for one that is invalid or too large. */
export const consolePattern = (pattern: string): ConsoleText => ({
  shown: `/${pattern}/`,
  finder: new Finder(regexPattern(pattern)),
})

/** Returns the index of the first text that the console lacks; the number of texts if it has all of them in order. */
export function firstMissing(printed: string, texts: readonly ConsoleText[]): number {
  const bytes = encodeUtf8(printed.replaceAll('\r\n', '\n'))
  let at = 0
  for (const [i, { finder }] of texts.entries()) {
    const match = finder.find(bytes, at, bytes.length)
    if (match === undefined) return i
    at = match.end
  }
  return texts.length
}

/** Lines of a console that a failure shows. */
const LINES_SHOWN = 20

/** Returns the last lines of a console. */
export function lastLines(printed: string): string[] {
  const lines = printed.replaceAll('\r\n', '\n').split('\n')
  if (lines.at(-1) === '') lines.pop()
  return lines.slice(-LINES_SHOWN)
}
