/**
 * Hypercalls: their numbers, and the commands of those that have no layouts of structs.
 *
 * Source: xen/include/public/{xen,version,sched,vcpu,physdev,callback,errno}.h; the calling convention is
 * arch-x86/xen-x86_64.h's; test/peer/domctl.test.ts.
 * Gotcha: a 64-bit guest's `syscall` is the hypercall, and it overwrites rcx and r11. The number is in rax, the
 * arguments in rdi, rsi, rdx, r10, r8. HYPERCALL_PAGE is a convenience of older kernels, not a need.
 */
export const HYPERCALL = {
  set_trap_table: 0,
  mmu_update: 1,
  set_gdt: 2,
  stack_switch: 3,
  set_callbacks: 4,
  fpu_taskswitch: 5,
  sched_op_compat: 6,
  platform_op: 7,
  set_debugreg: 8,
  get_debugreg: 9,
  update_descriptor: 10,
  memory_op: 12,
  multicall: 13,
  update_va_mapping: 14,
  set_timer_op: 15,
  event_channel_op_compat: 16,
  xen_version: 17,
  console_io: 18,
  physdev_op_compat: 19,
  grant_table_op: 20,
  vm_assist: 21,
  update_va_mapping_otherdomain: 22,
  iret: 23,
  vcpu_op: 24,
  set_segment_base: 25,
  mmuext_op: 26,
  xsm_op: 27,
  nmi_op: 28,
  sched_op: 29,
  callback_op: 30,
  xenoprof_op: 31,
  event_channel_op: 32,
  physdev_op: 33,
  hvm_op: 34,
  sysctl: 35,
  domctl: 36,
  kexec_op: 37,
} as const

/** xen_version's first argument: the call returns the major number in its high 16 bits, and the minor one. */
export const XENVER_VERSION = 0
/** Its other commands. */
export const XENVER = {
  extraversion: 1,
  compile_info: 2,
  capabilities: 3,
  changeset: 4,
  platform_parameters: 5,
  get_features: 6,
  pagesize: 7,
  guest_handle: 8,
  commandline: 9,
} as const
/** Bytes of the texts that these commands fill in. */
export const XENVER_BYTES = {
  extraversion: 16,
  compile_info: 144,
  capabilities: 1024,
  changeset: 64,
  guest_handle: 16,
  commandline: 1024,
} as const

/** console_io's first argument: write `count` bytes to Xen's own console, which a release build does not show. */
export const CONSOLEIO_WRITE = 0
/** ...or read up to `count` bytes of input. */
export const CONSOLEIO_READ = 1

/** sched_op's first argument; the second of `shutdown` points to struct sched_shutdown, one u32 with the reason. */
export const SCHEDOP = { yield: 0, block: 1, shutdown: 2, poll: 3 } as const

/** Reasons of a shutdown (sched.h). */
export const SHUTDOWN = { poweroff: 0, reboot: 1, suspend: 2, crash: 3, watchdog: 4, soft_reset: 5 } as const

/** A hypercall page has one slot a hypercall (arch-x86/xen-x86_64.h: call hypercall_page + nr * 32). */
export const HYPERCALL_SLOT_BYTES = 32
/** The interrupt of a 32-bit PV guest's hypercalls (arch-x86/xen-x86_32.h). */
export const HYPERCALL_VECTOR = 0x82

/** vcpu_op's first argument. */
export const VCPUOP = {
  is_up: 3,
  stop_periodic_timer: 7,
  stop_singleshot_timer: 9,
  set_singleshot_timer: 8,
  register_vcpu_info: 10,
} as const
/** set_segment_base's first argument. */
export const SEGBASE = { FS: 0, GS_USER: 1, GS_KERNEL: 2, GS_USER_SEL: 3 } as const
/** physdev_op's first argument. */
export const PHYSDEVOP = { set_iopl: 6, set_iobitmap: 7 } as const
/** callback_op's first argument, and the kinds of callbacks. */
export const CALLBACKOP = { register: 0, unregister: 1 } as const
export const CALLBACKTYPE = { event: 0, failsafe: 1, syscall: 2 } as const
/** The highest VMASST_TYPE_* without a gap. */
export const VMASST_TYPE_LAST = 5
/** Errors, which a hypercall returns as negative numbers (errno.h). */
export const XEN_ERRNO = { ENOENT: 2, EFAULT: 14, EINVAL: 22, ENOSPC: 28, ENOSYS: 38 } as const
