/**
 * inspect FILE: the content of a kernel or a snapshot.
 *
 * Source: ../inspect/describe.ts.
 * Gotcha: it shows the file's claims only; `check` decides whether a kernel can boot.
 */
import { describeDomain, describeKernel, domainText, kernelText } from '../inspect/describe.js'
import type { Command } from './command.js'
import { openAny } from './input.js'

export const command: Command = {
  usage: 'inspect FILE',
  help: 'Says what a kernel or a snapshot holds: container, codec, ELF segments and notes; regions, vcpus, boot information.',
  options: {},
  operands: [{ name: 'FILE', file: true }],
  examples: ['inspect vmlinuz', 'inspect guest.img', 'inspect guest.img --json'],
  async run({ positionals, progress, answer }) {
    const found = await openAny(positionals[0] as string, progress)
    progress.end()
    if ('kernel' in found) {
      const { kernel } = found
      answer('kernel', { json: () => describeKernel(kernel), text: () => kernelText(kernel) })
    } else {
      const { domain } = found
      answer('guest', { json: () => describeDomain(domain), text: () => domainText(domain) })
    }
  },
}
