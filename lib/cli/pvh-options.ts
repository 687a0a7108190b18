/**
 * The options of a PVH guest that no other has.
 *
 * Source: ../protocol/pvh-config.ts has their meanings.
 * Gotcha: --load-address and --reserve are among those of the Linux boot protocol, and mean the same here.
 */
import type { ParseArgsConfig } from 'node:util'
import { ACPI_PROFILES } from '../guest/acpi.js'
import { PVH_PLATFORMS, type PvhConfig } from '../protocol/pvh-config.js'
import { oneOf, text, type Values } from './command.js'

export const ACPI = [...ACPI_PROFILES, 'none'] as const

export const pvhOptions = {
  platform: { type: 'string' },
  acpi: { type: 'string' },
  'start-info': { type: 'string' },
} as const satisfies ParseArgsConfig['options']

/** What of a configuration these options say. */
export function readPvh(values: Values): Partial<PvhConfig> {
  const given = (name: string) => text(values, name) !== undefined
  return {
    ...(given('platform') ? { platform: oneOf(values, 'platform', PVH_PLATFORMS, 'xen') } : {}),
    ...(given('acpi') ? { acpi: oneOf(values, 'acpi', ACPI, 'none') } : {}),
    ...(given('start-info') ? { startInfoVersion: oneOf(values, 'start-info', ['0', '1'], '1') === '0' ? 0 : 1 } : {}),
  }
}
