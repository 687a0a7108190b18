/**
 * Compares the output that a page shows with the actual output.
 *
 * Source: our own; `...` as in blocks.ts.
 * Gotcha: a distribution's kernel changes every few weeks, and an exact comparison would then fail. With another kernel
 * than the page's, words must be the same; numbers and their width may differ.
 */

const literally = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** Returns the line with all numbers and all spacing made equal. */
const withoutNumbers = (line: string): string =>
  line
    .replace(/\b0x[0-9a-f]+|\b[0-9a-f]{16,}\b|\d+(?:\.\d+)?/g, '0')
    .replace(/\b(?:[KMGT]i)?B\b/g, 'B')
    .replace(/\s+/g, ' ')

function pattern(shown: readonly string[]): RegExp {
  const lines = shown.map((line) =>
    line.trim() === '...' ? '(?:[^\\n]*\\n)*?' : `${line.split('...').map(literally).join('[^\\n]*')}\\n`,
  )
  return new RegExp(`^${lines.join('')}$`)
}

/** @param exact false if numbers may differ. */
export function isShown(shown: readonly string[], output: string, exact: boolean): boolean {
  const lines = output.split('\n').map((line) => line.trimEnd())
  if (lines.at(-1) === '') lines.pop()
  const tidy = (list: readonly string[]): string[] =>
    exact ? list.map((line) => line.trimEnd()) : list.map((line) => withoutNumbers(line.trimEnd()))
  return pattern(tidy(shown)).test(
    tidy(lines)
      .map((line) => `${line}\n`)
      .join(''),
  )
}
