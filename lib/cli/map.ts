/**
 * map SNAPSHOT: the layout of a guest, physical and virtual, and where its boot information came from.
 *
 * Source: ../inspect/map.ts.
 * Gotcha: --at explains one virtual address: every entry on its way through the page tables.
 */
import { describeMap, mapText, walkText } from '../inspect/map.js'
import { type Command, text, UsageError } from './command.js'
import { openDomain } from './input.js'

export const command: Command = {
  usage: 'map SNAPSHOT [--at VADDR]',
  help: 'Shows the layout of a guest: physical memory, virtual memory as its page tables have it, start_info.',
  options: {
    at: { type: 'string', value: 'VADDR', help: 'the walk of one virtual address, each entry explained' },
  },
  operands: [1, 1],
  async run({ values, positionals, json, print, progress }) {
    const at = text(values, 'at')
    if (at !== undefined && !/^0x[0-9a-f]{1,16}$/i.test(at)) throw new UsageError(`--at is a hex address; not '${at}'`)
    const domain = await openDomain(positionals[0] as string, progress)
    progress.end()
    const walk = at === undefined ? undefined : walkText(domain, BigInt(at))
    if (json) print(JSON.stringify(walk ?? describeMap(domain), null, 2))
    else print(...(walk ?? mapText(domain)))
  },
}
