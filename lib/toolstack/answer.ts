/**
 * The words that the interfaces to a hypervisor and to xenstore share.
 *
 * Source: our own design; xen/include/public/xen.h (domid_t).
 * Gotcha: an answer may be a value or a promise, so a caller awaits it and an implementation may do either.
 */

/** An answer at once, or a promise of one. */
export type Answer<T> = T | Promise<T>

/** The number of a domain on its host; 0 is dom0. */
export type Domid = number
