/**
 * Formats that read all content before a size is known: the event loop has its turn meanwhile, and a signal stops them.
 *
 * Source: ../../lib/work.ts.
 * Gotcha: a turn is counted, and no time is measured: work that never yields has no turn at all.
 */
import t from 'tap'
import { buildDomain, type Domain, readKernel, writeSnapshot } from '../../lib/index.js'
import { makeSnapshot } from '../../lib/snapshot/write.js'
import { pattern, pvhKernelFile } from '../fixtures/kernels.js'
import { bytesOf } from '../fixtures/snapshots.js'

const MiB = 2 ** 20
const guest = async (): Promise<Domain> => {
  const kernel = await readKernel(pvhKernelFile({ paddr: 0x100000 }))
  const built = buildDomain(kernel, { type: 'pvh', memory: 64 * MiB, purpose: 'vmm', ramdisk: pattern(24 * MiB) })
  // As one that was saved: its content is searched for what debuggers need.
  return { ...built, saved: { records: [] } }
}

for (const format of ['kdump', 'qemu-stream', 'libvirt', 'elf-core'] as const) {
  t.test(format, async (t) => {
    const domain = await guest()
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    const [file] = await makeSnapshot(domain, format)
    clearInterval(timer)
    t.ok(turns > 0, 'the loop had its turn')
    const [atOnce] = writeSnapshot(domain, format)
    t.ok(Buffer.from(bytesOf(file ?? [])).equals(bytesOf(atOnce ?? [])), 'the same bytes')
    const reason = new Error('enough')
    await t.rejects(makeSnapshot(domain, format, { signal: AbortSignal.abort(reason) }), reason)
  })
}
