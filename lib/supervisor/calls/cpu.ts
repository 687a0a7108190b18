/**
 * The state of the guest's processor: handlers, segments, descriptors, debug registers, its vcpus, and iret.
 *
 * Source: xen/include/public/{xen,vcpu,physdev,callback}.h, arch-x86/xen.h and xen-x86_64.h.
 * Gotcha: only vcpu 0 runs. The others exist and are never up.
 */
import {
  CALLBACKOP,
  CALLBACKTYPE,
  PHYSDEVOP,
  SEGBASE,
  VCPUOP,
  VMASST_TYPE_LAST,
  XEN_ERRNO,
} from '../../abi/hypercall.js'
import { VcpuInfo64 } from '../../abi/shared-info.js'
import { FIRST_RESERVED_SELECTOR, IretContext64, TrapInfo64 } from '../../abi/vcpu-context.js'
import { CR0_TS, EFLAGS_IF, EFLAGS_IOPL_SHIFT, EXCEPTIONS, MSR, PTE_PRESENT, PTE_RW } from '../../abi/x86.js'
import { mem, registers } from '../../asm/assembler.js'
import { PAGE_SHIFT, PAGE_SIZE } from '../../units.js'
import type { Emit } from '../assembler.js'
import { GDT_VIRT, IMAGE, IMAGE_VIRT } from '../layout.js'

const { cl, eax, ecx, edx, edi, esi, rax, rbx, rcx, rdx, rdi, rsi, r8d, r9 } = registers

const GUEST_GDT_PAGES = FIRST_RESERVED_SELECTOR / PAGE_SIZE
const DEBUG_REGISTERS = 8

/** set_trap_table: rdi entries up to one with address 0; a null pointer removes all. */
export const setTrapTable: Emit = (a) => {
  a.cmp(rdi, 0).jcc('e', 'forget traps')
  a.label('next trap')
    .mov(rax, mem(rdi, TrapInfo64.offsetOf('address')))
    .cmp(rax, 0)
    .jcc('e', 'traps set')
  a.movzx8(ecx, mem(rdi)).cmp(ecx, EXCEPTIONS).jcc('ae', 'trap set') // software interrupts have no gate here
  a.shl(ecx, 4).lea(rdx, a.at('traps')).add(rdx, rcx)
  a.mov(mem(rdx, 8), rax).mov(rax, mem(rdi)).mov(mem(rdx), rax)
  a.label('trap set').add(rdi, TrapInfo64.size).jmp('next trap')
  a.label('forget traps')
    .lea(rdi, a.at('traps'))
    .mov(eax, 0)
    .mov(ecx, EXCEPTIONS * 2)
    .repStosq()
  a.label('traps set').succeed()
}

/** set_callbacks: rdi events, rsi failsafe, rdx system calls. */
export const setCallbacks: Emit = (a) => {
  a.mov(a.variable('event callback'), rdi).mov(a.variable('failsafe callback'), rsi)
  a.mov(a.variable('syscall callback'), rdx).succeed()
}

/** callback_op: the same one by one. */
export const callbackOp: Emit = (a) => {
  a.commands('callback', CALLBACKOP).lacksCommand('callback_op')
  a.label('callback register').mov(rdx, mem(rsi, 8)).jmp('callback set')
  a.label('callback unregister').mov(edx, 0)
  a.label('callback set').movzx16(eax, mem(rsi))
  for (const [name, type] of Object.entries(CALLBACKTYPE)) {
    const next = a.unique('callback')
    a.cmp(eax, type)
      .jcc('ne', next)
      .mov(a.variable(`${name as keyof typeof CALLBACKTYPE} callback`), rdx)
      .succeed()
    a.label(next)
  }
  a.fail(XEN_ERRNO.ENOSYS)
}

