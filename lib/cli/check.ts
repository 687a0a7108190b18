/**
 * check FILE: whether a kernel can boot as pv, pvh, linux, or a snapshot is sound. If not, the cause.
 *
 * Source: ../kernel/verdict.ts; ../inspect/validate.ts.
 * Gotcha: exit 0 if the kernel can boot as the requested type; without --type, if `auto` would choose a type. The
 * verdicts are the answer and go to standard output.
 */
import type { Domain } from '../guest/domain.js'
import { describeNotes, notesText } from '../inspect/describe.js'
import { describeVerdict, verdictText } from '../inspect/describe-verdicts.js'
import { readPages, soundText } from '../inspect/soundness.js'
import type { Kernel } from '../kernel/kernel.js'
import { bootVerdict, bootVerdicts, VERDICT_TYPES, type VerdictType } from '../kernel/verdict.js'
import { type Command, type Invocation, oneOf, Refused, UsageError } from './command.js'
import { openAny } from './input.js'
import { reportViolations } from './validate.js'

export const command: Command = {
  usage: 'check FILE [--type TYPE]',
  help: `Says how a kernel can boot: the entry and what it needs for each type, or the reason why it cannot. Lists every note.
For a snapshot, reads every page. For a PV guest, also says whether Xen would accept the page tables.`,
  options: {
    type: {
      type: 'string',
      value: 'TYPE',
      choices: VERDICT_TYPES,
      help: 'the only type that counts for a kernel (default: any type)',
    },
  },
  operands: [{ name: 'FILE', file: true, elsewhere: ['kernel'] }],
  examples: ['check vmlinuz', 'check vmlinuz --type pvh', 'check guest.img'],
  async run(invocation) {
    const type = oneOf(invocation.values, 'type', VERDICT_TYPES)
    const [name] = invocation.positionals
    const found = await openAny(name as string, invocation.progress)
    if ('kernel' in found) return checkKernel(found.kernel, type, invocation)
    if (type !== undefined) throw new UsageError(`--type is for a kernel; ${name} is a snapshot`)
    return checkDomain(found.domain, invocation)
  },
}

function checkKernel(kernel: Kernel, type: VerdictType | undefined, { progress, answer }: Invocation): void {
  progress.end()
  const verdicts = type === undefined ? bootVerdicts(kernel) : [bootVerdict(kernel, type)]
  answer('verdicts', {
    json: () => ({ verdicts: verdicts.map(describeVerdict), ...describeNotes(kernel) }),
    text: () => [...verdictText(verdicts), ...notesText(kernel)],
  })
  if (!verdicts.some(({ ok }) => ok)) throw new Refused()
}

/** Opening checked everything except the pages; reading each one shows that the file has them. */
async function checkDomain(domain: Domain, invocation: Invocation): Promise<void> {
  const { progress, answer } = invocation
  const bytes = await readPages(domain, { onProgress: (part) => progress.say('reading', part) })
  if (domain.type === 'pv') return reportViolations(domain, invocation)
  progress.end()
  answer('violations', { json: () => ({ violations: [] }), text: () => soundText(domain, bytes) })
}
