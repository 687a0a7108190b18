/**
 * diff A B: the differences between two snapshots, of any formats, or between two kernels.
 *
 * Source: ../inspect/diff.ts, ../inspect/diff-kernels.ts; the exit status is that of diff(1).
 * Gotcha: exit 1 means only that they differ, so every error must be 2 here.
 */
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { diffDomains, differencesText, diffText } from '../inspect/diff.js'
import { diffKernels } from '../inspect/diff-kernels.js'
import { nameDifferences } from '../inspect/name-differences.js'
import { type Command, Refused, UsageError } from './command.js'
import { TROUBLE } from './exit-status.js'
import { openAny } from './input.js'
import type { Progress } from './progress.js'
import { symbolsOf, symbolsOption } from './symbols-option.js'

/** An error must say which of the two files is refused. */
async function open(name: string, progress: Progress): ReturnType<typeof openAny> {
  try {
    return await openAny(name, progress)
  } catch (error) {
    if (!(error instanceof DomainBuilderError) || error.code === 'cannot-read') throw error
    throw new DomainBuilderError(error.code, `${name}: ${error.message}`, { cause: error })
  }
}

export const command: Command = {
  usage: 'diff A B [--symbols FILE]',
  help: `Says what differs between two snapshots: registers, fields of the boot structures, regions, page-table entries, pages; or between two kernels: headers, notes, setup header, segments. Exit status 0: no difference; 1: a difference; 2: an error.`,
  options: symbolsOption,
  operands: [
    { name: 'A', file: true },
    { name: 'B', file: true },
  ],
  examples: ['diff guest.img other.img', 'diff guest.img other.img --json', 'diff vmlinuz vmlinuz'],
  errorStatus: TROUBLE,
  async run({ values, positionals, progress, answer }) {
    const [a = '', b = ''] = positionals
    const [x, y] = [await open(a, progress), await open(b, progress)]
    if ('domain' in x && 'domain' in y) {
      const found = diffDomains(x.domain, y.domain, { onProgress: (part) => progress.say('comparing', part) })
      const isSame = found.fields.length + found.pages.length === 0
      const named = async ({ domain }: { domain: Domain }) => ({
        domain,
        symbols: isSame ? undefined : await symbolsOf(values, domain, progress),
      })
      const diff = nameDifferences(found, await named(x), await named(y))
      progress.end()
      answer('guest-diff', { json: () => diff, text: () => diffText(diff) })
      if (!isSame) throw new Refused()
    } else if ('kernel' in x && 'kernel' in y) {
      const fields = diffKernels(x.kernel, y.kernel)
      progress.end()
      answer('kernel-diff', { json: () => ({ fields }), text: () => differencesText(fields) })
      if (fields.length > 0) throw new Refused()
    } else {
      const what = (one: typeof x): string => ('domain' in one ? 'a snapshot' : 'a kernel')
      throw new UsageError(`diff compares two snapshots or two kernels; ${a} is ${what(x)}, ${b} ${what(y)}`)
    }
  },
}
