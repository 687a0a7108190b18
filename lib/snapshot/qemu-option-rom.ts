/**
 * An option ROM that starts a guest in real mode. The BIOS initialises the machine and calls the ROM when it would look
 * for a boot disk (INT 19h). The ROM puts the guest's low memory in place and enters it in the vcpu's state.
 *
 * Source: BIOS Boot Specification 1.01, chapter 6 and appendix D; PCI Firmware Specification 3.0, "Option ROM" header.
 * Gotcha: the ROM must put low memory in place, not QEMU's loader: a BIOS uses that memory until the last moment.
 */
import { OPTION_ROM_BLOCK, OPTION_ROM_MAGIC, REAL_MODE_LIMIT, REAL_MODE_SHIFT } from '../abi/x86.js'
import { mem, registers as R } from '../asm/assembler.js'
import { SystemAssembler } from '../asm/system.js'
import { DomainBuilderError } from '../errors.js'
import { registers32 } from '../guest/pv-context.js'
import type { Vcpu } from '../guest/vcpu.js'
import { alignUp, hex, type Paddr } from '../units.js'

/** The part of the guest's memory that the ROM carries. */
export interface LowPiece {
  readonly paddr: Paddr
  readonly bytes: Uint8Array
}

/** The address of the boot vector in real mode's interrupt table. */
const BOOT_VECTOR = 0x19 * 4
/** After magic, size and a jump. */
const PIECES_OFFSET = 0x10
/** 16-bit code reaches no further; and the part of it that the code itself may take. */
const ROM_MAX_BYTES = 0x10000
const CODE_MAX_BYTES = 0x1000

/**
 * Returns the ROM.
 * @param pieces of memory below 1 MiB, each at most 64 KiB.
 * @throws DomainBuilderError `does-not-fit` for more memory than a ROM can hold, or a state that real mode cannot have.
 */
export function optionRom(vcpu: Vcpu, pieces: readonly LowPiece[]): Uint8Array {
  checkState(vcpu)
  const carried = pieces.reduce((sum, { bytes }) => sum + bytes.length, 0)
  if (carried > ROM_MAX_BYTES - CODE_MAX_BYTES) {
    throw new DomainBuilderError('does-not-fit', "the guest's low memory is too large for an option ROM", {
      expected: `at most ${hex(ROM_MAX_BYTES - CODE_MAX_BYTES)} bytes`,
      found: hex(carried),
    })
  }
  const a = new SystemAssembler(0, 16)
  a.u16(OPTION_ROM_MAGIC).bytes(0)
  a.jmp('install')
  a.zeros(PIECES_OFFSET - a.length)
  const placed = pieces.map(({ paddr, bytes }) => {
    const offset = a.length
    // One by one: 60 KiB as arguments do not fit a thread's stack.
    for (const byte of bytes) a.bytes(byte)
    return { paddr, offset, bytes: bytes.length }
  })

  a.label('boot')
  a.cli()
  a.cld()
  a.fromSegment(R.eax, 'cs')
  a.toSegment('ds', R.eax)
  for (const { paddr, offset, bytes } of placed) {
    a.mov(R.eax, paddr >>> REAL_MODE_SHIFT)
    a.toSegment('es', R.eax)
    a.mov(R.edi, paddr % 2 ** REAL_MODE_SHIFT)
    a.mov(R.esi, offset)
    a.mov(R.ecx, bytes)
    a.repMovsb()
  }
  enter(a, vcpu)

  // Called by the BIOS, which needs every register preserved.
  a.label('install')
  a.push(R.eax)
  a.push(R.edi)
  a.pushDs()
  a.mov(R.edi, 0)
  a.toSegment('ds', R.edi)
  a.fromSegment(R.eax, 'cs')
  a.shl(R.eax, 16)
  a.or(R.eax, Number(a.addressOf('boot')))
  a.mov(mem(R.edi, BOOT_VECTOR), R.eax)
  a.popDs()
  a.pop(R.edi)
  a.pop(R.eax)
  a.retf()

  const rom = new Uint8Array(alignUp(a.length + 1, OPTION_ROM_BLOCK))
  rom.set(a.assemble())
  rom[2] = rom.length / OPTION_ROM_BLOCK
  // All bytes add up to 0.
  rom[rom.length - 1] = -rom.reduce((sum, byte) => sum + byte, 0) & 0xff
  return rom
}

/** Loads flags, segments and registers, and enters the guest. After the flags there is only mov, which keeps them. */
function enter(a: SystemAssembler, { registers, segments }: Vcpu): void {
  a.pushImmediate(Number(registers.rflags))
  a.popf()
  for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) {
    a.mov(R.eax, segments[name].selector)
    a.toSegment(name, R.eax)
  }
  const { eip, eflags: _, ...general } = registers32(registers)
  for (const name of Object.keys(general) as (keyof typeof general)[]) a.mov(R[name], general[name])
  a.ljmp(segments.cs.selector, eip)
}

function checkState({ segments, registers: r }: Vcpu): void {
  const refuse = (what: string, expected: string, found: bigint | number) => {
    throw new DomainBuilderError('does-not-fit', `the vcpu's ${what} cannot be set by an option ROM`, {
      expected,
      found: hex(found),
    })
  }
  if (r.rip > BigInt(REAL_MODE_LIMIT)) refuse('rip', `at most ${hex(REAL_MODE_LIMIT)}`, r.rip)
  for (const [name, { selector, descriptor }] of Object.entries(segments)) {
    const base = BigInt(selector) << BigInt(REAL_MODE_SHIFT)
    if (descriptor && descriptor.base !== base) refuse(`${name} base`, hex(base), descriptor.base)
  }
}
