/**
 * launch: makes a guest on a hypervisor that runs, from a kernel and its configuration.
 *
 * Source: Xen tools/libs/light/libxl_create.c and libxl_dom.c for the order of the steps (the facts, not the code).
 * Gotcha: an error or the signal at any step undoes everything that was done. A process that is killed leaves a note in
 * xenstore, by which the next launch removes the rest.
 */
import { defined } from '../defined.js'
import type { Domain, PvBoot, PvhBoot } from '../guest/domain.js'
import { libxlConfig } from '../guest/libxl-config.js'
import type { Kernel } from '../kernel/kernel.js'
import { logLive } from '../log.js'
import { bestType, buildDomain } from '../protocol/build.js'
import type { DomainConfig } from '../protocol/config.js'
import { badConfig } from '../protocol/config-values.js'
import type { WorkOptions } from '../work.js'
import type { Domid } from './answer.js'
import { guestCpuPolicy } from './cpu-policy.js'
import type { CpuPolicy, Hypervisor } from './hypervisor.js'
import { type LaunchConfig, requireLaunchable } from './launch-config.js'
import { launchPv } from './launch-pv.js'
import { launchPvh } from './launch-pvh.js'
import { type Launching, type LaunchProgress, Steps } from './launching.js'
import { forgetCreation, noteCreation, removeHalfMade } from './leftovers.js'
import { type LiveDomain, liveDomain, removeDomain } from './live-domain.js'
import { type LiveSettings, liveSettings } from './live-settings.js'
import { backendsOf, domainNamed, storeDomain } from './store-nodes.js'

/** The options of a launch. */
export interface LaunchOptions extends WorkOptions<LaunchProgress> {
  /** Leaves the guest paused before its first instruction, for `Hypervisor.unpauseDomain`. */
  readonly paused?: boolean
}

/** KiB that a domain may have in addition to its memory (LIBXL_MAXMEM_CONSTANT of libxl). */
const SLACK_KIB = 1024

/**
 * Makes a guest, as `xl create` does, and lets it run.
 *
 * A failure, or the signal, undoes everything at any step. The domain then has its console, its nodes in xenstore and
 * libxl's file about it, so `xl list`, `console`, `save`, `shutdown` and the others work on it. Devices are not made.
 *
 * @throws DomainBuilderError for a configuration or a kernel that buildDomain refuses; `bad-config` for a setting that a
 *   live domain would not get and for a name in use; `hypercall-failed` if the hypervisor refuses; the signal's reason.
 *
 * @example
 * ```ts
 * const xen = await openXen()
 * const guest = await launch(xen, await readKernelFile('vmlinuz'), { type: 'pvh', memory: 256 * 2 ** 20, name: 'web' })
 * const { reason } = await guest.ended()
 * await xen.close()
 * ```
 */
export async function launch(
  xen: Hypervisor,
  kernel: Kernel,
  config: LaunchConfig,
  options: LaunchOptions = {},
): Promise<LiveDomain> {
  requireLaunchable(config)
  const settings = liveSettings(config.settings)
  const plan = planned(xen, kernel, config)
  options.signal?.throwIfAborted()
  await removeHalfMade(xen)
  await requireUnusedName(xen, plan.name)
  const uuid = settings.uuid ?? crypto.randomUUID()
  let created: Domid | undefined
  const onCreated = (domid: Domid): void => {
    created = domid
  }
  try {
    await noteCreation(xen, uuid)
    const guest = await make(xen, kernel, config, { settings, plan, uuid, onCreated }, options)
    // From here on nothing fails except the start itself.
    if (options.paused !== true) await xen.unpauseDomain(guest.domid)
    await forgetCreation(xen, uuid)
    return guest
  } catch (error) {
    await takeBack(xen, created, uuid)
    throw error
  }
}

/** Undoes everything. If the domain cannot be removed, its note stays, by which the next launch tries again. */
async function takeBack(xen: Hypervisor, domid: Domid | undefined, uuid: string): Promise<void> {
  try {
    if (domid !== undefined) await removeDomain(xen, domid, uuid)
    await forgetCreation(xen, uuid)
  } catch (error) {
    logLive('not undone: %s', error instanceof Error ? error.message : String(error))
  }
}

/** Returns the guest as it would lie anywhere: the kernel and the configuration are checked before a domain exists. */
function planned(xen: Hypervisor, kernel: Kernel, config: LaunchConfig): Domain<PvBoot> | Domain<PvhBoot> {
  const type = config.type === undefined || config.type === 'auto' ? bestType(kernel, 'create') : config.type
  // A frame for the top table of a PAE guest, whose real frame is chosen later.
  const low = type === 'pv' ? { lowMfn: 1 } : {}
  const plan = buildDomain(kernel, { ...config, type, ...low, purpose: 'create', xen: xen.release } as DomainConfig)
  if (plan.boot.kind === 'boot_params') throw badConfig('the kernel is not for Xen', 'a PV or PVH kernel', 'linux')
  return plan as Domain<PvBoot> | Domain<PvhBoot>
}

