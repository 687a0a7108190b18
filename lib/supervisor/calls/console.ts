/**
 * console_io: output on Xen's own console.
 *
 * Source: xen/include/public/xen.h, CONSOLEIO_*.
 * Gotcha: a release build of Xen discards this output of a domU. Here it comes out of the serial port, as the ring's.
 */
import { CONSOLEIO_READ, CONSOLEIO_WRITE } from '../../abi/hypercall.js'
import { mem, registers } from '../../asm/assembler.js'
import type { Emit } from '../assembler.js'

const { al, ecx, edi, esi, rdx, rsi } = registers

/** console_io: writes text; there is never input. */
export const consoleIo: Emit = (a) => {
  a.cmp(edi, CONSOLEIO_READ).jcc('e', 'no input')
  a.cmp(edi, CONSOLEIO_WRITE).jcc('ne', 'console_io lacks')
  a.mov(ecx, esi).mov(rsi, rdx)
  a.label('next of console_io').cmp(ecx, 0).jcc('e', 'no input')
  a.mov(al, mem(rsi)).call('put byte').inc(rsi).dec(ecx).jmp('next of console_io')
  a.label('no input').succeed()
  a.label('console_io lacks').lacksCommand('console_io')
}
