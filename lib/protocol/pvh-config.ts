/**
 * What a PVH guest can be asked for beside the common words, checked.
 *
 * Source: docs/misc/pvh.pandoc; the words are the command line's.
 * Gotcha: the platform decides what else is in the machine: Xen's has special pages and no I/O APIC, a VMM's is a PC.
 */
import { DomainBuilderError } from '../errors.js'
import { ACPI_PROFILES, type AcpiProfile } from '../guest/acpi.js'

import { checkedInteger, type Paddr, type Range } from '../units.js'
import type { CommonConfig } from './config.js'

export const PVH_PLATFORMS = ['xen', 'pc'] as const
/** Who will run a PVH guest: Xen, or a VMM that is a PC. */
export type PvhPlatform = (typeof PVH_PLATFORMS)[number]

/** What a PVH guest is given besides; addresses are bytes. */
export interface PvhConfig extends CommonConfig {
  /** Who will run the guest: Xen (default), or a VMM that enters kernels at PHYS32_ENTRY. */
  readonly platform?: PvhPlatform
  /** Default: what the platform has. `none`: no tables, and a guest that finds one vcpu. */
  readonly acpi?: AcpiProfile | 'none'
  /** Version of hvm_start_info. 0 has no memory map. Default 1. */
  readonly startInfoVersion?: 0 | 1
  /** Where the kernel is loaded, if its PHYS32_RELOC allows. Default: where it is linked, or the next address that will do. */
  readonly loadAddress?: Paddr
  /** Physical ranges that the guest is told to leave alone; nothing is placed there. */
  readonly reserve?: readonly Range<Paddr>[]
}

/** The same with its defaults filled. */
export interface PvhOptions {
  readonly platform: PvhPlatform
  readonly acpi: AcpiProfile | 'none'
  readonly startInfoVersion: 0 | 1
  readonly loadAddress: Paddr | undefined
  readonly reserve: readonly Range<Paddr>[]
}

function oneOf<const T extends string | number>(value: unknown, what: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value)
  if (found !== undefined) return found
  throw new DomainBuilderError('bad-config', `${what} cannot be used`, {
    expected: allowed.join(' or '),
    found: `'${String(value)}'`,
  })
}

/** @throws DomainBuilderError `bad-config`. */
export function checkPvh(config: PvhConfig): PvhOptions {
  const { platform: given = 'xen', reserve = [], loadAddress } = config
  const platform = oneOf(given, 'platform', PVH_PLATFORMS)
  return {
    platform,
    acpi: oneOf(config.acpi ?? platform, 'acpi', [...ACPI_PROFILES, 'none']),
    startInfoVersion: oneOf(config.startInfoVersion ?? 1, 'startInfoVersion', [0, 1]),
    loadAddress: loadAddress === undefined ? undefined : checkedInteger(loadAddress, 'loadAddress', 0, 2 ** 32 - 1),
    reserve,
  }
}
