/**
 * create KERNEL|CFG: launches a domain on the Xen below, as `xl create` does.
 *
 * Source: xl(1), "create"; ../toolstack/launch.ts.
 * Gotcha: the guest starts only when its console is open and its watcher runs, so no output and no end is missed.
 */
import type { Duplex } from 'node:stream'
import { defined } from '../defined.js'
import type { Hypervisor } from '../toolstack/hypervisor.js'
import type { LiveDomain } from '../toolstack/live-domain.js'
import { attach } from './attach.js'
import { type Command, type Invocation, UsageError } from './command.js'
import { kernelOperand, remarksOn } from './guest-options.js'
import { withXen } from './host.js'
import { describeLaunch, type LaunchDescription, launchDescribed, launchOptions } from './launch-options.js'
import { stoppable } from './stoppable.js'
import { startWatcher, watchDomain } from './watcher.js'

export const command: Command = {
  usage: 'create [KERNEL|CFG] [--config FILE] [options]',
  help: `Creates a domain on this Xen host from a kernel or an xl.cfg, and lets it run.
A process in the background waits for its end, and removes the domain or creates it again, as its on_poweroff, on_reboot, on_crash and on_watchdog ask.`,
  options: {
    console: {
      type: 'boolean',
      short: 'c',
      help: "attaches to the guest's console; Ctrl-] leaves it, and the guest goes on",
    },
    foreground: { type: 'boolean', short: 'F', help: 'waits for the end itself, instead of in the background' },
    paused: { type: 'boolean', short: 'p', help: 'leaves the guest paused, for xl unpause' },
    ...launchOptions,
  },
  operands: [kernelOperand],
  examples: ['create guest.cfg', 'create vmlinuz --name mine --ramdisk initrd.img --cmdline console=hvc0'],
  async run(invocation) {
    const { values, json, answer } = invocation
    if (json && values.console === true) {
      throw new UsageError("--console has no JSON answer: standard output is the guest's console")
    }
    const description = describeLaunch(invocation, 'create')
    await withXen(async (xen) => {
      const { live, console } = await start(xen, description, invocation)
      const { domid, uuid } = live
      const { name, type } = live.domain
      const { xlCfg, settings } = description
      answer('create', {
        json: () => defined({ domid, uuid, name, type, config: xlCfg && remarksOn(xlCfg) }),
        text: () => [`${name}: domain ${domid}, uuid ${uuid}`],
      })
      const isWatcher = values.foreground === true
      const outcome = `${name}: not ${isWatcher ? 'watched' : 'attached'} any more`
      await stoppable(outcome, (signal) =>
        both(
          console && attach(console, signal),
          isWatcher ? watchDomain(xen, { name, domid, uuid, settings }, invocation, signal) : undefined,
        ),
      )
    })
  },
}

/** Waits for both, also if one fails: the terminal is as it was before the process ends. */
async function both(...work: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find(({ status }) => status === 'rejected')
  if (failed?.status === 'rejected') throw failed.reason
}

/** Launches the guest, opens its console, starts its watcher, and lets it run. A failure undoes all of it. */
function start(
  xen: Hypervisor,
  description: LaunchDescription,
  invocation: Invocation,
): Promise<{ live: LiveDomain; console: Duplex | undefined }> {
  const { values } = invocation
  return stoppable(`${description.config.name ?? description.kernel}: not created`, async (signal) => {
    const live = await launchDescribed(xen, description, invocation, { signal, paused: true })
    try {
      const console = values.console === true ? await openConsole(xen, live, signal) : undefined
      if (values.foreground !== true) await startWatcher(live.domain.name, live.domid, invocation)
      signal.throwIfAborted()
      if (values.paused !== true) await xen.unpauseDomain(live.domid)
      return { live, console }
    } catch (error) {
      await live.destroy()
      throw error
    }
  })
}

async function openConsole(xen: Hypervisor, { domid }: LiveDomain, signal: AbortSignal): Promise<Duplex> {
  return (await import('../live/console.js')).openConsole(xen, domid, { signal })
}
