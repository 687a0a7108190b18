/**
 * The exit status of the command: 0 done, or yes; 1 the answer is no; 2 usage, read or write error.
 *
 * Source: grep(1) and diff(1), which have the same three.
 * Gotcha: if no error of a command may exit with 1, the command must say so (`errorStatus` of its Command).
 */
import type { ErrorCode } from '../errors.js'

/** The answer is no. */
export const NO = 1
/** A usage, read or write error. */
export const TROUBLE = 2

/** The exit status of each error. */
export const EXIT_STATUS: Readonly<Record<ErrorCode, typeof NO | typeof TROUBLE>> = {
  // The kernel is refused.
  'not-a-kernel': NO,
  truncated: NO,
  'bad-elf': NO,
  'bad-bzimage': NO,
  'bad-note': NO,
  'payload-unknown': NO,
  'payload-damaged': NO,
  'payload-too-large': NO,
  'payload-size': NO,
  'not-xen-pv': NO,
  'not-pvh': NO,
  'not-linux': NO,
  'unknown-feature': NO,
  'wrong-layout': NO,
  // The kernel does not allow such a guest.
  'unsupported-feature': NO,
  'memory-too-small': NO,
  'does-not-fit': NO,
  overlap: NO,
  // The snapshot is not sound, or has nothing at that address.
  'bad-snapshot': NO,
  'not-mapped': NO,
  // An invalid value, or a file that is inaccessible or of an unknown kind.
  'bad-config': TROUBLE,
  'bad-range': TROUBLE,
  'unknown-format': TROUBLE,
  'no-symbols': TROUBLE,
  'cannot-read': TROUBLE,
  'cannot-write': TROUBLE,
  // A hypervisor that is missing, that refuses, or that does not have the domain.
  'no-hypervisor': TROUBLE,
  'hypercall-failed': TROUBLE,
  'no-domain': TROUBLE,
}
