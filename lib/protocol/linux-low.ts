/**
 * The parts of a Linux guest below 640 KiB: boot_params, command line and GDT. At the 16-bit entry, these are its boot
 * sector and setup code with room for a heap and a stack, and the command line.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "Memory Layout", "Sample Boot Configuration"
 * (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: before protocol 2.02 a command line's offset counts from 0x90000, not from boot_params, so boot_params
 * are placed there.
 */
import {
  BootParams,
  HEAP_END,
  heapEndPtr,
  LOW_MEMORY_END,
  OLD_HEAP_END,
  OLD_SETUP_ADDRESS,
  PROTOCOL_CMD_LINE_PTR,
  SETUP_MAX_BYTES,
} from '../abi/boot-params.js'
import { DomainBuilderError } from '../errors.js'
import { hex, overlaps, PAGE_SIZE, type Paddr, type Range } from '../units.js'
import type { LinuxLoad, LinuxSetup } from './linux-image.js'
import type { Placement } from './placement.js'

/** Above the memory that a BIOS and real-mode code use, below the start of an extended BIOS data area. */
const LOW_MEMORY: Range<Paddr> = { start: 0x10000, end: LOW_MEMORY_END }

/** The places of these parts. */
export interface LowMemory {
  /** boot_params, or the boot sector, which has the setup header at the same offset. */
  readonly bootParams: Paddr
  readonly cmdline: Paddr
  /** At the 16-bit entry: the end of heap and stack, from the boot sector. Other entries do not use heap_end_ptr. */
  readonly heapEnd: number
  readonly heapEndPtr: number
  /** Absent at the 16-bit entry. */
  readonly gdt?: Paddr
}

/**
 * Places these parts.
 * @throws DomainBuilderError `does-not-fit` or `overlap` where there is no room, or the setup code is too long.
 */
export function placeLow(
  { mode, setup }: LinuxLoad,
  bytes: { readonly cmdline: number; readonly gdt: number },
  placement: Placement,
): LowMemory {
  const old = setup !== undefined && setup.bzImage.protocol < PROTOCOL_CMD_LINE_PTR
  const { within: asked } = placement
  // A crash kernel's reservation lies above low memory: then everything goes into the reservation.
  const usual = asked === undefined || overlaps(asked, LOW_MEMORY) ? LOW_MEMORY : asked
  const within = old ? { start: OLD_SETUP_ADDRESS, end: LOW_MEMORY.end } : usual
  const low = (name: string, size: number): Paddr =>
    placement.somewhere(name, size, { within, align: PAGE_SIZE, from: 'bottom' })
  const first = (name: string, size: number): Paddr =>
    old ? placement.at(name, OLD_SETUP_ADDRESS, size) : low(name, size)
  const heapEnd = old ? OLD_HEAP_END : HEAP_END
  const heap = { heapEnd, heapEndPtr: heapEndPtr(heapEnd) }
  if (mode === 16) {
    const size = (setup as LinuxSetup).bytes.length
    if (size > SETUP_MAX_BYTES) {
      throw new DomainBuilderError('does-not-fit', 'the setup code is too large', {
        expected: `at most ${hex(SETUP_MAX_BYTES)} bytes`,
        found: hex(size),
      })
    }
    return { bootParams: first('setup', heapEnd), cmdline: low('cmdline', bytes.cmdline), ...heap }
  }
  const bootParams = first('boot_params', BootParams.size)
  return { bootParams, cmdline: low('cmdline', bytes.cmdline), gdt: low('gdt', bytes.gdt), ...heap }
}
