/**
 * A processor in QEMU's stream: its registers by QEMU's names, its local APIC, and their values after a reset.
 *
 * Source: QEMU target/i386/machine.c, target/i386/cpu.h (HF_*, HF2_*), hw/intc/apic_common.c; the description at the end
 * of a stream of QEMU 7.2. KVM_MP_STATE_* are those of Linux include/uapi/linux/kvm.h.
 * Gotcha: hflags is a copy of bits of cr0, cr4, EFER, rflags and the segments. QEMU believes it when it loads.
 */

import {
  type FieldValues,
  i32,
  i64,
  nested,
  scratch,
  struct,
  structs,
  u8,
  u16,
  u32,
  u32Array,
  u64,
  u64Array,
} from './vmstate.js'
import { DR6_RESET, DR7_RESET, REAL_MODE_CODE, REAL_MODE_DATA, REAL_MODE_LIMIT } from './x86.js'

export const CPU_COMMON = struct('cpu_common', 1, [...u32('halted', 'interrupt_request')])

const FPREG = struct('fpreg', 0, [scratch('tmp', 10, struct('fpreg_tmp', 0, [...u64('tmp_mant'), ...u16('tmp_exp')]))])

const SEGMENT = struct('segment', 1, [...u32('selector'), ...u64('base'), ...u32('limit', 'flags')])

const XMM_REG = struct('xmm_reg', 1, [...u64('_q_ZMMReg[0]', '_q_ZMMReg[1]')])

const MTRR_VAR = struct('mtrr_var', 1, [...u64('base', 'mask')])

const YMMH_REG = struct('ymmh_reg', 1, [...u64('_q_ZMMReg[2]', '_q_ZMMReg[3]')])

const CPU_POLL_CONTROL_MSR = struct('cpu/poll_control_msr', 1, [...u64('env.poll_control_msr')])

export const CPU = struct(
  'cpu',
  12,
  [
    u64Array('env.regs', 16),
    ...u64('env.eip', 'env.eflags'),
    ...u32('env.hflags'),
    ...u16('env.fpuc', 'env.fpus_vmstate', 'env.fptag_vmstate', 'env.fpregs_format_vmstate'),
    structs('env.fpregs', 8, FPREG),
    structs('env.segs', 6, SEGMENT),
    nested('env.ldt', SEGMENT),
    nested('env.tr', SEGMENT),
    nested('env.gdt', SEGMENT),
    nested('env.idt', SEGMENT),
    ...u32('env.sysenter_cs'),
    ...u64('env.sysenter_esp', 'env.sysenter_eip', 'env.cr[0]', 'env.cr[2]', 'env.cr[3]', 'env.cr[4]'),
    u64Array('env.dr', 8),
    ...i32('env.a20_mask'),
    ...u32('env.mxcsr'),
    structs('env.xmm_regs[0]', 16, XMM_REG),
    ...u64('env.efer', 'env.star', 'env.lstar', 'env.cstar', 'env.fmask', 'env.kernelgsbase'),
    ...u32('env.smbase'),
    ...u64('env.pat'),
    ...u32('env.hflags2'),
    ...u64('env.vm_hsave', 'env.vm_vmcb', 'env.tsc_offset', 'env.intercept'),
    ...u16('env.intercept_cr_read', 'env.intercept_cr_write', 'env.intercept_dr_read', 'env.intercept_dr_write'),
    ...u32('env.intercept_exceptions'),
    ...u8('env.v_tpr'),
    u64Array('env.mtrr_fixed', 11),
    ...u64('env.mtrr_deftype'),
    structs('env.mtrr_var', 8, MTRR_VAR),
    ...i32('env.interrupt_injected'),
    ...u32('env.mp_state'),
    ...u64('env.tsc'),
    ...i32('env.exception_nr'),
    ...u8('env.soft_interrupt', 'env.nmi_injected', 'env.nmi_pending', 'env.has_error_code'),
    ...u32('env.sipi_vector'),
    ...u64('env.mcg_cap', 'env.mcg_status', 'env.mcg_ctl'),
    u64Array('env.mce_banks', 40),
    ...u64('env.tsc_aux', 'env.system_time_msr', 'env.wall_clock_msr', 'env.xcr0', 'env.xstate_bv'),
    structs('env.xmm_regs[1]', 16, YMMH_REG),
  ],
  [CPU_POLL_CONTROL_MSR],
)

