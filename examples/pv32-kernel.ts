/**
 * A 32-bit PAE kernel for Xen PV that records everything it finds at its first instruction, says so, and shuts down.
 *
 * Source: xen/include/public/arch-x86/xen-x86_32.h (hypercalls), xen.h ("Start-of-day memory layout"), sched.h.
 * Gotcha: it runs in ring 1, cannot use ports, and calls its hypervisor through the page that its note names.
 */
import { buildElf, mem, type Register, registers, SystemAssembler, xenNotes } from 'xen-domain-builder/testing'
// Xen's numbers and layouts are not exports of the package: a kernel elsewhere has them from Xen's headers.
import { CONSOLEIO_WRITE, HYPERCALL, HYPERCALL_SLOT_BYTES, SCHEDOP, SHUTDOWN } from '../lib/abi/hypercall.js'
import { StartInfo32 } from '../lib/abi/start-info.js'

const { eax, ecx, edx, ebx, esi, edi, ebp, esp, al } = registers

/** The virtual address of pfn 0, and the kernel's physical address; the kernel's virtual address is their sum. */
const VIRT_BASE = 0xc0000000
const PADDR = 0x100000
export const ENTRY = VIRT_BASE + PADDR

/** The recorded values, a u32 each. */
export const REPORT = [
  ...['eax', 'ecx', 'edx', 'ebx', 'esi', 'edi', 'ebp', 'esp'],
  ...['eip', 'eflags', 'cs', 'ss', 'ds', 'es', 'fs', 'gs'],
] as const

const startInfo = (field: string) => mem(ebp, StartInfo32.offsetOf(field))

/** The code, and the guest-physical addresses of the report and of the copy of start_info. */
function assemble(): { readonly code: Uint8Array; readonly report: number; readonly startInfo: number } {
  const a = new SystemAssembler(ENTRY, 32)
  const report = (name: (typeof REPORT)[number]) => a.at('report', REPORT.indexOf(name) * 4)
  const save = (name: (typeof REPORT)[number], from: Register) => a.mov(report(name), from)

  a.label('start')
  for (const register of [eax, ecx, edx, ebx, esi, edi, ebp, esp]) save(register.name as 'eax', register)
  a.pushf() //                                before an addition changes them
  a.pop(eax)
  save('eflags', eax)
  a.call('here')
  a.label('here').pop(eax)
  a.movAddress(ecx, 'here')
  a.sub(eax, ecx) //                          its distance from its linked address
  a.add(eax, ENTRY - 2 ** 32)
  save('eip', eax)
  for (const name of ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const) {
    a.fromSegment(eax, name)
    a.and(eax, 0xffff)
    save(name, eax)
  }

  a.mov(ebp, esi) //                          start_info's virtual address
  a.movAddress(edi, 'seen')
  a.mov(ecx, StartInfo32.size)
  a.repMovsb()

  a.lea(edx, startInfo('magic'))
  a.call('print')
  a.movAddress(edx, 'nr_pages')
  a.call('print')
  a.mov(ebx, startInfo('nr_pages'))
  a.movAddress(edi, 'digits')
  a.label('digit') //                         the highest first
  a.mov(eax, ebx)
  a.shr(eax, 28)
  a.movAddress(ecx, 'hex')
  a.mov(al, mem(ecx, 0, eax))
  a.mov(mem(edi), al)
  a.inc(edi)
  a.shl(ebx, 4)
  a.movAddress(eax, 'end of digits')
  a.cmp(edi, eax)
  a.jcc('ne', 'digit')
  a.movAddress(edx, 'digits')
  a.call('print')
  a.lea(edx, startInfo('cmd_line'))
  a.call('print')

  a.label('end')
  a.mov(ebx, SCHEDOP.shutdown)
  a.movAddress(ecx, 'poweroff') //            struct sched_shutdown
  a.call('sched_op')
  a.jmp('end')

  a.label('print') //                         edx: text up to its NUL; loses eax, ebx and ecx
  a.mov(ecx, 0)
  a.label('length')
  a.mov(al, mem(edx, 0, ecx))
  a.inc(ecx)
  a.cmp(al, 0)
  a.jcc('ne', 'length')
  a.dec(ecx)
  a.mov(ebx, CONSOLEIO_WRITE)
  a.call('console_io')
  a.ret()

  a.label('nr_pages').text(', nr_pages 0x\0')
  a.label('hex').text('0123456789abcdef')
  a.label('digits').zeros(8).label('end of digits').text(', cmd_line \0')
  a.align(4)
  a.label('poweroff').u32(SHUTDOWN.poweroff)
  a.label('report').zeros(REPORT.length * 4)
  a.label('seen').zeros(StartInfo32.size)
  a.align(4096).label('hypercall page')
  a.zeros(HYPERCALL.console_io * HYPERCALL_SLOT_BYTES).label('console_io')
  a.zeros((HYPERCALL.sched_op - HYPERCALL.console_io) * HYPERCALL_SLOT_BYTES).label('sched_op')
  a.align(4096)
  const at = (label: string) => Number(a.addressOf(label)) - VIRT_BASE
  return { code: a.assemble(), report: at('report'), startInfo: at('seen') }
}

const assembled = assemble()
/** Guest-physical addresses, in bytes, of its records: REPORT, and the struct start_info that it found. */
export const { report: REPORT_PADDR, startInfo: SEEN_PADDR } = assembled

/** The kernel: the same bytes on every machine. */
export function pv32Kernel(): Uint8Array {
  const { code } = assembled
  return buildElf({
    class: 32,
    entry: ENTRY,
    segments: [{ paddr: PADDR, vaddr: ENTRY, data: code }],
    notes: xenNotes({
      GUEST_OS: 'pv32',
      XEN_VERSION: 'xen-3.0',
      LOADER: 'generic',
      PAE_MODE: 'yes',
      ENTRY,
      VIRT_BASE,
      HYPERCALL_PAGE: ENTRY + code.length - 4096,
    }),
  })
}
