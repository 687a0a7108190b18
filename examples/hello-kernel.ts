/**
 * The smallest kernel that proves its boot information: it says hello on the console of start_info, and shuts down.
 *
 * Source: xen/include/public/xen.h ("Start-of-day memory layout"), io/console.h, event_channel.h, sched.h.
 * Gotcha: it runs in ring 3 on the builder's stack, with its first pages mapped and nothing else: no IDT, no hypercall
 * page. start_info names the console by machine frame, so the kernel looks up the pfn in Xen's table.
 *
 *     node dist/examples/write-hello-kernel.js hello.elf     # for `xl create` or any command of this package
 */
import { Assembler, buildElf, mem, registers, xenNotes } from 'xen-domain-builder/testing'
// Xen's numbers and layouts are not exports of the package: a kernel elsewhere has them from Xen's headers.
import { CONSOLE_OUT_BYTES, XenconsInterface } from '../lib/abi/console-ring.js'
import { EVTCHNOP } from '../lib/abi/event-channel.js'
import { CONSOLEIO_WRITE, HYPERCALL, SCHEDOP, SHUTDOWN } from '../lib/abi/hypercall.js'
import { START_INFO_MAGIC, StartInfo64 } from '../lib/abi/start-info.js'
import { HYPERVISOR_VIRT_END, MACH2PHYS_VIRT_START } from '../lib/abi/xen-x86-64.js'

const { rax, rcx, rdx, rbx, rbp, rsi, rdi, r12, eax, ecx, edx, esi, edi, al, cl } = registers

/**
 * The virtual address of pfn 0: the first one that is not Xen's, so that even a terabyte's p2m fits above it. The
 * kernel's virtual address is the sum of this and its physical one.
 */
const VIRT_BASE = HYPERVISOR_VIRT_END
const PADDR = 0x100000
const ENTRY = VIRT_BASE + BigInt(PADDR)

/** How often it yields the processor while the console's other end reads; about a second on real hardware. */
const PATIENCE = 1 << 19

const MAGIC = `${START_INFO_MAGIC.x86_64}\0`
const HELLO = 'hello from start_info, nr_pages=0x'
const LOST = 'no start_info at rsi\n'

const startInfo = (field: string) => mem(rbp, StartInfo64.offsetOf(field))
const ring = (field: string) => mem(rbx, XenconsInterface.offsetOf(field))

function assemble(): Uint8Array {
  const a = new Assembler(ENTRY)

  a.label('start')
  a.mov(rbp, rsi) //                          start_info's virtual address, the one thing a PV kernel is given
  a.lea(rdi, a.at('magic'))
  a.mov(ecx, MAGIC.length)
  a.repeCmpsb()
  a.jcc('ne', 'lost')

  // Console: machine frame -> pfn by Xen's own table -> virtual address, since the first mapping is linear from pfn 0.
  a.mov(rax, startInfo('console_mfn'))
  a.mov(rdx, MACH2PHYS_VIRT_START)
  a.mov(rbx, mem(rdx, 0, rax, 8))
  a.shl(rbx, 12)
  a.mov(rdx, VIRT_BASE)
  a.add(rbx, rdx)

  // nr_pages in hex, from the last digit to the first.
  a.mov(rax, startInfo('nr_pages'))
  a.lea(rdi, a.at('newline'))
  a.lea(rdx, a.at('hex'))
  a.label('digit')
  a.mov(ecx, eax)
  a.and(ecx, 15)
  a.mov(cl, mem(rdx, 0, rcx))
  a.dec(rdi)
  a.mov(mem(rdi), cl)
  a.shr(rax, 4)
  a.jcc('ne', 'digit')
  a.mov(r12, rdi)

  a.lea(rsi, a.at('hello'))
  a.mov(ecx, HELLO.length)
  a.call('print')
  a.mov(rsi, r12)
  a.lea(rcx, a.at('end of line'))
  a.sub(rcx, rsi)
  a.call('print')

  // The end of the domain may discard text that the other end of the ring has not read yet.
  a.mov(r12, PATIENCE)
  a.label('drain')
  a.mov(eax, ring('out_cons'))
  a.cmp(eax, ring('out_prod'))
  a.jcc('e', 'done')
  a.mov(edi, SCHEDOP.yield)
  a.xor(esi, esi)
  a.mov(eax, HYPERCALL.sched_op)
  a.syscall()
  a.dec(r12)
  a.jcc('ne', 'drain')

  a.label('done')
  a.lea(rsi, a.at('poweroff'))
  a.jmp('shut down')

  // Without start_info there is no ring to write to, only Xen's own console.
  a.label('lost')
  a.lea(rsi, a.at('complaint'))
  a.mov(ecx, LOST.length)
  a.call('print to Xen')
  a.lea(rsi, a.at('crash'))

  a.label('shut down') //                     rsi: struct sched_shutdown
  a.push(rsi)
  a.mov(edi, SCHEDOP.shutdown)
  a.mov(eax, HYPERCALL.sched_op)
  a.syscall()
  a.pop(rsi)
  a.jmp('shut down') //                       reached only after a cancelled shutdown

  // rsi: text, rcx: its length, less than the ring has room for. Keeps rbx, rbp and r12.
  a.label('print')
  a.push(rsi)
  a.push(rcx)
  a.call('print to Xen')
  a.pop(rcx)
  a.pop(rsi)
  a.mov(edx, ring('out_prod'))
  a.label('put')
  a.mov(edi, edx)
  a.and(edi, CONSOLE_OUT_BYTES - 1)
  a.mov(al, mem(rsi))
  a.mov(mem(rbx, XenconsInterface.offsetOf('out'), rdi), al)
  a.inc(rsi)
  a.inc(edx)
  a.loop('put')
  a.mov(ring('out_prod'), edx) //             after the bytes: x86 stores in program order
  a.mov(edi, EVTCHNOP.send)
  a.lea(rsi, startInfo('console_evtchn')) //  struct evtchn_send is a port, and there is one here
  a.mov(eax, HYPERCALL.event_channel_op)
  a.syscall()
  a.ret()

  a.label('print to Xen') //                  rsi: text, rcx: its length
  a.mov(edi, CONSOLEIO_WRITE)
  a.mov(rdx, rsi)
  a.mov(rsi, rcx)
  a.mov(eax, HYPERCALL.console_io)
  a.syscall()
  a.ret()

  a.label('magic').text(MAGIC)
  a.label('hello').text(HELLO)
  a.label('complaint').text(LOST)
  a.label('hex').text('0123456789abcdef')
  a.zeros(16).label('newline').text('\n').label('end of line')
  a.align(4)
  a.label('poweroff').u32(SHUTDOWN.poweroff)
  a.label('crash').u32(SHUTDOWN.crash)
  return a.assemble()
}

/** The kernel, an ELF of about 5 KB, with the same bytes on every machine. */
export function helloKernel(): Uint8Array {
  return buildElf({
    class: 64,
    entry: ENTRY,
    segments: [{ paddr: PADDR, vaddr: ENTRY, data: assemble() }],
    notes: xenNotes({
      GUEST_OS: 'hello',
      XEN_VERSION: 'xen-3.0',
      LOADER: 'generic',
      ENTRY,
      VIRT_BASE,
    }),
  })
}
