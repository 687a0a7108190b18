/**
 * Page tables of the supervisor, which every address space of the guest shares: the image, all memory of the machine,
 * and the table of machine frames.
 *
 * Source: Intel SDM vol. 3, 4.5; xen/include/public/arch-x86/xen-x86_64.h, machine_to_phys_mapping.
 * Gotcha: the table of machine frames has pages only where the guest has frames, or it would cost as much as the highest
 * frame. A guest that reads elsewhere in it gets a page fault, as with Xen where the machine has no RAM.
 */
import { levelShift, PT_ENTRIES, PTE_PRESENT, PTE_PSE, PTE_RW, PTE_USER } from '../abi/x86.js'
import { HYPERVISOR_L4_SLOTS } from '../abi/xen-x86-64.js'
import type { Domain } from '../guest/domain.js'
import type { GuestMemory } from '../guest/memory.js'
import { HOLE64 } from '../guest/p2m.js'
import { addRange, rangeEndingAfter } from '../guest/runs.js'
import { type Mfn, PAGE_SHIFT, PAGE_SIZE, paddrOf, type Range, type Vaddr } from '../units.js'
import { DIRECT_VIRT, IMAGE_VIRT, M2P, WRITABLE_M2P } from './layout.js'

const WRITABLE = PTE_PRESENT | PTE_RW
/** log2 of the frames that one page of the table of machine frames is about. */
const M2P_SHIFT = 9
const LARGE_PAGE = 2 ** levelShift(2)

const entryTo = (frame: Mfn, flags: number): bigint => (BigInt(frame) << BigInt(PAGE_SHIFT)) | BigInt(flags)
const slotOf = (vaddr: Vaddr, level: number): number =>
  Number((vaddr >> BigInt(levelShift(level))) % BigInt(PT_ENTRIES))

/** Sorted ranges of numbers, numbered without the gaps. */
class Packed {
  readonly #ranges: readonly Range<number>[]
  readonly #before: readonly number[]
  readonly count: number

