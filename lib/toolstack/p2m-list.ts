/**
 * The p2m list of a PV guest that has stopped, read from its frames.
 *
 * Source: xen/include/public/arch-x86/xen.h (arch_shared_info: a list that is mapped, or a tree of three levels); for a
 * guest that has not run, xen.h (start_info.mfn_list).
 * Gotcha: entries of all ones are holes, and so are Linux's marks in the two highest bits: frames of other domains, and
 * ranges of the host. The list and its length are the guest's claims.
 */
import { SharedInfo32, SharedInfo64 } from '../abi/shared-info.js'
import { StartInfo32, StartInfo64 } from '../abi/start-info.js'
import { levelShift, PT_ENTRIES, PTE_ADDR_MASK, PTE_PRESENT, unfoldedCr3 } from '../abi/x86.js'
import { DomainBuilderError } from '../errors.js'
import { P2M_MARKED32 } from '../guest/p2m.js'
import type { Vcpu } from '../guest/vcpu.js'
import { throughWords } from '../guest/words.js'
import { hex, type Mfn, PAGE_SHIFT, PAGE_SIZE, pagesFor, type Vaddr } from '../units.js'
import { breathe } from '../work.js'
import type { Domid } from './answer.js'
import { FRAMES_AT_ONCE, type Hypervisor } from './hypervisor.js'

/** A PV guest whose list is read. */
interface StoppedPv {
  readonly xen: Hypervisor
  readonly domid: Domid
  readonly abi: 'x86_64' | 'x86_32p'
  readonly sharedInfo: Uint8Array
  /** Returns its first vcpu, with machine frames. */
  readonly vcpu: () => Vcpu
  /** The most entries of a list that is believed. */
  readonly limit: number
}

/** The list. */
export interface ReadP2m {
  /** The mfn of each pfn, all ones for a hole. */
  readonly table: BigUint64Array
  /** The machine frames that hold the list, in its order. */
  readonly frames: readonly Mfn[]
}

/** A list that is mapped in an address space. */
interface Mapped {
  readonly top: Mfn
  readonly vaddr: Vaddr
  readonly entries: number
}

/** The high half of an entry that is no frame: all ones, or marked. Frames have 40 bits. */
const FRAME_HIGH_END = 2 ** 8
const HOLE = 0xffffffff

const refuse = (what: string, expected: string, found: string): never => {
  throw new DomainBuilderError('bad-snapshot', `the p2m list of the guest ${what}`, { expected, found })
}

/**
 * Returns the p2m list.
 * @throws DomainBuilderError `bad-snapshot` for a guest that names none, or one that is not mapped or too long.
 */
export async function readP2mList(guest: StoppedPv): Promise<ReadP2m> {
  const { abi, sharedInfo } = guest
  // The whole page takes long to decode while the guest waits.
  const view = new DataView(sharedInfo.buffer, sharedInfo.byteOffset)
  const word = (field: 'max_pfn' | 'pfn_to_mfn_frame_list_list' | 'p2m_cr3' | 'p2m_vaddr'): bigint =>
    abi === 'x86_64'
      ? view.getBigUint64(SharedInfo64.offsetOf(field), true)
      : BigInt(view.getUint32(SharedInfo32.offsetOf(field), true))
  const [maxPfn, root, cr3] = [Number(word('max_pfn')), Number(word('pfn_to_mfn_frame_list_list')), word('p2m_cr3')]
  if (cr3 !== 0n) {
    const list = { top: mfnOfCr3(abi, cr3), vaddr: word('p2m_vaddr'), entries: checked(guest, maxPfn) }
    return readList(guest, await mappedFrames(guest, list), list.entries)
  }
  if (root !== 0) return readList(guest, await treeFrames(guest, root, checked(guest, maxPfn)), maxPfn)
  const list = await firstList(guest)
  return readList(guest, await mappedFrames(guest, list), list.entries)
}

function checked({ limit }: StoppedPv, entries: number): number {
  if (entries > 0 && entries <= limit) return entries
  return refuse('has the wrong length', `1 to ${limit} entries`, `${entries}`)
}

const mfnOfCr3 = (abi: StoppedPv['abi'], cr3: bigint): Mfn =>
  abi === 'x86_64' ? Number((cr3 & PTE_ADDR_MASK) >> BigInt(PAGE_SHIFT)) : unfoldedCr3(Number(cr3))

const entryBytes = ({ abi }: StoppedPv): 4 | 8 => (abi === 'x86_64' ? 8 : 4)

async function pageAt({ xen, domid }: StoppedPv, mfn: Mfn): Promise<DataView> {
  const page = new Uint8Array(PAGE_SIZE)
  await xen.readFrames(domid, BigUint64Array.of(BigInt(mfn)), page)
  return new DataView(page.buffer)
}

