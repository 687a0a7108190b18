/**
 * watch DOMAIN: waits for the end of a domain that create made, as the process does that create leaves.
 *
 * Source: ./watcher.ts.
 * Gotcha: the description of the domain is that of create, since a guest that restarts is launched from it.
 */
import type { Command } from './command.js'
import { kernelOperand } from './guest-options.js'
import { domainOperand, findGuest, withXen } from './host.js'
import { describeLaunch, launchOptions } from './launch-options.js'
import { stoppable } from './stoppable.js'
import { watchDomain } from './watcher.js'

export const command: Command = {
  usage: 'watch DOMAIN [KERNEL|CFG] [--config FILE] [options]',
  help: `Waits until a domain has ended, and removes it or creates it again, as its on_poweroff, on_reboot, on_crash and on_watchdog ask.
create starts this in the background; it is for a domain whose watcher was killed. The words after DOMAIN are those of create.`,
  options: launchOptions,
  operands: [domainOperand, kernelOperand],
  examples: ['watch web guest.cfg'],
  async run({ values, positionals, progress, answer }) {
    const [given = '', ...kernel] = positionals
    const description = { values, positionals: kernel, progress }
    const { settings } = describeLaunch(description, 'watch')
    const { reason, action } = await withXen(async (xen) => {
      const { info, name } = await findGuest(xen, given, 'watched')
      const watched = { name, domid: info.domid, uuid: info.uuid, settings }
      return stoppable(`${name}: not watched any more`, (signal) => watchDomain(xen, watched, description, signal))
    })
    answer('watch', { json: () => ({ reason, action }) })
  },
}
