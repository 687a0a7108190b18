/**
 * diff A B: the differences between two snapshots, of any formats, or between two kernels.
 *
 * Source: ../inspect/diff.ts, ../inspect/diff-kernels.ts, ../snapshot/delta.ts; the exit status is that of diff(1).
 * Gotcha: exit 1 means only that they differ, so every error must be 2 here.
 */
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { diffDomains, differencesText, diffText } from '../inspect/diff.js'
import { diffKernels } from '../inspect/diff-kernels.js'
import { nameDifferences } from '../inspect/name-differences.js'
import { writeDeltaFile } from '../node/snapshot-files.js'
import { type Delta, writeDelta } from '../snapshot/delta.js'
import { showSize } from '../units.js'
import type { Part } from '../work.js'
import { type Command, Refused, text, UsageError } from './command.js'
import { TROUBLE } from './exit-status.js'
import { inputNames, notWritten, takeStandardOutput, writeStandardOutput } from './files.js'
import { openAny } from './input.js'
import type { Progress } from './progress.js'
import { stoppable } from './stoppable.js'
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

/** Writes the delta of two guests to a file, or to standard output. */
async function saveDelta(base: Domain, guest: Domain, output: string, progress: Progress): Promise<Delta> {
  const onProgress = (part: Part) => progress.say('comparing', part)
  if (output !== '-') {
    return stoppable(notWritten([output]), (signal) =>
      writeDeltaFile(base, guest, output, { keep: inputNames(), signal, onProgress }),
    )
  }
  const delta = await writeDelta(base, guest, { onProgress })
  await writeStandardOutput(delta.file)
  return delta
}

export const command: Command = {
  usage: 'diff A B [--save DELTA] [--symbols FILE]',
  help: `Says what differs between two snapshots: registers, fields of the boot structures, regions, page-table entries, pages; or between two kernels: headers, notes, setup header, segments. Exit status 0: no difference; 1: a difference; 2: an error.
With --save, writes the difference between two snapshots instead. Every command takes A+DELTA in place of a snapshot, which is the guest B; A may be in any format. Deltas that follow one another are A+DELTA+DELTA: diff A A+DELTA+DELTA --save merges them, and diff C A+DELTA --save makes a delta for another base.`,
  options: {
    save: {
      type: 'string',
      value: 'DELTA',
      help: 'writes the pages and the state that B does not share with A; - is standard output, and .gz compresses',
    },
    ...symbolsOption,
  },
  operands: [
    { name: 'A', file: true },
    { name: 'B', file: true },
  ],
  examples: [
    'diff guest.img other.img',
    'diff guest.img other.img --json',
    'diff vmlinuz vmlinuz',
    'diff guest.img other.img --save other.delta',
  ],
  errorStatus: TROUBLE,
  async run({ values, positionals, progress, json, answer }) {
    const [a = '', b = ''] = positionals
    const save = text(values, 'save')
    if (save !== undefined) takeStandardOutput(save, 'a delta', json)
    const [x, y] = [await open(a, progress), await open(b, progress)]
    if ('domain' in x && 'domain' in y && save !== undefined) {
      const { file, pages, ...identities } = await saveDelta(x.domain, y.domain, save, progress)
      progress.end()
      if (save === '-') return
      answer('delta', {
        json: () => ({ output: save, bytes: file.size, ...identities, pages }),
        text: () => [
          `${save}: ${showSize(file.size)}; pages: ${pages.own} own, ${pages.moved} moved, ${pages.same} same, ${pages.zero} zero`,
        ],
      })
    } else if ('domain' in x && 'domain' in y) {
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
      if (save !== undefined) throw new UsageError('--save is for two snapshots; these are kernels')
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