  constructor(ranges: readonly Range<number>[]) {
    this.#ranges = ranges
    let sum = 0
    this.#before = ranges.map(({ start, end }) => {
      const before = sum
      sum += end - start
      return before
    })
    this.count = sum
  }

  /** The blocks of 2^shift numbers that the numbers lie in. */
  blocks(shift: number): Packed {
    const out: { start: number; end: number }[] = []
    for (const { start, end } of this.#ranges) {
      addRange(out, Math.floor(start / 2 ** shift), Math.ceil(end / 2 ** shift))
    }
    return new Packed(out)
  }

  /** The place of a number, or undefined for one in a gap. */
  placeOf(value: number): number | undefined {
    const i = rangeEndingAfter(this.#ranges, value)
    const range = this.#ranges[i]
    return range && value >= range.start ? (this.#before[i] as number) + value - range.start : undefined
  }

  /** The number at a place. */
  at(place: number): number {
    let low = 0
    let high = this.#before.length
    while (high - low > 1) {
      const middle = (low + high) >>> 1
      if ((this.#before[middle] as number) <= place) low = middle
      else high = middle
    }
    return (this.#ranges[low] as Range<number>).start + place - (this.#before[low] as number)
  }
}

/** The tables, before they have a place. */
export interface SupervisorTables {
  /** Their frames, for a machine that ends where they do. */
  readonly pages: number
  /** Places them. Returns Xen's slots of a top table. */
  place(memory: GuestMemory, at: Mfn, low: LowTables): BigUint64Array
}

/** Frames of tables that lie with the image. */
export interface LowTables {
  readonly bootTop: Mfn
  readonly image3: Mfn
  readonly image2: Mfn
  readonly image1: Mfn
}

/** Returns the tables for a guest on a machine of `endFrame` frames, these tables not counted. */
export function supervisorTables(guest: Domain, taken: readonly Range<Mfn>[], endFrame: Mfn): SupervisorTables {
  const m2p = new Packed(taken).blocks(M2P_SHIFT)
  const m2p1 = m2p.blocks(9)
  const m2p2 = m2p1.blocks(9)
  const m2pPages = 1 + m2p2.count + m2p1.count + m2p.count
  // The direct map shows itself too. A table of level 2 shows 1 GiB, so one more is always enough.
  const direct2 = Math.ceil((endFrame + m2pPages) / PT_ENTRIES ** 2) + 1
  const direct3 = Math.ceil(direct2 / PT_ENTRIES)
  return {
    pages: m2pPages + direct2 + direct3,
    place(memory, at, low) {
      const starts = { m2p3: at, m2p2: at + 1, m2p1: at + 1 + m2p2.count, m2p: at + 1 + m2p2.count + m2p1.count }
      const directStart = at + m2pPages
      const fill = (frame: Mfn, pages: number, entry: (page: number, index: number) => bigint) => {
        memory.generate(paddrOf(frame), pages * PAGE_SIZE, (offset, out) => {
          const words = new BigUint64Array(out.length / 8)
          for (let i = 0; i < words.length; i++) {
            words[i] = entry(offset / PAGE_SIZE + Math.floor(i / PT_ENTRIES), i % PT_ENTRIES)
          }
          out.set(new Uint8Array(words.buffer))
        })
      }
      const below = (packed: Packed, start: Mfn, value: number): bigint => {
        const place = packed.placeOf(value)
        return place === undefined ? 0n : entryTo(start + place, WRITABLE | PTE_USER)
      }
      fill(starts.m2p3, 1, (_, i) => below(m2p2, starts.m2p2, i))
      fill(starts.m2p2, m2p2.count, (page, i) => below(m2p1, starts.m2p1, m2p2.at(page) * PT_ENTRIES + i))
      fill(starts.m2p1, m2p1.count, (page, i) => below(m2p, starts.m2p, m2p1.at(page) * PT_ENTRIES + i))
      fill(starts.m2p, m2p.count, (page, i) => pfnAt(guest, m2p.at(page) * 2 ** M2P_SHIFT + i))

      const tables2 = directStart + direct3
      fill(directStart, direct3, (page, i) => {
        const table = page * PT_ENTRIES + i
        return table < direct2 ? entryTo(tables2 + table, WRITABLE) : 0n
      })
      const largeFrames = LARGE_PAGE / PAGE_SIZE
      fill(tables2, direct2, (page, i) => entryTo((page * PT_ENTRIES + i) * largeFrames, WRITABLE | PTE_PSE))

      fill(low.image3, 1, (_, i) => (i === slotOf(IMAGE_VIRT, 3) ? entryTo(low.image2, WRITABLE) : 0n))
      fill(low.image2, 1, (_, i) => (i === slotOf(IMAGE_VIRT, 2) ? entryTo(low.image1, WRITABLE) : 0n))
      const { start, end } = HYPERVISOR_L4_SLOTS
      const slots = new BigUint64Array(end - start)
      slots[slotOf(M2P, 4) - start] = entryTo(starts.m2p3, PTE_PRESENT | PTE_USER)
      slots[slotOf(WRITABLE_M2P, 4) - start] = entryTo(starts.m2p3, WRITABLE)
      slots[slotOf(IMAGE_VIRT, 4) - start] = entryTo(low.image3, WRITABLE)
      for (let i = 0; i < direct3; i++) slots[slotOf(DIRECT_VIRT, 4) - start + i] = entryTo(directStart + i, WRITABLE)
      // The first top table also shows the first memory at its own address, where the machine starts.
      fill(low.bootTop, 1, (_, i) => (i === 0 ? entryTo(directStart, WRITABLE) : (slots[i - start] ?? 0n)))
      return slots
    },
  }
}

/** The guest's page in a frame, as machine_to_phys_mapping has it. */
function pfnAt({ p2m, memory }: Domain, mfn: Mfn): bigint {
  const pfn = p2m.pfn(mfn)
  return pfn !== undefined && memory.has(pfn) ? BigInt(pfn) : HOLE64
}
