/** The cases for a Xen with 32-bit PV guests, one boot for all of them. */
import { helloKernel } from '../../examples/hello-kernel.js'
import { kernelPath } from '../peer/kernels.js'
import { checkInXen } from './check.js'
import { damagedCases } from './damaged-tables.js'
import { forXl, frozenCase, type GuestSpec } from './guests.js'
import { livePv32Cases } from './live.js'
import { launchedProbeCase, probeCase } from './probe.js'
import { restoredAsCreated, restoredCase } from './saved.js'
import { sameUnderSupervisor } from './supervised.js'

const hello: GuestSpec = { kernel: helloKernel(), memoryMiB: 32 }
const mach: GuestSpec = { kernel: kernelPath('gnumach-i386'), memoryMiB: 128, cmdline: 'console=com0' }
const grub: GuestSpec = { kernel: kernelPath('grub-i386-xen-halts'), memoryMiB: 64 }

checkInXen(
  'pv32-debug',
  ['grub-i386-xen-halts', 'gnumach-i386'],
  [
    {
      name: 'hello-in-xens-log',
      ...forXl(hello),
      steps: ['xl create guest.cfg', 'console nr_pages', 'gone'],
      async check(t, { xen, console }) {
        t.match(xen, /\(d\d+\) hello from start_info, nr_pages=0x2000/, 'HYPERVISOR_console_io shows there')
        const lines = [...xen.matchAll(/\(d\d+\) (.*?)\r?\n/g)].map(([, line]) => `${line}\n`)
        await sameUnderSupervisor(t, hello, `${lines.join('')}${console}`)
      },
    },
    {
      name: 'grub32-create',
      ...forXl(grub),
      steps: ['xl create guest.cfg', 'console GRUB-DONE', 'gone'],
      check(t, { console }) {
        t.match(console, /GRUB-HELLO i386-xen/)
      },
    },
    restoredCase('grub32-restored', grub, 'GRUB-DONE', /GRUB-HELLO i386-xen/),
    frozenCase('grub32-frozen', grub),
    restoredAsCreated('gnumach32-restored', mach),
    frozenCase('gnumach32-frozen', mach),
    ...damagedCases(),
    probeCase('pv32'),
    ...livePv32Cases(grub),
    launchedProbeCase('pv32'),
  ],
)
