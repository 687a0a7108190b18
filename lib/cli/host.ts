/**
 * The Xen host that a command works on, and the domains that its user names.
 *
 * Source: ../live/open-xen.ts; libxl_utils.c of Xen, libxl_domain_qualifier_to_domid: a number is an id.
 * Gotcha: the part of the library for a Xen host is loaded only when it is used. Every other command works anywhere.
 */
import { DomainBuilderError } from '../errors.js'
import type { LiveXen } from '../live/open-xen.js'
import { badConfig } from '../protocol/config-values.js'
import type { DomainInfo, Hypervisor } from '../toolstack/hypervisor.js'
import { domainNamed, nameOf } from '../toolstack/store-nodes.js'

/** Opens the Xen below for some work, and closes it. @throws DomainBuilderError `no-hypervisor` */
export async function withXen<T>(work: (xen: LiveXen) => Promise<T>): Promise<T> {
  const { openXen } = await import('../live/open-xen.js')
  const xen = await openXen()
  try {
    return await work(xen)
  } finally {
    await xen.close()
  }
}

/**
 * Returns the domain of a name or a number, and its name: its number if it has none.
 * @param done what is to happen to it, such as `destroyed`.
 * @throws DomainBuilderError `no-domain`; `bad-config` for dom0, in which this program runs.
 */
export async function findGuest(
  xen: Hypervisor,
  given: string,
  done: string,
): Promise<{ readonly info: DomainInfo; readonly name: string }> {
  const domid = /^\d{1,5}$/.test(given) ? Number(given) : await domainNamed(xen.store, given)
  if (domid === 0) throw badConfig(`dom0 cannot be ${done}`, 'another domain', `'${given}'`)
  const info = domid === undefined ? undefined : await xen.domainInfo(domid)
  if (info === undefined || info.dying) {
    throw new DomainBuilderError('no-domain', `the domain '${given}' ${info ? 'is being destroyed' : 'does not exist'}`)
  }
  return { info, name: (await nameOf(xen.store, info.domid)) ?? `${info.domid}` }
}

/** The operand of a command that works on a domain. */
export const domainOperand = { name: 'DOMAIN' } as const
