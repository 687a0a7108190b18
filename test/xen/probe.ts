/**
 * Kernels that report what they see of the machine: the same values under `xl create`, under `xl restore` of our file
 * and in a guest that our library creates, except for the known differences.
 *
 * Source: ../fixtures/probe-kernel.ts is the kernel.
 * Gotcha: a row whose values are equal fails the case too, so that the table stays true.
 */
import type { Test } from 'tap'
import { PROBE_VCPUS, type ProbedGuest, probeKernel, probeLines, XEN_VERSION } from '../fixtures/probe-kernel.js'
import type { CheckedCase } from './check.js'
import type { GuestSpec } from './guests.js'
import { type KnownDifference, knownDifferences, RELEASES } from './known-differences.js'
import { createdAsByXl } from './live.js'
import { createdAndRestored, createdAndRestoredByPolicy, type Ended } from './saved.js'

const SHUTDOWN_REBOOT = '1'
/** The least number of values, so that a kernel which stopped early is noticed. */
const VALUES_LEAST = 300
const hex = (value: bigint | undefined): string => `0x${value?.toString(16)}`

const specOf = (guest: ProbedGuest): GuestSpec => ({
  type: guest === 'pvh' ? 'pvh' : 'pv',
  kernel: probeKernel(guest),
  memoryMiB: 32,
  vcpus: PROBE_VCPUS,
  cmdline: 'probe',
})

/** A reboot ends the guest: xl would create it again two seconds later, in the next case. */
const ending = (probed: CheckedCase): CheckedCase => ({ ...probed, config: { ...probed.config, on_reboot: 'destroy' } })

export const probeCase = (guest: ProbedGuest): CheckedCase =>
  ending(
    createdAndRestored(
      `probe-${guest}`,
      specOf(guest),
      comparison(guest, () => true),
    ),
  )

/** The same with the host's processor policies in our file: every leaf of CPUID is equal. */
export const probeByPolicyCase = async (guest: ProbedGuest, host: GuestSpec): Promise<CheckedCase> =>
  ending(
    await createdAndRestoredByPolicy(
      `probe-policy-${guest}`,
      specOf(guest),
      host,
      comparison(guest, ({ pattern }) => !pattern.startsWith('cpuid ')),
    ),
  )

/** Compares a created and a restored run. @param applies whether a known difference is expected. */
const comparison =
  (guest: ProbedGuest, applies: (row: KnownDifference) => boolean) =>
  (t: Test, created: Ended, restored: Ended): void => {
    compareProbes(t, guest, created.console, restored.console, knownDifferences('restored').filter(applies))
    t.equal(created.reason, SHUTDOWN_REBOOT, 'it asked to reboot')
    t.equal(restored.reason, created.reason, 'restored too')
  }

/** A guest that our library creates sees what one of xl's sees, its end included. */
export const launchedProbeCase = (guest: ProbedGuest): CheckedCase =>
  ending(
    createdAsByXl(`live-probe-${guest}`, specOf(guest), 'reboot, destroy', (t, byXl, byUs) =>
      compareProbes(t, guest, byXl, byUs, knownDifferences('launch')),
    ),
  )

/** Compares the values of a guest that xl created with those of our guest, except for the known differences. */
function compareProbes(
  t: Test,
  guest: ProbedGuest,
  byXl: string,
  ours: string,
  rows: readonly KnownDifference[],
): void {
  const [a, b] = [probeLines(byXl), probeLines(ours)]
  t.ok(a.size > VALUES_LEAST, `${a.size} values`)
  t.same([...b.keys()], [...a.keys()], 'the same names')
  const version = Number(a.get(XEN_VERSION))
  const release = `${version >> 16}.${version & 0xffff}`
  t.ok(RELEASES.includes(release), `Xen ${release} is in the table`)
  const known = rows.filter((row) => row.guests.includes(guest) && row.releases.includes(release))
  const differing = [...a].filter(([name, value]) => b.get(name) !== value).map(([name]) => name)
  const isKnown = (name: string): boolean =>
    known.some(
      (row) =>
        row.names.test(name) &&
        (row.created ?? a.get(name)) === a.get(name) &&
        (row.ours ?? b.get(name)) === b.get(name),
    )
  const unknown = differing
    .filter((name) => !isKnown(name))
    .map((name) => `${name}: under xl create ${hex(a.get(name))}, in ours ${hex(b.get(name))}`)
  t.same(unknown, [], ['the same values, except for the known', ...unknown].join('; '))
  t.same(
    known.filter(({ names }) => !differing.some((name) => names.test(name))).map(({ pattern }) => pattern),
    [],
    'each row of the table is a difference',
  )
}
