/**
 * diff A B: what differs between two snapshots, of whatever formats.
 *
 * Source: ../inspect/diff.ts; the exit code is that of diff(1).
 * Gotcha: exit 1 says that they differ, as it says everywhere that the answer is no.
 */
import { diffDomains, diffText } from '../inspect/diff.js'
import { type Command, Refused } from './command.js'
import { openDomain } from './input.js'

export const command: Command = {
  usage: 'diff A B',
  help: 'Says what differs between two snapshots: registers, start_info, pages. Exit code 0: nothing; 1: something.',
  options: {},
  operands: [2, 2],
  async run({ positionals, json, print, progress }) {
    const [a = '', b = ''] = positionals
    const diff = diffDomains(await openDomain(a, progress), await openDomain(b, progress))
    progress.end()
    if (json) print(JSON.stringify(diff, null, 2))
    else if (diff.fields.length + diff.pages.length > 0) print(...diffText(diff))
    if (diff.fields.length + diff.pages.length > 0) throw new Refused()
  },
}
