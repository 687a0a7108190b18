/**
 * The HVM context of a save file: records of vcpu and platform state, as Xen writes and reads them.
 *
 * Source: xen/include/public/arch-x86/hvm/save.h and xen/include/public/hvm/save.h.
 * Gotcha: cr0.ET must be set, and Xen puts down every vcpu without a CPU record. Attributes are a descriptor's access
 * byte with G, D/B, L, AVL in bits 8 to 11, as in our own vcpus.
 */
import { bytes, pad, struct, u16, u32, u64 } from './struct.js'

export const HvmSaveDescriptor = struct('hvm_save_descriptor', 8, { typecode: u16, instance: u16, length: u32 })

export const HVM_SAVE_CODE = {
  END: 0,
  HEADER: 1,
  CPU: 2,
  PIC: 3,
  IOAPIC: 4,
  LAPIC: 5,
  LAPIC_REGS: 6,
  PCI_IRQ: 7,
  ISA_IRQ: 8,
  PCI_LINK: 9,
  PIT: 10,
  RTC: 11,
  HPET: 12,
  PMTIMER: 13,
  MTRR: 14,
  VIRIDIAN_DOMAIN: 15,
  CPU_XSAVE: 16,
  VIRIDIAN_VCPU: 17,
  VMCE_VCPU: 18,
  TSC_ADJUST: 19,
  CPU_MSR: 20,
} as const

export const HVM_FILE_MAGIC = 0x54381286
export const HVM_FILE_VERSION = 1
export const HvmSaveHeader = struct('hvm_save_header', 24, {
  magic: u32,
  version: u32,
  changeset: u64,
  cpuid: u32,
  gtsc_khz: u32,
})

export const HvmHwCpu = struct('hvm_hw_cpu', 1032, {
  fpu_regs: bytes(512),
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rbp: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  dr0: u64,
  dr1: u64,
  dr2: u64,
  dr3: u64,
  dr6: u64,
  dr7: u64,
  cs_sel: u32,
  ds_sel: u32,
  es_sel: u32,
  fs_sel: u32,
  gs_sel: u32,
  ss_sel: u32,
  tr_sel: u32,
  ldtr_sel: u32,
  cs_limit: u32,
  ds_limit: u32,
  es_limit: u32,
  fs_limit: u32,
  gs_limit: u32,
  ss_limit: u32,
  tr_limit: u32,
  ldtr_limit: u32,
  idtr_limit: u32,
  gdtr_limit: u32,
  cs_base: u64,
  ds_base: u64,
  es_base: u64,
  fs_base: u64,
  gs_base: u64,
  ss_base: u64,
  tr_base: u64,
  ldtr_base: u64,
  idtr_base: u64,
  gdtr_base: u64,
  cs_arbytes: u32,
  ds_arbytes: u32,
  es_arbytes: u32,
  fs_arbytes: u32,
  gs_arbytes: u32,
  ss_arbytes: u32,
  tr_arbytes: u32,
  ldtr_arbytes: u32,
  sysenter_cs: u64,
  sysenter_esp: u64,
  sysenter_eip: u64,
  shadow_gs: u64,
  msr_flags: u64,
  msr_lstar: u64,
  msr_star: u64,
  msr_cstar: u64,
  msr_syscall_mask: u64,
  msr_efer: u64,
  msr_tsc_aux: u64,
  tsc: u64,
  pending_event: u32,
  error_code: u32,
  flags: u32,
  _pad0: pad(4),
})

/** A local APIC's state without its registers, which have a separate record. */
export const HvmHwLapic = struct('hvm_hw_lapic', 24, {
  apic_base_msr: u64,
  disabled: u32,
  timer_divisor: u32,
  tdt_msr: u64,
})
/** IA32_APIC_BASE of every vcpu, its APIC enabled; and the bit of the boot vcpu (Intel SDM vol. 3, 11.4.4). */
export const APIC_BASE_ENABLED = 0xfee00800n
export const APIC_BASE_BSP = 0x100n
/** `disabled`: the guest has not yet set the bit in the spurious-interrupt register (VLAPIC_SW_DISABLED). */
export const LAPIC_SW_DISABLED = 2
/** The divisor for a zero in the divide configuration register. */
export const LAPIC_TIMER_DIVISOR_RESET = 2

/** `ranges` holds 8 variable ranges of two registers and 11 fixed ones; all are off. */
export const HvmHwMtrr = struct('hvm_hw_mtrr', 240, {
  msr_pat_cr: u64,
  ranges: bytes(216),
  msr_mtrr_cap: u64,
  msr_mtrr_def_type: u64,
})
/** The reset value of the PAT, the ranges that Xen offers, and all memory write-back, as PVH promises. */
export const PAT_RESET = 0x0007040600070406n
export const MTRR_CAP = 0x508n
export const MTRR_WRITE_BACK = 0x806n
