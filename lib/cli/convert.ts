/**
 * convert SNAPSHOT -o OUT: one snapshot format into another.
 *
 * Source: ../snapshot/open.ts, ./output.ts.
 * Gotcha: the format comes from --format, else from the extension of the output's name.
 */
import type { Command } from './command.js'
import { openDomain } from './input.js'
import { outputOptions, readDestination, writeDestination } from './output.js'

export const command: Command = {
  usage: 'convert SNAPSHOT -o OUT [--format FORMAT]',
  help: 'Writes a snapshot in another format; memory and vcpus stay what they are.',
  options: outputOptions,
  operands: [{ name: 'SNAPSHOT', file: true }],
  examples: ['convert guest.img -o guest.xl', 'convert guest.img -o guest.core'],
  async run({ values, positionals, progress, answer }) {
    const destination = readDestination('convert', values)
    const domain = await openDomain(positionals[0] as string, progress)
    await writeDestination(domain, destination, progress)
    progress.end()
    const { output, format } = destination
    if (output === '-') return
    answer(
      'convert',
      () => ({ output, format }),
      () => [],
    )
  },
}
