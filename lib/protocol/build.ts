/**
 * buildDomain: Kernel + configuration -> Domain, by whichever boot convention is asked for or fits best.
 *
 * Source: xl.cfg(5), "type"; the conventions are one file each beside this one.
 * Gotcha: nothing is written anywhere: the Domain is a description whose bytes appear when they are read.
 */
import { DomainBuilderError } from '../errors.js'
import type { Domain, LinuxBoot, PvBoot } from '../guest/domain.js'
import type { Kernel } from '../kernel/kernel.js'
import type { DomainConfig } from './config.js'
import { buildLinux } from './linux.js'
import { buildPv } from './xen-pv.js'

/**
 * Builds a guest.
 * @throws DomainBuilderError when the kernel cannot be started that way, or the configuration does not suit it.
 */
export function buildDomain(kernel: Kernel, config: DomainConfig & { readonly type: 'pv' }): Domain<PvBoot>
export function buildDomain(kernel: Kernel, config: DomainConfig & { readonly type: 'linux' }): Domain<LinuxBoot>
export function buildDomain(kernel: Kernel, config: DomainConfig): Domain
export function buildDomain(kernel: Kernel, config: DomainConfig): Domain {
  const { type = 'auto' } = config
  if (type === 'linux') return buildLinux(kernel, config)
  if (type === 'pv' || type === 'auto') return buildPv(kernel, config)
  throw new DomainBuilderError('bad-config', 'type cannot be built', {
    expected: 'pv, linux or auto',
    found: `'${String(type)}'`,
  })
}
