/**
 * destroy DOMAIN: ends a domain at once, and removes all that belongs to it.
 *
 * Source: xl(1), "destroy"; ../toolstack/live-domain.ts.
 * Gotcha: a backend or a QEMU has to be told before its domain ends, and only xl does that.
 */
import { badConfig } from '../protocol/config-values.js'
import { removeDomain } from '../toolstack/live-domain.js'
import { devicesOf } from '../toolstack/store-nodes.js'
import type { Command } from './command.js'
import { domainOperand, findGuest, withXen } from './host.js'

export const command: Command = {
  usage: 'destroy DOMAIN',
  help: `Ends a domain at once, as if its power failed, and removes all that belongs to it. DOMAIN is a name or a number.
A domain with disks, network cards or a QEMU is refused: xl destroy ends it.`,
  options: {},
  operands: [domainOperand],
  examples: ['destroy web', 'destroy 2'],
  async run({ positionals, answer }) {
    const given = positionals[0] as string
    const { domid, name } = await withXen(async (xen) => {
      const { info, name } = await findGuest(xen, given, 'destroyed')
      const devices = await devicesOf(xen.store, info.domid)
      if (devices.length > 0) {
        const found = devices.join(', ')
        throw badConfig(`the domain '${given}' has devices: use xl destroy`, 'a domain without devices', found)
      }
      await removeDomain(xen, info.domid, info.uuid)
      return { domid: info.domid, name }
    })
    answer('destroy', { json: () => ({ domid, name }) })
  },
}
