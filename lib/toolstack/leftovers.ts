/**
 * Leftovers: domains that a process began to make, and did not finish because it was killed.
 *
 * Source: our own design: a node of xenstore names the process before the domain exists, and goes when it runs.
 * Gotcha: a domain is found by its uuid, which Xen keeps from its first moment on. It may have no nodes yet.
 */
import type { Hypervisor } from './hypervisor.js'
import { removeDomain } from './live-domain.js'

/** The nodes: uuid -> process. */
const CREATING = '/tool/xen-domain-builder/creating'

/** Notes that this process makes a domain of that uuid. */
export async function noteCreation({ store, process }: Hypervisor, uuid: string): Promise<void> {
  await store.write(`${CREATING}/${uuid}`, process)
}

/** Forgets the note, and the folder of notes with the last one. */
export async function forgetCreation({ store }: Hypervisor, uuid: string): Promise<void> {
  await removeWithParents(store, `${CREATING}/${uuid}`)
}

/** Removes a node, and each node above it that has become empty. */
export async function removeWithParents(store: Hypervisor['store'], path: string): Promise<void> {
  await store.transaction(async (nodes) => {
    await nodes.remove(path)
    for (let at = parentOf(path); at !== '/tool'; at = parentOf(at)) {
      if ((await nodes.list(at)).length > 0) return
      await nodes.remove(at)
    }
  })
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/'))

/**
 * Destroys the domains that processes which no longer run left half made. A domain that was started stays.
 * @returns the numbers of the domains.
 */
export async function removeHalfMade(xen: Hypervisor): Promise<number[]> {
  const { store } = xen
  const removed: number[] = []
  for (const uuid of await store.list(CREATING)) {
    const process = await store.read(`${CREATING}/${uuid}`)
    if (process === undefined || (await xen.isRunning(process))) continue
    for (const info of await xen.listDomains()) {
      if (info.uuid !== uuid || !info.paused || info.domid === 0) continue
      await removeDomain(xen, info.domid, uuid)
      removed.push(info.domid)
    }
    await forgetCreation(xen, uuid)
  }
  return removed
}
