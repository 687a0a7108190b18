/**
 * buildDomain: Kernel + configuration -> Domain, by whichever boot convention is asked for or fits best.
 *
 * Source: xl.cfg(5), "type"; the conventions are one file each beside this one.
 * Gotcha: nothing is written anywhere: the Domain is a description whose bytes appear when they are read.
 */
import { DomainBuilderError } from '../errors.js'
import type { Domain, LinuxBoot, PvBoot, PvhBoot } from '../guest/domain.js'
import type { Kernel } from '../kernel/kernel.js'
import { linuxKernel } from '../kernel/linux-kernel.js'
import { bootVerdicts, type VerdictType } from '../kernel/verdict.js'
import type { DomainConfig } from './config.js'
import { buildLinux } from './linux.js'
import { buildPvh } from './pvh.js'
import { buildPv } from './xen-pv.js'

/**
 * Builds a guest.
 * @throws DomainBuilderError when the kernel cannot be started that way, or the configuration does not suit it.
 */
export function buildDomain(kernel: Kernel, config: DomainConfig & { readonly type: 'pv' }): Domain<PvBoot>
export function buildDomain(kernel: Kernel, config: DomainConfig & { readonly type: 'pvh' }): Domain<PvhBoot>
export function buildDomain(kernel: Kernel, config: DomainConfig & { readonly type: 'linux' }): Domain<LinuxBoot>
export function buildDomain(kernel: Kernel, config: DomainConfig): Domain
export function buildDomain(kernel: Kernel, config: DomainConfig): Domain {
  if (typeof config !== 'object' || config === null) {
    throw new DomainBuilderError('bad-config', 'a guest has to be described', {
      expected: 'at least its memory',
      found: typeof config,
    })
  }
  const { type: asked = 'auto' } = config
  const type = asked === 'auto' ? best(kernel, config) : asked
  if (type === 'pv') return buildPv(kernel, config)
  if (type === 'pvh') return buildPvh(kernel, config)
  if (type === 'linux') return buildLinux(kernel, config)
  throw new DomainBuilderError('bad-config', 'type cannot be built', {
    expected: 'pv, pvh, linux or auto: an hvm guest starts in firmware',
    found: `'${String(type)}'`,
  })
}

/**
 * The first of VERDICT_TYPES that the kernel can be; a dom0 is PV. An ELF of which nothing speaks of Linux is not started
 * as one unasked: where it can be nothing else, it is refused as the PV guest that most users of such files mean.
 */
function best(kernel: Kernel, { dom0 }: DomainConfig): VerdictType {
  if (dom0 !== undefined) return 'pv'
  const found = bootVerdicts(kernel).find(({ ok }) => ok)?.type ?? 'pv'
  return found === 'linux' && linuxKernel(kernel).vmlinux?.saysLinux === false ? 'pv' : found
}
