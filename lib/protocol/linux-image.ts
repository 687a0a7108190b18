/**
 * The image of a Linux kernel to load, its address and its entry: the bzImage with its own decompressor, or a vmlinux
 * that we relocate.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "kernel_alignment", "pref_address", "init_size", "relocatable_kernel".
 * Gotcha: a bzImage loaded below its pref_address runs at pref_address, and init_size counts from there.
 */

import { ENTRY_64_OFFSET, LOAD_HIGH_ADDRESS, XLF_CAN_BE_LOADED_ABOVE_4G } from '../abi/boot-params.js'
import { DEVICE_HOLE } from '../abi/pc.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { LinearMapping } from '../guest/linear-tables.js'
import { type BzImage, showProtocol } from '../kernel/bzimage.js'
import { loadable } from '../kernel/elf.js'
import type { Kernel } from '../kernel/kernel.js'
import { type LinuxEntry, type LinuxImage, linuxKernel, type Vmlinux } from '../kernel/linux-kernel.js'
import { alignDown, alignUp, hex, PADDR_MAX, PAGE_SIZE, type Paddr, type Range, showRange } from '../units.js'
import { placeHooked, takenBy } from './hook.js'
import type { LinuxOptions } from './linux-config.js'
import type { Placement } from './placement.js'
import { relocate, type SegmentImage, segmentImages, showDistance } from './relocate.js'

/** A setup header, and the boot sector and setup code around it. */
export interface LinuxSetup {
  readonly bzImage: BzImage
  readonly bytes: Uint8Array
}

/** A kernel with its place: the bytes to write, and the facts that the rest of the build needs. */
export interface LinuxLoad {
  /** The load address. */
  readonly address: Paddr
  /** The entry address; in 16-bit mode, the address that its setup code will enter. */
  readonly entry: Paddr
  /** The processor mode the guest begins in. */
  readonly mode: 16 | 32 | 64
  /** The value for code32_start: the image, or the hook before it. Absent where the kernel's own value is 0. */
  readonly code32Start?: Paddr
  readonly pieces: readonly { readonly paddr: Paddr; readonly bytes: Uint8Array; readonly memsz: number }[]
  /** Absent for a vmlinux, which is never entered in 16-bit mode. */
  readonly setup?: LinuxSetup
  /** The virtual addresses at which a vmlinux's segments want to be mapped. */
  readonly mappings: readonly LinearMapping[]
  readonly cmdlineSize: number
  readonly initrdAddrMax: number
  /** Whether the ramdisk and the kernel may lie above 4 GiB. */
  readonly above4G: boolean
}

/** Limits for a vmlinux without a header: those of every Linux that has one. */
const VMLINUX_LIMITS = { cmdlineSize: 2047, initrdAddrMax: 0x7fffffff } as const
const BELOW_4G: Range<Paddr> = { start: LOAD_HIGH_ADDRESS, end: DEVICE_HOLE.end }
const ANYWHERE: Range<Paddr> = { start: LOAD_HIGH_ADDRESS, end: PADDR_MAX }

/**
 * Chooses image, entry and address, and places the kernel.
 * @throws DomainBuilderError when the kernel cannot be entered as asked, or has no room.
 */
export function loadLinux(kernel: Kernel, options: LinuxOptions, placement: Placement): LinuxLoad {
  const { image, vmlinux } = linuxKernel(kernel, { byName: true })
  const wanted = options.image ?? (image === undefined ? 'vmlinux' : 'bzImage')
  if (wanted === 'bzImage' && image !== undefined) return loadImage(image, options, placement)
  if (wanted === 'vmlinux' && vmlinux !== undefined) return loadVmlinux(kernel, vmlinux, options, placement)
  throw new DomainBuilderError('not-linux', `the kernel has no ${wanted}`, {
    expected: image === undefined ? 'vmlinux' : 'bzImage',
    found: wanted,
  })
}

function loadImage(image: LinuxImage, options: LinuxOptions, placement: Placement): LinuxLoad {
  const { code, bzImage } = image
  if (options.paging || options.virtualOffset !== undefined) {
    throw new DomainBuilderError(
      'bad-config',
      'a bzImage decompresses itself: only its vmlinux can be mapped or moved',
      {
        expected: 'image vmlinux',
        found: 'bzImage',
      },
    )
  }
  const taken = options.loadAddress === undefined ? takenBy(image, placement) : undefined
  const mode = imageMode(image, options.entry, taken)
  const hooked = taken === undefined ? undefined : placeHooked(image, taken, placement)
  const address = hooked?.address ?? placeImage(image, mode, options, placement)
  const code32Start = hooked?.hook ?? address
  return {
    address,
    entry: mode === 64 ? address + ENTRY_64_OFFSET : code32Start,
    mode,
    ...defined({ code32Start: bzImage.header.code32_start === 0 ? undefined : code32Start }),
    pieces: [
      { paddr: address, bytes: code, memsz: code.length },
      ...(hooked ? [{ paddr: hooked.hook, bytes: hooked.code, memsz: hooked.code.length }] : []),
    ],
    setup: { bzImage, bytes: image.setup },
    mappings: [],
    cmdlineSize: image.cmdlineSize,
    initrdAddrMax: image.initrdAddrMax,
    above4G: mayGoAbove4G(image, mode),
  }
}

