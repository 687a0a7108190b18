/**
 * Files of libvirt, in the real one: it starts ours, and we read those that it saves.
 *
 * Source: virsh(1): restore, save, dump --memory-only, qemu-monitor-command.
 * Gotcha: a guest that is restored paused and saved again has the same memory, so one guest serves for all kinds of
 * compression.
 */
import { spawn } from 'node:child_process'
import { chmodSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LIBVIRT_COMPRESSION } from '../../lib/abi/libvirt-save.js'
import { buildDomain, type Domain, PAGE_SIZE, readKernel } from '../../lib/index.js'
import { openSnapshotFile, writeSnapshotFile } from '../../lib/node/index.js'
import { LIBVIRT_MACHINES } from '../../lib/snapshot/libvirt-save.js'
import { findCommands } from '../peer/command.js'
import { findKernel } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { LINUX_CMDLINE } from './harness.js'
import { findLibvirt, type Libvirt, libvirtDirectory, withLibvirt } from './libvirt.js'
import { until } from './qmp.js'
import { findBusybox, ramdisk } from './ramdisk.js'
import { registersThatDiffer } from './running-guest.js'

const MiB = 2 ** 20
/** A name that XML has to escape. */
const NAME = 'winter & <sun>'
const SAVED = LIBVIRT_COMPRESSION.filter((format) => format !== 'zstd')
const ALL_OF_EFER = (1n << 64n) - 1n

/** Returns a guest of Debian that works on after it has said that it is ready. */
async function debian(t: Test, vcpus: number): Promise<Domain | undefined> {
  if ((await requirePeer(t, findLibvirt)) === undefined) return undefined
  const busybox = await requirePeer(t, () => findBusybox('amd64'))
  if (busybox === undefined) return undefined
  const vmlinuz = await requirePeer(t, () => findKernel('debian-amd64'))
  if (vmlinuz === undefined) return undefined
  return buildDomain(await readKernel(readFileSync(vmlinuz)), {
    type: 'pvh',
    name: NAME,
    memory: 192 * MiB,
    cmdline: LINUX_CMDLINE,
    ramdisk: ramdisk(busybox, 'init-stay'),
    vcpus,
    purpose: 'vmm',
  })
}

/** Starts the guest in the file, and stops it when it is ready. Returns its output. */
async function runUntilReady({ virsh }: Libvirt, file: string): Promise<string> {
  await virsh('restore', file, '--paused')
  const port = spawn('cat', [(await virsh('ttyconsole', NAME)).trim()], { stdio: ['ignore', 'pipe', 'ignore'] })
  let said = ''
  port.stdout.setEncoding('latin1').on('data', (text: string) => {
    said += text
  })
  try {
    await virsh('resume', NAME)
    await until('user space', () => /GUEST-READY \w+\r?\n/.test(said) || undefined)
    await virsh('suspend', NAME)
    return said
  } finally {
    port.kill()
  }
}

/** Returns the frames of `ours` that differ from those of `theirs`, which has ROMs too. */
function framesThatDiffer(ours: Domain, theirs: Domain): number[] {
  const read = ({ memory }: Domain, pfn: number) => memory.read(pfn * PAGE_SIZE, PAGE_SIZE)
  return ours.memory.ranges
    .flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i))
    .filter((pfn) => !theirs.memory.has(pfn) || Buffer.compare(read(ours, pfn), read(theirs, pfn)) !== 0)
}

for (const machine of LIBVIRT_MACHINES) {
  t.test(`${machine}: virsh restore starts our file, and the file of virsh save is read`, async (t) => {
    const domain = await debian(t, 2)
    if (domain === undefined) return
    if (
      (await requirePeer(t, () => findCommands(['lzop', 'lzop'], ['bzip2', 'bzip2'], ['xz', 'xz-utils']))) === undefined
    )
      return
    const directory = libvirtDirectory()
    t.teardown(() => rmSync(directory, { recursive: true, force: true }))
    const at = (name: string): string => join(directory, name)
    await writeSnapshotFile(domain, at('ours'), { format: 'libvirt', machine })
    chmodSync(at('ours'), 0o644)
    const registers = await withLibvirt(directory, 'raw', async (libvirt) => {
      const said = await runUntilReady(libvirt, at('ours'))
      t.match(said, /smp: Brought up 1 node, 2 CPUs/)
      const shown = await libvirt.virsh('qemu-monitor-command', '--hmp', NAME, 'info registers -a')
      await libvirt.virsh('dump', '--memory-only', NAME, at('dump'))
      await libvirt.virsh('save', NAME, at('raw'))
      return shown
    })
    const dump = await openSnapshotFile(at('dump'))
    let last = 'raw'
    // One machine is enough for the programs that compress. libvirt 9.0 does not know zstd.
    for (const format of machine === 'pc' ? SAVED : (['raw'] as const)) {
      if (format !== 'raw') {
        await withLibvirt(directory, format, async ({ virsh }) => {
          await virsh('restore', at(last), '--paused')
          await virsh('save', NAME, at(format))
        })
        last = format
      }
      const start = performance.now()
      const { domain: saved, close } = await openSnapshotFile(at(format))
      t.comment(`${format}: opened in ${((performance.now() - start) / 1000).toFixed(1)} s`)
      t.same([saved.name, saved.type, saved.vcpus.length], [NAME, 'hvm', 2], format)
      const { compared, differ } = registersThatDiffer(saved.vcpus, registers, ALL_OF_EFER)
      t.same(differ, [], `${format}: ${compared} registers are those of info registers`)
      t.same(framesThatDiffer(saved, dump.domain).slice(0, 8), [], `${format}: memory is that of dump-guest-memory`)
      close()
    }
    dump.close()
  })
}
