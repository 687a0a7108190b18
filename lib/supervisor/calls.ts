/**
 * The hypercalls that the supervisor has; every other one ends the run.
 *
 * Source: ./calls; xen/include/public/xen.h for the numbers.
 * Gotcha: a hypercall may lack some of its commands, which end the run as well. docs/unit-tests.md lists all of it.
 */
import { HYPERCALL } from '../abi/hypercall.js'
import { mem, registers } from '../asm/assembler.js'
import type { Emit, SupervisorAssembler } from './assembler.js'
import { HYPERCALLS } from './assembler.js'
import { consoleIo } from './calls/console.js'
import * as cpu from './calls/cpu.js'
import { eventChannelOp } from './calls/events.js'
import { grantTableOp, memoryOp } from './calls/memory.js'
import { mmuextOp, mmuUpdate, updateVaMapping } from './calls/mmu.js'
import { schedOp, setTimerOp } from './calls/sched.js'
import { xenVersion } from './calls/version.js'

const { rax, rcx, rdx, rdi, rsi, r8, r9, r10, r12, r13, r13d, esi } = registers

/** multicall_entry: number, result, six arguments. */
const ENTRY_BYTES = 64

/** multicall: rdi entries, esi their number. */
const multicall: Emit = (a) => {
  a.mov(r12, rdi).mov(r13d, esi)
  a.label('next of multicall').cmp(r13d, 0).jcc('e', 'multicall done')
  a.push(r12).push(r13)
  for (const [i, to] of [rdi, rsi, rdx, r10, r8, r9].entries()) a.mov(to, mem(r12, 16 + 8 * i))
  a.mov(rax, mem(r12)).call('one hypercall')
  a.pop(r13).pop(r12)
  a.mov(mem(r12, 8), rax).add(r12, ENTRY_BYTES).dec(r13d).jmp('next of multicall')
  a.label('multicall done').succeed()
}

/** The code of each hypercall. */
export const SUPERVISED: Readonly<Partial<Record<keyof typeof HYPERCALL, Emit>>> = {
  set_trap_table: cpu.setTrapTable,
  mmu_update: mmuUpdate,
  set_gdt: cpu.setGdt,
  stack_switch: cpu.stackSwitch,
  set_callbacks: cpu.setCallbacks,
  fpu_taskswitch: cpu.fpuTaskswitch,
  set_debugreg: cpu.setDebugreg,
  get_debugreg: cpu.getDebugreg,
  update_descriptor: cpu.updateDescriptor,
  memory_op: memoryOp,
  multicall,
  update_va_mapping: updateVaMapping,
  set_timer_op: setTimerOp,
  xen_version: xenVersion,
  console_io: consoleIo,
  grant_table_op: grantTableOp,
  vm_assist: cpu.vmAssist,
  iret: cpu.iret,
  vcpu_op: cpu.vcpuOp,
  set_segment_base: cpu.setSegmentBase,
  mmuext_op: mmuextOp,
  sched_op: schedOp,
  callback_op: cpu.callbackOp,
  event_channel_op: eventChannelOp,
  physdev_op: cpu.physdevOp,
}

/** The code of all hypercalls, and the tables by number: of their addresses, and of the names of all that exist. */
export function emitHypercalls(a: SupervisorAssembler): void {
  a.label('one hypercall').cmp(rax, HYPERCALLS).jcc('ae', 'lacks')
  a.lea(rcx, a.at('hypercalls')).jmpAt(mem(rcx, 0, rax, 8))
  for (const [name, emit] of Object.entries(SUPERVISED)) emit(a.label(`hypercall ${name}`))

  const byNumber = new Map(Object.entries(HYPERCALL).map(([name, number]) => [number as number, name]))
  for (const name of byNumber.values()) a.label(`name ${name}`).text(`${name}\0`)
  const table = (label: string, to: (name: string | undefined) => string) => {
    a.align(8).label(label)
    for (let number = 0; number < HYPERCALLS; number++) a.u64(a.addressOf(to(byNumber.get(number))))
  }
  table('hypercalls', (name) => (name !== undefined && name in SUPERVISED ? `hypercall ${name}` : 'lacks'))
  table('names', (name) => (name === undefined ? 'text unknown' : `name ${name}`))
}
