/**
 * inspect FILE: what a kernel or a snapshot holds.
 *
 * Source: ../inspect/describe.ts.
 * Gotcha: it says what the file claims; whether a kernel can boot is the business of `check`.
 */
import { describeDomain, describeKernel, domainText, kernelText } from '../inspect/describe.js'
import type { Command } from './command.js'
import { openAny } from './input.js'

export const command: Command = {
  usage: 'inspect FILE',
  help: 'Says what a kernel or a snapshot holds: container, codec, ELF segments and notes; regions, vcpus, boot information.',
  options: {},
  operands: [{ name: 'FILE', file: true }],
  async run({ positionals, json, print, progress }) {
    const found = await openAny(positionals[0] as string, progress)
    progress.end()
    if ('kernel' in found) {
      if (json) print(JSON.stringify(describeKernel(found.kernel), null, 2))
      else print(...kernelText(found.kernel))
      return
    }
    if (json) print(JSON.stringify(describeDomain(found.domain), null, 2))
    else print(...domainText(found.domain))
  },
}
