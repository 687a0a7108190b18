/**
 * diff A B: what differs between two snapshots, of whatever formats, or between two kernels.
 *
 * Source: ../inspect/diff.ts, ../inspect/diff-kernels.ts; the exit code is that of diff(1).
 * Gotcha: exit 1 says that they differ, as it says everywhere that the answer is no.
 */
import { DomainBuilderError } from '../errors.js'
import { diffDomains, diffText } from '../inspect/diff.js'
import { diffKernels } from '../inspect/diff-kernels.js'
import { type Command, Refused, UsageError } from './command.js'
import { openAny } from './input.js'
import type { Progress } from './progress.js'

/** Which of the two it is that is refused must be said. */
async function open(name: string, progress: Progress): ReturnType<typeof openAny> {
  try {
    return await openAny(name, progress)
  } catch (error) {
    if (!(error instanceof DomainBuilderError) || error.code === 'cannot-read') throw error
    throw new DomainBuilderError(error.code, `${name}: ${error.message}`, { cause: error })
  }
}

export const command: Command = {
  usage: 'diff A B',
  help: `Says what differs between two snapshots: registers, fields of the boot structures, regions, page-table entries, pages; or between two kernels: headers, notes, setup header, segments. Exit code 0: nothing; 1: something.`,
  options: {},
  operands: [
    { name: 'A', file: true },
    { name: 'B', file: true },
  ],
  async run({ positionals, json, print, progress }) {
    const [a = '', b = ''] = positionals
    const [x, y] = [await open(a, progress), await open(b, progress)]
    let same: boolean
    let lines: readonly string[]
    let found: unknown
    if ('domain' in x && 'domain' in y) {
      const diff = diffDomains(x.domain, y.domain, { onProgress: (part) => progress.say('comparing', part) })
      same = diff.fields.length + diff.pages.length === 0
      lines = diffText(diff)
      found = diff
    } else if ('kernel' in x && 'kernel' in y) {
      const fields = diffKernels(x.kernel, y.kernel)
      same = fields.length === 0
      lines = fields.map(({ what, a: first, b: second }) => `${what}: ${first} | ${second}`)
      found = { fields }
    } else {
      const what = (one: typeof x): string => ('domain' in one ? 'a snapshot' : 'a kernel')
      throw new UsageError(`diff compares like with like; ${a} is ${what(x)}, ${b} ${what(y)}`)
    }
    progress.end()
    if (json) print(JSON.stringify(found, null, 2))
    else if (!same) print(...lines)
    if (!same) throw new Refused()
  },
}
