/** The cases for Debian's newest Xen, with its own toolstack in dom0, one boot for all of them. */
import { join } from 'node:path'
import { helloKernel } from '../../examples/hello-kernel.js'
import { checkInXen } from './check.js'
import { frozenCase, type GuestSpec } from './guests.js'
import { xenBuild } from './harness.js'
import { liveCases } from './live.js'
import { launchedProbeCase, probeByPolicyCase, probeCase } from './probe.js'
import { frozenPvhCase } from './pvh.js'
import { restoredCase, restoredLinuxAgain, restoredWithMaxmem } from './saved.js'

const hello: GuestSpec = { kernel: helloKernel(), memoryMiB: 32 }
const linux: GuestSpec = {
  kernel: join(xenBuild, 'vmlinux'),
  memoryMiB: 128,
  vcpus: 2,
  ramdisk: join(xenBuild, 'guest.cpio'),
  cmdline: 'console=hvc0 quiet',
}
const pvh: GuestSpec = { ...linux, type: 'pvh', memoryMiB: 160 }

checkInXen(
  'debian-4.20',
  ['debian-amd64'],
  [
    {
      name: 'release',
      steps: ['xl info xen_major', 'xl info xen_minor'],
      check(t, { log }) {
        t.match(log, /xen_major\n4\n(.*)xen_minor\n20\n/, 'Xen 4.20 runs')
      },
    },
    restoredCase('hello-restored', hello, 'nr_pages', /^hello from start_info, nr_pages=0x2000\n$/),
    frozenCase('hello-frozen', hello),
    frozenCase('linux-frozen', linux),
    restoredLinuxAgain('linux-restored', linux),
    restoredLinuxAgain('pvh-restored', pvh),
    restoredWithMaxmem('pvh-maxmem', { ...pvh, memoryMiB: 96, maxmemMiB: 192 }),
    frozenPvhCase('pvh-frozen', pvh),
    probeCase('pv64'),
    probeCase('pvh'),
    await probeByPolicyCase('pvh', pvh),
    ...liveCases(),
    launchedProbeCase('pv64'),
    launchedProbeCase('pvh'),
  ],
)
