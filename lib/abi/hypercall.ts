/**
 * The few hypercalls that a guest needs to print something and stop: numbers, commands, reasons.
 *
 * Source: xen/include/public/{xen,event_channel,sched}.h; the calling convention is arch-x86/xen-x86_64.h's.
 * Gotcha: a 64-bit guest's `syscall` is the hypercall, and it overwrites rcx and r11. The number is in rax, the
 * arguments in rdi, rsi, rdx, r10, r8. HYPERCALL_PAGE is a convenience of older kernels, not a need.
 */
export const HYPERCALL = { console_io: 18, iret: 23, sched_op: 29, event_channel_op: 32 } as const

/** console_io's first argument: write `count` bytes to Xen's own console, which a release build does not show. */
export const CONSOLEIO_WRITE = 0

/** event_channel_op's first argument; the second points to struct evtchn_send, one u32 with the port. */
export const EVTCHNOP_SEND = 4

/** sched_op's first argument; the second of `shutdown` points to struct sched_shutdown, one u32 with the reason. */
export const SCHEDOP = { yield: 0, block: 1, shutdown: 2, poll: 3 } as const

export const SHUTDOWN = { poweroff: 0, reboot: 1, suspend: 2, crash: 3 } as const

/** A hypercall page has one slot a hypercall (arch-x86/xen-x86_64.h: call hypercall_page + nr * 32). */
export const HYPERCALL_SLOT_BYTES = 32
/** The interrupt of a 32-bit PV guest's hypercalls (arch-x86/xen-x86_32.h). */
export const HYPERCALL_VECTOR = 0x82
