/**
 * convert SNAPSHOT -o OUT: one snapshot format into another.
 *
 * Source: ../snapshot/open.ts, ./output.ts.
 * Gotcha: the format comes from --format, else from the output's name: .img raw, .xl xl, .core elf-core, .kexec kexec.
 */
import { type Command, oneOf, text, UsageError } from './command.js'
import { openDomain } from './input.js'
import { compressionOf, compressOption, FORMATS, type Format, filesOf, writeSnapshot } from './output.js'

const BY_NAME: Readonly<Record<string, Format>> = { img: 'raw', xl: 'xl', save: 'xl', core: 'elf-core', kexec: 'kexec' }

function byName(output: string): Format {
  const ending = /\.([a-z]+)(?:\.gz)?$/.exec(output)?.[1] ?? ''
  const format = Object.hasOwn(BY_NAME, ending) ? BY_NAME[ending] : undefined
  if (!format)
    throw new UsageError(`the name '${output}' does not say the format: give --format (${FORMATS.join(', ')})`)
  return format
}

export const command: Command = {
  usage: 'convert SNAPSHOT -o OUT [--format FORMAT]',
  help: 'Writes a snapshot in another format; memory and vcpus stay what they are.',
  options: {
    output: { type: 'string', short: 'o', value: 'FILE', help: '- for standard output; raw writes FILE and FILE.json' },
    format: {
      type: 'string',
      value: 'FORMAT',
      choices: FORMATS,
      help: `(default by OUT's ending: ${Object.entries(BY_NAME)
        .map(([ending, format]) => `.${ending} ${format}`)
        .join(', ')})`,
    },
    compress: compressOption,
  },
  operands: [{ name: 'SNAPSHOT', file: true }],
  async run({ values, positionals, json, print, progress }) {
    const output = text(values, 'output')
    if (!output) throw new UsageError('convert needs -o FILE')
    const format = text(values, 'format') === undefined ? byName(output) : oneOf(values, 'format', FORMATS, 'raw')
    if (output === '-' && filesOf(format) > 1)
      throw new UsageError(`${format} is ${filesOf(format)} files: -o needs a name`)
    const compress = compressionOf(text(values, 'compress'), format, output)
    const domain = await openDomain(positionals[0] as string, progress)
    await writeSnapshot(domain, format, output, progress, compress)
    progress.end()
    if (json && output !== '-') print(JSON.stringify({ output, format }, null, 2))
  },
}
