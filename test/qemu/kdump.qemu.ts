/**
 * Kdump files of a real guest: QEMU's own are read, and crash, drgn, libkdumpfile and makedumpfile read ours.
 *
 * Source: QEMU's monitor: dump-guest-memory -z, pmemsave, info registers; makedumpfile(8), crash(8), drgn(1).
 * Gotcha: Debian's QEMU has no lzo and no snappy; its makedumpfile has lzo. makedumpfile 1.7.2 gives up on a page that
 * Linux has no mem_map for, which the ROM below 4 GiB is, so it gets the RAM alone.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { EFER_LMA, EFER_LME } from '../../lib/abi/x86.js'
import { GuestMemory } from '../../lib/guest/memory.js'
import { type Domain, PAGE_SIZE, readVirtual, translate } from '../../lib/index.js'
import { openSnapshotFile, writeSnapshotFile } from '../../lib/node/index.js'
import { findCommands } from '../peer/command.js'
import { findPython, runPython } from '../peer/kdump.js'
import { findKernel } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, LINUX_CMDLINE, withDirectory } from './harness.js'
import { findBusybox, ramdiskFile } from './ramdisk.js'
import { memoryThatDiffers, registersThatDiffer, stoppedGuest } from './running-guest.js'

const MiB = 2 ** 20
const MEMORY = 192 * MiB
const KNOWN_EFER = BigInt(EFER_LME | EFER_LMA)

/** Returns the guest without its ROM. */
function ramOf(guest: Domain): Domain {
  const memory = new GuestMemory(MEMORY / PAGE_SIZE)
  for (const { pfn, pages } of guest.memory.pages()) {
    const start = pfn * PAGE_SIZE
    if (start >= MEMORY) continue
    memory.generate(start, pages * PAGE_SIZE, (offset, out) => guest.memory.readInto(start + offset, out))
  }
  return { ...guest, memory }
}

t.test('a guest that runs', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  if ((await requirePeer(t, () => findPython('kdumpfile', 'drgn'))) === undefined) return
  const tools = (['makedumpfile', 'crash'] as const).map((name): [string, string] => [name, name])
  if ((await requirePeer(t, () => findCommands(...tools))) === undefined) return
  const busybox = await requirePeer(t, () => findBusybox('amd64'))
  if (busybox === undefined) return
  const vmlinuz = await requirePeer(t, () => findKernel('debian-amd64'))
  if (vmlinuz === undefined) return
  await withDirectory(async (files) => {
    const initrd = ramdiskFile(busybox, join(files, 'initrd'), 'init-stay')
    const args = [
      ...['-machine', 'pc', '-m', `${MEMORY / MiB}`, '-smp', '2'],
      ...['-kernel', vmlinuz, '-initrd', initrd, '-append', LINUX_CMDLINE],
    ]
    await stoppedGuest(args, /GUEST-READY \w+\r?\n/, async ({ monitor, console, directory }) => {
      const file = (name: string): string => join(directory, name)
      const registers = await monitor('info registers -a')
      const memory = file('memory')
      await monitor(`pmemsave 0 ${MEMORY} "${memory}"`)
      await monitor(`dump-guest-memory ${file('core')}`)
      await monitor(`dump-guest-memory -z ${file('flattened')}`)
      const core = await openSnapshotFile(file('core'))

      const check = async (name: string, whole = true): Promise<Domain> => {
        const { domain, format } = await openSnapshotFile(file(name))
        t.equal(format, 'kdump', name)
        if (whole) t.equal(memoryThatDiffers(domain, memory, 0), undefined, `${name}: memory is that of pmemsave`)
        const { compared, differ } = registersThatDiffer(domain.vcpus, registers, KNOWN_EFER)
        t.same(differ, [], `${name}: ${compared} registers are those of info registers`)
        return domain
      }
      const qemus = await check('flattened')
      t.same(qemus.memory.ranges, core.domain.memory.ranges)
      const rom = core.domain.memory.ranges.at(-1) ?? { start: 0, end: 0 }
      const romOf = (guest: Domain) => guest.memory.read(rom.start * PAGE_SIZE, (rom.end - rom.start) * PAGE_SIZE)
      t.ok(Buffer.from(romOf(qemus)).equals(romOf(core.domain)), 'the ROM')
      const unflattened = spawnSync('makedumpfile', ['-R', file('raised')], { input: readFileSync(file('flattened')) })
      t.equal(unflattened.status, 0, unflattened.stderr.toString())
      await check('raised')

      await writeSnapshotFile(qemus, file('ours'), { format: 'kdump' })
      await check('ours')
      const shown = runPython('libkdumpfile', file('ours'), memory).toString()
      t.match(shown, `pages ${MEMORY / PAGE_SIZE} 0\n`, 'libkdumpfile reads equal pages')
      const rips = [...registers.matchAll(/RIP=([0-9a-f]+)/g)].map((m) => m[1])
      t.same(
        [...shown.matchAll(/^rip \d ([0-9a-f]+)$/gm)].map((m) => m[1]),
        rips,
        'and the registers',
      )
      t.match(runPython('drgn', file('ours'), memory).toString(), /X86_64 .*IS_LINUX_KERNEL.*\npages \d+ \d+\n/s)
      const release = /Linux version (\S+)/.exec(console)?.[1] ?? '?'
      const crash = spawnSync('crash', ['--osrelease', file('ours')], { encoding: 'latin1' })
      t.match(crash.stdout, release, 'crash reads vmcoreinfo')

      await writeSnapshotFile(ramOf(qemus), file('ram'), { format: 'kdump' })
      for (const option of ['-c', '-l']) {
        const ran = spawnSync('makedumpfile', [option, '-d', '0', file('ram'), file(`made${option}`)])
        t.equal(ran.status, 0, ran.stderr.toString())
        await check(`made${option}`)
      }
      const banner = BigInt(`0x${/GUEST-BANNER ([0-9a-f]+)/.exec(console)?.[1]}`)
      const text = (guest: Domain): string => Buffer.from(readVirtual(guest, banner, 14)).toString()
      const image = await openSnapshotFile(memory)
      t.equal(image.format, 'raw', 'an image of memory without a description')
      const at = (guest: Domain): number | undefined => translate(guest, banner)?.paddr
      t.equal(at(image.domain), at(core.domain), "the tables that are found lead where a vcpu's do")
      t.equal(text(image.domain), 'Linux version ')
      const piped = spawnSync('makedumpfile', ['-F', '-l', '-d', '1', file('ram')], { maxBuffer: 2 ** 30 })
      writeFileSync(file('piped'), piped.stdout)
      await check('piped')
      t.equal(spawnSync('makedumpfile', ['-c', '-d', '31', file('ram'), file('filtered')]).status, 0)
      const filtered = await check('filtered', false)
      t.ok(filtered.memory.pageCount < core.domain.memory.pageCount / 2, `${filtered.memory.pageCount} pages are left`)
      // The registers may be those of a process, whose pages are left out.
      t.equal(text(filtered), 'Linux version ', 'and the kernel is among them')
    })
  })
})
