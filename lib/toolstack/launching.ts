/**
 * The parts of a launch that both types of guest share.
 *
 * Source: our own design.
 * Gotcha: the plan is the guest as it would lie anywhere; a PV guest is built again for the frames that it got.
 */
import type { Domain, PvBoot, PvhBoot } from '../guest/domain.js'
import type { Kernel } from '../kernel/kernel.js'
import type { Mfn } from '../units.js'
import { type Part, Work, type WorkOptions } from '../work.js'
import type { Domid } from './answer.js'
import type { Hypervisor, NewGrant } from './hypervisor.js'
import type { LaunchConfig } from './launch-config.js'
import type { LiveSettings } from './live-settings.js'

/** The progress of a launch. */
export interface LaunchProgress extends Part {
  /** Memory is allocated, then the guest's content is written. */
  readonly step: 'populate' | 'write'
}

/** The steps of a launch that take long. */
export class Steps {
  readonly #options: WorkOptions<LaunchProgress>

  constructor(options: WorkOptions<LaunchProgress>) {
    this.#options = options
  }

  /** @param total bytes in all. */
  begin(step: LaunchProgress['step'], total: number): Work {
    const { signal, onProgress } = this.#options
    return new Work(total, {
      ...(signal && { signal }),
      ...(onProgress && { onProgress: (part) => onProgress({ step, ...part }) }),
    })
  }
}

/** An event channel of the guest, and the domain at its other end. */
interface Channel {
  readonly port: number
  readonly domid: Domid
}

/** A guest whose domain exists. */
export interface Launching {
  readonly xen: Hypervisor
  readonly domid: Domid
  readonly kernel: Kernel
  readonly config: LaunchConfig
  readonly settings: LiveSettings
  /** The guest before it has frames. */
  readonly plan: Domain<PvBoot> | Domain<PvhBoot>
  readonly ports: { readonly store: Channel; readonly console: Channel }
  readonly steps: Steps
}

/** A guest that has memory and vcpus, and its places for those who serve it. */
export interface Launched {
  readonly domain: Domain<PvBoot> | Domain<PvhBoot>
  readonly storeFrame: Mfn
  readonly consoleFrame: Mfn
  readonly grants: readonly NewGrant[]
}
