/**
 * console_io: output on Xen's own console.
 *
 * Source: xen/include/public/xen.h, CONSOLEIO_*.
 * Gotcha: a release build of Xen discards this output of a domU. Here it comes out of the serial port, as the ring's.
 */
import { CONSOLEIO_READ, CONSOLEIO_WRITE } from '../../abi/hypercall.js'
import { mem, registers } from '../../asm/assembler.js'
import type { Emit } from '../assembler.js'

const { al, edi, esi, rdx, r14d, r15 } = registers

/** console_io: writes text; there is never input. */
export const consoleIo: Emit = (a) => {
  a.cmp(edi, CONSOLEIO_READ).jcc('e', 'no input')
  a.cmp(edi, CONSOLEIO_WRITE).jcc('ne', 'console_io lacks')
  a.mov(r14d, esi).mov(r15, rdx)
  a.label('next of console_io').cmp(r14d, 0).jcc('e', 'console_io done')
  a.mov(al, mem(r15)).call('put to xen').inc(r15).dec(r14d).jmp('next of console_io')
  a.label('console_io done').call('after console_io')
  a.label('no input').succeed()
  a.label('console_io lacks').lacksCommand('console_io')
}
