/**
 * vcpu_guest_context: a PV vcpu's state, as Xen takes it (XEN_DOMCTL_setvcpucontext) and save files hold it.
 *
 * Source: xen/include/public/arch-x86/xen.h and xen-x86_{32,64}.h; sizes from xen-foreign/reference.size.
 * Gotcha: the registers are in the order in which Xen pushes them, which differs between the ABIs.
 */
import { array, bytes, pad, struct, u8, u16, u32, u64 } from './struct.js'

export const VGCF_IN_KERNEL = 1 << 2
export const VGCF_ONLINE = 1 << 5

/** Flat segments that Xen keeps in every guest's GDT (xen-x86_64.h, xen-x86_32.h). */
export const FLAT_KERNEL_CS64 = 0xe033
export const FLAT_KERNEL_DS64 = 0
export const FLAT_KERNEL_SS64 = 0xe02b
/** The first of a GDT's entries that are Xen's, as a selector; and the code segment of 32-bit programs. */
export const FIRST_RESERVED_SELECTOR = 0xe000
export const FLAT_RING3_CS32 = 0xe023
export const FLAT_RING1_CS32 = 0xe019
export const FLAT_RING1_DS32 = 0xe021

/** VMASST_TYPE_pae_extended_cr3, as a bit of vm_assist. */
export const VMASST_PAE_EXTENDED_CR3 = 1 << 3

/** trap_info.flags: its low bits are the ring that may raise the exception; this one masks events in the handler. */
export const TRAP_MASKS_EVENTS = 1 << 2

const FXSAVE_BYTES = 512

const CpuUserRegs64 = struct('cpu_user_regs', 200, {
  r15: u64,
  r14: u64,
  r13: u64,
  r12: u64,
  rbp: u64,
  rbx: u64,
  r11: u64,
  r10: u64,
  r9: u64,
  r8: u64,
  rax: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  error_code: u32,
  entry_vector: u32,
  rip: u64,
  cs: u16,
  _pad0: pad(2),
  saved_upcall_mask: u8,
  _pad1: pad(3),
  rflags: u64,
  rsp: u64,
  ss: u16,
  _pad2: pad(6),
  es: u16,
  _pad3: pad(6),
  ds: u16,
  _pad4: pad(6),
  fs: u16,
  _pad5: pad(6),
  gs: u16,
  _pad6: pad(6),
})

const CpuUserRegs32 = struct('cpu_user_regs', 68, {
  ebx: u32,
  ecx: u32,
  edx: u32,
  esi: u32,
  edi: u32,
  ebp: u32,
  eax: u32,
  error_code: u16,
  entry_vector: u16,
  eip: u32,
  cs: u16,
  saved_upcall_mask: u8,
  _pad0: pad(1),
  eflags: u32,
  esp: u32,
  ss: u16,
  _pad1: pad(2),
  es: u16,
  _pad2: pad(2),
  ds: u16,
  _pad3: pad(2),
  fs: u16,
  _pad4: pad(2),
  gs: u16,
  _pad5: pad(2),
})

export const TrapInfo64 = struct('trap_info', 16, { vector: u8, flags: u8, cs: u16, _pad: pad(4), address: u64 })
const TrapInfo32 = struct('trap_info', 8, { vector: u8, flags: u8, cs: u16, address: u32 })

export const VcpuGuestContext64 = struct('vcpu_guest_context', 5168, {
  fpu_ctxt: bytes(FXSAVE_BYTES),
  flags: u64,
  user_regs: CpuUserRegs64,
  trap_ctxt: array(TrapInfo64, 256),
  ldt_base: u64,
  ldt_ents: u64,
  gdt_frames: array(u64, 16),
  gdt_ents: u64,
  kernel_ss: u64,
  kernel_sp: u64,
  ctrlreg: array(u64, 8),
  debugreg: array(u64, 8),
  event_callback_eip: u64,
  failsafe_callback_eip: u64,
  syscall_callback_eip: u64,
  vm_assist: u64,
  fs_base: u64,
  gs_base_kernel: u64,
  gs_base_user: u64,
})

export const VcpuGuestContext32 = struct('vcpu_guest_context', 2800, {
  fpu_ctxt: bytes(FXSAVE_BYTES),
  flags: u32,
  user_regs: CpuUserRegs32,
  trap_ctxt: array(TrapInfo32, 256),
  ldt_base: u32,
  ldt_ents: u32,
  gdt_frames: array(u32, 16),
  gdt_ents: u32,
  kernel_ss: u32,
  kernel_sp: u32,
  ctrlreg: array(u32, 8),
  debugreg: array(u32, 8),
  event_callback_cs: u32,
  event_callback_eip: u32,
  failsafe_callback_cs: u32,
  failsafe_callback_eip: u32,
  vm_assist: u32,
})

/** iret_context: the frame that the hypercall iret takes from a 64-bit guest's stack (xen-x86_64.h). */
export const IretContext64 = struct('iret_context', 72, {
  rax: u64,
  r11: u64,
  rcx: u64,
  flags: u64,
  rip: u64,
  cs: u64,
  rflags: u64,
  rsp: u64,
  ss: u64,
})
