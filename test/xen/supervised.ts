/**
 * A guest under the supervisor in QEMU prints what it printed under a real Xen, and ends as it did there.
 *
 * Source: the real Xen, whose output the case has.
 * Gotcha: the supervisor has one serial port for both consoles, and console_io of a domU shows only in a debugging Xen.
 */
import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import { buildDomain, readKernel } from '../../lib/index.js'
import { runSupervised } from '../qemu/supervised.js'
import type { GuestSpec } from './guests.js'

/** Runs a guest under the supervisor, and compares what comes out of its serial port. */
export async function sameUnderSupervisor(
  t: Test,
  { kernel, memoryMiB, cmdline = '' }: GuestSpec,
  printed: string,
): Promise<void> {
  const file = await readKernel(typeof kernel === 'string' ? readFileSync(kernel) : kernel)
  const { ending, console } = await runSupervised(
    buildDomain(file, { type: 'pv', memory: memoryMiB * 2 ** 20, cmdline }),
  )
  t.equal(console, printed, 'it prints the same under the supervisor')
  t.same(ending, { kind: 'shutdown', reason: 'poweroff' }, 'and powers off there too')
}
