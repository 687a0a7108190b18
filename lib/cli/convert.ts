/**
 * convert SNAPSHOT -o OUT: one snapshot format into another.
 *
 * Source: ../snapshot/open.ts, ./output.ts.
 * Gotcha: without --format the output's name must say what it is to be: there is no default.
 */
import { type Command, text, UsageError } from './command.js'
import { openDomain } from './input.js'
import { compressionOf, compressOption, ENDINGS, FORMATS, filesOf, formatByName, writeSnapshot } from './output.js'

export const command: Command = {
  usage: 'convert SNAPSHOT -o OUT [--format FORMAT]',
  help: 'Writes a snapshot in another format; memory and vcpus stay what they are.',
  options: {
    output: { type: 'string', short: 'o', value: 'FILE', help: '- for standard output; raw writes FILE and FILE.json' },
    format: {
      type: 'string',
      value: 'FORMAT',
      choices: FORMATS,
      help: `(default by OUT's ending: ${ENDINGS})`,
    },
    compress: compressOption,
  },
  operands: [1, 1],
  async run({ values, positionals, json, print, progress }) {
    const output = text(values, 'output')
    if (!output) throw new UsageError('convert needs -o FILE')
    const given = text(values, 'format')
    const format = given === undefined ? formatByName(output) : FORMATS.find((f) => f === given)
    if (!format) throw new UsageError(`--format is ${FORMATS.join(', ')}; not '${given ?? ''}'`)
    if (output === '-' && filesOf(format) > 1)
      throw new UsageError(`${format} is ${filesOf(format)} files: -o needs a name`)
    const compress = compressionOf(text(values, 'compress'), format, output)
    const domain = await openDomain(positionals[0] as string, progress)
    await writeSnapshot(domain, format, output, progress, compress)
    progress.end()
    if (json && output !== '-') print(JSON.stringify({ output, format }, null, 2))
  },
}
