/**
 * openXen: the Xen below this dom0, as a Hypervisor.
 *
 * Source: our own; the files next to this one name theirs.
 * Gotcha: it is made of requests that change the host. Nothing here undoes one; the callers in lib/toolstack do.
 */
import type { Hypervisor } from '../toolstack/hypervisor.js'
import { domainMethods } from './domains.js'
import { Hypercalls } from './hypercalls.js'
import { memoryMethods } from './memory.js'
import { openNative } from './native.js'
import { isRunning, ownProcess } from './process-name.js'
import { stateMethods } from './state.js'
import { setUserdata, userdata } from './userdata.js'
import { openXenStore } from './xenstore-socket.js'

/** The Xen below this dom0. */
export interface LiveXen extends Hypervisor {
  /** Closes the connections to Xen and xenstore. Domains stay as they are. */
  close(): Promise<void>
}

/**
 * Opens the Xen below this dom0: its libraries, with koffi, and xenstore. It needs the rights of root.
 * @throws DomainBuilderError `no-hypervisor`: one line with the first thing that is missing.
 */
export async function openXen(): Promise<LiveXen> {
  const native = await openNative()
  try {
    const xen = new Hypercalls(native)
    const methods = {
      ...domainMethods(xen),
      ...memoryMethods(xen),
      ...stateMethods(xen),
      isRunning,
      setUserdata,
      userdata,
    }
    const store = await openXenStore()
    return {
      ...methods,
      release: xen.release,
      process: ownProcess(),
      store,
      async close() {
        store.close()
        await xen.close()
      },
    }
  } catch (error) {
    await native.close()
    throw error
  }
}