const mayGoAbove4G = ({ reloc }: LinuxImage, mode: LinuxEntry): boolean => mode === 64 && reloc?.above4G === true

/** Places a kernel at the address asked for, at its preferred address, or at the next one that is allowed. */
function placeImage(image: LinuxImage, mode: LinuxEntry, options: LinuxOptions, placement: Placement): Paddr {
  const { code, reloc } = image
  const within = mayGoAbove4G(image, mode) ? ANYWHERE : BELOW_4G
  const size = Math.max(code.length, image.initSize ?? 0)
  const preferred = options.loadAddress ?? image.address
  if (options.loadAddress !== undefined && reloc === undefined && preferred !== image.address) {
    throw new DomainBuilderError('does-not-fit', 'the kernel is not relocatable', {
      expected: hex(image.address),
      found: hex(preferred),
    })
  }
  if (preferred < LOAD_HIGH_ADDRESS) {
    throw new DomainBuilderError('does-not-fit', 'a bzImage cannot be loaded below 1 MiB', {
      expected: `at least ${hex(LOAD_HIGH_ADDRESS)}`,
      found: hex(preferred),
    })
  }
  if (preferred + code.length > within.end) {
    throw new DomainBuilderError('does-not-fit', 'the kernel cannot be loaded above 4 GiB', {
      expected: `an end at ${hex(within.end)} or before`,
      found: hex(preferred + code.length),
    })
  }
  const search = {
    within: { ...within, start: image.runsAt },
    align: reloc?.align ?? PAGE_SIZE,
    from: 'bottom',
  } as const
  const free = placement.find(size, {
    ...search,
    within: { start: preferred, end: preferred + alignUp(size, PAGE_SIZE) },
  })
  const movable = options.loadAddress === undefined && reloc !== undefined && free === undefined
  // All of the memory nearly always has room. Where there is less, the error says how much the kernel needs.
  const find = () => (placement.within ? placement.room('kernel', size, search) : placement.find(size, search))
  const address = (movable ? find() : undefined) ?? preferred
  takePlace(image, address, placement)
  return address
}

/** Takes one region for the code and its run-time memory, or two where they do not touch. */
function takePlace({ code, reloc, runsAt, initSize }: LinuxImage, address: Paddr, placement: Placement): void {
  const runtime = reloc === undefined ? runsAt : Math.max(alignUp(address, reloc.align), runsAt)
  const loaded = { start: address, end: address + code.length }
  const running = { start: runtime, end: runtime + (initSize ?? 0) }
  if (running.start === running.end || running.start <= loaded.end) {
    placement.at('kernel', address, Math.max(loaded.end, running.end) - address)
    return
  }
  placement.at('kernel', address, code.length)
  placement.at('kernel init_size', alignDown(runtime, PAGE_SIZE), running.end - running.start)
}

/**
 * Returns the entry asked for, or the best one.
 * @param taken why the kernel will be entered through a hook, which is 32-bit code: setup code can go through it.
 */
function imageMode(
  { entries, best, bzImage }: LinuxImage,
  asked: LinuxEntry | undefined,
  taken: Range<Paddr> | undefined,
): LinuxEntry {
  const show = (modes: readonly LinuxEntry[]) => modes.map((entry) => `${entry}-bit`).join(', ')
  if (taken !== undefined && asked === 64) {
    throw new DomainBuilderError('does-not-fit', 'the kernel is not relocatable, and a hook has no 64-bit entry', {
      expected: `${showRange({ start: LOAD_HIGH_ADDRESS, end: taken.end })} free, or another entry`,
      found: `${showRange(taken)} reserved`,
    })
  }
  // Setup code follows every header, so there is always an entry.
  const usable = (entry: LinuxEntry) => entry <= best && (taken === undefined || entry !== 64)
  const mode = asked ?? (entries.find(usable) as LinuxEntry)
  if (entries.includes(mode)) return mode
  throw new DomainBuilderError('not-linux', `the kernel does not claim the ${mode}-bit entry`, {
    expected: `${mode}-bit`,
    found: `${show(entries)} (protocol ${showProtocol(bzImage.protocol)})`,
  })
}

