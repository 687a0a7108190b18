/**
 * findLinux: the page tables of a 64-bit Linux in memory without a description.
 *
 * Source: Linux arch/x86/kernel/head_64.S and Documentation/arch/x86/x86_64/mm.rst: init_top_pgt lies in the kernel's
 * own image, which it maps at START_KERNEL_MAP in pages of 2 MiB.
 * Gotcha: the tables of every process map the kernel too. Only the kernel's own ones lie in the image that they map,
 * and have an empty lower half.
 */
import { KERNEL_IMAGE_SIZE, LINUX_BANNER, START_KERNEL_MAP } from '../abi/linux-memory.js'
import { PT_ENTRIES, PTE_ADDR_MASK, PTE_PRESENT, PTE_PSE } from '../abi/x86.js'
import { encodeLatin1, indexOf } from '../bytes.js'
import { PAGE_SIZE, type Paddr, paddrOf, type Vaddr } from '../units.js'
import type { GuestMemory } from './memory.js'

const ENTRY_BYTES = PAGE_SIZE / PT_ENTRIES
/** The place of the kernel's mapping in tables of level 4 and 3. */
const TOP_INDEX = PT_ENTRIES - 1
const L3_INDEX = PT_ENTRIES - 2
const LARGE_PAGE = PT_ENTRIES * PAGE_SIZE
/** Images that are searched for the banner: each takes as long as the kernel is large. */
const IMAGES_MAX = 8

/** A kernel that was found. */
interface FoundLinux {
  /** Its top table. */
  readonly cr3: Paddr
  /** Its banner, `Linux version ...`, where the tables map it. */
  readonly banner: Vaddr
}

/** Where a kernel's image lies. */
interface Image {
  readonly paddr: Paddr
  readonly vaddr: Vaddr
  readonly bytes: number
}

/** Returns the first kernel whose tables map its banner. All content is read once. */
export function findLinux(memory: GuestMemory): FoundLinux | undefined {
  let images = 0
  for (const { paddr, bytes } of memory.chunks()) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const skipped = -paddr & (PAGE_SIZE - 1)
    for (let at = skipped; at + PAGE_SIZE <= bytes.length; at += PAGE_SIZE) {
      if (!isTop(view, at)) continue
      const image = imageOf(memory, view.getBigUint64(at + TOP_INDEX * ENTRY_BYTES, true))
      const cr3 = paddr + at
      if (image === undefined || cr3 < image.paddr || cr3 >= image.paddr + image.bytes) continue
      const banner = bannerIn(memory, image)
      if (banner !== undefined) return { cr3, banner }
      if (++images === IMAGES_MAX) return undefined
    }
  }
  return undefined
}

/** Returns whether a page may be the kernel's top table: the last entry leads on, and the lower half is empty. */
function isTop(view: DataView, at: number): boolean {
  if ((view.getUint8(at + TOP_INDEX * ENTRY_BYTES) & PTE_PRESENT) === 0) return false
  for (let i = 0; i < PT_ENTRIES / 2; i++) if (view.getUint32(at + i * ENTRY_BYTES, true) !== 0) return false
  return true
}

/** Returns the table that an entry leads to. */
function tableOf(memory: GuestMemory, entry: bigint): DataView | undefined {
  const paddr = Number(entry & PTE_ADDR_MASK)
  if ((entry & BigInt(PTE_PRESENT)) === 0n || !memory.covers(paddr, PAGE_SIZE)) return undefined
  return new DataView(memory.read(paddr, PAGE_SIZE).buffer)
}

/** Returns the image that a top entry maps, if it is one: large pages in order, at one distance. */
function imageOf(memory: GuestMemory, top: bigint): Image | undefined {
  const l3 = tableOf(memory, top)
  const l2 = l3 && tableOf(memory, l3.getBigUint64(L3_INDEX * ENTRY_BYTES, true))
  if (l2 === undefined) return undefined
  let image: Image | undefined
  for (let i = 0; i < PT_ENTRIES && i * LARGE_PAGE < Number(KERNEL_IMAGE_SIZE); i++) {
    const entry = l2.getBigUint64(i * ENTRY_BYTES, true)
    const isMapped = (entry & BigInt(PTE_PRESENT)) !== 0n && (entry & BigInt(PTE_PSE)) !== 0n
    if (!isMapped) {
      if (image !== undefined && (entry & BigInt(PTE_PRESENT)) === 0n) break
      // The kernel splits a large page where parts of it have other rights.
      if (image !== undefined) image = { ...image, bytes: image.bytes + LARGE_PAGE }
      continue
    }
    const paddr = Number(entry & PTE_ADDR_MASK & ~BigInt(LARGE_PAGE - 1))
    image ??= { paddr, vaddr: START_KERNEL_MAP + BigInt(i * LARGE_PAGE), bytes: 0 }
    if (paddr !== image.paddr + image.bytes) return undefined
    image = { ...image, bytes: image.bytes + LARGE_PAGE }
  }
  return image
}

/** Returns the banner's address. Only content is searched. */
function bannerIn(memory: GuestMemory, { paddr, vaddr, bytes }: Image): Vaddr | undefined {
  const text = encodeLatin1(LINUX_BANNER)
  for (const { pfn, pages } of memory.pages()) {
    const start = Math.max(paddrOf(pfn), paddr)
    const end = Math.min(paddrOf(pfn + pages), paddr + bytes)
    for (let at = start; at < end; at += LARGE_PAGE) {
      // The text may lie across the end of a piece.
      const part = memory.read(at, Math.min(LARGE_PAGE + text.length, end - at))
      const found = indexOf(part, text)
      if (found >= 0) return vaddr + BigInt(at + found - paddr)
    }
  }
  return undefined
}
