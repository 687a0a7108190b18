/**
 * The values in which a guest restored from our file, or created by our library, differs from one that xl created, each
 * with the reason.
 *
 * Source: the two tables of docs/created-and-restored.md, which are read here.
 * Gotcha: a word that is not known there is an error: a row for a misspelled guest would never be checked.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ProbedGuest } from '../fixtures/probe-kernel.js'
import { projectRoot } from '../peer/paths.js'

const PAGE = 'docs/created-and-restored.md'
/** The words of the columns of guests and of Xen. */
const GUESTS: Readonly<Record<string, ProbedGuest>> = { PV64: 'pv64', PV32: 'pv32', PVH: 'pvh' }
export const RELEASES: readonly string[] = ['4.17', '4.20']

/** Values that differ for a known reason. */
export interface KnownDifference {
  /** A name, in which `*` stands for any text. */
  readonly pattern: string
  readonly names: RegExp
  readonly guests: readonly ProbedGuest[]
  readonly releases: readonly string[]
  /** The value under xl create, if the page gives a number. */
  readonly created: bigint | undefined
  /** The value in our guest, if the page gives a number. */
  readonly ours: bigint | undefined
}

/** Splits a cell of words that must be known. */
function wordsOf(cell: string, known: readonly string[]): string[] {
  const words = cell.split(', ')
  for (const word of words) if (!known.includes(word)) throw new Error(`${PAGE}: "${word}" is not one of ${known}`)
  return words
}

const quotedIn = (cell: string): string[] => Array.from(cell.matchAll(/`([^`]+)`/g), ([, text = '']) => text)

/** Returns the rows of one of the page's tables, one for each pattern. @param column our guest's. */
export function knownDifferences(column: 'restored' | 'launch'): KnownDifference[] {
  const header = new RegExp(`(?<=^\\| values \\|.*\\| ${column} \\|.*\\n\\|[ |-]+\\n)(?:\\|.*\\n)+`, 'm')
  const [table = ''] = header.exec(readFileSync(join(projectRoot, PAGE), 'utf8')) ?? []
  return table
    .trimEnd()
    .split('\n')
    .flatMap((row) => {
      const [, values = '', guests = '', releases = '', created = '', ours = ''] = row.split(/ ?\| ?/)
      const [createdValue, oursValue] = [created, ours].map((cell) => quotedIn(cell).map(BigInt)[0])
      return quotedIn(values).map((pattern) => ({
        pattern,
        names: new RegExp(`^${pattern.replace(/[.[\]]/g, '\\$&').replaceAll('*', '.*')}$`),
        guests: wordsOf(guests, Object.keys(GUESTS)).flatMap((word) => GUESTS[word] ?? []),
        releases: wordsOf(releases, RELEASES),
        created: createdValue,
        ours: oursValue,
      }))
    })
}
