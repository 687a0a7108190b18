/**
 * xen-domain-builder/live: guests on the Xen below this dom0.
 *
 * Source: docs/toolstack.md.
 * Gotcha: it needs Node, Xen's libraries and koffi, an optional peer dependency: npm install koffi.
 *
 * @example
 * ```ts
 * import { openXen } from 'xen-domain-builder/live'
 *
 * const xen = await openXen()
 * for (const { domid, pages } of await xen.listDomains()) {
 *   console.log(domid, await xen.store.read(`/local/domain/${domid}/name`), `${pages / 256} MiB`)
 * }
 * await xen.close()
 * ```
 *
 * @module xen-domain-builder/live
 */
export type { MapEntry } from '../guest/memory-map.js'
export type { Answer, Domid } from '../toolstack/answer.js'
export { type Capture, type CaptureOptions, capture } from '../toolstack/capture.js'
export {
  type CpuPolicy,
  type DomainInfo,
  FRAMES_AT_ONCE,
  type Hypervisor,
  type NewDomain,
  type NewGrant,
  type Piece,
  type TscInfo,
  type VcpuState,
} from '../toolstack/hypervisor.js'
export { type LaunchOptions, launch } from '../toolstack/launch.js'
export type { LaunchConfig } from '../toolstack/launch-config.js'
export type { LaunchProgress } from '../toolstack/launching.js'
export { removeHalfMade } from '../toolstack/leftovers.js'
export type { Ending, EndReason, LiveDomain } from '../toolstack/live-domain.js'
export type { EndAction } from '../toolstack/live-settings.js'
export { unpauseLeft } from '../toolstack/paused.js'
export type { SuspendOptions } from '../toolstack/suspend.js'
export type { StoreNodes, StorePermissions, XenStore } from '../toolstack/xen-store.js'
export { openConsole } from './console.js'
export { type LiveXen, openXen } from './open-xen.js'
