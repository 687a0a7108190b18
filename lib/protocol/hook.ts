/**
 * A hook for a kernel that runs only at 0x100000, where that range is reserved. The kernel is loaded higher up, with
 * the hook right after it. The hook is entered in the kernel's place, moves the image down and jumps to it.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "Advanced Boot Loader Hooks", "code32_start"
 * (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: a kernel reads code32_start to learn its address (memtest86+ does), so the hook writes the address back
 * before it jumps. The kernel must not notice the hook.
 */

import { BOOT_DS, LOAD_HIGH_ADDRESS, SETUP_HEADER_OFFSET, SetupHeader } from '../abi/boot-params.js'
import { DEVICE_HOLE } from '../abi/pc.js'
import { mem, registers } from '../asm/assembler.js'
import { SystemAssembler } from '../asm/system.js'
import { DomainBuilderError } from '../errors.js'
import type { LinuxImage } from '../kernel/linux-kernel.js'
import { logBoot } from '../log.js'
import { alignUp, hex, overlaps, PAGE_SIZE, type Paddr, type Range, showRange } from '../units.js'
import type { Placement } from './placement.js'

const { eax, ebx, ecx, edx, esi, edi } = registers

/** The lowest load address of such an image: the reserved range at 0x100000 has a megabyte. */
const HOOKED_ADDRESS = 0x200000

/** The bytes that a hook moves; `to` is below `from`, and the two may overlap. */
export interface HookMove {
  readonly from: Paddr
  readonly to: Paddr
  readonly bytes: number
}

/**
 * Returns the hook's code: 32-bit, flat, for the address it lies at. It keeps %esp, %ebp, %esi and %edi; %ebx is 0
 * afterwards, as at the 32-bit entry. It needs no stack.
 */
export function hookCode(at: Paddr, { from, to, bytes }: HookMove): Uint8Array {
  const a = new SystemAssembler(at, 32)
  // Only CS is certain to be loaded.
  a.mov(eax, BOOT_DS)
  for (const segment of ['ds', 'es', 'ss', 'fs', 'gs'] as const) a.toSegment(segment, eax)
  a.mov(ebx, esi)
  a.mov(edx, edi)
  a.mov(esi, from)
  a.mov(edi, to)
  a.mov(ecx, bytes)
  // Copies from the low end up: overlapping bytes are read before they are written.
  a.cld()
  a.repMovsb()
  a.mov(esi, ebx)
  a.mov(edi, edx)
  a.mov(eax, to)
  a.mov(mem(esi, SETUP_HEADER_OFFSET + SetupHeader.offsetOf('code32_start')), eax)
  a.mov(ebx, 0)
  a.jmpTo(eax)
  return a.assemble()
}

/** The places of a hooked image and its hook. */
interface Hooked {
  readonly address: Paddr
  readonly hook: Paddr
  readonly code: Uint8Array
}

/** Returns the reserved range that keeps an immovable kernel from being loaded where it runs. */
export function takenBy({ reloc, code }: LinuxImage, placement: Placement): Range<Paddr> | undefined {
  if (reloc !== undefined) return undefined
  return placement.map.reserved.find((range) => overlaps(range, destinationOf(code)))
}

const destinationOf = (code: Uint8Array): Range<Paddr> => ({
  start: LOAD_HIGH_ADDRESS,
  end: LOAD_HIGH_ADDRESS + code.length,
})

/**
 * Places the image and its hook, and reserves the memory that the image will be moved to and run in. A reserved range
 * at the destination is overwritten when the guest starts, and not before.
 * @throws DomainBuilderError `does-not-fit` for a kernel that no hook can stop on its way, or without room; `overlap`
 *   where the kernel would run into memory that is reserved for another reason.
 */
export function placeHooked(image: LinuxImage, taken: Range<Paddr>, placement: Placement): Hooked {
  const { code, bzImage, hookable, runsAt, initSize = 0 } = image
  const destination = destinationOf(code)
  if (!hookable) {
    const missing = bzImage.noCode ? 'code (syssize 0)' : 'code32_start'
    throw new DomainBuilderError(
      'does-not-fit',
      `the kernel cannot be moved by a hook: its setup header has no ${missing}`,
      { expected: `${showRange(destination)} free`, found: `${showRange(taken)} reserved` },
    )
  }
  // A separate run-time range comes first: the image itself may go anywhere with room.
  const running = { start: runsAt, end: runsAt + initSize }
  const apart = running.start > destination.end
  if (apart) placement.at('kernel init_size', running.start, initSize)
  const pages = alignUp(code.length, PAGE_SIZE)
  const address = placement.room('kernel and hook', pages + PAGE_SIZE, {
    within: { start: HOOKED_ADDRESS, end: DEVICE_HOLE.start },
    align: PAGE_SIZE,
    from: 'bottom',
  })
  const hook = address + pages
  const hookBytes = hookCode(hook, { from: address, to: destination.start, bytes: code.length })
  placement.at('kernel', address, code.length)
  placement.at('hook', hook, hookBytes.length)
  const kept = { start: destination.start, end: apart ? destination.end : Math.max(destination.end, running.end) }
  const other = placement.map.reserved.find((range) => overlaps(range, kept) && !overlaps(range, destination))
  if (other !== undefined) {
    throw new DomainBuilderError('overlap', 'the running kernel overlaps the reserved range', {
      expected: `none of ${showRange(other)}`,
      found: showRange(kept),
    })
  }
  placement.keep('kernel destination', kept)
  logBoot('hook at %s moves %s bytes from %s to %s', hex(hook), hex(code.length), hex(address), hex(destination.start))
  return { address, hook, code: hookBytes }
}
