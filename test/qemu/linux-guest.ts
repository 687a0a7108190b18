/**
 * A Linux guest in QEMU: what it says of itself, and what it should.
 *
 * Source: test/qemu/init, whose lines begin with GUEST-; Linux's own lines of its memory map.
 * Gotcha: a guest that has another start in its place shares its console with it.
 */
import { type Domain, type Kernel, readBootParams } from '../../lib/index.js'

/** What the init of a guest said, each time it did. */
export const guestSaid = (output: string, what: string): string[] =>
  [...output.matchAll(new RegExp(`GUEST-${what} (.*?)\\r?\\n`, 'g'))].map((m) => m[1] ?? '')

/** The map in boot_params, as Linux prints it. */
export function e820Lines(domain: Domain): string[] {
  const digits = (value: bigint): string => value.toString(16).padStart(16, '0')
  const { e820_table, e820_entries } = readBootParams(domain)
  return e820_table
    .slice(0, e820_entries)
    .map(
      ({ addr, size, type }) =>
        `[mem 0x${digits(addr)}-0x${digits(addr + size - 1n)}] ${type === 1 ? 'usable' : 'reserved'}`,
    )
}

/** The vmlinux alone, as if it had been linked to be position independent. */
export function asDyn(kernel: Kernel): Uint8Array {
  const { bytes = new Uint8Array(0), end = 0 } = kernel.elf ?? {}
  const elf = bytes.slice(0, end)
  elf[16] = 3 // e_type: ET_DYN
  return elf
}
