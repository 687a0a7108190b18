/**
 * relocate: a vmlinux moved by its relocation table, as its own decompressor would move it. Only the virtual distance
 * is patched in. The physical distance is where the result is put, and the two may differ.
 *
 * Source: Linux arch/x86/boot/compressed/misc.c (handle_relocations) and arch/x86/tools/relocs.c, read for the meaning
 * of the three lists; confirmed by booting relocated kernels.
 * Gotcha: the table holds link addresses of the one linear mapping that the kernel is linked at. A segment with another
 * p_vaddr (per-cpu data at 0) is patched through its place in that mapping, by its p_paddr.
 */
import { DomainBuilderError } from '../errors.js'
import { type ElfImage, loadable, type Segment, segmentBytes } from '../kernel/elf.js'
import { linkAddress, type Relocs } from '../kernel/relocs.js'
import { hex, showRanges } from '../units.js'

/** A loadable segment and the bytes to load for it. */
export interface SegmentImage {
  readonly segment: Segment
  /** A view of the file, or a patched copy where the table refers to it. */
  readonly bytes: Uint8Array
}

/** Returns the loadable segments as the file has them. */
export const segmentImages = (elf: ElfImage): SegmentImage[] =>
  loadable(elf).map((segment) => ({ segment, bytes: segmentBytes(elf, segment) }))

/** The ends of each class's addresses: a patched word must stay a valid address. */
const LIMITS = {
  32: { min: 0, max: 0xffffffff },
  // A 32-bit word of a 64-bit kernel is sign-extended: the top two gigabytes.
  64: { min: -0x80000000, max: -1 },
} as const

interface Target {
  readonly start: bigint
  readonly end: bigint
  readonly index: number
}

/**
 * Returns the segments of a kernel whose virtual addresses are to be `distance` further up. The file's bytes do not
 * change.
 * @throws DomainBuilderError `wrong-layout` when the table refers to bytes outside the file, `does-not-fit` when an
 *   address would leave the range that the kernel's code can express.
 */
export function relocate(elf: ElfImage, relocs: Relocs, distance: bigint): SegmentImage[] {
  const images = segmentImages(elf)
  const lowest = images.reduce<SegmentImage | undefined>(
    (low, image) => (low === undefined || image.segment.paddr < low.segment.paddr ? image : low),
    undefined,
  )
  if (lowest === undefined || distance === 0n) return images
  const base = lowest.segment.vaddr - lowest.segment.paddr
  checkRange(elf, base, distance)
  const targets: Target[] = images.map(({ segment, bytes }, index) => ({
    start: base + segment.paddr,
    end: base + segment.paddr + BigInt(bytes.length),
    index,
  }))
  const writer = new Patcher(elf, images, targets)
  const step = Number(BigInt.asIntN(elf.class === 64 ? 64 : 32, distance))
  writer.each(relocs.add32, 4, (view, at) => view.setUint32(at, (view.getUint32(at, true) + step) >>> 0, true))
  writer.each(relocs.subtract32, 4, (view, at) => view.setUint32(at, (view.getUint32(at, true) - step) >>> 0, true))
  writer.each(relocs.add64, 8, (view, at) =>
    view.setBigUint64(at, BigInt.asUintN(64, view.getBigUint64(at, true) + distance), true),
  )
  return writer.result()
}

/** The whole image must stay in the range of its 32-bit words. */
function checkRange(elf: ElfImage, base: bigint, distance: bigint): void {
  const { min, max } = LIMITS[elf.class]
  const signed = (value: bigint): bigint => (elf.class === 64 ? BigInt.asIntN(64, value) : value)
  const ends = loadable(elf).map(({ paddr, memsz }) => [base + paddr, base + paddr + memsz - 1n] as const)
  for (const address of ends.flat()) {
    const moved = signed(BigInt.asUintN(64, address)) + distance
    if (moved < BigInt(min) || moved > BigInt(max)) {
      throw new DomainBuilderError('does-not-fit', 'the relocation distance is too large', {
        expected: `addresses from ${hex(BigInt.asUintN(elf.class, BigInt(min)))} to ${hex(BigInt.asUintN(elf.class, BigInt(max)))}`,
        found: `${hex(BigInt.asUintN(64, address))} moved by ${showDistance(distance)}`,
      })
    }
  }
}

/** Returns a distance with its sign. */
export const showDistance = (distance: bigint): string => (distance < 0n ? `-${hex(-distance)}` : hex(distance))

/** Patches words by link address; copies a segment when the first of its words is patched. */
class Patcher {
  readonly #elf: ElfImage
  readonly #images: SegmentImage[]
  readonly #targets: readonly Target[]
  readonly #views: (DataView | undefined)[] = []

  constructor(elf: ElfImage, images: readonly SegmentImage[], targets: readonly Target[]) {
    this.#elf = elf
    this.#images = [...images]
    this.#targets = targets
  }

  result(): SegmentImage[] {
    return this.#images
  }

  each(list: Int32Array, size: 4 | 8, patch: (view: DataView, at: number) => void): void {
    // The list is in order of address, so the next word is nearly always in the segment of the last one.
    let target: Target | undefined
    let start = 0
    let room = 0
    for (const entry of list) {
      // Within a segment plain numbers suffice: the distance from its start is small, even if its address is large.
      let at = entry - start
      if (target === undefined || at < 0 || at + size > room) {
        const address = linkAddress(entry, this.#elf.class)
        target = this.#find(address, size)
        start = entry - Number(address - target.start)
        room = Number(target.end - target.start)
        at = entry - start
      }
      patch(this.#view(target.index), at)
    }
  }

  #find(address: bigint, size: number): Target {
    const target = this.#targets.find(({ start, end }) => address >= start && address + BigInt(size) <= end)
    if (target !== undefined) return target
    throw new DomainBuilderError('wrong-layout', 'the relocation table has an address outside the segments', {
      expected: `${size} bytes within ${showRanges(this.#targets)}`,
      found: hex(address),
    })
  }

  #view(index: number): DataView {
    const made = this.#views[index]
    if (made !== undefined) return made
    const image = this.#images[index] as SegmentImage
    const bytes = image.bytes.slice()
    this.#images[index] = { ...image, bytes }
    const view = new DataView(bytes.buffer)
    this.#views[index] = view
    return view
  }
}
