/**
 * LiveDomain: a domain that was launched, until it ends.
 *
 * Source: xen/include/public/sched.h (SHUTDOWN_*); tools/xl/xl_vmcontrol.c for xl's actions at the end of a domain.
 * Gotcha: nothing destroys a domain when its guest stops. `ended` does, so a program that makes domains awaits it.
 */
import { SHUTDOWN } from '../abi/hypercall.js'
import type { Domain, PvBoot, PvhBoot } from '../guest/domain.js'
import { logLive } from '../log.js'
import type { Domid } from './answer.js'
import type { DomainInfo, Hypervisor } from './hypervisor.js'
import type { EndAction, LiveSettings } from './live-settings.js'
import { forgetDomain } from './store-nodes.js'
import { untilSeen } from './until-seen.js'

/** Why a domain ended; `gone`: another program destroyed or moved it. */
export type EndReason = keyof typeof SHUTDOWN | 'gone'

/** The end of a domain. */
export interface Ending {
  readonly reason: EndReason
  /**
   * The action that its settings ask for (on_poweroff, on_reboot, on_crash, on_watchdog). `destroy` and `restart`: the
   * domain was removed; for `restart` the caller launches it again. `preserve`: it is left as it is.
   */
  readonly action: EndAction
}

/** A domain that was launched. */
export interface LiveDomain {
  readonly domid: Domid
  /** Its handle: 8-4-4-4-12 hexadecimal digits. */
  readonly uuid: string
  /** The guest as it was built: its first instant. */
  readonly domain: Domain<PvBoot> | Domain<PvhBoot>
  /**
   * Waits until the guest has ended, removes the domain unless its settings preserve it, and returns the reason. A guest
   * that is suspended has not ended: xl is saving it.
   * @throws the signal's reason: then the domain goes on.
   */
  ended(options?: { readonly signal?: AbortSignal }): Promise<Ending>
  /** Destroys the domain and removes all that belongs to it. Does nothing if it has ended. */
  destroy(): Promise<void>
}

const ACTIONS = {
  poweroff: 'onPoweroff',
  reboot: 'onReboot',
  crash: 'onCrash',
  watchdog: 'onWatchdog',
} as const satisfies Readonly<Record<string, keyof LiveSettings>>

const reasonOf = (shutdown: number): keyof typeof SHUTDOWN =>
  (Object.keys(SHUTDOWN) as (keyof typeof SHUTDOWN)[]).find((name) => SHUTDOWN[name] === shutdown) ?? 'crash'

/** Returns the domain, if it is still the same one. */
async function infoOf(xen: Hypervisor, domid: Domid, uuid: string): Promise<DomainInfo | undefined> {
  const info = await xen.domainInfo(domid)
  return info === undefined || info.uuid !== uuid || info.dying ? undefined : info
}

/** Removes a domain, its nodes and its files. */
export async function removeDomain(xen: Hypervisor, domid: Domid, uuid: string): Promise<void> {
  await xen.setUserdata(domid, uuid, 'libxl-json', undefined)
  await forgetDomain(xen.store, domid, uuid)
  await xen.destroyDomain(domid)
  // xenconsoled may have seen the new domain late, and have made its node for the terminal again.
  await forgetDomain(xen.store, domid, uuid)
}

/** Makes the handle of a domain that runs. */
export function liveDomain(
  xen: Hypervisor,
  { domid, uuid, domain }: Pick<LiveDomain, 'domid' | 'uuid' | 'domain'>,
  settings: LiveSettings,
): LiveDomain {
  const destroy = async (): Promise<void> => {
    if ((await infoOf(xen, domid, uuid)) !== undefined) await removeDomain(xen, domid, uuid)
  }
  return {
    domid,
    uuid,
    domain,
    destroy,
    ended: ({ signal } = {}) => endOf(xen, { domid, uuid }, settings, signal),
  }
}

/** Does what `LiveDomain.ended` says for a domain that another process may have launched. */
export async function endOf(
  xen: Hypervisor,
  { domid, uuid }: Pick<LiveDomain, 'domid' | 'uuid'>,
  settings: LiveSettings,
  signal?: AbortSignal,
): Promise<Ending> {
  const reason = await untilSeen(xen.store, '@releaseDomain', () => reasonToEnd(xen, domid, uuid), signal)
  const key = ACTIONS[reason as keyof typeof ACTIONS]
  const action: EndAction = key === undefined ? 'destroy' : settings[key]
  logLive('domain %d ended: %s, %s', domid, reason, action)
  if (reason !== 'gone' && action !== 'preserve') await removeDomain(xen, domid, uuid)
  return { reason, action }
}

/** Returns why a domain has stopped or is gone; undefined while it goes on. */
async function reasonToEnd(xen: Hypervisor, domid: Domid, uuid: string): Promise<EndReason | undefined> {
  const info = await infoOf(xen, domid, uuid)
  if (info === undefined) return 'gone'
  return info.shutdown === undefined || info.shutdown === SHUTDOWN.suspend ? undefined : reasonOf(info.shutdown)
}
