/**
 * Two consoles on one serial port: that of console_io, and the ring of start_info. A line of one never begins within a
 * line of the other.
 *
 * Source: our own. Xen writes the text of console_io line by line too.
 * Gotcha: the later text waits for the end of the line, in a buffer or in the ring. A guest that waits, or the end of the
 * run, ends the line early.
 */
import { CONSOLE_OUT_BYTES, XenconsInterface } from '../abi/console-ring.js'
import { mem, registers } from '../asm/assembler.js'
import type { Channel, SupervisorAssembler } from './assembler.js'

const { al, eax, ecx, edi, rax, rbx, rcx, rdx, r8d, r9d, r10, r10d } = registers

/** The console that has begun the present line. */
const LINE_OF = { none: 0, xen: 1, ring: 2 } as const
/** The most bytes of console_io that wait. */
const HELD_BYTES = 1024
const NEWLINE = 0x0a

export function emitLines(a: SupervisorAssembler): void {
  const { console } = a.machine
  const zero = (name: 'line of' | 'held bytes' | 'ring waits') => a.xor(eax, eax).mov(a.variable(name), rax)
  const endLine = () => {
    a.mov(eax, NEWLINE).call('put byte')
    zero('line of')
  }

  a.label('put in line') //                       al: a byte, ecx: its console; keeps rbx, rsi and r8 to r15
  a.push(rax).push(rcx).call('put byte').pop(rcx).pop(rax)
  a.cmp(al, NEWLINE).jcc('ne', 'line goes on').mov(ecx, LINE_OF.none)
  a.label('line goes on').mov(a.variable('line of'), rcx).ret()

  a.label('put to xen') //                        al: a byte of console_io
  a.mov(rcx, a.variable('line of')).cmp(ecx, LINE_OF.ring).jcc('e', 'hold').mov(ecx, LINE_OF.xen).jmp('put in line')
  a.label('hold').mov(rcx, a.variable('held bytes')).cmp(ecx, HELD_BYTES).jcc('b', 'has room')
  a.push(rax).call('settle').pop(rax).jmp('put to xen')
  a.label('has room')
    .lea(rdx, a.at('held'))
    .mov(mem(rdx, 0, rcx), al)
    .inc(ecx)
    .mov(a.variable('held bytes'), rcx)
    .ret()

  a.label('put held').mov(r10d, 0)
  a.label('next held').mov(rcx, a.variable('held bytes')).cmp(r10d, ecx).jcc('e', 'all put')
  a.lea(rdx, a.at('held'))
    .mov(al, mem(rdx, 0, r10))
    .mov(ecx, LINE_OF.xen)
    .call('put in line')
    .inc(r10d)
  a.jmp('next held').label('all put')
  zero('held bytes').ret()

  a.label('after console_io') //                  the ring may go on after the end of a line
  a.mov(rax, a.variable('line of')).cmp(eax, LINE_OF.none).jcc('ne', 'nothing waits')
  a.mov(rax, a.variable('ring waits')).cmp(eax, 0).jcc('ne', 'drain').label('nothing waits').ret()

  a.label('settle') //                            prints everything that waits
  a.mov(rax, a.variable('held bytes')).or(rax, a.variable('ring waits')).cmp(rax, 0).jcc('e', 'nothing waits')
  endLine()
  a.call('put held').mov(rax, a.variable('ring waits')).cmp(eax, 0).jcc('e', 'nothing waits')
  a.mov(rax, a.variable('line of')).cmp(eax, LINE_OF.none).jcc('e', 'drain')
  endLine()
  a.label('drain')
  if (console) drain(a, console)
  else a.ret()

  a.label('held').zeros(HELD_BYTES)
}

/** Prints what the ring has, and notifies the guest. */
function drain(a: SupervisorAssembler, { ring, port }: Channel): void {
  const at = (field: string) => mem(rbx, XenconsInterface.offsetOf(field))
  a.directAddress(rbx, ring).mov(r8d, at('out_cons')).mov(r9d, at('out_prod'))
  // More than the ring holds is a mistake of the guest. xenconsoled prints nothing then.
  a.mov(ecx, r9d).sub(ecx, r8d).cmp(ecx, CONSOLE_OUT_BYTES).jcc('a', 'ring is printed')
  a.label('next of ring').cmp(r8d, r9d).jcc('e', 'ring is printed')
  a.mov(rcx, a.variable('line of')).cmp(ecx, LINE_OF.xen).jcc('e', 'ring must wait')
  a.mov(ecx, r8d)
    .and(ecx, CONSOLE_OUT_BYTES - 1)
    .mov(al, mem(rbx, XenconsInterface.offsetOf('out'), rcx))
  a.mov(ecx, LINE_OF.ring).call('put in line').inc(r8d).mov(at('out_cons'), r8d)
  a.mov(rcx, a.variable('line of')).cmp(ecx, LINE_OF.none).jcc('ne', 'next of ring').call('put held')
  a.jmp('next of ring')
  a.label('ring must wait').mov(eax, 1).mov(a.variable('ring waits'), rax).ret()
  a.label('ring is printed').mov(at('out_cons'), r9d).xor(eax, eax).mov(a.variable('ring waits'), rax)
  a.mov(edi, port).jmp('set pending')
}
