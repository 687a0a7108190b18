/**
 * check KERNEL: can it boot as pv, pvh, linux, and if not, the one cause.
 *
 * Source: ../kernel/verdict.ts.
 * Gotcha: exit 0 if it can, as the type asked for or as any; the verdicts are the answer and go to standard output.
 */
import { describeNote, notesText } from '../inspect/describe.js'
import { describeVerdict, verdictText } from '../inspect/describe-verdicts.js'
import { bootVerdicts, VERDICT_TYPES } from '../kernel/verdict.js'
import { type Command, Refused, text, UsageError } from './command.js'
import { openKernel } from './input.js'

export const command: Command = {
  usage: 'check KERNEL [--type TYPE]',
  help: 'Says how a kernel can boot: the entry and what it needs for each type, or the one cause why not. Lists every note.',
  options: {
    type: {
      type: 'string',
      value: 'TYPE',
      choices: VERDICT_TYPES,
      help: 'only this one counts (default: any of them)',
    },
  },
  operands: [1, 1],
  async run({ values, positionals, json, print, progress }) {
    const type = text(values, 'type')
    if (type !== undefined && !VERDICT_TYPES.some((known) => known === type)) {
      throw new UsageError(`--type is ${VERDICT_TYPES.join(', ')}; not '${type}'`)
    }
    const kernel = await openKernel(positionals[0] as string, progress)
    progress.end()
    const verdicts = bootVerdicts(kernel).filter((verdict) => type === undefined || verdict.type === type)
    if (json) {
      const said = { kind: 'check', verdicts: verdicts.map(describeVerdict), notes: kernel.notes.map(describeNote) }
      print(JSON.stringify(said, null, 2))
    } else {
      print(...verdictText(verdicts), ...notesText(kernel.notes))
    }
    if (!verdicts.some(({ ok }) => ok)) throw new Refused()
  },
}
