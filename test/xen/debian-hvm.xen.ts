/** The PVH and HVM cases for Debian's Xen, one boot for all of them. */
import { join } from 'node:path'
import { checkInXen } from './check.js'
import type { GuestSpec } from './guests.js'
import { xenBuild } from './harness.js'
import { savedBiosCase, savedFirmwareCase } from './hvm.js'
import { linuxCase } from './linux.js'
import { probeByPolicyCase, probeCase } from './probe.js'
import { frozenPvhCase } from './pvh.js'
import { restoredLinuxAgain, restoredLinuxDumped, restoredLinuxTwice } from './saved.js'

const pvh: GuestSpec = {
  type: 'pvh',
  kernel: join(xenBuild, 'vmlinux'),
  memoryMiB: 160,
  ramdisk: join(xenBuild, 'guest.cpio'),
  cmdline: 'console=hvc0 quiet',
}

checkInXen(
  'debian',
  ['debian-amd64'],
  [
    linuxCase('pvh-create', pvh),
    restoredLinuxDumped('pvh-restored', { ...pvh, memoryMiB: 96 }),
    restoredLinuxTwice('pvh-restored-4', { ...pvh, vcpus: 4 }),
    restoredLinuxAgain('pvh-restored-4-1g', { ...pvh, vcpus: 4, memoryMiB: 1024 }),
    frozenPvhCase('pvh-frozen', { ...pvh, vcpus: 2 }),
    savedFirmwareCase('hvm-firmware'),
    savedBiosCase('hvm-bios'),
    probeCase('pvh'),
    await probeByPolicyCase('pvh', pvh),
  ],
)
