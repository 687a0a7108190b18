/**
 * inspect FILE: the content of a kernel or a snapshot.
 *
 * Source: ../inspect/describe.ts.
 * Gotcha: it shows the file's claims only; `check` decides whether a kernel can boot.
 */
import { describeDomain, describeKernel, domainText, kernelText } from '../inspect/describe.js'
import type { Command } from './command.js'
import { openAny } from './input.js'
import { symbolsOf, symbolsOption } from './symbols-option.js'

export const command: Command = {
  usage: 'inspect FILE [--symbols FILE]',
  help: 'Says what a kernel or a snapshot holds: container, codec, ELF segments and notes; regions, vcpus, boot information.',
  options: symbolsOption,
  operands: [{ name: 'FILE', file: true }],
  examples: ['inspect vmlinuz', 'inspect guest.img', 'inspect guest.img --json'],
  async run({ values, positionals, progress, answer }) {
    const found = await openAny(positionals[0] as string, progress)
    if ('kernel' in found) {
      progress.end()
      const { kernel } = found
      answer('kernel', { json: () => describeKernel(kernel), text: () => kernelText(kernel) })
    } else {
      const { domain } = found
      const symbols = await symbolsOf(values, domain, progress)
      progress.end()
      answer('guest', { json: () => describeDomain(domain, symbols), text: () => domainText(domain, symbols) })
    }
  },
}
