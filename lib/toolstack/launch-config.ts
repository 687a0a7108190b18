/**
 * The configuration of a guest that is made on a hypervisor: that of a builder, without the parts that the hypervisor
 * decides.
 *
 * Source: ../protocol/config.ts.
 * Gotcha: the release is that of the hypervisor, and the purpose is always to create the guest.
 */
import type { AutoConfig } from '../protocol/config.js'
import { badConfig } from '../protocol/config-values.js'
import type { PvConfig } from '../protocol/pv-config.js'
import type { PvhConfig } from '../protocol/pvh-config.js'
import { shown } from '../units.js'

/** The keys that the hypervisor decides, or that make another kind of guest. */
const DECIDED = [
  'p2m',
  'sharedInfoMfn',
  'storeEvtchn',
  'consoleEvtchn',
  'storeDomid',
  'consoleDomid',
  'lowMfn',
  'purpose',
  'xen',
  'dom0',
  'platform',
  'startInfoVersion',
] as const
type Decided = (typeof DECIDED)[number]

type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> & { readonly [P in K]?: never } : never

/**
 * A guest that `launch` makes: a `PvConfig`, `PvhConfig` or `AutoConfig` without the values that the hypervisor decides.
 *
 * @example
 * ```ts
 * const config: LaunchConfig = { type: 'pvh', memory: 256 * 2 ** 20, vcpus: 2, cmdline: 'console=hvc0', name: 'web' }
 * ```
 */
export type LaunchConfig = Without<PvConfig, Decided> | Without<PvhConfig, Decided> | Without<AutoConfig, Decided>

/** @throws DomainBuilderError `bad-config` for a key that the hypervisor decides, and for a type that it does not run. */
export function requireLaunchable(config: LaunchConfig): void {
  const given = config as { readonly [K in Decided | 'type']?: unknown }
  const decided = DECIDED.find((key) => given[key] !== undefined)
  if (decided !== undefined)
    throw badConfig(`${decided} is decided by the hypervisor`, 'no such key', shown(given[decided]))
  if (given.type === 'linux') throw badConfig('type linux is not supported on Xen', 'pv, pvh or auto', shown('linux'))
}