async function requireUnusedName(xen: Hypervisor, name: string): Promise<void> {
  const domid = await domainNamed(xen.store, name)
  if (domid !== undefined) throw badConfig('the name of the guest is in use', 'another name', `domain ${domid}`)
}

interface Decisions {
  readonly settings: LiveSettings
  readonly plan: Domain<PvBoot> | Domain<PvhBoot>
  readonly uuid: string
  /** Called as soon as the domain exists. */
  readonly onCreated: (domid: Domid) => void
}

/** Makes the domain, paused. */
async function make(
  xen: Hypervisor,
  kernel: Kernel,
  config: LaunchConfig,
  { settings, plan, uuid, onCreated }: Decisions,
  options: LaunchOptions,
): Promise<LiveDomain> {
  const type = plan.boot.kind === 'start_info' ? 'pv' : 'pvh'
  const [memory, vcpus] = [config.memory, plan.vcpus.length]
  const domid = await xen.createDomain(
    defined({
      type,
      uuid,
      vcpus,
      maxEventChannel: settings.maxEventChannel,
      maxGrantFrames: settings.maxGrantFrames,
      maxMaptrackFrames: settings.maxMaptrackFrames,
      maxGrantVersion: settings.maxGrantVersion,
      nestedVirtualization: settings.nestedVirtualization,
      msrRelaxed: settings.msrRelaxed,
      altp2m: settings.altp2m,
    }),
  )
  onCreated(domid)
  logLive('domain %d: %s %s, %s', domid, type, plan.name, uuid)
  if (plan.abi === 'x86_32p' && type === 'pv') await xen.setAddressSize(domid, 32)
  await xen.setMaxVcpus(domid, vcpus)
  await xen.setMaxMemory(domid, Math.ceil(memory / 1024) + SLACK_KIB)
  const backends = await backendsOf(xen.store)
  const channel = async (remote: Domid) => ({ port: await xen.allocUnbound(domid, remote), domid: remote })
  const ports = { store: await channel(backends.store), console: await channel(backends.console) }
  await xen.setTscMode(domid, settings.tscMode)
  await xen.setCpuPolicy(domid, await policyOf(xen, type, config, settings))

  const steps = new Steps(options)
  const launching: Launching = { xen, domid, kernel, config, settings, plan, ports, steps }
  const launched = type === 'pv' ? await launchPv(launching) : await launchPvh(launching, plan as Domain<PvhBoot>)
  const { domain, storeFrame, consoleFrame, grants } = launched
  options.signal?.throwIfAborted()
  await xen.setGrants(domid, grants)
  await storeDomain(xen.store, {
    domid,
    uuid,
    name: domain.name,
    type,
    memoryKib: Math.ceil(memory / 1024),
    maxmemKib: Math.ceil(domain.maxmem / 1024),
    vcpus,
    isAvailable: (vcpu) => settings.availableVcpus?.includes(vcpu) ?? true,
    cmdline: config.cmdline ?? '',
    store: { frame: storeFrame, port: ports.store.port },
    console: { frame: consoleFrame, ...ports.console },
  })
  const userdata = libxlConfig(domain, config.settings, uuid)
  await xen.setUserdata(domid, uuid, 'libxl-json', userdata)
  options.signal?.throwIfAborted()
  return liveDomain(xen, { domid, uuid, domain }, settings)
}

/** The modes of the TSC in which it runs at one speed for the guest. */
const TSC_ALWAYS_EMULATE = 1

/** Returns the processor of the guest: the given one, or Xen's default as libxl changes it. */
async function policyOf(
  xen: Hypervisor,
  type: 'pv' | 'pvh',
  { policies = [] }: LaunchConfig,
  { disableMigrate, nestedVirtualization, tscMode }: LiveSettings,
): Promise<CpuPolicy> {
  if (policies.length > 0) {
    const body = (name: string) => policies.find((record) => record.name === name)?.body ?? new Uint8Array(0)
    return { leaves: body('X86_CPUID_POLICY'), msrs: body('X86_MSR_POLICY') }
  }
  const itsc = disableMigrate || tscMode === TSC_ALWAYS_EMULATE
  const choices = { type, itsc, nestedVirtualization }
  return guestCpuPolicy(await xen.defaultCpuPolicy(type), await xen.defaultCpuPolicy('host'), choices)
}
