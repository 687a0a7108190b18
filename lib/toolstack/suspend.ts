/**
 * Suspending a guest, and letting it go on as if nothing had happened.
 *
 * Source: Xen docs/misc/xenstore-paths.pandoc (control/shutdown); tools/libs/light/libxl_dom_suspend.c and
 * tools/libs/guest/xg_resume.c for the order of the steps and the return value (the facts, not the code).
 * Gotcha: a suspended guest learns by the return value of its hypercall what happened: 0, it was restored into a new
 * domain; 1, it goes on in the old one (SUSPEND_CANCEL). As xl does, we assume that it understands 1.
 */
import { HVM_PARAM } from '../abi/hvm-params.js'
import { SHUTDOWN } from '../abi/hypercall.js'
import { VcpuGuestContext32, VcpuGuestContext64 } from '../abi/vcpu-context.js'
import { DomainBuilderError } from '../errors.js'
import { pvContextBytes } from '../guest/pv-context.js'
import { badConfig } from '../protocol/config-values.js'
import type { Domid } from './answer.js'
import type { DomainInfo, Hypervisor } from './hypervisor.js'
import type { XenStore } from './xen-store.js'

/** The word in control/shutdown. A guest that has seen it empties the node. */
const SUSPEND = 'suspend'
/** Milliseconds between two looks at a guest that is to suspend. */
const LOOK_EVERY = 10
/** Milliseconds that a guest has by default, as with xl. */
const SUSPEND_LIMIT = 60_000
/** Milliseconds that a guest has which has taken a request and is not waited for any more. */
const TAKEN_LIMIT = 10_000

const shutdownNode = (domid: Domid): string => `/local/domain/${domid}/control/shutdown`

/** The options for suspending a guest. */
export interface SuspendOptions {
  /** The time that the guest has for it, in milliseconds. Default 60,000. */
  readonly limit?: number
}

/** Returns whether a guest has drivers of Xen, which have to stop before it can be restored. */
export async function hasPvDrivers(xen: Hypervisor, { domid, hvm }: DomainInfo): Promise<boolean> {
  // Every kernel with such drivers sets it, to get events.
  return !hvm || Boolean(await xen.hvmParam(domid, HVM_PARAM.CALLBACK_IRQ))
}

/** @throws DomainBuilderError `bad-config` for a guest that cannot suspend itself now. */
export function requireSuspendable({ domid, paused, shutdown }: DomainInfo): void {
  if (paused) throw badConfig(`domain ${domid} is paused and cannot suspend itself`, 'a domain that runs', 'a pause')
  if (shutdown !== undefined) throw badConfig(`domain ${domid} has stopped`, 'a domain that runs', 'a shutdown')
}

/** Asks a guest to suspend itself. endSuspend() must follow in any case. */
export const requestSuspend = async ({ store }: Hypervisor, domid: Domid): Promise<void> =>
  store.write(shutdownNode(domid), SUSPEND)

/**
 * Waits until a guest has suspended itself.
 * @throws DomainBuilderError `hypercall-failed` for a guest that does not within the limit, `no-domain` for one that ends;
 *   the signal's reason.
 */
export async function untilSuspended(
  xen: Hypervisor,
  domid: Domid,
  { limit = SUSPEND_LIMIT }: SuspendOptions,
  signal: AbortSignal | undefined,
): Promise<void> {
  const end = performance.now() + limit
  while (!(await isSuspended(xen, domid))) {
    signal?.throwIfAborted()
    if (performance.now() >= end) throw tooLate(domid, limit)
    await nextLook()
  }
}

async function isSuspended(xen: Hypervisor, domid: Domid): Promise<boolean> {
  const info = await xen.domainInfo(domid)
  if (info === undefined || (info.shutdown !== undefined && info.shutdown !== SHUTDOWN.suspend)) {
    throw new DomainBuilderError('no-domain', `domain ${domid} has ended instead of suspending itself`)
  }
  return info.shutdown === SHUTDOWN.suspend
}

const tooLate = (domid: Domid, limit: number): DomainBuilderError =>
  new DomainBuilderError('hypercall-failed', `domain ${domid} has not suspended itself`, {
    expected: `a guest that answers to control/shutdown within ${limit / 1000} s`,
    found: 'no answer',
  })

/** Withdraws a request. Returns false if the guest has taken it, and is going to suspend. */
function withdraw(store: XenStore, domid: Domid): Promise<boolean> {
  return store.transaction(async (nodes) => {
    if ((await nodes.read(shutdownNode(domid))) !== SUSPEND) return false
    await nodes.write(shutdownNode(domid), '')
    return true
  })
}

/**
 * Lets a guest go on that was asked to suspend itself: withdraws the request if the guest has not taken it, else waits
 * for it to suspend, at most 10 s.
 * @param hasSuspended whether it is known to have suspended: if it runs, another process has let it go on.
 */
export async function endSuspend(
  xen: Hypervisor,
  { domid, uuid }: Pick<DomainInfo, 'domid' | 'uuid'>,
  hasSuspended: boolean,
): Promise<void> {
  const end = performance.now() + (hasSuspended ? 0 : TAKEN_LIMIT)
  for (;;) {
    const info = await xen.domainInfo(domid)
    if (info === undefined || info.dying || info.uuid !== uuid) return
    if (info.shutdown !== undefined) return info.shutdown === SHUTDOWN.suspend ? resume(xen, domid) : undefined
    if ((await withdraw(xen.store, domid)) || performance.now() >= end) return
    await nextLook()
  }
}

const nextLook = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, LOOK_EVERY))

async function resume(xen: Hypervisor, domid: Domid): Promise<void> {
  const context = await xen.vcpuContext(domid, 0)
  if (context !== undefined) await xen.setVcpuContext(domid, 0, cancelled(context))
  await xen.resumeDomain(domid)
  await xen.store.resume(domid)
}

/** Returns the context of a vcpu whose hypercall returns 1. */
function cancelled(context: Uint8Array): Uint8Array {
  const is64 = context.length === pvContextBytes('x86_64')
  const at = is64 ? VcpuGuestContext64.offsetOf('user_regs.rax') : VcpuGuestContext32.offsetOf('user_regs.eax')
  const changed = context.slice()
  changed.fill(0, at, at + (is64 ? 8 : 4))
  changed[at] = 1
  return changed
}
