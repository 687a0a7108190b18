/**
 * Errors for requests that Xen refuses.
 *
 * Source: errno(3); xen/include/public/errno.h, whose numbers are Linux's.
 * Gotcha: Xen says only a number. The cause is in its own log, `xl dmesg`, if it is a debug build.
 */
import { constants } from 'node:os'
import { DomainBuilderError } from '../errors.js'
import type { Domid } from '../toolstack/answer.js'

/** Second names of EAGAIN and EOPNOTSUPP. */
const ALIASES: readonly string[] = ['EWOULDBLOCK', 'ENOTSUP']
/** The names that Node has, and one that only a kernel sees. */
const NAMES = new Map<number, string>([
  ...Object.entries(constants.errno).flatMap(([name, errno]) =>
    ALIASES.includes(name) ? [] : [[errno, name] as const],
  ),
  [85, 'ERESTART'],
])

/** Returns the name of an errno, such as ENOMEM. */
export const errnoName = (errno: number): string => NAMES.get(errno) ?? `errno ${errno}`

/** The advice for known causes. */
const ADVICE: Readonly<Record<string, string>> = {
  ENOMEM: 'Xen has too little free memory, which xl info shows',
  EOPNOTSUPP: 'this Xen, its processor or the kernel of dom0 lacks it',
}

/** A refused request. */
export class Refused extends DomainBuilderError {
  /** Such as ENOMEM. */
  readonly errno: string

  /** @param what the request, such as 'max_mem'. @param words the system's words for the errno. */
  constructor(what: string, domid: Domid | undefined, errno: number, words: string) {
    const name = errnoName(errno)
    const advice = ADVICE[name]
    const of = domid === undefined ? '' : ` of domain ${domid}`
    if (name === 'ESRCH' && domid !== undefined) super('no-domain', `domain ${domid} does not exist (${what}: ${name})`)
    else super('hypercall-failed', `${what}${of} is refused: ${name} (${advice ?? words})`)
    this.errno = name
  }
}
