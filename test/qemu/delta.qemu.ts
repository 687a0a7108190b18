/**
 * Two saves of one guest that runs, as a base and a delta: its size, and the second save made again from them.
 *
 * Source: QEMU, which saves the streams; lib/snapshot/delta.ts.
 * Gotcha: QEMU also saves the state of its devices, so both streams are guests of firmware to us.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { applyDeltas, buildDomain, bytesSource, diffDomains, PAGE_SIZE, readKernel } from '../../lib/index.js'
import { openSnapshotFile, writeDeltaFile, writeSnapshotFile } from '../../lib/node/index.js'
import { qemuStreamArguments } from '../../lib/snapshot/qemu-machine.js'
import { findKernel } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, LINUX_CMDLINE, showConsole, withDirectory } from './harness.js'
import { withMachine } from './qmp.js'
import { findBusybox, ramdisk } from './ramdisk.js'

t.test('the delta of two saves has the changed pages, and little more', async (t) => {
  const qemu = await requirePeer(t, findQemu)
  const busybox = qemu && (await requirePeer(t, () => findBusybox('amd64')))
  const kernel = busybox === undefined ? undefined : await requirePeer(t, () => findKernel('debian-amd64'))
  if (busybox === undefined || kernel === undefined) return
  const guest = buildDomain(await readKernel(readFileSync(kernel)), {
    type: 'pvh',
    purpose: 'vmm',
    memory: 512 * 2 ** 20,
    cmdline: LINUX_CMDLINE,
    ramdisk: ramdisk(busybox, 'init-stay'),
  })
  await withDirectory(async (directory) => {
    const at = (name: string) => join(directory, name)
    await writeSnapshotFile(guest, at('guest.mig'), { format: 'qemu-stream', machine: 'pc' })
    await withMachine(qemuStreamArguments(guest, at('guest.mig'), 'pc'), async ({ said, ask, save, console }) => {
      await said(/GUEST-READY/)
      await ask('stop')
      await save(at('first.mig'))
      await ask('cont')
      await new Promise((resolve) => setTimeout(resolve, 500))
      await ask('stop')
      await save(at('second.mig'))
      showConsole(t, console())
    })
    const [first, second] = [await openSnapshotFile(at('first.mig')), await openSnapshotFile(at('second.mig'))]
    const changed = diffDomains(first.domain, second.domain).pages.reduce((sum, { pages }) => sum + pages, 0)
    const { file, pages } = await writeDeltaFile(first.domain, second.domain, at('second.delta'))
    t.ok(changed > 0 && pages.own > 0, `${changed} pages changed`)
    t.comment(`${file.size} bytes, ${(file.size / (changed * PAGE_SIZE)).toFixed(3)} of the changed pages`, pages)
    t.ok(file.size <= 1.02 * changed * PAGE_SIZE, `${file.size} bytes for ${changed} pages`)
    const applied = await applyDeltas(first.domain, [bytesSource(readFileSync(at('second.delta')))])
    for (const format of ['raw', 'elf-core'] as const) {
      const names = [`wanted/${format}`, `found/${format}`].map((name) => at(name.replace('/', '-')))
      const written = [second.domain, applied].map((domain, i) =>
        writeSnapshotFile({ ...domain, name: 'guest' }, names[i] as string, { format }),
      )
      const [wanted, found] = await Promise.all(written)
      for (const [i, name] of (wanted?.files ?? []).entries()) {
        const [a, b] = [readFileSync(name), readFileSync(found?.files[i] ?? '')]
        // A sidecar names its image.
        const same = name.endsWith('.json')
          ? a.toString().replace('wanted-raw', 'found-raw') === b.toString()
          : a.equals(b)
        t.ok(same, `${format}, file ${i}: byte for byte`)
      }
    }
    first.close()
    second.close()
  })
})
