/**
 * capture: a copy of a domain that runs, as a Domain that every snapshot format takes.
 *
 * Source: our own design; tools/libs/light/libxl_dom_save.c and libxl_dom_suspend.c for the way in which xl stops and
 * continues a guest (the facts, not the code).
 * Gotcha: the guest stands still only while its memory is copied. Everything slow happens before it or with the copy. A
 * guest that is only paused keeps its connections, so it can be read but not restored.
 */

import { DomainBuilderError } from '../errors.js'
import type { Domain, HvmBoot, PvBoot, PvhBoot } from '../guest/domain.js'
import { libxlConfig } from '../guest/libxl-config.js'
import { logLive } from '../log.js'
import { badConfig } from '../protocol/config-values.js'
import { memoryScratch, type Scratch } from '../snapshot/scratch.js'
import { checkedInteger, PAGE_SIZE } from '../units.js'
import { Work, type WorkOptions } from '../work.js'
import type { Domid } from './answer.js'
import { copyHvm, surveyFrames } from './capture-hvm.js'
import { type CaptureParts, readParts, tscRecord } from './capture-parts.js'
import { copyPv } from './capture-pv.js'
import { FrameCopy } from './frame-copy.js'
import type { DomainInfo, Hypervisor } from './hypervisor.js'
import { recordStop, unpauseLeft } from './paused.js'
import { hasPvDrivers, requireSuspendable, type SuspendOptions } from './suspend.js'

/** The options of a capture. `signal` and `onProgress` are for the copy of the memory, in bytes. */
export interface CaptureOptions extends WorkOptions {
  /**
   * Asks the guest to suspend itself instead of pausing it: only such a guest can be restored from an xl file. It goes on
   * afterwards. Default false.
   */
  readonly suspend?: boolean | SuspendOptions
  /** The store for the memory of the guest. Default: memory, at most 2 GiB of it. */
  readonly scratch?: Scratch
}

/** A captured domain. */
export interface Capture {
  /** The guest, independent of the domain. Its frames are those of the domain. */
  readonly domain: Domain<PvBoot | PvhBoot | HvmBoot>
  /** The time for which the guest stood still, in milliseconds. */
  readonly pausedMs: number
}

/** The longest time to suspend: a day. */
const LIMIT_MAX = 86_400_000

/**
 * Captures a domain: stops it, copies its memory and its state, and lets it go on.
 *
 * The domain goes on after every failure, and after the signal. A process that is killed leaves a record in xenstore, by
 * which the next capture lets the domain go on.
 *
 * @throws DomainBuilderError `no-domain` for a domain that does not exist or is being destroyed; `bad-config` for dom0,
 *   and for a guest that cannot suspend itself although it is to; `hypercall-failed` for one that does not; `bad-snapshot`
 *   for a PV guest whose p2m list or start_info is invalid; the errors of the hypervisor and of the scratch; the signal's
 *   reason.
 *
 * @example
 * ```ts
 * const { domain, pausedMs } = await capture(xen, 7, { suspend: true })
 * await writeFile('guest.xl', writeXl(domain))
 * ```
 */
export async function capture(xen: Hypervisor, domid: Domid, options: CaptureOptions = {}): Promise<Capture> {
  const { signal, suspend = false } = options
  const limits = suspend === true ? {} : suspend
  if (limits) checkedInteger(limits.limit ?? 0, 'the limit for suspending (ms)', 0, LIMIT_MAX)
  signal?.throwIfAborted()
  await unpauseLeft(xen)
  const info = await requireDomain(xen, domid)
  const parts = await readParts(xen, info)
  const survey = info.hvm ? await surveyFrames(xen, info, signal) : undefined
  // A guest without drivers has nothing to stop: xl does not ask it either.
  const asked = limits && (await hasPvDrivers(xen, info)) ? limits : undefined
  const isConnected = info.hvm && asked === undefined
  const copy = new FrameCopy(xen, domid, options.scratch ?? memoryScratch())
  await copy.prepare(info.pages, signal)
  const { copied, pausedMs } = await whileStopped(xen, info, asked, signal, async (stopped) => {
    const work = new Work(stopped.pages * PAGE_SIZE, options)
    const tsc = await tscRecord(xen, stopped)
    const make = survey
      ? await copyHvm(xen, stopped, copy, work, survey, isConnected)
      : await copyPv(xen, stopped, copy, work)
    return { make, tsc }
  })
  logLive('domain %d: %s %s captured, stopped for %d ms', domid, parts.type, parts.name, Math.round(pausedMs))
  const { config, records } = parts.saved
  const domain = copied.make({ ...parts, saved: { ...parts.saved, records: [...records, copied.tsc] } })
  return { domain: config === undefined ? withConfig(domain, info, parts) : domain, pausedMs }
}

/** Returns the guest with a configuration that xl would have made for it, where libxl has no file about it. */
function withConfig(domain: Capture['domain'], { uuid }: DomainInfo, { saved }: CaptureParts): Capture['domain'] {
  return { ...domain, saved: { ...(domain.saved ?? saved), config: libxlConfig(domain, {}, uuid) } }
}

async function requireDomain(xen: Hypervisor, domid: Domid): Promise<DomainInfo> {
  if (domid === 0) throw badConfig('dom0 cannot be captured: it would stop this program', 'another domain', 'domain 0')
  const info = await xen.domainInfo(domid)
  if (info !== undefined && !info.dying) return info
  const why = info === undefined ? 'does not exist' : 'is being destroyed'
  throw new DomainBuilderError('no-domain', `domain ${domid} ${why}`)
}

/** Stops a domain for a piece of work, and lets it go on in any case. */
async function whileStopped<T>(
  xen: Hypervisor,
  info: DomainInfo,
  asked: SuspendOptions | undefined,
  signal: AbortSignal | undefined,
  work: (stopped: DomainInfo) => Promise<T>,
): Promise<{ readonly copied: T; readonly pausedMs: number }> {
  if (asked) requireSuspendable(info)
  const stop = await recordStop(xen, info, asked ? 'suspend' : 'pause')
  let from = 0
  let pausedMs = 0
  let copied: T
  try {
    if (asked) await stop.suspend(asked, signal)
    from = performance.now()
    // A suspended guest is paused too, so that no other program lets it go on meanwhile.
    await stop.pause()
    copied = await work(await requireDomain(xen, info.domid))
  } finally {
    await stop.goOn()
    pausedMs = performance.now() - from
    await stop.forget()
  }
  return { copied, pausedMs }
}
