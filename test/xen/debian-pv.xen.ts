/** The PV cases for Debian's Xen, one boot for all of them. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { helloKernel } from '../../examples/hello-kernel.js'
import { kernelPath } from '../peer/kernels.js'
import { projectRoot } from '../peer/paths.js'
import { checkInXen } from './check.js'
import { damagedCase } from './damaged.js'
import { documentedCase } from './documented.js'
import { forXl, frozenCase, type GuestSpec, lostKernel } from './guests.js'
import { xenBuild } from './harness.js'
import { linuxCase } from './linux.js'
import { probeCase } from './probe.js'
import { restoredCase, restoredFile, restoredLinux, restoredLinuxTwice } from './saved.js'
import { sameUnderSupervisor } from './supervised.js'

const hello: GuestSpec = { kernel: helloKernel(), memoryMiB: 32 }

/** Runs examples/xl-restore.ts as a user does. Returns its file. */
async function exampleFile(name: string): Promise<Uint8Array> {
  const directory = mkdtempSync(join(tmpdir(), 'xl-restore-'))
  try {
    const file = join(directory, `${name}.xl`)
    execFileSync(process.execPath, [join(projectRoot, 'dist/examples/xl-restore.js'), file])
    return readFileSync(file)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const linux: GuestSpec = {
  kernel: join(xenBuild, 'vmlinux'),
  memoryMiB: 128,
  ramdisk: join(xenBuild, 'guest.cpio'),
  cmdline: 'console=hvc0 quiet',
}
const grub: GuestSpec = { kernel: kernelPath('grub-x86_64-xen-halts'), memoryMiB: 64 }

checkInXen(
  'debian',
  ['grub-x86_64-xen-halts', 'gnumach-amd64', 'debian-amd64'],
  [
    {
      name: 'hello-create',
      ...forXl(hello),
      steps: ['xl create guest.cfg', 'console nr_pages', 'gone'],
      check(t, { console }) {
        t.equal(console, 'hello from start_info, nr_pages=0x2000\n')
      },
    },
    {
      name: 'hello-lost',
      ...forXl({ ...hello, kernel: lostKernel() }),
      steps: ['xl create guest.cfg', 'stopped c'],
      check(t, { console }) {
        t.equal(console, '', 'a kernel that finds no start_info crashes and says nothing')
      },
    },
    {
      name: 'grub-create',
      ...forXl(grub),
      steps: ['xl create guest.cfg', 'console GRUB-DONE', 'gone'],
      async check(t, { console }) {
        t.match(console, /GRUB-HELLO x86_64-xen/)
        await sameUnderSupervisor(t, grub, console)
      },
    },
    {
      name: 'killed-once',
      steps: [
        '[ -e /tmp/killed ] || { : >/tmp/killed && echo "child [1] died due to fatal signal Aborted" && false; }',
      ],
      check(t, { killed }) {
        t.match(killed, /fatal signal/, 'a case is tried once more after xl was killed')
      },
    },
    linuxCase('linux-create', linux),
    restoredCase('hello-restored', hello, 'nr_pages', /^hello from start_info, nr_pages=0x2000\n$/),
    restoredCase('hello-restored-v2', hello, 'nr_pages', /^hello from start_info, nr_pages=0x2000\n$/, { version: 2 }),
    restoredFile('example-restored', exampleFile, 'nr_pages', /^hello from start_info, nr_pages=0x8000\n$/),
    documentedCase(),
    damagedCase('damaged', hello, 'nr_pages', /^hello from start_info, nr_pages=0x2000\n$/),
    restoredCase('grub-restored', grub, 'GRUB-DONE', /GRUB-HELLO x86_64-xen/),
    restoredLinuxTwice('linux-restored', linux),
    restoredLinuxTwice('linux-restored-4', { ...linux, vcpus: 4 }),
    restoredLinux('linux-restored-96m', { ...linux, memoryMiB: 96, vcpus: 2 }),
    restoredLinux('linux-restored-1g', { ...linux, memoryMiB: 1024, vcpus: 2 }),
    {
      name: 'hello-saved-unrun',
      ...forXl(hello),
      steps: ['xl create -p guest.cfg', 'freeze_save saved', 'gone', 'xl restore saved', 'console nr_pages', 'gone'],
      check(t, { console }) {
        t.equal(console, 'hello from start_info, nr_pages=0x2000\n', 'its first instruction runs after restore')
      },
    },
    frozenCase('hello-frozen', hello),
    frozenCase('hello-frozen-1g', { ...hello, memoryMiB: 1024, vcpus: 4, cmdline: 'x'.repeat(1023) }),
    frozenCase('grub-frozen', grub),
    frozenCase('gnumach-frozen', { kernel: kernelPath('gnumach-amd64'), memoryMiB: 64, cmdline: 'console=com0' }),
    frozenCase('linux-frozen', linux),
    frozenCase('linux-frozen-1g', { ...linux, memoryMiB: 1024, vcpus: 4 }),
    probeCase('pv64'),
  ],
)