export const LOCAL_APIC = struct('apic', 3, [
  ...u32('apicbase'),
  ...u8('id', 'arb_id', 'tpr'),
  ...u32('spurious_vec'),
  ...u8('log_dest', 'dest_mode'),
  u32Array('isr', 8),
  u32Array('tmr', 8),
  u32Array('irr', 8),
  u32Array('lvt', 6),
  ...u32('esr'),
  u32Array('icr', 2),
  ...u32('divide_conf'),
  ...i32('count_shift'),
  ...u32('initial_count'),
  ...i64('initial_count_load_time', 'next_time', 'timer_expiry'),
])
const APIC_SIPI = struct('apic_sipi', 1, [...i32('sipi_vector', 'wait_for_sipi')])

/** The local APIC of a processor that waits until another one starts it. */
export const APIC_WAITING = struct(LOCAL_APIC.name, LOCAL_APIC.version, LOCAL_APIC.fields, [APIC_SIPI])

/** The order of `env.regs` and `env.segs`. */
export const QEMU_REGISTERS = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const
export const QEMU_SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const

/** A segment's flags are the high word of its descriptor: the place of the access byte, the limit, and G, D/B, L, AVL. */
export const SEGMENT_FLAGS = { access: 8, limit: 16, granularity: 20, baseHigh: 24 } as const

/** Bits of hflags that have a place different from that in their register. */
export const HFLAG = {
  PE: 1 << 7,
  CS32: 1 << 4,
  SS32: 1 << 5,
  ADDSEG: 1 << 6,
  LMA: 1 << 14,
  CS64: 1 << 15,
  OSFXSR: 1 << 22,
} as const
/** cr0.MP, EM and TS are in hflags eight bits higher; TF, IOPL and VM are where rflags has them. */
export const HFLAG_CR0 = { mask: 0xe, shift: 8 } as const
export const HFLAG_RFLAGS = 0x23100

const CS = `env.segs[${QEMU_SEGMENTS.indexOf('cs')}]`
const ALL_ONES = (1n << 64n) - 1n
const NOTHING = -1
/** Each of the ten banks for machine checks has four registers; the first enables all errors. */
const MCE_BANKS = Array.from({ length: 40 }, (_, i) => (i % 4 === 0 ? ALL_ONES : 0n))

/** A processor after a reset, in real mode at the top of the address space; `env.regs[2]` is its signature. */
export const CPU_RESET: FieldValues = {
  'env.regs': QEMU_REGISTERS.map((name) => (name === 'rdx' ? 0x60fb1n : 0n)),
  'env.eip': 0xfff0n,
  'env.eflags': 2n,
  'env.hflags': HFLAG.ADDSEG,
  'env.fpuc': 0x37f,
  ...Object.fromEntries(QEMU_SEGMENTS.map((_, i) => [`env.segs[${i}].limit`, REAL_MODE_LIMIT])),
  ...Object.fromEntries(QEMU_SEGMENTS.map((_, i) => [`env.segs[${i}].flags`, REAL_MODE_DATA << SEGMENT_FLAGS.access])),
  [`${CS}.selector`]: 0xf000,
  [`${CS}.base`]: 0xffff0000n,
  [`${CS}.flags`]: REAL_MODE_CODE << SEGMENT_FLAGS.access,
  'env.ldt.limit': REAL_MODE_LIMIT,
  'env.ldt.flags': 0x8200,
  'env.tr.limit': REAL_MODE_LIMIT,
  'env.tr.flags': 0x8b00,
  'env.gdt.limit': REAL_MODE_LIMIT,
  'env.idt.limit': REAL_MODE_LIMIT,
  'env.cr[0]': 0x60000010n,
  'env.dr': [0n, 0n, 0n, 0n, 0n, 0n, BigInt(DR6_RESET), BigInt(DR7_RESET)],
  'env.a20_mask': NOTHING,
  'env.mxcsr': 0x1f80,
  'env.smbase': 0x30000,
  'env.pat': 0x7040600070406n,
  'env.hflags2': 0x101,
  'env.interrupt_injected': NOTHING,
  'env.exception_nr': NOTHING,
  'env.mcg_cap': 0x100010an,
  'env.mcg_ctl': ALL_ONES,
  'env.mce_banks': MCE_BANKS,
  'env.xcr0': 1n,
}

/** A processor that waits, for KVM: KVM_MP_STATE_UNINITIALIZED. TCG looks at the APIC. */
export const MP_STATE_WAITING = 1

/** The local APIC after a reset. Its registers in `lvt` are: timer, thermal, performance, LINT0, LINT1, error. */
export const APIC_RESET = {
  apicbase: 0xfee00800,
  spurious_vec: 0xff,
  dest_mode: 0xf,
  lvt: Array.from({ length: 6 }, () => 0x10000),
  timer_expiry: ALL_ONES,
} satisfies FieldValues
/** In `apicbase`: the processor that starts the others. */
export const APICBASE_BSP = 1 << 8
export const LVT = { LINT0: 3, LINT1: 4 } as const
