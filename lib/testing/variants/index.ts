/**
 * bootInfoVariants: the machines that a kernel must survive, made from one configuration.
 *
 * Source: the specifications that each variant names.
 * Gotcha: a variant that a kernel declares to be impossible is in the list as well; building it is refused.
 */
import { DomainBuilderError } from '../../errors.js'
import type { Domain } from '../../guest/domain.js'
import { inRealMode } from '../../guest/vcpu.js'
import type { Kernel } from '../../kernel/kernel.js'
import { buildDomain } from '../../protocol/build.js'
import type { DomainConfig } from '../../protocol/config.js'
import type { LinuxConfig } from '../../protocol/linux-config.js'
import type { PvConfig } from '../../protocol/pv-config.js'
import type { PvhConfig } from '../../protocol/pvh-config.js'
import { LINUX_VARIANTS } from './linux-variants.js'
import { PV_VARIANTS } from './pv-variants.js'
import { PVH_VARIANTS } from './pvh-variants.js'
import type { BootInfoVariant, VariantRule } from './variant.js'

export type { BootInfoVariant } from './variant.js'

/**
 * Returns every legal but unusual boot information of the configuration's type, except those that would be equal to
 * what the configuration asks for. Nothing is built until build() is called.
 * @throws DomainBuilderError `bad-config` for a dom0; the errors of buildDomain() for the configuration itself.
 * @example
 * ```ts
 * for (const { name, build } of bootInfoVariants(kernel, { type: 'pvh', memory: 64 * 2 ** 20 })) {
 *   await writeSnapshotFile(build(), `${name}.qs`, { format: 'qemu-stream' })
 * }
 * ```
 */
export function bootInfoVariants(kernel: Kernel, config: DomainConfig): BootInfoVariant[] {
  const domain = buildDomain(kernel, config)
  const own = { ...config, type: domain.type } as PvConfig | PvhConfig | LinuxConfig
  if (own.type !== 'linux' && own.dom0 !== undefined) {
    throw new DomainBuilderError('bad-config', 'variants of a dom0 are not supported', { expected: 'no dom0' })
  }
  if (own.type === 'pvh') return variantsOf(PVH_VARIANTS, kernel, own)
  if (own.type === 'pv') return variantsOf(PV_VARIANTS, kernel, own)
  return variantsOf(LINUX_VARIANTS, kernel, own, { ...own, entry: entryOf(domain) })
}

/** Returns the width of the code at the first instruction. */
const entryOf = ({ abi, vcpus: [first] }: Domain): 16 | 32 | 64 =>
  first !== undefined && inRealMode(first) ? 16 : abi === 'x86_64' ? 64 : 32

/** @param known the configuration with its defaults, as far as a rule depends on them. */
function variantsOf<C extends DomainConfig>(
  rules: readonly VariantRule<C>[],
  kernel: Kernel,
  config: C,
  known = config,
): BootInfoVariant[] {
  return rules
    .filter(({ differs }) => differs?.(known, kernel) ?? true)
    .map(({ name, rule, source, make }) => ({ name, rule, source, build: () => make(kernel, config) }))
}
