/**
 * stats SNAPSHOT: the pages of a guest in numbers.
 *
 * Source: ../inspect/stats.ts.
 * Gotcha: all of the guest's content is read.
 */
import { guestStats, statsText } from '../inspect/stats.js'
import type { Command } from './command.js'
import { openDomain } from './input.js'

export const command: Command = {
  usage: 'stats SNAPSHOT',
  help: `Counts the pages of a guest, by region: holes, zeros, pages equal to an earlier one, and unique pages. Says how much information their bytes have, and how well a sample of them compresses.`,
  options: {},
  operands: [{ name: 'SNAPSHOT', file: true }],
  examples: ['stats guest.img', 'stats guest.img --json'],
  async run({ positionals, progress, answer }) {
    const domain = await openDomain(positionals[0] as string, progress)
    const stats = await guestStats(domain, { onProgress: (part) => progress.say('counting', part) })
    progress.end()
    answer('stats', { json: () => stats, text: () => statsText(domain, stats) })
  },
}
