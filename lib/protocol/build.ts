/**
 * buildDomain: Kernel + configuration -> Domain, by the boot convention asked for or the one that fits best.
 *
 * Source: xl.cfg(5), "type"; each convention has one file in this directory.
 * Gotcha: nothing is written: the Domain is a description, and its bytes are computed when they are read.
 */
import type { Domain, LinuxBoot, PvBoot, PvhBoot } from '../guest/domain.js'
import type { Purpose } from '../guest/purpose.js'
import type { Kernel } from '../kernel/kernel.js'
import { linuxKernel } from '../kernel/linux-kernel.js'
import { bootVerdicts, VERDICT_TYPES, type VerdictType } from '../kernel/verdict.js'
import { type AutoConfig, checkConfig, type DomainConfig, optionsOf } from './config.js'
import { buildLinux } from './linux.js'
import type { LinuxConfig } from './linux-config.js'
import type { PvConfig } from './pv-config.js'
import { buildPvh } from './pvh.js'
import type { PvhConfig } from './pvh-config.js'
import { buildPv } from './xen-pv.js'

/**
 * Builds a guest. The configuration is checked as a whole before anything is built.
 *
 * @throws DomainBuilderError `bad-config` for an invalid key or value; other codes when the kernel cannot be started
 *   that way or the guest cannot be laid out as asked.
 *
 * @example
 * ```ts
 * const kernel = await readKernel(await readFile('vmlinuz'))
 * const guest = buildDomain(kernel, { type: 'pv', memory: 256 * 2 ** 20, cmdline: 'console=hvc0', purpose: 'restore' })
 * ```
 */
export function buildDomain(kernel: Kernel, config: PvConfig): Domain<PvBoot>
export function buildDomain(kernel: Kernel, config: PvhConfig): Domain<PvhBoot>
export function buildDomain(kernel: Kernel, config: LinuxConfig): Domain<LinuxBoot>
export function buildDomain(kernel: Kernel, config: AutoConfig): Domain<PvBoot | PvhBoot | LinuxBoot>
export function buildDomain(kernel: Kernel, config: DomainConfig): Domain<PvBoot | PvhBoot | LinuxBoot>
export function buildDomain(kernel: Kernel, config: DomainConfig): Domain<PvBoot | PvhBoot | LinuxBoot> {
  const asked = checkConfig(config)
  const options = asked.type === 'auto' ? optionsOf(best(kernel, asked.purpose), asked) : asked
  if (options.type === 'pv') return buildPv(kernel, options)
  return options.type === 'pvh' ? buildPvh(kernel, options) : buildLinux(kernel, options)
}

/** The types that suit each purpose, best first. */
const BEST: Readonly<Record<Purpose, readonly [VerdictType, ...VerdictType[]]>> = {
  create: ['pv', 'pvh'],
  restore: ['pv', 'pvh'],
  vmm: ['pvh', 'linux', 'pv'],
}

/**
 * Returns the best type that the kernel supports, or the first, whose builder reports why it fails. An ELF without a
 * sign of Linux is not started as Linux by default: most users of such files mean a PV guest.
 */
function best(kernel: Kernel, purpose: Purpose | undefined): VerdictType {
  const verdicts = bootVerdicts(kernel)
  const order = purpose === undefined ? VERDICT_TYPES : BEST[purpose]
  const isMeant = (type: VerdictType) => type !== 'linux' || linuxKernel(kernel).vmlinux?.saysLinux !== false
  return (
    order.find((type) => verdicts.some((verdict) => verdict.type === type && verdict.ok) && isMeant(type)) ?? order[0]
  )
}
