/**
 * Output of the supervisor itself: the serial port, the lines that end a run, and the ends.
 *
 * Source: the 16550's data sheet, line status register; ./ending.ts.
 * Gotcha: the end of the machine discards bytes that the serial port still holds.
 */
import { COM1 } from '../abi/acpi.js'
import { DEBUG_EXIT_PORT } from '../abi/pc.js'
import { mem, registers } from '../asm/assembler.js'
import { HYPERCALLS, type SupervisorAssembler } from './assembler.js'
import { ENDED_BY, EXCEPTION_LINE, LACKS_LINE } from './ending.js'

const { al, eax, ecx, edi, edx, rax, rcx, rdx, rsi, r12, r13, r13d } = registers

/** The 16550's line status, and its bits: room for a byte; every byte has left. */
const LINE_STATUS = COM1.PORT + 5
const THR_EMPTY = 1 << 5
const TRANSMITTER_EMPTY = 1 << 6

/** Subroutines that print, and the ends of a run. */
export function emitOutput(a: SupervisorAssembler): void {
  a.label('put byte') //                      al; keeps everything except rax and rdx
  a.push(rax)
  a.mov(edx, LINE_STATUS)
  a.label('port is busy').inb().and(eax, THR_EMPTY).jcc('e', 'port is busy')
  a.pop(rax)
  a.mov(edx, COM1.PORT).outb().ret()

  a.label('put text') //                      rsi: up to its NUL
  a.mov(al, mem(rsi)).cmp(al, 0).jcc('e', 'end of text')
  a.call('put byte').inc(rsi).jmp('put text')
  a.label('end of text').ret()

  a.label('put decimal') //                   eax
  a.mov(edx, 0).mov(ecx, 10).operation([0xf7], 6, ecx) // div ecx
  a.push(rdx).cmp(eax, 0).jcc('e', 'last digit').call('put decimal')
  a.label('last digit').pop(rax).add(eax, '0'.charCodeAt(0)).jmp('put byte')

  a.label('put hex') //                       r12
  a.mov(ecx, 16)
  a.label('next digit')
  a.mov(rax, r12).shr(rax, 60).shl(r12, 4)
  a.cmp(eax, 10)
    .jcc('b', 'is decimal')
    .add(eax, 'a'.charCodeAt(0) - 10 - '0'.charCodeAt(0))
  a.label('is decimal').add(eax, '0'.charCodeAt(0))
  a.call('put byte').dec(ecx).jcc('ne', 'next digit').ret()

  const print = (text: string) => {
    a.lea(rsi, a.at(`text ${text}`)).call('put text')
    texts.add(text)
  }
  const texts = new Set<string>()

  a.label('lacks') //                         rax: number
  a.mov(r13, -1n).jmp('tell lack')
  a.label('lacks command') //                 eax: number, edi: command
  a.mov(r13d, edi)
  a.label('tell lack')
  a.push(rax).call('settle')
  print(LACKS_LINE.start)
  a.pop(rax).push(rax)
  a.lea(rsi, a.at('text unknown')).cmp(rax, HYPERCALLS).jcc('ae', 'is unnamed')
  a.lea(rcx, a.at('names')).mov(rsi, mem(rcx, 0, rax, 8))
  a.label('is unnamed').call('put text')
  a.cmp(r13, -1).jcc('e', 'whole hypercall')
  print(LACKS_LINE.command)
  a.mov(rax, r13).call('put decimal')
  a.label('whole hypercall')
  print(LACKS_LINE.number)
  a.pop(rax).call('put decimal')
  print(LACKS_LINE.end)
  a.mov(eax, ENDED_BY.hypercall).jmp('end')

  a.label('unhandled') //                     rbp: the frame of the exception
  a.call('settle')
  print(EXCEPTION_LINE.start)
  a.mov(eax, a.saved('vector')).call('put decimal')
  print(EXCEPTION_LINE.rip)
  a.mov(r12, a.saved('rip')).call('put hex')
  print(EXCEPTION_LINE.cr2)
  a.fromControl(rax, 2).mov(r12, rax).call('put hex')
  print(EXCEPTION_LINE.error)
  a.mov(eax, a.saved('error')).call('put decimal')
  print(EXCEPTION_LINE.end)
  a.mov(eax, ENDED_BY.exception)

  a.label('end') //                           al: the byte for isa-debug-exit
  a.push(rax)
  a.mov(edx, LINE_STATUS)
  a.label('text is leaving').inb().and(eax, TRANSMITTER_EMPTY).jcc('e', 'text is leaving')
  a.pop(rax)
  a.mov(edx, DEBUG_EXIT_PORT).outb()
  // Without that device: an exception that has no gate, nor has the one after it, resets the machine.
  a.lidt(a.at('no idt')).bytes(0x0f, 0x0b)
  a.align(8).label('no idt').zeros(16)

  for (const text of texts) a.label(`text ${text}`).text(`${text}\0`)
  a.label('text unknown').text('unknown\0')
}
