/**
 * capture DOMAIN -o FILE: a snapshot of a domain that runs, which goes on.
 *
 * Source: ./captured.ts, ./output.ts.
 * Gotcha: only a guest that has suspended itself can be restored, so an xl file needs a guest that answers.
 */
import { captureDomain } from './captured.js'
import type { Command } from './command.js'
import { domainOperand } from './host.js'
import { outputOptions, readDestination, writeDestination } from './output.js'

export const command: Command = {
  usage: 'capture DOMAIN -o FILE [--format FORMAT]',
  help: `Writes a snapshot of a domain that runs. DOMAIN is a name or a number. The guest stands still while its memory is copied, and then goes on.
For format xl the guest suspends itself, as for xl save. For other formats it is paused, and does not notice.`,
  options: outputOptions,
  operands: [domainOperand],
  examples: ['capture web -o web.core', 'capture web -o web.xl', 'capture 2 -o db.img'],
  async run({ values, positionals, progress, answer }) {
    const destination = readDestination('capture', values)
    const { output, format } = destination
    const { domain, domid, name, pausedMs, xen } = await captureDomain(
      positionals[0] as string,
      progress,
      format === 'xl',
    )
    await writeDestination(domain, { ...destination, xen }, progress)
    progress.end()
    if (output === '-') return
    answer('capture', { json: () => ({ output, format, domid, name, pausedMs }) })
  },
}
