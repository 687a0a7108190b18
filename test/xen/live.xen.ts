/** The cases that run Node in the dom0 of Debian's Xen, one boot for all of them. */
import { checkInXen } from './check.js'
import { liveCases } from './live.js'
import { launchedProbeCase } from './probe.js'

checkInXen('debian', [], [...liveCases(), launchedProbeCase('pv64'), launchedProbeCase('pvh')])
