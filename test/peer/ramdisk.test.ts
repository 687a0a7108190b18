/**
 * An empty ramdisk: libxenguest and we refuse it, first or second, and neither builds a guest without it.
 *
 * Source: oracle/oracle.c.
 * Gotcha: a ramdisk that a failed command wrote is a file of no bytes; the guest would start and find no root.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { pvKernelFile } from '../fixtures/kernels.js'
import { buildOurs, buildTheirs } from './guest-spec.js'
import { findPeer } from './oracle.js'
import { requirePeer } from './require-peer.js'

t.test('an empty ramdisk', async (t) => {
  if ((await requirePeer(t, () => findPeer('oracle'))) === undefined) return
  const kernel = pvKernelFile()
  const file = join(t.testdir({}), 'kernel')
  writeFileSync(file, kernel)
  for (const [sizes, outcome] of [
    [[0], 'refused'],
    [[5000, 0], 'refused'],
    [[1], 'built'],
  ] as const) {
    const spec = { memoryMiB: 16, ramdisks: sizes.map((size) => new Uint8Array(size)) }
    const theirs = await buildTheirs(file, spec)
    const ours = await buildOurs(kernel, spec)
    t.same([theirs.outcome, ours.outcome], [outcome, outcome], `ramdisks of ${sizes.join(' and ')} bytes`)
    if (theirs.outcome === 'refused') t.match(theirs.reason, /zero length file/)
    if (ours.outcome === 'refused') t.match(ours.error, { code: 'bad-config', message: /is empty/ })
    await theirs.remove()
  }
})
