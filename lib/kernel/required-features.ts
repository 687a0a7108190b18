/**
 * The features that a kernel requires, as PV and as PVH.
 *
 * Source: xen/include/public/elfnote.h, XEN_ELFNOTE_FEATURES; features.h.
 * Gotcha: an unknown !feature is fatal in a note, but ignored in __xen_guest.
 */
import { type FeatureName, XENFEAT } from '../abi/features.js'
import { DomainBuilderError } from '../errors.js'
import type { XenParams } from './xen-params.js'

export interface GuestKernelOptions {
  /** Whether the guest will be the hardware domain: then a kernel that requires dom0 is accepted. */
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
    throw new DomainBuilderError('unsupported-feature', 'the kernel can only run as dom0', {
      found: "FEATURES '!dom0'",
    })
  }
}