/** stack_switch: rdi ss, rsi sp; of the kernel, for a program's exceptions. */
export const stackSwitch: Emit = (a) => {
  a.mov(a.variable('kernel ss'), rdi).mov(a.variable('kernel sp'), rsi).succeed()
}

/** fpu_taskswitch: whether the next use of the FPU is an exception. */
export const fpuTaskswitch: Emit = (a) => {
  a.clts().cmp(edi, 0).jcc('e', 'fpu is free')
  a.fromControl(rax, 0).or(rax, CR0_TS).toControl(0, rax)
  a.label('fpu is free').succeed()
}

/** set_gdt: rdi frames, esi entries. */
export const setGdt: Emit = (a) => {
  a.cmp(esi, FIRST_RESERVED_SELECTOR / 8).jcc('a', 'gdt invalid')
  a.add(esi, PAGE_SIZE / 8 - 1)
    .shr(esi, PAGE_SHIFT - 3)
    .mov(r8d, 0)
  a.mov(rbx, GDT_VIRT)
  a.lea(rdx, a.at('image table', Number((GDT_VIRT - IMAGE_VIRT) >> BigInt(PAGE_SHIFT)) * 8))
  a.label('next gdt frame').cmp(r8d, GUEST_GDT_PAGES).jcc('e', 'gdt set')
  a.mov(rax, BigInt(a.machine.image + IMAGE.emptyGdt * PAGE_SIZE + PTE_PRESENT + PTE_RW))
    .cmp(r8d, esi)
    .jcc('ae', 'gdt entry')
  a.mov(rax, mem(rdi)).cmp(rax, a.machine.endFrame).jcc('ae', 'gdt invalid')
  a.shl(rax, PAGE_SHIFT)
    .or(rax, PTE_PRESENT | PTE_RW)
    .add(rdi, 8)
  a.label('gdt entry').mov(mem(rdx), rax).invlpg(mem(rbx))
  a.add(rdx, 8).add(rbx, PAGE_SIZE).inc(r8d).jmp('next gdt frame')
  a.label('gdt set').succeed()
  a.label('gdt invalid').fail(XEN_ERRNO.EINVAL)
}

/** update_descriptor: rdi machine address, rsi descriptor. */
export const updateDescriptor: Emit = (a) => {
  a.mov(rdx, rdi).shr(rdx, PAGE_SHIFT).cmp(rdx, a.machine.endFrame).jcc('ae', 'descriptor invalid')
  a.toDirect(rdi).mov(mem(rdi), rsi).succeed()
  a.label('descriptor invalid').fail(XEN_ERRNO.EINVAL)
}

/** set_segment_base: edi which, rsi base or selector. */
export const setSegmentBase: Emit = (a) => {
  a.commands('base', SEGBASE).fail(XEN_ERRNO.EINVAL)
  for (const [name, msr] of [
    ['FS', MSR.FS_BASE],
    ['GS_KERNEL', MSR.GS_BASE],
    ['GS_USER', MSR.KERNEL_GS_BASE],
  ] as const) {
    a.label(`base ${name}`).mov(ecx, msr).mov(rax, rsi).mov(rdx, rsi).shr(rdx, 32).wrmsr().succeed()
  }
  a.label('base GS_USER_SEL').swapgs().toSegment('gs', esi).swapgs().succeed()
}

/** set_debugreg: edi number, rsi value. The values are kept, and have no effect. */
export const setDebugreg: Emit = (a) => {
  a.cmp(edi, DEBUG_REGISTERS).jcc('ae', 'debugreg invalid')
  a.lea(rcx, a.at('debug registers'))
    .mov(mem(rcx, 0, rdi, 8), rsi)
    .succeed()
  a.label('debugreg invalid').fail(XEN_ERRNO.EINVAL)
}

/** get_debugreg: edi number. */
export const getDebugreg: Emit = (a) => {
  a.cmp(edi, DEBUG_REGISTERS).jcc('ae', 'debugreg invalid')
  a.lea(rcx, a.at('debug registers'))
    .mov(rax, mem(rcx, 0, rdi, 8))
    .ret()
}

