/**
 * convert SNAPSHOT -o OUT: one snapshot format into another.
 *
 * Source: ../snapshot/open.ts, ./output.ts.
 * Gotcha: the format comes from --format, else from the ending of the output's name.
 */
import { type Command, text, UsageError } from './command.js'
import { openDomain } from './input.js'
import { compressionOf, compressOption, FORMATS, filesOf, formatFor, formatOption, writeSnapshot } from './output.js'
import { takeStandardOutput } from './printer.js'

export const command: Command = {
  usage: 'convert SNAPSHOT -o OUT [--format FORMAT]',
  help: 'Writes a snapshot in another format; memory and vcpus stay what they are.',
  options: {
    output: { type: 'string', short: 'o', value: 'FILE', help: '- for standard output; raw writes FILE and FILE.json' },
    format: formatOption(),
    compress: compressOption,
  },
  operands: [{ name: 'SNAPSHOT', file: true }],
  examples: ['convert guest.img -o guest.xl', 'convert guest.img -o guest.core'],
  async run({ values, positionals, json, progress, answer }) {
    const output = text(values, 'output')
    if (!output) throw new UsageError('convert needs -o FILE')
    const format = formatFor(values, output)
    if (!format)
      throw new UsageError(`the name '${output}' does not say the format: give --format (${FORMATS.join(', ')})`)
    if (output === '-' && filesOf(format) > 1)
      throw new UsageError(`${format} is ${filesOf(format)} files: -o needs a name`)
    const compress = compressionOf(text(values, 'compress'), format, output)
    takeStandardOutput(output, 'a snapshot', json)
    const domain = await openDomain(positionals[0] as string, progress)
    await writeSnapshot(domain, format, output, progress, compress)
    progress.end()
    if (output === '-') return
    answer(
      'convert',
      () => ({ output, format }),
      () => [],
    )
  },
}
