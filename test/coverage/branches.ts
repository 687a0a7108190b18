/**
 * The branches and lines of a compiled script, each with its place in the TypeScript source, and whether it ran.
 *
 * Source: the compiler's source map, through node:module's SourceMap.
 * Gotcha: a range that V8 reports after a `return` begins with spaces and comments, which map to the line before.
 */
import { SourceMap, type SourceMapPayload } from 'node:module'
import type { Range, Run } from './runs.js'

/** A function or a block, at a line and column of the source, both from 1. */
export interface Branch {
  readonly line: number
  readonly column: number
  /** The beginning of the compiled code. */
  readonly code: string
  readonly ran: boolean
}

export interface Lines {
  readonly all: number
  readonly ran: number
}

export interface Script {
  readonly branches: readonly Branch[]
  readonly lines: Lines
}

const NO_CODE = /(?:\s|#!.*|\/\/.*|\/\*[\s\S]*?\*\/)*/y
/** The brackets around a block that holds nothing. */
const ONLY_BRACKETS = /^[\s})\];]*$/
const CODE_SHOWN = 60

/** Returns the script's branches. One in a branch that did not run is a part of that branch. */
export function readScript(text: string, map: SourceMapPayload, run: Run | undefined): Script {
  // Types alone compile to no code.
  if (map.mappings === '') return { branches: [], lines: { all: 0, ran: 0 } }
  const places = new SourceMap(map)
  const lineStarts = [0, ...[...text.matchAll(/\n/g)].map(({ index }) => index + 1)]
  const ran = (offset: number) => run?.ran(offset) ?? false

  const branchAt = ({ start, end }: Range): Branch => {
    const line = lineStarts.findLastIndex((at) => at <= start)
    const found = places.findEntry(line, start - (lineStarts[line] as number))
    // The compiler's own code at the top has no place.
    const place = 'originalLine' in found ? found : { originalLine: 0, originalColumn: 0 }
    const code = text.slice(start, end).replace(/\s+/g, ' ').slice(0, CODE_SHOWN)
    return { line: place.originalLine + 1, column: place.originalColumn + 1, code, ran: ran(start) }
  }

  const branches: Branch[] = []
  let unreached = 0
  for (const { start, end } of run?.ranges ?? [{ start: 0, end: text.length }]) {
    const code = { start: skipNoCode(text, start), end }
    if (code.start < unreached || ONLY_BRACKETS.test(text.slice(code.start, end))) continue
    const branch = branchAt(code)
    if (!branch.ran) unreached = end
    branches.push(branch)
  }
  return { branches, lines: countLines(text, ran) }
}

function skipNoCode(text: string, start: number): number {
  NO_CODE.lastIndex = start
  NO_CODE.test(text)
  return NO_CODE.lastIndex
}

/** Counts the lines that hold code. Such a line ran if its first code did. */
function countLines(text: string, ran: (offset: number) => boolean): Lines {
  const counts = { all: 0, ran: 0 }
  for (let at = skipNoCode(text, 0); at < text.length; ) {
    const end = text.indexOf('\n', at)
    if (!ONLY_BRACKETS.test(text.slice(at, end))) {
      counts.all++
      if (ran(at)) counts.ran++
    }
    at = skipNoCode(text, end)
  }
  return counts
}
