/**
 * What a kernel cannot do without, whichever way Xen starts it.
 *
 * Source: xen/include/public/elfnote.h, XEN_ELFNOTE_FEATURES; features.h.
 * Gotcha: an unknown !feature is fatal in a note, and nothing at all in __xen_guest.
 */
import { type FeatureName, XENFEAT } from '../abi/features.js'
import { DomainBuilderError } from '../errors.js'
import type { XenParams } from './xen-params.js'

export interface GuestKernelOptions {
  /** The guest is to be the hardware domain: a kernel that requires dom0 will do. */
  readonly dom0?: boolean
}

/** Whether the kernel has `!feature`. */
export const requires = ({ required }: XenParams, feature: FeatureName): boolean =>
  ((required >>> XENFEAT[feature]) & 1) === 1

/** @throws DomainBuilderError `unknown-feature` or `unsupported-feature`. */
export function checkRequired(params: XenParams, { dom0 }: GuestKernelOptions): void {
  const { source, unknownRequired } = params
  if (unknownRequired !== undefined && source !== '__xen_guest') {
    throw new DomainBuilderError('unknown-feature', 'the kernel requires a feature that Xen does not know', {
      found: `'!${unknownRequired}'`,
    })
  }
  if (requires(params, 'dom0') && dom0 !== true) {
    throw new DomainBuilderError('unsupported-feature', 'the kernel can only be dom0', { found: "FEATURES '!dom0'" })
  }
}
