/**
 * Branches that no input reaches. A comment next to each gives the reason, and is refused when it is not true.
 *
 * Source: https://github.com/bcoe/c8#ignoring-uncovered-lines-functions-and-blocks. We allow one form, with its reason:
 * c8 ignore next -- REASON, in a block comment that ends on its line.
 * Gotcha: a comment alone on its line is about the line below, and about its own line elsewhere, as in c8.
 */
import type { Branch } from './branches.js'

export interface Verdict {
  /** The branches that did not run, without the excepted ones. */
  readonly unreached: readonly Branch[]
  readonly excepted: readonly Branch[]
  /** Exceptions that are invalid or untrue, each as LINE: DEFECT. */
  readonly faults: readonly string[]
}

const IGNORE = /\/[*/] *(?:[cv]8 ignore|node:coverage)\b/
const EXCEPTION = /^(?<before>.*?)\/\* c8 ignore next -- \S.* \*\/(?<after>.*)$/

/** Divides the branches that did not run into the excepted and the others. */
export function judge(source: string, branches: readonly Branch[]): Verdict {
  const missed = branches.filter(({ ran }) => !ran)
  const lines = new Set<number>()
  const faults: string[] = []
  for (const [i, text] of source.split('\n').entries()) {
    if (!IGNORE.test(text)) continue
    const found = EXCEPTION.exec(text)?.groups
    const line = found && `${found.before}${found.after}`.trim() === '' ? i + 2 : i + 1
    if (found === undefined) faults.push(`${i + 1}: the exception is not "/* c8 ignore next -- REASON */"`)
    else if (!missed.some((one) => one.line === line)) faults.push(`${i + 1}: every branch of the exception ran`)
    else lines.add(line)
  }
  const isExcepted = ({ line }: Branch) => lines.has(line)
  return { unreached: missed.filter((one) => !isExcepted(one)), excepted: missed.filter(isExcepted), faults }
}
