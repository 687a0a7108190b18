/**
 * A memory map for people, from any structure.
 *
 * Source: ACPI specification 6.5, chapter 15: e820 and hvm_start_info number types alike.
 * Gotcha: a guest may be told anything; an unknown type is shown as its number.
 */
import { E820_TYPE } from '../abi/boot-params.js'
import { hex, showSize } from '../units.js'
import { table } from './table.js'

const NAMES: ReadonlyMap<unknown, string> = new Map(
  Object.entries(E820_TYPE).map(([name, type]) => [type, name.toLowerCase()]),
)

/** Returns the name of a type, if it has one. */
export const memoryTypeName = (type: unknown): string | undefined => NAMES.get(type)

export function memoryMapText(
  entries: readonly { readonly addr: bigint; readonly size: bigint; readonly type: number }[],
): string[] {
  const rows = entries.map(({ addr, size, type }) => [
    hex(addr, 9),
    hex(addr + size, 9),
    showSize(Number(size)),
    memoryTypeName(type) ?? `type ${type}`,
  ])
  return ['memory map', ...table(['start', 'end', '>size', 'type'], rows), '']
}
