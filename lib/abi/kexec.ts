/**
 * kexec_load(2): the call by which a running Linux starts another kernel.
 *
 * Source: kexec_load(2) (https://man7.org/linux/man-pages/man2/kexec_load.2.html), <linux/kexec.h>.
 * Gotcha: the call wants whole pages of memory (mem, memsz) and copies bufsz bytes into them; the rest becomes zero.
 */

/** The most segments that one call takes. */
export const KEXEC_SEGMENT_MAX = 16