/** Walks page tables; of each level, the last table is kept. */
class Walk {
  readonly #guest: StoppedPv
  readonly #top: Mfn
  readonly #tables = new Map<number, { readonly mfn: Mfn; readonly entries: DataView }>()

  constructor(guest: StoppedPv, top: Mfn) {
    this.#guest = guest
    this.#top = top
  }

  /** Returns the machine frame at an address; undefined if none is mapped there. */
  async frameAt(vaddr: Vaddr): Promise<Mfn | undefined> {
    let mfn = this.#top
    for (let level = this.#guest.abi === 'x86_64' ? 4 : 3; level >= 1; level--) {
      let table = this.#tables.get(level)
      if (table?.mfn !== mfn) {
        table = { mfn, entries: await pageAt(this.#guest, mfn) }
        this.#tables.set(level, table)
      }
      const index = Number((vaddr >> BigInt(levelShift(level))) & BigInt(PT_ENTRIES - 1))
      const entry = table.entries.getBigUint64(8 * index, true)
      if (!(entry & BigInt(PTE_PRESENT))) return undefined
      mfn = Number((entry & PTE_ADDR_MASK) >> BigInt(PAGE_SHIFT))
    }
    return mfn
  }
}

/** Returns the frames of a list that is mapped. */
async function mappedFrames(guest: StoppedPv, { top, vaddr, entries }: Mapped): Promise<Mfn[]> {
  const walk = new Walk(guest, top)
  const frames: Mfn[] = []
  for (let page = 0; page < pagesFor(entries * entryBytes(guest)); page++) {
    await breathe()
    const at = vaddr + BigInt(page * PAGE_SIZE)
    frames.push((await walk.frameAt(at)) ?? refuse('is not mapped', 'a page', `none at ${hex(at)}`))
  }
  return frames
}

/** Returns the frames of a list that a tree names: two levels of pages that hold frames in the guest's width. */
async function treeFrames(guest: StoppedPv, root: Mfn, entries: number): Promise<Mfn[]> {
  const width = entryBytes(guest)
  const perPage = PAGE_SIZE / width
  const frameIn = (page: DataView, i: number): Mfn =>
    width === 8 ? Number(page.getBigUint64(8 * i, true)) : page.getUint32(4 * i, true)
  const top = await pageAt(guest, root)
  const pages = pagesFor(entries * width)
  if (pages > perPage * perPage) refuse('has the wrong length', `at most ${perPage ** 3} entries`, `${entries}`)
  const frames: Mfn[] = []
  while (frames.length < pages) {
    await breathe()
    const middle = await pageAt(guest, frameIn(top, frames.length / perPage))
    const count = Math.min(perPage, pages - frames.length)
    for (let i = 0; i < count; i++) frames.push(frameIn(middle, i))
  }
  return frames
}

/** Returns the list of a guest that has not run: %rsi leads to start_info, which has its address. */
async function firstList(guest: StoppedPv): Promise<Mapped> {
  const { abi } = guest
  const { cr3, registers } = guest.vcpu()
  const top = mfnOfCr3(abi, cr3)
  const mfn = await new Walk(guest, top).frameAt(registers.rsi)
  if (mfn === undefined) return refuse('is not known', 'its place in shared_info, or in start_info at %rsi', 'neither')
  const page = new Uint8Array((await pageAt(guest, mfn)).buffer)
  const { magic, mfn_list, nr_pages } = (abi === 'x86_64' ? StartInfo64 : StartInfo32).decode(page)
  if (!magic.startsWith('xen-')) refuse('is not known', 'its place in shared_info, or in start_info at %rsi', 'neither')
  return { top, vaddr: BigInt(mfn_list), entries: checked(guest, Number(nr_pages)) }
}

/** Reads the list in its frames. */
async function readList(guest: StoppedPv, frames: readonly Mfn[], entries: number): Promise<ReadP2m> {
  const width = entryBytes(guest)
  const perPage = PAGE_SIZE / width
  const table = new BigUint64Array(entries)
  const out = new Uint32Array(table.buffer)
  for (let first = 0; first < frames.length; first += FRAMES_AT_ONCE) {
    await breathe()
    const some = frames.slice(first, first + FRAMES_AT_ONCE)
    const bytes = new Uint8Array(some.length * PAGE_SIZE)
    await guest.xen.readFrames(guest.domid, BigUint64Array.from(some, BigInt), bytes)
    const start = first * perPage
    const count = Math.min(some.length * perPage, entries - start)
    throughWords(bytes, (words) => {
      for (let i = 0; i < count; i++) {
        const low = words[width === 8 ? 2 * i : i] as number
        const high = width === 8 ? (words[2 * i + 1] as number) : 0
        const isFrame = width === 8 ? high < FRAME_HIGH_END : low < P2M_MARKED32
        out[2 * (start + i)] = isFrame ? low : HOLE
        out[2 * (start + i) + 1] = isFrame ? high : HOLE
      }
    })
  }
  return { table, frames }
}
