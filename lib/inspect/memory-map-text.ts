/**
 * A memory map for people, from any structure.
 *
 * Source: ACPI specification 6.5, chapter 15: e820 and hvm_start_info number types alike.
 * Gotcha: a guest may be told anything; an unknown type is shown as its number.
 */
import { E820_TYPE } from '../abi/boot-params.js'
import { hex, showSize } from '../units.js'
import { table } from './table.js'

const NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(E820_TYPE).map(([name, type]) => [type, name.toLowerCase()]),
)

export function memoryMapText(
  entries: readonly { readonly addr: bigint; readonly size: bigint; readonly type: number }[],
): string[] {
  const rows = entries.map(({ addr, size, type }) => [
    hex(addr, 9),
    hex(addr + size, 9),
    showSize(Number(size)),
    NAMES[type] ?? `type ${type}`,
  ])
  return ['memory map', ...table(['start', 'end', '>size', 'type'], rows), '']
}
