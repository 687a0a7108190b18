/**
 * The options that only a PVH guest has.
 *
 * Source: ../protocol/pvh-config.ts has their meanings.
 * Gotcha: --load-address and --reserve are defined with those of the Linux boot protocol, and mean the same here.
 */
import { defined } from '../defined.js'
import { ACPI_PROFILES } from '../guest/acpi.js'
import type { PvhConfig } from '../protocol/pvh-config.js'
import { PVH_PLATFORMS } from '../protocol/pvh-platform.js'
import { type Options, oneOf, type Values } from './command.js'

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
  const version = oneOf(values, 'start-info', pvhOptions['start-info'].choices)
  return defined({
    platform: oneOf(values, 'platform', PVH_PLATFORMS),
    acpi: oneOf(values, 'acpi', ACPI),
    startInfoVersion: version && (version === '0' ? 0 : 1),
  })
}
