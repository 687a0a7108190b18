/**
 * Cores that a real QEMU dumps of running guests: their memory, registers and translations are those that QEMU tells,
 * and gdb reads what we convert them to.
 *
 * Source: QEMU's monitor: dump-guest-memory, pmemsave, info registers, gva2gpa.
 * Gotcha: a 32-bit guest's core is ELFCLASS32 only if no memory ends at 4 GiB. A ROM does, and flash does not count.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Ehdr64, ELFCLASS32, ELFCLASS64, PN_XNUM } from '../../lib/abi/elf.js'
import { EFER_LMA, EFER_LME } from '../../lib/abi/x86.js'
import { PAGE_SIZE, readVirtual, translate } from '../../lib/index.js'
import { openSnapshotFile, writeSnapshotFile } from '../../lib/node/index.js'
import { findCommand, findFile } from '../peer/command.js'
import { type Architecture, findKernel, type KernelName } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findQemu, LINUX_CMDLINE, withDirectory } from './harness.js'
import { findBusybox, ramdiskFile } from './ramdisk.js'
import { gva2gpa, memoryThatDiffers, registersThatDiffer, someAddresses, stoppedGuest } from './running-guest.js'

const MiB = 2 ** 20
const BIOS = '/usr/share/seabios/bios-256k.bin'
const KNOWN_EFER = BigInt(EFER_LME | EFER_LMA)
const VCPUS = 2

interface Case {
  readonly kernel: KernelName
  readonly arch: Architecture
  readonly machine: readonly string[]
  readonly elfClass: number
  readonly moreThanPnXnum: boolean
  /** Parts of the address space in the guest's tables. */
  readonly parts: readonly (readonly [start: bigint, bytes: number])[]
}

const MEMORY = 192 * MiB
const CASES: Readonly<Record<string, Case>> = {
  amd64: {
    kernel: 'debian-amd64',
    arch: 'amd64',
    machine: ['-machine', 'pc', '-device', 'vmcoreinfo'],
    elfClass: ELFCLASS64,
    // Linux maps one page 65,536 times, for espfix.
    moreThanPnXnum: true,
    parts: [
      [0xffff888000000000n, MEMORY],
      [0xffff888000000000n, MEMORY + 64 * MiB],
      [0xffffffff81000000n, 64 * MiB],
      [0xffffc90000000000n, 4 * MiB],
      [0xffffea0000000000n, 4 * MiB],
      [0xffffffffff000000n, 16 * MiB],
    ],
  },
  '686-pae, with its BIOS in flash': {
    kernel: 'debian-686-pae',
    arch: 'i386',
    machine: ['-machine', 'pc', '-drive', `if=pflash,format=raw,readonly=on,file=${BIOS}`],
    elfClass: ELFCLASS32,
    moreThanPnXnum: false,
    parts: [
      [0xc0000000n, MEMORY],
      [0xc0000000n, MEMORY + 64 * MiB],
      [0xff000000n, 16 * MiB],
      [0x08000000n, 4 * MiB],
    ],
  },
}

