/**
 * A kernel that runs at 0x100000 and nowhere else, where that is taken: loaded higher up, with a hook right behind it that
 * is entered in the kernel's stead, moves the image down and goes on there.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "Advanced Boot Loader Hooks", "code32_start" (https://docs.kernel.org/arch/x86/boot.html).
 * Gotcha: a kernel reads code32_start to learn where it is (memtest86+ does), so the hook writes the address back before
 * it jumps: the kernel must not find out that there was a hook.
 */
import { BOOT_DS, LOAD_HIGH_ADDRESS, SETUP_HEADER_OFFSET, SetupHeader } from '../abi/boot-params.js'
import { mem, registers } from '../asm/assembler.js'
import { SystemAssembler } from '../asm/system.js'
import { DomainBuilderError } from '../errors.js'
import { DEVICE_HOLE } from '../guest/memory-map.js'
import type { LinuxImage } from '../kernel/linux-kernel.js'
import { logBoot } from '../log.js'
import { alignUp, hex, overlaps, PAGE_SIZE, type Paddr, type Range, showRange } from '../units.js'
import type { Placement } from './linux-placement.js'

const { eax, ebx, ecx, edx, esi, edi } = registers

/** Where such an image is loaded at the lowest: what lives at 0x100000 has a megabyte. */
const HOOKED_ADDRESS = 0x200000

/** What a hook moves; `to` is below `from`, and the two may overlap. */
export interface HookMove {
  readonly from: Paddr
  readonly to: Paddr
  readonly bytes: number
}

/**
 * The hook's code: 32-bit, flat, for the address it lies at. Keeps %esp, %ebp, %esi and %edi; %ebx is 0 afterwards, as
 * the 32-bit entry has it. Needs no stack.
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
  // Downwards, so that what overlaps is read before it is written.
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

/** Where a hooked image lies, and its hook. */
export interface Hooked {
  readonly address: Paddr
  readonly hook: Paddr
  readonly code: Uint8Array
}

/** The reserved range that keeps a kernel which cannot move from being loaded where it runs. */
export function takenBy({ reloc, code }: LinuxImage, placement: Placement): Range<Paddr> | undefined {
  if (reloc !== undefined) return undefined
  return placement.map.reserved.find((range) => overlaps(range, destinationOf(code)))
}

const destinationOf = (code: Uint8Array): Range<Paddr> => ({
  start: LOAD_HIGH_ADDRESS,
  end: LOAD_HIGH_ADDRESS + code.length,
})

/**
 * Places the image, its hook, and keeps what it will be moved to and run in from everything else. What was reserved where
 * the image will be is overwritten when the guest starts, and not before.
 * @throws DomainBuilderError `does-not-fit` for a kernel that no hook can stop on its way, or without room; `overlap`
 * where the kernel would run into memory that is reserved for another reason.
 */
export function placeHooked(image: LinuxImage, taken: Range<Paddr>, placement: Placement): Hooked {
  const { code, header, runsAt, initSize = 0 } = image
  const destination = destinationOf(code)
  if (header.header.code32_start === 0) {
    throw new DomainBuilderError(
      'does-not-fit',
      'the kernel cannot be moved there by a hook: it has no code32_start, and its setup code goes where it pleases',
      { expected: `${showRange(destination)} free`, found: `${showRange(taken)} reserved` },
    )
  }
  // What it runs in elsewhere comes first: the image itself may go wherever there is room.
  const running = { start: runsAt, end: runsAt + initSize }
  const apart = running.start > destination.end
  if (apart) placement.at('kernel init_size', running.start, initSize)
  const pages = alignUp(code.length, PAGE_SIZE)
  const address = placement.room('kernel and its hook', pages + PAGE_SIZE, {
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
    throw new DomainBuilderError('overlap', 'the kernel, once it runs, and the reserved range want the same memory', {
      expected: `none of ${showRange(other)}`,
      found: showRange(kept),
    })
  }
  placement.keep('kernel destination', kept)
  logBoot('hook at %s moves %s bytes from %s to %s', hex(hook), hex(code.length), hex(address), hex(destination.start))
  return { address, hook, code: hookBytes }
}
