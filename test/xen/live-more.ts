/**
 * More cases for guests that our library creates, by hand: one boot of the Xen that XEN names, debian by default.
 *
 *     XEN=debian-4.20 npx tap --disable-coverage --timeout=3600 dist/test/xen/live-more.js
 *
 * Source: live.ts, live-capture.ts.
 * Gotcha: `npm run test:xen` does not run them.
 */
import { kernelPath } from '../peer/kernels.js'
import { checkInXen } from './check.js'
import { liveCases, liveMoreCases, livePv32Cases } from './live.js'
import { launchedProbeCase } from './probe.js'

const { XEN = 'debian' } = process.env
if (XEN === 'pv32-debug') {
  const name = 'grub-i386-xen-halts'
  checkInXen(XEN, [name], [...livePv32Cases({ kernel: kernelPath(name), memoryMiB: 64 }), launchedProbeCase('pv32')])
} else {
  const hypervisor = XEN === 'debian-4.20' ? XEN : 'debian'
  checkInXen(hypervisor, ['grub-i386-xen_pvh'], [...liveCases(), ...liveMoreCases()])
}
