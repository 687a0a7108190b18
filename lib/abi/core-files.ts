/**
 * Core files: the ELF notes of `xl dump-core` and of QEMU, and the parts of a core that gdb and crash need.
 *
 * Source: Xen docs/misc/dump-core-format.txt; xen/include/public/version.h (the parts of xen_version); elf_prstatus
 * from Linux include/uapi/linux/elfcore.h and the x86 user_regs_struct that debuggers share; QEMU
 * target/i386/arch_dump.c.
 * Gotcha: the ELF class does not tell the guest's width: a 32-bit guest's dump-core is ELFCLASS64, with EM_386.
 */
import { XEN_NOTE_OWNER } from './elfnote.js'
import { array, cstring, pad, s32, struct, u16, u32, u64 } from './struct.js'

/** xch_magic: a PV guest, or any other. */
export const XC_CORE_MAGIC = 0xf00febedn
export const XC_CORE_MAGIC_HVM = 0xf00febeen
export const DUMPCORE_FORMAT_VERSION = 1n

export const DumpcoreHeader = struct('xen_dumpcore_elfnote_header_desc', 32, {
  xch_magic: u64,
  xch_nr_vcpus: u64,
  xch_nr_pages: u64,
  xch_page_size: u64,
})
export const DumpcoreFormatVersion = struct('xen_dumpcore_elfnote_format_version_desc', 8, { version: u64 })
export const DumpcoreXenVersion = struct('xen_dumpcore_elfnote_xen_version_desc', 1280, {
  major_version: u64,
  minor_version: u64,
  extra_version: cstring(16),
  compiler: cstring(64),
  compile_by: cstring(16),
  compile_domain: cstring(32),
  compile_date: cstring(32),
  capabilities: cstring(1024),
  changeset: cstring(64),
  virt_start: u64,
  pagesize: u64,
})

/** Sections, by name. */
export const DUMPCORE_SECTION = {
  notes: '.note.Xen',
  prstatus: '.xen_prstatus',
  sharedInfo: '.xen_shared_info',
  p2m: '.xen_p2m',
  pfn: '.xen_pfn',
  pages: '.xen_pages',
} as const

/** Notes of a core, owner CORE. */
export const CORE_NOTE_OWNER = 'CORE'
export const NT_PRSTATUS = 1
/** Only a process has it. */
const NT_PRPSINFO = 3
/** The auxiliary vector of a process: pairs of words. Source: Linux include/uapi/linux/auxvec.h. */
export const NT_AUXV = 6
export const AT_NULL = 0n
/** The address of the vDSO's ELF header, whose symbols gdb loads by itself. */
export const AT_SYSINFO_EHDR = 33n
export const Auxv64 = struct('Elf64_auxv_t', 16, { a_type: u64, a_val: u64 })
/** Our choice for the image of symbols: an address that is not canonical, so no guest has memory there. */
export const SYMBOLS_VADDR = 1n << 56n
/** A Linux kernel's description of itself for crash tools: text, key=value. */
export const VMCOREINFO_OWNER = 'VMCOREINFO'

/** elf_prstatus of x86-64. A vcpu has only a number and registers; the fields of a process are padding. */
export const Prstatus64 = struct('elf_prstatus', 336, {
  _pr_info: pad(12),
  pr_cursig: u16,
  _pad0: pad(18),
  pr_pid: s32,
  _pr_rest: pad(76),
  pr_reg: array(u64, 27),
  pr_fpvalid: u32,
  _pad1: pad(4),
})
/** Order of pr_reg. */
export const PR_REG64 = [
  'r15',
  'r14',
  'r13',
  'r12',
  'rbp',
  'rbx',
  'r11',
  'r10',
  'r9',
  'r8',
  'rax',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'orig_rax',
  'rip',
  'cs',
  'rflags',
  'rsp',
  'ss',
  'fs_base',
  'gs_base',
  'ds',
  'es',
  'fs',
  'gs',
] as const

/** elf_prstatus of i386. */
export const Prstatus32 = struct('elf_prstatus', 144, {
  _pr_info: pad(12),
  pr_cursig: u16,
  _pad0: pad(10),
  pr_pid: s32,
  _pr_rest: pad(44),
  pr_reg: array(u32, 17),
  pr_fpvalid: u32,
})
export const PR_REG32 = [
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rbp',
  'rax',
  'ds',
  'es',
  'fs',
  'gs',
  'orig_rax',
  'rip',
  'cs',
  'rflags',
  'rsp',
  'ss',
] as const

/** Notes of QEMU's dump-guest-memory: one for each vcpu, in the order of the NT_PRSTATUS notes. */
export const QEMU_NOTE_OWNER = 'QEMU'
export const NT_QEMU_CPU_STATE = 0
export const QEMU_CPU_STATE_VERSION = 1

/** `flags` is the high half of the segment's descriptor, without its parts of base and limit. */
const QemuCpuSegment = struct('QEMUCPUSegment', 24, { selector: u32, limit: u32, flags: u32, _pad: pad(4), base: u64 })

/** The fields of every QEMU. Later ones add fields at the end, and `size` counts them. */
export const QemuCpuState = struct('QEMUCPUState', 432, {
  version: u32,
  size: u32,
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
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
  cs: QemuCpuSegment,
  ds: QemuCpuSegment,
  es: QemuCpuSegment,
  fs: QemuCpuSegment,
  gs: QemuCpuSegment,
  ss: QemuCpuSegment,
  ldt: QemuCpuSegment,
  tr: QemuCpuSegment,
  gdt: QemuCpuSegment,
  idt: QemuCpuSegment,
  cr: array(u64, 5),
})

/** Notes by which a core of another program is named, the most telling first; a kind without a type has any. */
export const FOREIGN_CORES: readonly { readonly owner: string; readonly type?: number; readonly what: string }[] = [
  { owner: 'VBCORE', what: 'a core of VirtualBox' },
  { owner: XEN_NOTE_OWNER, what: 'a crash dump of a Xen host' },
  { owner: VMCOREINFO_OWNER, what: 'a crash dump of a Linux kernel' },
  { owner: CORE_NOTE_OWNER, type: NT_PRPSINFO, what: 'a core of a process' },
]

/** Our own note: the guest as JSON, so that a core reads back as the same guest. */
export const GUEST_NOTE_OWNER = 'xen-domain-builder'
export const NT_GUEST_JSON = 1
/** The same for a kexec file: a description of its segments. */
export const NT_KEXEC_JSON = 2