for (const [name, { kernel, arch, machine, elfClass, moreThanPnXnum, parts }] of Object.entries(CASES)) {
  t.test(name, async (t) => {
    if ((await requirePeer(t, findQemu)) === undefined) return
    const gdb = await requirePeer(t, () => findCommand('gdb', 'gdb'))
    if (gdb === undefined) return
    const busybox = await requirePeer(t, () => findBusybox(arch))
    if (busybox === undefined) return
    const vmlinuz = await requirePeer(t, () => findKernel(kernel))
    if (vmlinuz === undefined) return
    if ((await requirePeer(t, () => findFile(BIOS, 'seabios'))) === undefined) return
    await withDirectory(async (files) => {
      const initrd = ramdiskFile(busybox, join(files, 'initrd'), 'init-stay')
      const args = [
        ...machine,
        ...['-m', `${MEMORY / MiB}`, '-smp', `${VCPUS}`],
        ...['-kernel', vmlinuz, '-initrd', initrd, '-append', LINUX_CMDLINE],
      ]
      await stoppedGuest(args, /GUEST-READY \w+\r?\n/, async ({ monitor, console, directory }) => {
        const registers = await monitor('info registers -a')
        const file = (name: string): string => join(directory, name)
        await monitor(`pmemsave 0 ${MEMORY} "${file('memory')}"`)
        const banner = /GUEST-BANNER ([0-9a-f]+)/.exec(console)?.[1]
        const said: { readonly vaddr: bigint; readonly paddr: bigint | undefined }[] = []
        await monitor('cpu 0')
        for (const vaddr of someAddresses(1000, parts)) said.push({ vaddr, paddr: await gva2gpa(monitor, vaddr) })

        for (const paging of [false, true]) {
          const start = performance.now()
          const core = file(`core${paging}`)
          await monitor(`dump-guest-memory ${paging ? '-p ' : ''}${core}`)
          t.comment(`QEMU took ${((performance.now() - start) / 1000).toFixed(1)} s, paging ${paging}`)
          const { ei_class, e_phnum } = Ehdr64.decode(readFileSync(core).subarray(0, Ehdr64.size))
          t.equal(ei_class, elfClass)
          t.equal(e_phnum >= PN_XNUM, paging && moreThanPnXnum, `${e_phnum} program headers`)
          const { domain, close } = await openSnapshotFile(core)
          try {
            const { compared, differ } = registersThatDiffer(domain.vcpus, registers, KNOWN_EFER)
            t.same(differ, [], `${compared} registers of ${VCPUS} vcpus are those of info registers`)
            if (!paging) t.equal(memoryThatDiffers(domain, file('memory'), 0), undefined, 'memory is that of pmemsave')
            const [first] = domain.memory.ranges
            const mapped = (first?.end ?? 0) * PAGE_SIZE
            t.ok(mapped > MEMORY * 0.99, `${MEMORY - mapped} bytes are not in the dump`)
            const has = (paddr: bigint): boolean => domain.memory.has(Math.floor(Number(paddr) / PAGE_SIZE))
            const wrong = said.filter(({ vaddr, paddr }) => {
              const ours = translate(domain, vaddr)?.paddr
              return paddr === undefined || !has(paddr) ? ours !== undefined : BigInt(ours ?? -1) !== paddr
            })
            t.same(wrong, [], `${said.length} addresses, ${said.filter(({ paddr }) => paddr).length} of them mapped`)
            t.ok(said.filter(({ paddr }) => paddr).length > said.length / 4)
            t.ok(said.filter(({ paddr }) => paddr === undefined).length > said.length / 20)
            if (paging) continue
            for (const format of ['raw', 'elf-core'] as const) {
              const { files: written } = await writeSnapshotFile(domain, file(`converted.${format}`), { format })
              const back = await openSnapshotFile(written[0] ?? '')
              t.equal(memoryThatDiffers(back.domain, file('memory'), 0), undefined, `${format}: memory`)
              t.same(back.domain.vcpus, domain.vcpus, `${format}: vcpus`)
              back.close()
            }
          } finally {
            close()
          }
        }
        const shown = gdbOn(gdb, file('converted.elf-core'), banner)
        // Only a kernel with CONFIG_KALLSYMS_ALL tells the place.
        if (arch === 'amd64') t.match(shown, /"Linux version \d[^"]*Debian/, 'gdb reads linux_banner')
        const { domain, close } = await openSnapshotFile(file('corefalse'))
        const code = readVirtual(domain, domain.vcpus[0]?.registers.rip ?? 0n, 8)
        close()
        t.match(
          shown,
          new RegExp(`:\\t${[...code].map((byte) => `0x${byte.toString(16).padStart(2, '0')}`).join('\\t')}\\n`),
          'gdb reads the code of vcpu 0',
        )
        t.equal([...shown.matchAll(/^[* ] +\d+ +.*(?:LWP|process|Thread) /gm)].length, VCPUS, 'gdb shows the vcpus')
        const rips = [...registers.matchAll(/^[RE]IP=([0-9a-f]+)/gm)].map((m) => BigInt(`0x${m[1]}`))
        const seen = [...shown.matchAll(/^\$\d+ = (0x[0-9a-f]+)/gm)].map((m) => BigInt(m[1] ?? 0))
        t.same(seen, rips, 'gdb shows %rip of each vcpu')
        if (machine.includes('vmcoreinfo')) {
          // The guest gave the address of this note to QEMU, and we find it in memory.
          const notes = spawnSync('readelf', ['-nW', file('converted.elf-core')], { encoding: 'latin1' }).stdout
          t.match(notes, /VMCOREINFO/)
        }
      })
    })
  })
}

function gdbOn(gdb: string, core: string, banner: string | undefined): string {
  const commands = [
    `core ${core}`,
    `x/s 0x${banner ?? '0'}`,
    'x/8xb $pc',
    'info threads',
    ...['thread 1', 'p/x $pc', 'thread 2', 'p/x $pc'],
  ]
  const ran = spawnSync(gdb, ['-nx', '-batch', ...commands.flatMap((c) => ['-ex', c])], { encoding: 'latin1' })
  return ran.stdout
}

t.test('a machine that has not started: both vcpus are at the reset vector', async (t) => {
  if ((await requirePeer(t, findQemu)) === undefined) return
  await stoppedGuest(['-machine', 'pc', '-m', '16', '-smp', '2'], undefined, async ({ monitor, directory }) => {
    const core = join(directory, 'core')
    for (const paging of ['', '-p ']) {
      writeFileSync(core, '')
      await monitor(`dump-guest-memory ${paging}${core}`)
      const { domain, close } = await openSnapshotFile(core)
      const { differ } = registersThatDiffer(domain.vcpus, await monitor('info registers -a'), KNOWN_EFER)
      t.same(differ, [])
      t.equal(domain.abi, 'x86_32')
      t.same(domain.memory.ranges, [
        { start: 0, end: 0x1000 },
        { start: 0xfffc0, end: 0x100000 },
      ])
      close()
    }
  })
})
