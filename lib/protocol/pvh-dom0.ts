/**
 * A PVH dom0 as Xen builds it: Kernel + configuration -> Domain, in memory that lies where the host's RAM does.
 *
 * Source: xen/arch/x86/hvm/dom0_build.c; every place was confirmed against Xen 4.17.
 * Gotcha: hvm_start_info comes last. The command line and the list with the ramdisk lie before it, on the same page.
 */
import { HvmModlistEntry, HvmStartInfo, XEN_HVM_START_MAGIC_VALUE } from '../abi/hvm-start-info.js'
import { SIF_INITDOMAIN, SIF_PRIVILEGED } from '../abi/start-info.js'
import { xenHas } from '../abi/xen-release.js'
import { encodeUtf8 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain, PvhBoot } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import type { MemoryMap } from '../guest/memory-map.js'
import type { Kernel } from '../kernel/kernel.js'
import { type PvhKernel, pvhKernel } from '../kernel/pvh-kernel.js'
import { logBoot } from '../log.js'
import { alignDown, alignUp, hex, overlaps, PAGE_SIZE, type Paddr, type Range } from '../units.js'
import { loadSegments } from './load-segments.js'
import { Placement } from './placement.js'
import { pvhDomain } from './pvh-boot.js'
import type { PvhOptions } from './pvh-config.js'

/** Xen places nothing below, where a PC's firmware has its data. */
const FIRST_FREE = 2 ** 20
/** The end of what the kernel's first instructions reach. */
const REACHABLE_END = 2 ** 32

/**
 * Builds a PVH dom0.
 * @throws DomainBuilderError when the kernel is not a PVH kernel, or does not fit the RAM of the host.
 */
export function buildPvhDom0(kernel: Kernel, options: PvhOptions): Domain<PvhBoot> {
  const pvh = pvhKernel(kernel, { dom0: true })
  const { map } = options
  const placement = new Placement(map)
  const image = placeKernel(placement, pvh, options)
  const [module] = options.modules
  // A boot loader gives each module a text, an empty one too.
  const ramdisk = module && { bytes: module.bytes, text: cString(module.cmdline ?? '') }
  const cmdline = cString(options.cmdline)
  const align = pvh.elf.class / 8
  const offsets = layOut(ramdisk?.bytes.length, ramdisk?.text.length ?? 0, cmdline.length, align)
  // Xen looks for room without the ramdisk's text.
  const base = findRoom(map, image, layOut(ramdisk?.bytes.length, 0, cmdline.length, align).end)
  if (ramdisk) placement.at('ramdisk', base, offsets.text + ramdisk.text.length)
  placement.at('start_info', base + offsets.cmdline, offsets.end - offsets.cmdline)

  const memory = new GuestMemory(map.frames)
  const delta = image.start - pvh.image.start
  loadSegments(memory, pvh, (paddr) => Number(paddr) + delta)
  if (ramdisk) {
    memory.place(base, ramdisk.bytes)
    memory.write(base + offsets.text, ramdisk.text)
    memory.write(base + offsets.modlist, modlist(base, ramdisk.bytes.length, base + offsets.text))
  }
  memory.write(base + offsets.cmdline, cmdline)
  const startInfo = base + offsets.startInfo
  memory.write(startInfo, startInfoBytes(base + offsets.cmdline, ramdisk && base + offsets.modlist))

  return pvhDomain(kernel, options, {
    memory,
    entry: pvh.entry + delta,
    hvmStartInfo: startInfo,
    hvmParams: [],
    regions: placement.regions(false),
  })
}

const cString = (text: string): Uint8Array => encodeUtf8(`${text}\0`)

/** Places the image at its link address, or, if its PHYS32_RELOC allows, at the highest free one. Returns its range. */
function placeKernel(placement: Placement, { image, reloc }: PvhKernel, { xen }: PvhOptions): Range<Paddr> {
  const length = image.end - image.start
  const link = { start: alignDown(image.start, PAGE_SIZE), end: alignUp(image.end, PAGE_SIZE) }
  const isFree = placement.find(link.end - link.start, { within: link, align: PAGE_SIZE, from: 'bottom' }) !== undefined
  const found =
    reloc && !isFree && xenHas(xen, 'phys32-reloc')
      ? placement.find(length, { within: reloc.within, align: Math.max(reloc.align, PAGE_SIZE), from: 'top' })
      : undefined
  const start = found ?? image.start
  placement.at('kernel', alignDown(start, PAGE_SIZE), start - alignDown(start, PAGE_SIZE) + length)
  return { start, end: start + length }
}

/** Returns the offsets of all parts after the ramdisk. @param align the alignment of lists, a word of the ELF's class. */
function layOut(ramdiskBytes: number | undefined, textBytes: number, cmdlineBytes: number, align: number) {
  const text = alignUp(ramdiskBytes ?? 0, align)
  const cmdline = alignUp(text + textBytes, PAGE_SIZE)
  const modlist = cmdline + alignUp(cmdlineBytes, align)
  const startInfo = modlist + (ramdiskBytes === undefined ? 0 : HvmModlistEntry.size)
  return { text, cmdline, modlist, startInfo, end: startInfo + HvmStartInfo.size }
}

/**
 * Returns the lowest address with enough room. A range of RAM with the kernel in it offers only the larger part, before
 * the kernel or after it.
 */
function findRoom(map: MemoryMap, image: Range<Paddr>, bytes: number): Paddr {
  const kernel = { start: alignDown(image.start, PAGE_SIZE), end: alignUp(image.end, PAGE_SIZE) }
  for (const range of map.ram) {
    let { start, end } = { start: Math.max(range.start, FIRST_FREE), end: range.end }
    if (overlaps({ start, end }, kernel)) {
      if (kernel.start - start > end - kernel.end) end = kernel.start
      else start = kernel.end
    }
    if (end - start >= bytes && start + bytes <= REACHABLE_END) return start
  }
  throw new DomainBuilderError('does-not-fit', 'the dom0 has no room for its ramdisk and start_info', {
    expected: `${hex(bytes)} bytes in a row, from ${hex(FIRST_FREE)} to ${hex(REACHABLE_END)}`,
    found: 'less',
  })
}

const modlist = (paddr: Paddr, size: number, text: Paddr): Uint8Array =>
  HvmModlistEntry.encode({ paddr: BigInt(paddr), size: BigInt(size), cmdline_paddr: BigInt(text), reserved: 0n })

function startInfoBytes(cmdline: Paddr, modlistAt: Paddr | undefined): Uint8Array {
  const fields = {
    ...HvmStartInfo.zero,
    magic: XEN_HVM_START_MAGIC_VALUE,
    flags: SIF_PRIVILEGED | SIF_INITDOMAIN,
    nr_modules: modlistAt === undefined ? 0 : 1,
    modlist_paddr: BigInt(modlistAt ?? 0),
    cmdline_paddr: BigInt(cmdline),
  }
  for (const [name, value] of Object.entries(fields)) logBoot('hvm_start_info.%s = %s', name, hex(value))
  return HvmStartInfo.encode(fields)
}
