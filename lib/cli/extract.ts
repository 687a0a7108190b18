/**
 * extract KERNEL -o FILE: the ELF from a bzImage or a compressed file, and the relocation table after it.
 *
 * Source: ../kernel/unwrap.ts: by payload_offset and the ELF's own headers, never by searching for magic numbers.
 * Gotcha: the ELF ends where its headers say. The bytes after it in the payload are the table, and belong to no ELF.
 */
import { DomainBuilderError } from '../errors.js'
import { splitPayload } from '../kernel/unwrap.js'
import { showSize } from '../units.js'
import { type Command, text, UsageError } from './command.js'
import { takeStandardOutput, writeBytes, writeStandardOutput } from './files.js'
import { openKernel } from './input.js'

export const command: Command = {
  usage: 'extract KERNEL -o FILE [--relocs FILE]',
  help: 'Writes the ELF that a bzImage, a UKI or a compressed file holds, byte for byte.',
  options: {
    output: { type: 'string', short: 'o', value: 'FILE', help: 'the ELF; - is standard output' },
    relocs: { type: 'string', value: 'FILE', help: 'the relocation table that follows it in a Linux payload' },
  },
  operands: [{ name: 'KERNEL', file: true, elsewhere: ['kernel'] }],
  examples: ['extract vmlinuz -o vmlinux', 'extract vmlinuz -o - | head -c 4'],
  async run({ values, positionals, json, progress, answer }) {
    const [name = ''] = positionals
    const output = text(values, 'output')
    const relocsOutput = text(values, 'relocs')
    if (!output) throw new UsageError('extract needs -o FILE')
    takeStandardOutput(output, 'an ELF', json)
    if (relocsOutput === output) throw new UsageError(`-o and --relocs are both '${output}'`)
    if (relocsOutput === '-') throw new UsageError('--relocs needs a name')
    const kernel = await openKernel(name, progress)
    if (kernel.fault !== undefined) throw kernel.fault
    if (kernel.elf === undefined) {
      throw new DomainBuilderError('not-a-kernel', `the ${kernel.container} holds no ELF`, {
        expected: 'one to extract',
      })
    }
    const { elf, relocs } = splitPayload(kernel.elf)
    if (relocsOutput !== undefined && relocs === undefined) {
      throw new DomainBuilderError('not-a-kernel', 'nothing follows the ELF', { expected: 'a relocation table' })
    }
    // Both files are written together, or neither.
    const files = [
      ...(output === '-' ? [] : [{ name: output, bytes: elf }]),
      ...(relocsOutput === undefined || relocs === undefined ? [] : [{ name: relocsOutput, bytes: relocs }]),
    ]
    await writeBytes(files)
    progress.end()
    if (output === '-') return writeStandardOutput([elf])
    const table = relocsOutput === undefined ? {} : { relocs: relocsOutput, relocsBytes: relocs?.length ?? 0 }
    answer('extract', {
      json: () => ({ output, bytes: elf.length, ...table }),
      text: () => files.map((file) => `${file.name}  ${showSize(file.bytes.length)}`),
    })
  },
}
