/**
 * kexec_load(2): what a running Linux takes to start another kernel.
 *
 * Source: kexec_load(2) (https://man7.org/linux/man-pages/man2/kexec_load.2.html), <linux/kexec.h>.
 * Gotcha: the call wants whole pages of memory (mem, memsz) and copies bufsz bytes into them; the rest becomes zero.
 */

/** Segments that one call takes. */
export const KEXEC_SEGMENT_MAX = 16
