/**
 * A Linux guest in QEMU: its reports, and the expected values.
 *
 * Source: test/qemu/init, whose lines begin with GUEST-; Linux's own lines of its memory map.
 * Gotcha: a guest that starts another kernel shares its console with it, so a report may come twice.
 */
import { type Domain, type Kernel, readBootParams } from '../../lib/index.js'

/** Returns every report of that kind from the guest's init. */
export const guestSaid = (output: string, what: string): string[] =>
  [...output.matchAll(new RegExp(`GUEST-${what} (.*?)\\r?\\n`, 'g'))].map((m) => m[1] ?? '')

/** Returns the memory map in boot_params as Linux prints it. */
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

/** Returns the vmlinux alone, marked as position independent. */
export function asDyn(kernel: Kernel): Uint8Array {
  const { bytes = new Uint8Array(0), end = 0 } = kernel.elf ?? {}
  const elf = bytes.slice(0, end)
  elf[16] = 3 // e_type: ET_DYN
  return elf
}
