/**
 * A refusal of the recording Xen: the error that a caller gets, with the errno that Xen would answer.
 *
 * Source: xen/include/public/errno.h.
 * Gotcha: Xen answers only the errno. The reason in the message is what a DEBUG Xen prints on its console, or more.
 */
import { defined } from '../../defined.js'
import { DomainBuilderError } from '../../errors.js'

/** The answers of Xen and xenstored that the recording Xen gives. */
type Errno =
  | 'E2BIG'
  | 'EACCES'
  | 'EBUSY'
  | 'EEXIST'
  | 'EFAULT'
  | 'EINVAL'
  | 'ENODATA'
  | 'ENOENT'
  | 'ENOMEM'
  | 'ENOSPC'
  | 'EOPNOTSUPP'
  | 'ERANGE'
  | 'ESRCH'

/** Returns the error of a refused call. @param message what is wrong, as a sentence. */
export const refused = (errno: Errno, message: string, cause?: unknown): DomainBuilderError =>
  new DomainBuilderError('hypercall-failed', message, { found: errno, ...defined({ cause }) })

/** Refuses a call unless `holds`. @throws DomainBuilderError `hypercall-failed` */
export function demand(holds: boolean, errno: Errno, message: string): void {
  if (!holds) throw refused(errno, message)
}
