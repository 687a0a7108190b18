/**
 * The options that only a PVH guest has.
 *
 * Source: ../protocol/pvh-config.ts has their meanings.
 * Gotcha: --load-address and --reserve are defined with those of the Linux boot protocol, and mean the same here.
 */
import { ACPI_PROFILES } from '../guest/acpi.js'
import type { PvhConfig } from '../protocol/pvh-config.js'
import { PVH_PLATFORMS } from '../protocol/pvh-platform.js'
import { type Options, oneOf, text, type Values } from './command.js'

const ACPI = [...ACPI_PROFILES, 'none'] as const
const types = ['pvh'] as const

export const pvhOptions = {
  platform: {
    type: 'string',
    value: 'WHO',
    choices: PVH_PLATFORMS,
    help: 'the machine that the guest finds (default pc with --purpose vmm, else xen)',
    types,
  },
  acpi: { type: 'string', value: 'PROFILE', choices: ACPI, help: "(default: the platform's)", types },
  'start-info': {
    type: 'string',
    value: 'N',
    choices: ['0', '1'],
    help: 'version of hvm_start_info (default 1)',
    types,
  },
} as const satisfies Options

/** Returns the part of a configuration that these options set. */
export function readPvh(values: Values): Partial<PvhConfig> {
  const given = (name: string) => text(values, name) !== undefined
  return {
    ...(given('platform') ? { platform: oneOf(values, 'platform', PVH_PLATFORMS, 'xen') } : {}),
    ...(given('acpi') ? { acpi: oneOf(values, 'acpi', ACPI, 'none') } : {}),
    ...(given('start-info') ? { startInfoVersion: text(values, 'start-info') === '0' ? 0 : 1 } : {}),
  }
}
