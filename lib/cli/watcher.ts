/**
 * The watcher of a domain: it waits for the end, and does what the settings ask for. `create` starts it in the background.
 *
 * Source: tools/xl/xl_vmcontrol.c of Xen, whose `xl create` leaves such a process too (the facts, not the code).
 * Gotcha: a guest that stops stays in memory until its watcher removes it. Another watcher can take over at any time.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Domid } from '../toolstack/answer.js'
import type { Hypervisor } from '../toolstack/hypervisor.js'
import { type Ending, endOf } from '../toolstack/live-domain.js'
import type { LiveSettings } from '../toolstack/live-settings.js'
import type { Invocation, Values } from './command.js'
import { describeLaunch, launchDescribed, launchOptions } from './launch-options.js'
import { say } from './printer.js'

/** A domain, and the settings for its end. */
interface Watched {
  readonly name: string
  readonly domid: Domid
  readonly uuid: string
  readonly settings: LiveSettings
}

/**
 * Waits until a domain has ended for good, and launches it again as long as its settings ask for that.
 * @param invocation the description of the domain. Its files are read again for each launch.
 * @throws the signal's reason: then the domain goes on, without this watcher.
 */
export async function watchDomain(
  xen: Hypervisor,
  first: Watched,
  invocation: Pick<Invocation, 'values' | 'positionals' | 'progress'>,
  signal: AbortSignal,
): Promise<Ending> {
  const { name, uuid } = first
  for (let { domid, settings } = first; ; ) {
    const ending = await endOf(xen, { domid, uuid }, settings, signal)
    say(`${name}: domain ${domid} ${told(ending)}`)
    if (ending.action !== 'restart') return ending
    const description = describeLaunch(invocation, 'watch')
    settings = description.settings
    domid = (await launchDescribed(xen, description, invocation, { signal, uuid })).domid
    say(`${name}: domain ${domid} is its successor`)
  }
}

const told = ({ reason, action }: Ending): string => {
  if (reason === 'gone') return 'is gone'
  return `has ended (${reason}), and is ${action === 'preserve' ? 'left as it is' : 'removed'}`
}

/** The folder of xl's logs, in which a watcher writes its own. */
const LOGS = '/var/log/xen'

/** Opens the log of a watcher. Returns undefined on a host without that folder. */
function openLog(name: string): number | undefined {
  try {
    return openSync(`${LOGS}/xdb-${name.replace(/[^\w.-]/g, '_')}.log`, 'a', 0o640)
  } catch {
    return undefined
  }
}

/** Starts a watcher that goes on when this process has ended. Returns when it has been started. */
export async function startWatcher(
  name: string,
  domid: Domid,
  { values, positionals }: Pick<Invocation, 'values' | 'positionals'>,
): Promise<void> {
  const main = fileURLToPath(new URL('main.js', import.meta.url))
  const log = openLog(name)
  try {
    const stdio = log ?? 'ignore'
    const words = ['watch', ...wordsOf(values), '--', String(domid), ...positionals]
    const watcher = spawn(process.execPath, [...process.execArgv, main, ...words], {
      detached: true,
      stdio: ['ignore', stdio, stdio],
    })
    await new Promise((resolve, reject) => watcher.once('spawn', resolve).once('error', reject))
    watcher.unref()
  } finally {
    if (log !== undefined) closeSync(log)
  }
}

/** Returns the options that describe a domain, as they are typed. */
function wordsOf(values: Values): string[] {
  return Object.keys(launchOptions).flatMap((name) => {
    const value = values[name]
    return value === undefined ? [] : [value].flat().map((one) => `--${name}=${one}`)
  })
}
