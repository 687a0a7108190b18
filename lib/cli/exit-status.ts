/**
 * What the command ends with: 0 done, or yes; 1 the answer is no; 2 the question could not be asked.
 *
 * Source: grep(1) and diff(1), whose three are the same.
 * Gotcha: a command whose 1 has a meaning that no error may have says so itself (`errorStatus` of its Command).
 */
import type { ErrorCode } from '../errors.js'

/** Done, or yes. */
export const YES = 0
/** The answer is no. */
export const NO = 1
/** The question could not be asked. */
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
  // No such guest can be made of it.
  'unsupported-feature': NO,
  'memory-too-small': NO,
  'does-not-fit': NO,
  overlap: NO,
  // The snapshot is not sound, or has nothing at that address.
  'bad-snapshot': NO,
  'not-mapped': NO,
  // A value that cannot be meant, a file that cannot be had or is of no kind we know.
  'bad-config': TROUBLE,
  'bad-range': TROUBLE,
  'unknown-format': TROUBLE,
  'cannot-read': TROUBLE,
  'cannot-write': TROUBLE,
}
