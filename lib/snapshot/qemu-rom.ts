/**
 * A 64 KiB boot ROM that leaves a PC as a BIOS does, puts a processor into a vcpu's state and starts it: without
 * firmware, nothing else runs before the guest.
 *
 * Source: Intel SDM vol. 3, 10.1.4 (first instruction executed), 10.8.5 (initializing IA-32e mode).
 * Gotcha: the ROM runs below 1 MiB, where a PC shows it too: not every emulator executes code at 4 GiB. Once paging is
 * on, the next instruction must be mapped, and the ROM may be unmapped. So the last steps are a trampoline that the ROM
 * copies to an unused page of guest memory that is mapped to itself.
 */
import { CR0_PE, RESET_VECTOR, ROM_BYTES, ROM_START } from '../abi/x86.js'
import { registers } from '../asm/assembler.js'
import { SystemAssembler } from '../asm/system.js'
import { DomainBuilderError } from '../errors.js'
import type { Vcpu } from '../guest/vcpu.js'
import { checkedInteger, hex, PAGE_SIZE, type Paddr } from '../units.js'
import { CODE32, DATA, enterState, load, ownGdt, table } from './enter-state.js'
import { setUpDevices } from './pc-devices.js'

const { ecx, edi, esi } = registers

/** 16-bit code, close enough to the reset vector for a short table and a near jump. */
const START_OFFSET = 0xff00

/**
 * Returns a boot ROM for a vcpu. At the place of a PC's BIOS, it sets the processor's state to that of the vcpu, from
 * the first instruction after reset on. QEMU takes it by `-bios`, v86 as `bios`; the guest's memory must be in place
 * already.
 * @param vcpu in protected or long mode; the machine gets no other input.
 * @param page the place of the last steps: the physical address of an unused page of guest memory below 4 GiB. Where
 *   paging is on, the vcpu's tables must map it to itself. It is not zero when the guest begins.
 * @returns 65536 bytes.
 * @throws DomainBuilderError `does-not-fit` for a state that such a ROM cannot set up; `bad-config` for an invalid
 *   page.
 */
export function bootRom(vcpu: Vcpu, page: Paddr): Uint8Array {
  requirePageBelow4G(page)
  const trampoline = new SystemAssembler(page, 32)
  enterState(trampoline, vcpu)
  const code = trampoline.assemble()
  const a = new SystemAssembler(ROM_START, 32)
  for (const segment of ['ds', 'es', 'ss'] as const) load(a, segment, DATA.selector)
  setUpDevices(a)
  a.movAddress(esi, 'trampoline')
  a.mov(edi, page)
  a.mov(ecx, code.length)
  a.repMovsb()
  a.ljmp(CODE32.selector, page)
  a.label('trampoline').bytes(...code)
  a.align(8)
    .label('gdt')
    .bytes(...ownGdt())
  const gdtr = a.length
  table(a, ownGdt().length - 1, Number(a.addressOf('gdt')))

  const rom = new Uint8Array(ROM_BYTES)
  rom.set(a.assemble())
  rom.set(start16(gdtr), START_OFFSET)
  // A near jump back to the code, which is all that fits at the reset vector.
  const distance = START_OFFSET - (RESET_VECTOR + 3)
  rom.set([0xe9, distance & 0xff, (distance >> 8) & 0xff], RESET_VECTOR)
  return rom
}

function requirePageBelow4G(page: Paddr): void {
  checkedInteger(page, 'the trampoline page', 0, 2 ** 32 - PAGE_SIZE)
  if (page % PAGE_SIZE === 0) return
  throw new DomainBuilderError('bad-config', 'the trampoline page is misaligned', {
    expected: `a multiple of ${hex(PAGE_SIZE)}`,
    found: hex(page),
  })
}

/** Returns 16-bit code: it loads the ROM's GDT, enters protected mode and jumps to the ROM's first byte. */
function start16(gdtr: number): number[] {
  const word = (value: number, bytes: number) => Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 0xff)
  const cli = [0xfa]
  const lgdt = [0x2e, 0x66, 0x0f, 0x01, 0x16, ...word(gdtr, 2)] // o32 lgdt cs:[gdtr]
  const movEax = [0x66, 0xb8, ...word(CR0_PE, 4)]
  const movCr0 = [0x0f, 0x22, 0xc0]
  const ljmp = [0x66, 0xea, ...word(ROM_START, 4), ...word(CODE32.selector, 2)]
  return [...cli, ...lgdt, ...movEax, ...movCr0, ...ljmp]
}