function loadVmlinux(kernel: Kernel, vmlinux: Vmlinux, options: LinuxOptions, placement: Placement): LinuxLoad {
  const { elf, entryMode, image } = vmlinux
  if (options.entry !== undefined && options.entry !== entryMode) {
    throw new DomainBuilderError('not-linux', `an ELF${elf.class} is not entered in ${options.entry}-bit mode`, {
      expected: `${entryMode}-bit`,
      found: `${options.entry}-bit`,
    })
  }
  const header = kernel.linux?.header
  const align = elf.segments.reduce(
    (most, segment) => Math.max(most, Number(segment.align)),
    Math.max(PAGE_SIZE, header?.kernel_alignment ?? 0),
  )
  const offset = image.start % PAGE_SIZE
  const size = image.end - image.start + offset
  const address = options.loadAddress ?? vmlinuxAddress(vmlinux, size, align, placement)
  const distance = address - image.start
  checkMove(vmlinux, distance, align)
  placement.at('kernel', address - offset, size)
  const { images, virtual } = moveVmlinux(vmlinux, distance, align, options.virtualOffset)
  return {
    address,
    entry: vmlinux.entry + distance,
    mode: entryMode,
    code32Start: address,
    pieces: images.map(({ segment, bytes }) => ({
      paddr: Number(segment.paddr) + distance,
      bytes,
      memsz: Number(segment.memsz),
    })),
    ...defined({ setup: kernel.linux && { bzImage: kernel.linux, bytes: kernel.linux.bytes } }),
    mappings: loadable(elf).map(({ vaddr, paddr, memsz }) => ({
      vaddr: BigInt.asUintN(elf.class, vaddr + virtual),
      paddr: Number(paddr) + distance,
      bytes: Number(memsz),
    })),
    cmdlineSize: header?.cmdline_size ?? VMLINUX_LIMITS.cmdlineSize,
    initrdAddrMax: header?.initrd_addr_max ?? VMLINUX_LIMITS.initrdAddrMax,
    above4G:
      entryMode === 64 && ((header?.xloadflags ?? XLF_CAN_BE_LOADED_ABOVE_4G) & XLF_CAN_BE_LOADED_ABOVE_4G) !== 0,
  }
}

/**
 * Returns the address that the file asks for. If it is not free, a kernel that can run anywhere goes to the first free
 * place. So does one that we can relocate, with `within`.
 */
function vmlinuxAddress(
  { image, anywhere, elf, relocs }: Vmlinux,
  size: number,
  align: number,
  placement: Placement,
): Paddr {
  if (!anywhere && (relocs === undefined || placement.within === undefined)) return image.start
  const where = { within: elf.class === 32 ? BELOW_4G : ANYWHERE, align, from: 'bottom' } as const
  const start = alignDown(image.start, PAGE_SIZE)
  const asLinked = placement.find(size, {
    ...where,
    align: PAGE_SIZE,
    within: { start, end: start + alignUp(size, PAGE_SIZE) },
  })
  if (asLinked !== undefined && image.start >= LOAD_HIGH_ADDRESS) return image.start
  const needed = size + (image.start % align)
  const found = placement.within ? placement.room('kernel', needed, where) : placement.find(needed, where)
  return found === undefined ? image.start : found + (image.start % align)
}

function checkMove({ anywhere, relocs, elf }: Vmlinux, distance: number, align: number): void {
  if (distance === 0) return
  if (!anywhere && relocs === undefined) {
    throw new DomainBuilderError('does-not-fit', 'the kernel is ET_EXEC and has no relocation table', {
      expected: 'its link address',
      found: `${showDistance(BigInt(distance))} bytes from there`,
    })
  }
  const end = elf.class === 32 ? DEVICE_HOLE.end : PADDR_MAX
  if (distance % align !== 0 || distance > end) {
    throw new DomainBuilderError('does-not-fit', "the kernel's load address is invalid", {
      expected: `a distance that is a multiple of ${hex(align)}`,
      found: showDistance(BigInt(distance)),
    })
  }
}

/** Returns the segments as they are to run, and the virtual distance applied to them. */
function moveVmlinux(
  { elf, relocs, anywhere }: Vmlinux,
  distance: number,
  align: number,
  asked: bigint | undefined,
): { images: SegmentImage[]; virtual: bigint } {
  // The virtual addresses of a 32-bit kernel are its physical ones plus a constant.
  const tied = elf.class === 32 && !anywhere
  const virtual = asked ?? (tied ? BigInt(distance) : 0n)
  if (tied && virtual !== BigInt(distance)) {
    throw new DomainBuilderError('bad-config', 'the virtual offset of a 32-bit kernel is not its load offset', {
      expected: showDistance(BigInt(distance)),
      found: showDistance(virtual),
    })
  }
  if (virtual % BigInt(align) !== 0n) {
    throw new DomainBuilderError('does-not-fit', 'the virtual offset is misaligned', {
      expected: `a virtual distance that is a multiple of ${hex(align)}`,
      found: showDistance(virtual),
    })
  }
  if (virtual === 0n) return { images: segmentImages(elf), virtual }
  if (relocs === undefined) {
    throw new DomainBuilderError('does-not-fit', 'the kernel has no relocation table', {
      expected: 'virtualOffset 0',
      found: showDistance(virtual),
    })
  }
  return { images: relocate(elf, relocs, virtual), virtual }
}
