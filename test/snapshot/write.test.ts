/**
 * Formats that read all content before a size is known: they stop between small pieces, and a signal stops them.
 *
 * Source: ../../lib/work.ts.
 * Gotcha: the pauses are counted. A timer that must have fired fails on a machine that is fast enough.
 */
import t from 'tap'
import { buildDomain, type Domain, readKernel, writeSnapshot } from '../../lib/index.js'
import { makeSnapshot, snapshotFormat } from '../../lib/snapshot/write.js'
import { pattern, pvhKernelFile } from '../fixtures/kernels.js'
import { bytesOf } from '../fixtures/snapshots.js'

const MiB = 2 ** 20
const RAMDISK = 24 * MiB
/** The most bytes that are read between two pauses: a view of memory. */
const PIECE = 4 * MiB

const guest = async (): Promise<Domain> => {
  const kernel = await readKernel(pvhKernelFile({ paddr: 0x100000 }))
  const built = buildDomain(kernel, { type: 'pvh', memory: 64 * MiB, purpose: 'vmm', ramdisk: pattern(RAMDISK) })
  // As one that was saved: its content is searched for what debuggers need.
  return { ...built, saved: { records: [] } }
}

for (const format of ['kdump', 'qemu-stream', 'libvirt', 'elf-core'] as const) {
  t.test(format, async (t) => {
    const domain = await guest()
    const slices = snapshotFormat(format).write(domain)
    if (!('next' in slices)) return t.fail('not made in slices')
    let pauses = 0
    while (!slices.next().done) pauses++
    t.ok(pauses >= RAMDISK / PIECE, `${pauses} pauses`)
    const [file] = await makeSnapshot(domain, format)
    const [atOnce] = writeSnapshot(domain, format)
    t.ok(Buffer.from(bytesOf(file ?? [])).equals(bytesOf(atOnce ?? [])), 'the same bytes')
    const reason = new Error('enough')
    await t.rejects(makeSnapshot(domain, format, { signal: AbortSignal.abort(reason) }), reason)
  })
}
