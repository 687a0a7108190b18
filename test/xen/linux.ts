/**
 * Debian's kernel with our system in its ramdisk: its expected output once it is up, and after save and restore.
 *
 * Source: guest/init writes the lines.
 * Gotcha: MemTotal is the rest of memory after Linux's own use, so it varies; the ramdisk's checksum is exact.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { CheckedCase } from './check.js'
import { forXl, type GuestSpec } from './guests.js'
import { xenBuild } from './harness.js'

/** The memory that Debian's kernel keeps for itself, in MiB; larger guests add a small amount for each page. */
const KERNEL_MIB = 52

/** Checks the console of a guest that reached its /init. */
export function checkLinuxConsole(t: Test, console: string, spec: GuestSpec): void {
  const said = (what: string): string | undefined => new RegExp(`GUEST-${what} (.*?)\r?\n`).exec(console)?.[1]
  t.equal(said('CMDLINE'), spec.cmdline)
  t.equal(said('CPUS'), String(spec.vcpus ?? 1))
  t.equal(said('PAYLOAD'), readFileSync(join(xenBuild, 'guest.sha256'), 'utf8').trim(), 'the ramdisk arrived whole')
  t.equal(said('READY'), `type=${(spec.type ?? 'pv').toUpperCase()} Linux x86_64`)
  const kib = Number.parseInt(said('MEMORY') ?? '', 10)
  // The kernel keeps its image, and a descriptor of each page.
  const kept = spec.memoryMiB - kib / 1024
  t.ok(kept > 0 && kept < KERNEL_MIB + spec.memoryMiB / 32, `MemTotal ${kib} kB of ${spec.memoryMiB} MiB`)
}

/** Steps for a running guest: it is saved and restored, and continues. @param restore steps; default as saved. */
export const saveAndRestore = (...restore: readonly string[]): string[] => [
  'console "GUEST-ALIVE 2"',
  'xl save $NAME saved',
  'gone',
  'before=$(grep -c GUEST-ALIVE $CONSOLE)',
  ...(restore.length > 0 ? restore : ['xl restore saved']),
  'console GUEST-ALIVE 60 $((before + 2))',
]

/** xl creates the guest; it reaches its /init, is saved and restored. */
export function linuxCase(name: string, spec: GuestSpec): CheckedCase {
  return {
    name,
    ...forXl(spec),
    steps: ['xl create guest.cfg', 'console GUEST-READY 120', ...saveAndRestore()],
    seconds: 300,
    check(t, { console }) {
      checkLinuxConsole(t, console, spec)
      t.equal(console.match(/GUEST-ALIVE 1\r?\n/g)?.length, 1, 'it went on, and did not start again')
    },
  }
}
