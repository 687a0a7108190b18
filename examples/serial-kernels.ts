/**
 * Two of the smallest kernels that speak on a PC's serial port: one for PVH, and a bzImage of the Linux boot protocol.
 * Each says hello, prints its command line, and halts.
 *
 * Source: Xen public/arch-x86/hvm/start_info.h; Linux Documentation/arch/x86/boot.rst.
 * Gotcha: they are entered in 32-bit mode, without paging and without a stack.
 */
import { buildBzImage, buildElf, mem, registers, SystemAssembler, xenNotes } from 'xen-domain-builder/testing'
// Layouts are not exports of the package: a kernel elsewhere has them from the headers.
import { BootParams } from '../lib/abi/boot-params.js'
import { HvmStartInfo } from '../lib/abi/hvm-start-info.js'

const { edx, ebx, esi, edi, al } = registers
/** The load address of both. */
const PADDR = 0x100000
const COM1 = 0x3f8

/** @param field where the register of the boot protocol leads to the address of the command line. */
function code(hello: string, field: ReturnType<typeof mem>): Uint8Array {
  const a = new SystemAssembler(PADDR, 32)
  /** Prints the text at esi, up to its zero byte. */
  const print = (name: string): void => {
    a.label(name)
    a.mov(al, mem(esi))
    a.cmp(al, 0)
    a.jcc('e', `${name} printed`)
    a.outb()
    a.inc(esi)
    a.jmp(name)
    a.label(`${name} printed`)
  }
  a.mov(edi, field)
  a.mov(edx, COM1)
  a.lea(esi, a.at('hello'))
  print('greeting')
  a.mov(esi, edi)
  a.cmp(esi, 0)
  a.jcc('e', 'stop')
  print('command line')
  a.label('stop').cli()
  a.hlt()
  a.jmp('stop')
  a.label('hello').text(`${hello}\0`)
  return a.assemble()
}

/** Returns the PVH kernel, an ELF of 32 bits. */
export function pvhKernel(): Uint8Array {
  const data = code('hello from hvm_start_info: ', mem(ebx, HvmStartInfo.offsetOf('cmdline_paddr')))
  return buildElf({
    class: 32,
    entry: PADDR,
    segments: [{ paddr: PADDR, data }],
    notes: xenNotes({ GUEST_OS: 'hello', PHYS32_ENTRY: PADDR }),
  })
}

/** Returns the kernel of the Linux boot protocol, whose code is not relocatable and not compressed. */
export function linuxKernel(): Uint8Array {
  const field = mem(esi, BootParams.offsetOf('hdr.cmd_line_ptr'))
  return buildBzImage({
    payload: code('hello from boot_params: ', field),
    payloadOffset: 0,
    protocol: 0x20f,
    version: 'hello',
    header: {
      payload_length: 0,
      payload_offset: 0,
      relocatable_kernel: 0,
      xloadflags: 0,
      init_size: 0x1000,
      pref_address: BigInt(PADDR),
    },
  })
}
