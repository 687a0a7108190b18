/** The cases that run Node in the dom0 of Debian's Xen, one boot for all of them. */
import { checkInXen } from './check.js'
import { liveCases, liveMoreCases } from './live.js'
import { launchedProbeCase } from './probe.js'

checkInXen(
  'debian',
  ['grub-i386-xen_pvh'],
  [...liveCases(), ...liveMoreCases(), launchedProbeCase('pv64'), launchedProbeCase('pvh')],
)
