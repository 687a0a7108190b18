/**
 * Formats that read all content before a size is known: they stop between small pieces, and a signal stops them.
 *
 * Source: ../../lib/work.ts.
 * Gotcha: the pauses are counted. A timer that must have fired fails on a machine that is fast enough.
 */
import { gzipSync } from 'node:zlib'
import t from 'tap'
import {
  buildDomain,
  bytesSource,
  type Domain,
  openSnapshot,
  readKernel,
  sniffSnapshot,
  writeSnapshot,
} from '../../lib/index.js'
import { extensionOf, formatByExtension } from '../../lib/snapshot/formats.js'
import { readKernelSource, wholeOf } from '../../lib/snapshot/kernel-source.js'
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

t.test('a format by its name, or by the extension of a file', async (t) => {
  const domain = await guest()
  const files = await makeSnapshot(domain, 'raw', { name: 'x' })
  t.same(
    files.map(({ suffix }) => suffix),
    ['', '.json'],
    'a format that reads nothing first',
  )
  t.throws(() => snapshotFormat('elf-cor'), {
    code: 'bad-config',
    message: /^snapshot format is unknown.*elf-core.*: expected .*raw.*, found 'elf-cor'$/,
  })
  t.equal(formatByExtension('a/guest.core.gz'), 'elf-core')
  t.equal(formatByExtension('guest.txt'), undefined)
  t.equal(extensionOf('guest'), '')
})

t.test('a source that holds a damaged beginning has no format', async (t) => {
  const packed = gzipSync(pattern(5000))
  packed.fill(0xff, 12)
  t.equal(await sniffSnapshot(bytesSource(packed)), undefined)
  // @ts-expect-error Bytes are no source.
  await t.rejects(openSnapshot(new Uint8Array(1)), { code: 'bad-config', found: 'a Uint8Array' })
})

t.test('a kernel in a source is read whole, and nothing else is', async (t) => {
  const file = pvhKernelFile()
  const kernel = await readKernelSource(bytesSource(file))
  t.same(kernel.sha256, (await readKernel(file)).sha256)
  let most = 0
  const other = {
    size: 2 ** 40,
    readInto: (at: number, out: Uint8Array) => {
      most = Math.max(most, at + out.length)
      out.fill(0x41)
    },
  }
  await t.rejects(readKernelSource(other), { code: 'not-a-kernel' })
  t.ok(most <= 2 ** 20, `${most} bytes`)
  t.throws(() => wholeOf(other), {
    code: 'not-a-kernel',
    message: 'the file is too large for a kernel or a ramdisk: expected at most 2147483647 bytes, found 1099511627776',
  })
})
