/**
 * A domain that runs, captured for a command.
 *
 * Source: ../toolstack/capture.ts.
 * Gotcha: its memory may be larger than that of dom0, so it is copied to a file.
 */
import type { XenRelease } from '../abi/xen-release.js'
import type { Domain } from '../guest/domain.js'
import { scratchFile } from '../node/scratch-file.js'
import { capture } from '../toolstack/capture.js'
import { findGuest, withXen } from './host.js'
import { say } from './printer.js'
import type { Progress } from './progress.js'
import { stoppable } from './stoppable.js'

/** Captures a domain, and says for how long it stood still. It goes on after a failure and after a signal. */
export function captureDomain(given: string, progress: Progress, suspend = false): Promise<Captured> {
  return withXen((xen) =>
    stoppable(`${given}: not captured`, async (signal) => {
      const { info, name } = await findGuest(xen, given, 'captured')
      const { domain, pausedMs } = await capture(xen, info.domid, {
        suspend,
        scratch: scratchFile(),
        signal,
        onProgress: (part) => progress.say(`capturing ${name}`, part),
      })
      progress.end()
      const paused = Math.round(pausedMs)
      say(`${name}: the guest was ${suspend ? 'suspended' : 'paused'} for ${paused} ms`)
      return { domain, domid: info.domid, name, pausedMs: paused, xen: xen.release }
    }),
  )
}

/** A captured domain, and how it was captured. */
interface Captured {
  readonly domain: Domain
  readonly domid: number
  readonly name: string
  readonly pausedMs: number
  /** The release of Xen on the host. */
  readonly xen: XenRelease
}
