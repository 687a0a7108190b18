/**
 * The configuration of a PVH guest, checked.
 *
 * Source: docs/misc/pvh.pandoc; the keys are the command line's options.
 * Gotcha: the platform decides the rest of the machine: Xen's has special pages and no I/O APIC, a VMM's is a PC.
 */
import { ACPI_PROFILES, type AcpiProfile } from '../guest/acpi.js'
import type { MemoryMap } from '../guest/memory-map.js'
import type { Purpose } from '../guest/purpose.js'
import { checkedInteger, type Paddr, type Range } from '../units.js'
import type { CommonConfig, CommonOptions } from './common-config.js'
import {
  badConfig,
  checkedChoice,
  checkedRange,
  checkedRanges,
  type KeysOf,
  keysOf,
  optional,
  type Words,
} from './config-values.js'
import { PVH_PLATFORMS, type PvhPlatform, platformMap } from './pvh-platform.js'

/**
 * A PVH guest; addresses are bytes.
 *
 * @example
 * ```ts
 * const config: PvhConfig = { type: 'pvh', memory: 512 * 2 ** 20, vcpus: 2, purpose: 'vmm', acpi: 'reduced' }
 * ```
 */
export type PvhConfig = CommonConfig & {
  readonly type: 'pvh'
  /** Default: the profile of the platform. `none`: no tables, so the guest finds one vcpu. */
  readonly acpi?: AcpiProfile | 'none'
  /** Version of hvm_start_info. 0 has no memory map. Default 1. */
  readonly startInfoVersion?: 0 | 1
  /** The load address, if PHYS32_RELOC allows it. Default: the link address, or the next one that is allowed. */
  readonly loadAddress?: Paddr
  /** Physical ranges that the guest is told to leave alone, at most 1024; nothing is placed there. */
  readonly reserve?: readonly Range<Paddr>[]
} & (
    | {
        /** The machine that the guest finds: Xen's, or a PC. Default `pc` for a guest whose purpose is `vmm`, else `xen`. */
        readonly platform?: 'xen'
      }
    | { readonly platform?: 'pc'; readonly purpose?: 'vmm' }
  )

export type PvhKey = Exclude<KeysOf<PvhConfig>, keyof CommonConfig | 'type'>
export const PVH_KEYS = keysOf<PvhKey>({
  platform: true,
  acpi: true,
  startInfoVersion: true,
  loadAddress: true,
  reserve: true,
})

/** The checked configuration, with defaults filled in; values to be chosen later are undefined. */
export interface PvhOptions extends CommonOptions {
  readonly type: 'pvh'
  readonly purpose: Purpose
  readonly platform: PvhPlatform
  readonly acpi: AcpiProfile | 'none'
  readonly startInfoVersion: 0 | 1
  readonly loadAddress: Paddr | undefined
  /** The machine's memory, without the reserved ranges. */
  readonly map: MemoryMap
}

/** @throws DomainBuilderError `bad-config`, `overlap` for ranges that share an address. */
export function checkPvh(common: CommonOptions, words: Words<PvhKey>): PvhOptions {
  const { purpose = words.platform === 'pc' ? 'vmm' : 'create' } = common
  const { platform = purpose === 'vmm' ? 'pc' : 'xen', startInfoVersion = 1, reserve = [] } = words
  const machine = checkedChoice(platform, 'platform', PVH_PLATFORMS)
  const { acpi = machine } = words
  if (machine === 'pc' && purpose !== 'vmm') {
    throw badConfig(
      'platform pc is invalid for a guest that Xen starts',
      "platform 'xen', or purpose 'vmm'",
      `purpose '${purpose}'`,
    )
  }
  return {
    ...common,
    type: 'pvh',
    purpose,
    platform: machine,
    acpi: checkedChoice(acpi, 'acpi', [...ACPI_PROFILES, 'none']),
    startInfoVersion: checkedChoice(startInfoVersion, 'startInfoVersion', [0, 1]),
    loadAddress: optional(words.loadAddress, (at) => checkedInteger(at, 'loadAddress', 0, 2 ** 32 - 1)),
    map: platformMap(machine, common.memory, checkedRanges(reserve, 'reserve', checkedRange)),
  }
}
