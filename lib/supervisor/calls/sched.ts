/**
 * sched_op, set_timer_op and the timer's event.
 *
 * Source: xen/include/public/sched.h; xen/common/sched/core.c, the facts alone.
 * Gotcha: no interrupt ends a guest's turn. The time of set_timer_op is looked at when the guest enters the supervisor.
 */
import { SCHEDOP } from '../../abi/hypercall.js'
import { VcpuInfo64 } from '../../abi/shared-info.js'
import { mem, registers } from '../../asm/assembler.js'
import type { Emit, SupervisorAssembler } from '../assembler.js'
import { ENDED_BY } from '../ending.js'

const { al, eax, edi, rax, rcx, rdx, rdi, rsi } = registers

/** sched_op: yield and poll return at once; block waits for the timer; shutdown ends the run. */
export const schedOp: Emit = (a) => {
  const { yield: yields, block, shutdown, poll } = SCHEDOP
  a.push(rdi).push(rsi).call('settle').pop(rsi).pop(rdi)
  a.commands('sched_op', { yield: yields, block, shutdown, poll }).label('sched_op lacks').lacksCommand('sched_op')
  a.label('sched_op yield').label('sched_op poll').succeed()

  a.label('sched_op block') //                    unmasks events, and returns when one is pending
  a.mov(rdx, a.variable('vcpu info'))
  a.mov(eax, 0).mov(mem(rdx, VcpuInfo64.offsetOf('evtchn_upcall_mask')), al)
  a.label('wait for an event').call('check timer')
  a.mov(rdx, a.variable('vcpu info'))
  a.movzx8(eax, mem(rdx, VcpuInfo64.offsetOf('evtchn_upcall_pending')))
    .cmp(eax, 0)
    .jcc('ne', 'sched_op yield')
  // Without a time that can come, nothing wakes the guest.
  a.mov(edi, SCHEDOP.block)
  a.mov(rcx, a.variable('timer deadline')).cmp(rcx, 0).jcc('e', 'sched_op lacks')
  a.mov(rcx, a.variable('timer port')).cmp(rcx, 0).jcc('e', 'sched_op lacks')
  a.jmp('wait for an event')

  a.label('sched_op shutdown').mov(eax, mem(rsi)).add(eax, ENDED_BY.shutdown).jmp('end')
}

/** set_timer_op: the system time in nanoseconds at which VIRQ_TIMER becomes pending; 0 for never. */
export const setTimerOp: Emit = (a) => {
  a.mov(a.variable('timer deadline'), rdi).succeed()
}

/** The subroutine that makes the timer's event pending when its time has come. */
export function emitTimer(a: SupervisorAssembler): void {
  a.label('check timer')
  a.mov(rcx, a.variable('timer deadline')).cmp(rcx, 0).jcc('e', 'not yet')
  a.rdtsc().shl(rdx, 32).or(rax, rdx).cmp(rax, rcx).jcc('b', 'not yet')
  a.xor(eax, eax).mov(a.variable('timer deadline'), rax)
  a.mov(rdi, a.variable('timer port')).cmp(edi, 0).jcc('ne', 'set pending')
  a.label('not yet').ret()
}
