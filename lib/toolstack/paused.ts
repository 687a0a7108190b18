/**
 * Pauses on record: domains that a process stops for a while, so that a process which dies leaves none stopped.
 *
 * Source: our own design: a node of xenstore names the process before the domain stops, and goes when it runs again.
 * Gotcha: Xen counts pauses, so every stop has a separate node, and several processes may stop a domain at once.
 */
import { logLive } from '../log.js'
import type { Domid } from './answer.js'
import type { DomainInfo, Hypervisor } from './hypervisor.js'
import { removeWithParents } from './leftovers.js'
import { endSuspend, requestSuspend, type SuspendOptions, untilSuspended } from './suspend.js'

/** The nodes: domid, number -> how, uuid, process. */
const PAUSED = '/tool/xen-domain-builder/paused'

/** How a domain is stopped: by a pause, or by the guest itself, which is asked for it, and then a pause. */
type How = 'pause' | 'suspend'
/** The same of a guest that has suspended itself. */
const SUSPENDED = 'suspended'

/** A stop on record. */
interface Stop {
  /** Lets the guest suspend itself, and returns when it has. */
  suspend(options: SuspendOptions, signal: AbortSignal | undefined): Promise<void>
  /** Pauses the domain. */
  pause(): Promise<void>
  /** Lets the domain go on, if anything has stopped it. */
  goOn(): Promise<void>
  /** Removes the record, once the domain goes on. */
  forget(): Promise<void>
}

/** Records that this process is about to stop a domain, before it does. */
export async function recordStop(xen: Hypervisor, { domid, uuid }: DomainInfo, how: How): Promise<Stop> {
  const node = await xen.store.transaction(async (nodes) => {
    const taken = await nodes.list(`${PAUSED}/${domid}`)
    let free = 0
    while (taken.includes(String(free))) free++
    const path = `${PAUSED}/${domid}/${free}`
    await nodes.write(`${path}/process`, xen.process)
    await nodes.write(`${path}/uuid`, uuid)
    await nodes.write(`${path}/how`, how)
    return path
  })
  let isAsked = false
  let hasSuspended = false
  let isPaused = false
  return {
    async suspend(options, signal) {
      await requestSuspend(xen, domid)
      isAsked = true
      await untilSuspended(xen, domid, options, signal)
      await xen.store.write(`${node}/how`, SUSPENDED)
      hasSuspended = true
    },
    async pause() {
      await xen.pauseDomain(domid)
      isPaused = true
    },
    async goOn() {
      if (isPaused) await unpause(xen, domid, uuid)
      if (isAsked) await endSuspend(xen, { domid, uuid }, hasSuspended)
    },
    forget: () => removeWithParents(xen.store, node),
  }
}

/** Unpauses a domain unless it is gone. A second try is worth it: a guest that stays paused is lost to its users. */
async function unpause(xen: Hypervisor, domid: Domid, uuid: string): Promise<void> {
  try {
    await xen.unpauseDomain(domid)
  } catch {
    const info = await xen.domainInfo(domid)
    if (isSame(info, uuid) && info.paused) await xen.unpauseDomain(domid)
  }
}

/** Whether a domain is the one that was stopped: its number may belong to another one by now. */
const isSame = (info: DomainInfo | undefined, uuid: string | undefined): info is DomainInfo =>
  info !== undefined && !info.dying && info.uuid === uuid

/**
 * Lets those domains go on that processes which no longer run have left stopped.
 * @returns the numbers of the domains.
 */
export async function unpauseLeft(xen: Hypervisor): Promise<Domid[]> {
  const { store } = xen
  const left: Domid[] = []
  for (const entry of await store.list(PAUSED)) {
    const domid = Number(entry)
    for (const number of await store.list(`${PAUSED}/${entry}`)) {
      const node = `${PAUSED}/${entry}/${number}`
      const process = await store.read(`${node}/process`)
      if (process !== undefined && (await xen.isRunning(process))) continue
      const info = await xen.domainInfo(domid)
      if (isSame(info, await store.read(`${node}/uuid`))) {
        logLive('domain %d was left stopped by process %s', domid, process)
        if (info.paused) await xen.unpauseDomain(domid)
        const how = await store.read(`${node}/how`)
        if (how !== 'pause') await endSuspend(xen, info, how === SUSPENDED)
        left.push(domid)
      }
      await removeWithParents(store, node)
    }
  }
  return left
}
