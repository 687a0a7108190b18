/**
 * Plain-text tables that a terminal shows well and grep can use.
 *
 * Source: our own rule: two spaces between columns, numbers to the right, nothing after the last column.
 * Gotcha: widths count UTF-16 units. Every cell may be text from a file, so each is made printable here.
 */
import { printable, printableLines } from '../printable.js'

/** Returns the lines of a table. A column whose heading starts with ">" is aligned to the right. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[], indent = '  '): string[] {
  const right = headings.map((heading) => heading.startsWith('>'))
  const all = [headings.map((heading) => heading.replace(/^>/, '')), ...rows.map(printableLines)]
  const widths = headings.map((_, column) => widest(all, column))
  return all.map((row) => {
    const cells = row.map((cell, i) => (right[i] ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
    return (indent + cells.join('  ')).trimEnd()
  })
}

/** Returns the length of a column's longest cell. An untrusted file may have more rows than a call takes arguments. */
const widest = (rows: readonly (readonly string[])[], column: number): number =>
  rows.reduce((most, row) => Math.max(most, (row[column] ?? '').length), 0)

/** Columns of a terminal. */
const TERMINAL_WIDTH = 80

/** Returns a table whose last column is folded at words, so that no line is wider than a terminal. */
export function foldedTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  indent = '  ',
): string[] {
  const last = headings.length - 1
  const shown = rows.map(printableLines)
  const widths = headings
    .slice(0, last)
    .map((heading, i) => Math.max(heading.replace(/^>/, '').length, widest(shown, i)))
  const room = Math.max(20, TERMINAL_WIDTH - widths.reduce((sum, width) => sum + width + 2, indent.length))
  const folded = shown.flatMap((row) =>
    fold(row[last] ?? '', room).map((line, i) =>
      i === 0 ? [...row.slice(0, last), line] : [...headings.slice(0, last).map(() => ''), line],
    ),
  )
  return table(headings, folded, indent)
}

/** Returns text in lines of at most `width`, broken between words, or within a word that is longer than a line. */
export function fold(text: string, width: number): string[] {
  const lines = ['']
  for (const word of text.split(' ').flatMap((one) => one.match(new RegExp(`.{1,${width}}`, 'gsu')) ?? [''])) {
    const line = lines.at(-1) ?? ''
    if (line !== '' && line.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`
  }
  return lines
}

/** Returns lines of `name value` pairs. */
export function pairs(rows: readonly (readonly [string, string])[], indent = '  '): string[] {
  const shown = rows.map(printableLines)
  const width = widest(shown, 0)
  return shown.map(([name = '', value = '']) => `${indent}${name.padEnd(width)}  ${value}`.trimEnd())
}

/** Returns the guest's name to show: a core that another tool wrote may have none. */
export const shownName = (name: string): string => (name === '' ? '(no name)' : printable(name))
