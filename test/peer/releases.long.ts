/**
 * Compares guests for other releases of Xen with libxenguest of each: generated ones, and one for each difference.
 *
 * Source: generated.ts; the table in lib/abi/xen-release.ts.
 * Gotcha: two suites may have the same release. Both are compared, since a distribution patches its Xen.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { type XenRelease, xenHas } from '../../lib/abi/xen-release.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'
import { guestDifferences } from './compare.js'
import { compareGenerated } from './generated.js'
import { buildOurs, buildTheirs, type GuestSpec } from './guest-spec.js'
import { SUITES } from './libxenguests.js'
import { findOracle } from './oracle.js'
import { requirePeer } from './require-peer.js'

/** After the seeds of the installed release. */
const FIRST_SEED = 2001
const CASES = 300

for (const suite of SUITES) {
  t.test(`the Xen of Debian's ${suite}`, { timeout: 1_200_000 }, async (t) => {
    const oracle = await requirePeer(t, () => findOracle(suite))
    if (!oracle) return
    const { outcomes, seen } = await compareGenerated(t, oracle, FIRST_SEED, CASES)
    t.ok(outcomes['both build'] >= CASES / 3, 'a third of them and more is built by both')
    t.ok((seen.get('a gzip ramdisk') ?? 0) >= 5, 'with gzip ramdisks')
    t.ok((seen.get('a mapped ramdisk') ?? 0) >= 20, 'with other ramdisks')
  })
}

/** A guest that shows each difference of PV guests, and a release without it. */
const SHOWING: readonly { name: Parameters<typeof xenHas>[1]; spec: GuestSpec; without: XenRelease }[] = [
  {
    name: 'gunzips-modules',
    spec: { memoryMiB: 64, ramdisks: [new Uint8Array(gzipSync(pattern(5000)))] },
    without: '4.20',
  },
  { name: 'whole-page-modules', spec: { memoryMiB: 64, ramdisks: [pattern(5000)] }, without: '4.17' },
]

for (const suite of SUITES) {
  t.test(`each difference, by the Xen of ${suite}`, async (t) => {
    const oracle = await requirePeer(t, () => findOracle(suite))
    if (!oracle) return
    const file = join(t.testdir(), 'kernel')
    const kernel = pvKernelFile()
    await writeFile(file, kernel)
    for (const { name, spec, without } of SHOWING) {
      const theirs = await buildTheirs(file, spec, oracle)
      t.teardown(theirs.remove)
      const ours = await buildOurs(kernel, { ...spec, xen: without })
      if (ours.outcome !== 'built' || theirs.outcome !== 'built') return t.fail('one of them refuses')
      t.equal(guestDifferences(ours.domain, theirs).length > 0, xenHas(oracle.release, name), name)
    }
    const noLoader = pvKernelFile({ notes: { LOADER: 'mine', PHYS32_ENTRY: 0x100000 } })
    await writeFile(file, noLoader)
    const theirs = await buildTheirs(file, { memoryMiB: 64 }, oracle)
    t.teardown(theirs.remove)
    t.equal(theirs.outcome === 'built', xenHas(oracle.release, 'pvh-note-alone'), 'pvh-note-alone')
    t.equal((await buildOurs(noLoader, { memoryMiB: 64 })).outcome, 'refused')
  })
}