/** vm_assist: the types are accepted, and change nothing. */
export const vmAssist: Emit = (a) => {
  a.cmp(esi, VMASST_TYPE_LAST).jcc('a', 'assist invalid').succeed()
  a.label('assist invalid').fail(XEN_ERRNO.EINVAL)
}

/** physdev_op: the privilege of ports, which no guest gets here. */
export const physdevOp: Emit = (a) => {
  a.commands('physdev', PHYSDEVOP).lacksCommand('physdev_op')
  for (const name of Object.keys(PHYSDEVOP)) a.label(`physdev ${name}`)
  a.succeed()
}

/** vcpu_op: edi command, esi vcpu, rdx argument. */
export const vcpuOp: Emit = (a) => {
  a.cmp(esi, a.machine.vcpus).jcc('ae', 'no such vcpu')
  a.commands('vcpu', VCPUOP).label('vcpu lacks').lacksCommand('vcpu_op')
  a.label('vcpu is_up').mov(eax, 0).cmp(esi, 0).jcc('ne', 'vcpu answer').inc(eax)
  a.label('vcpu answer').ret()
  a.label('vcpu set_singleshot_timer').mov(rax, mem(rdx)).mov(a.variable('timer deadline'), rax).succeed()
  a.label('vcpu stop_singleshot_timer').mov(eax, 0).mov(a.variable('timer deadline'), rax)
  a.label('vcpu stop_periodic_timer').succeed()
  a.label('vcpu register_vcpu_info') //           {u64 mfn, u32 offset}
  a.cmp(esi, 0).jcc('ne', 'vcpu lacks')
  a.mov(rdi, mem(rdx)).mov(eax, mem(rdx, 8))
  a.cmp(rdi, a.machine.endFrame)
    .jcc('ae', 'vcpu invalid')
    .cmp(eax, PAGE_SIZE - VcpuInfo64.size)
    .jcc('a', 'vcpu invalid')
  a.shl(rdi, PAGE_SHIFT).add(rdi, rax).toDirect(rdi)
  a.mov(rsi, a.variable('vcpu info')).mov(a.variable('vcpu info'), rdi)
  a.mov(ecx, VcpuInfo64.size / 8)
    .repMovsq()
    .succeed()
  a.label('vcpu invalid').fail(XEN_ERRNO.EINVAL)
  a.label('no such vcpu').fail(XEN_ERRNO.ENOENT)
}

/** iret: takes the frame that iret_context describes from the guest's stack. Only the kernel can be returned to. */
export const iret: Emit = (a) => {
  a.mov(r9, a.saved('rsp'))
  const from = (field: string) => mem(r9, IretContext64.offsetOf(field))
  a.mov(rax, from('cs')).and(eax, 3).cmp(eax, 3).jcc('e', 'iret lacks')
  for (const name of ['rip', 'rsp', 'rax', 'rcx', 'r11'] as const) a.mov(rax, from(name)).mov(a.saved(name), rax)
  for (const name of ['cs', 'ss'] as const) a.mov(rax, from(name)).and(eax, 0xffff).or(eax, 3).mov(a.saved(name), rax)
  a.mov(rax, from('rflags')).mov(ecx, eax)
  a.and(eax, ~(3 << EFLAGS_IOPL_SHIFT))
    .or(eax, EFLAGS_IF)
    .mov(a.saved('rflags'), rax)
  // Events are masked by the flag that interrupts would be masked by.
  a.shr(ecx, 9).and(ecx, 1).xor(ecx, 1)
  a.mov(rdx, a.variable('vcpu info')).mov(mem(rdx, VcpuInfo64.offsetOf('evtchn_upcall_mask')), cl)
  a.pop(rax).jmp('hypercall is done')
  a.label('iret lacks').mov(edi, 3).lacksCommand('iret')
}
