/**
 * Hypercalls: the few that a guest needs to print something and stop, and those of a toolstack.
 *
 * Source: xen/include/public/{xen,event_channel,sched}.h; the calling convention is arch-x86/xen-x86_64.h's.
 * Gotcha: a 64-bit guest's `syscall` is the hypercall, and it overwrites rcx and r11. The number is in rax, the
 * arguments in rdi, rsi, rdx, r10, r8. HYPERCALL_PAGE is a convenience of older kernels, not a need.
 */
export const HYPERCALL = {
  memory_op: 12,
  xen_version: 17,
  console_io: 18,
  iret: 23,
  mmuext_op: 26,
  sched_op: 29,
  event_channel_op: 32,
  hvm_op: 34,
  sysctl: 35,
  domctl: 36,
} as const

/** xen_version's first argument: the call returns the major number in its high 16 bits, and the minor one. */
export const XENVER_VERSION = 0

/** console_io's first argument: write `count` bytes to Xen's own console, which a release build does not show. */
export const CONSOLEIO_WRITE = 0

/** sched_op's first argument; the second of `shutdown` points to struct sched_shutdown, one u32 with the reason. */
export const SCHEDOP = { yield: 0, block: 1, shutdown: 2, poll: 3 } as const

/** Reasons of a shutdown (sched.h). */
export const SHUTDOWN = { poweroff: 0, reboot: 1, suspend: 2, crash: 3, watchdog: 4, soft_reset: 5 } as const

/** A hypercall page has one slot a hypercall (arch-x86/xen-x86_64.h: call hypercall_page + nr * 32). */
export const HYPERCALL_SLOT_BYTES = 32
/** The interrupt of a 32-bit PV guest's hypercalls (arch-x86/xen-x86_32.h). */
export const HYPERCALL_VECTOR = 0x82
