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
  async run({ values, positionals, json, print, progress }) {
    const destination = readDestination('convert', values)
    const domain = await openDomain(positionals[0] as string, progress)
    await writeDestination(domain, destination, progress)
    progress.end()
    const { output, format } = destination
    if (json && output !== '-') print(JSON.stringify({ output, format }, null, 2))
  },
}
