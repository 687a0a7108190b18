/**
 * buildDomain: Kernel + configuration -> Domain, by the boot convention asked for or the one that fits best.
 *
 * Source: xl.cfg(5), "type"; each convention has one file in this directory.
 * Gotcha: nothing is written: the Domain is a description, and its bytes are computed when they are read.
 */
import { DomainBuilderError, type ErrorCode } from '../errors.js'
import type { Domain, LinuxBoot, PvBoot, PvhBoot } from '../guest/domain.js'
import type { Purpose } from '../guest/purpose.js'
import type { Kernel } from '../kernel/kernel.js'
import { bootVerdicts, VERDICT_TYPES, type Verdict, type VerdictType } from '../kernel/verdict.js'
import { type AutoConfig, checkConfig, type DomainConfig, optionsOf } from './config.js'
import { buildLinux } from './linux.js'
import type { LinuxConfig } from './linux-config.js'
import type { PvConfig, PvOptions } from './pv-config.js'
import { buildPvh } from './pvh.js'
import type { PvhConfig, PvhOptions } from './pvh-config.js'
import { buildPvhDom0 } from './pvh-dom0.js'
import { withToolstack } from './toolstack-config.js'
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
  const options = asked.type === 'auto' ? optionsOf(bestType(kernel, asked.purpose), asked) : asked
  if (options.type === 'linux') return buildLinux(kernel, options)
  return withToolstack(buildForXen(kernel, options), options.toolstack)
}

function buildForXen(kernel: Kernel, options: PvOptions | PvhOptions): Domain<PvBoot> | Domain<PvhBoot> {
  if (options.type === 'pv') return buildPv(kernel, options)
  return options.dom0 ? buildPvhDom0(kernel, options) : buildPvh(kernel, options)
}

/** The types that suit each purpose, best first. */
const BEST: Readonly<Record<Purpose, readonly VerdictType[]>> = {
  create: ['pv', 'pvh'],
  restore: ['pv', 'pvh'],
  vmm: ['pvh', 'linux', 'pv'],
}

/** The codes of a kernel that does not claim a type. */
const NOT_CLAIMED: readonly ErrorCode[] = ['not-xen-pv', 'not-pvh', 'not-linux']

/**
 * Returns the best type that the kernel can boot as, or one that it claims in vain, whose builder reports why it fails.
 * @throws DomainBuilderError with every reason, if it claims none.
 */
export function bestType(kernel: Kernel, purpose: Purpose | undefined): VerdictType {
  const verdicts = bootVerdicts(kernel)
  const order = purpose === undefined ? VERDICT_TYPES : BEST[purpose]
  const suitable = order.flatMap((type) => verdicts.filter((verdict) => verdict.type === type))
  const refusals = suitable.filter((verdict) => !verdict.ok)
  const found = suitable.find(({ ok }) => ok) ?? refusals.find(({ code }) => !NOT_CLAIMED.includes(code))
  if (found !== undefined) return found.type
  // Each order has a type, and here each type was refused.
  const [first] = refusals as [Refusal, ...Refusal[]]
  const reasons = refusals.map(({ type, reason }) => `${type}: ${reason}`).join('; ')
  throw new DomainBuilderError(first.code, `no type suits the kernel: ${reasons}`)
}

type Refusal = Verdict & { readonly ok: false }
