/**
 * The code that ran in any of several processes, from the files that Node leaves in the folder of NODE_V8_COVERAGE.
 *
 * Source: https://nodejs.org/api/cli.html#node_v8_coveragedir; the ranges are those of Profiler.takePreciseCoverage.
 * Gotcha: V8 omits a block that ran as often as the code around it, so a process alone does not know every block.
 */

import { readdirSync, readFileSync } from 'node:fs'
import type { Profiler } from 'node:inspector'
import * as path from 'node:path'
import { paint } from '../fuzz/coverage.js'

/** A function or a block that V8 counts: offsets in the text of the script. */
export interface Range {
  readonly start: number
  readonly end: number
}

/** A script's code in all processes together. */
export class Run {
  readonly #ranges = new Map<string, Range>()
  #painted: Uint8Array = new Uint8Array(0)

  add(functions: readonly Profiler.FunctionCoverage[]): void {
    for (const { startOffset: start, endOffset: end } of functions.flatMap((one) => one.ranges))
      this.#ranges.set(`${start}-${end}`, { start, end })
    const painted = paint(functions)
    this.#painted.forEach((ran, i) => {
      if (ran !== 0) painted[i] = ran
    })
    this.#painted = painted
  }

  /** Every range that a process reported, outer ones first. */
  get ranges(): readonly Range[] {
    return [...this.#ranges.values()].sort((a, b) => a.start - b.start || b.end - a.end)
  }

  /** Whether the character of the script ran in a process. */
  ran(offset: number): boolean {
    return this.#painted[offset] === 1
  }
}

/** Returns the runs of the scripts that count, by their URL. */
export function readRuns(folder: string, isCounted: (url: string) => boolean): ReadonlyMap<string, Run> {
  const runs = new Map<string, Run>()
  for (const name of readdirSync(folder)) {
    const { result } = parsed(readFileSync(path.join(folder, name), 'utf8'))
    for (const { url, functions } of result) {
      if (!isCounted(url)) continue
      const run = runs.get(url) ?? new Run()
      run.add(functions)
      runs.set(url, run)
    }
  }
  return runs
}

/** Returns the content of a file; nothing if the process was killed while it wrote. */
function parsed(text: string): Profiler.TakePreciseCoverageReturnType {
  try {
    return JSON.parse(text)
  } catch {
    return { result: [] }
  }
}
