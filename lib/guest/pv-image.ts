/**
 * findPvGuest: a PV guest at its first instant in memory without a description, by its start_info.
 *
 * Source: xen/include/public/xen.h, "Start-of-day memory layout": page tables follow start_info and the pages of
 * xenstore and console.
 * Gotcha: page tables hold machine frames, and the list that leads back to pages is mapped by them. So the list is
 * found by one entry that it must have, and then the tables must map the list and themselves.
 */
import { START_INFO_MAGIC, StartInfo32, StartInfo64 } from '../abi/start-info.js'
import { foldedCr3, levelShift, PT_ENTRIES, PTE_ADDR_MASK, PTE_PRESENT } from '../abi/x86.js'
import { encodeLatin1, startsWith } from '../bytes.js'
import { PAGE_SHIFT, PAGE_SIZE, type Pfn, paddrOf, U32_MAX, type Vaddr } from '../units.js'
import type { Domain, PvBoot } from './domain.js'
import type { GuestMemory } from './memory.js'
import { HOLE64, makeP2m, type P2m } from './p2m.js'
import { discoverPv } from './pv-discover.js'
import { PTE_BYTES, translate, type Walkable } from './translate.js'
import { registers, waitingPvVcpu } from './vcpu.js'

type PvAbi = 'x86_64' | 'x86_32p'
const ABIS: readonly PvAbi[] = ['x86_64', 'x86_32p']
/** Pages from start_info to the top table: those of xenstore and console lie between, or one of a dom0. */
const TOP_DISTANCES = [3, 1, 2, 4] as const
/** The most pages that are tried as a start_info, and as the beginning of its list. Each list is read whole. */
const MOST = { startInfos: 4, lists: 64 } as const

/** Returns the guest whose start_info is found first; undefined without one, and for a guest that has run. */
export function findPvGuest(memory: GuestMemory): Domain<PvBoot> | undefined {
  let left: number = MOST.startInfos
  for (const { pfn, abi } of startInfoPages(memory)) {
    if (left-- === 0) return undefined
    for (const distance of TOP_DISTANCES) {
      const found = guestAt(memory, abi, pfn, pfn + distance)
      if (found !== undefined) return found
    }
  }
  return undefined
}

/** Yields the pages that begin with the magic of a start_info. */
function* startInfoPages(memory: GuestMemory): Iterable<{ readonly pfn: Pfn; readonly abi: PvAbi }> {
  // With its NUL: another version's magic may go on.
  const magics = ABIS.map((abi) => ({ abi, magic: encodeLatin1(`${START_INFO_MAGIC[abi]}\0`) }))
  for (const { paddr, bytes } of memory.chunks()) {
    for (let at = -paddr & (PAGE_SIZE - 1); at < bytes.length; at += PAGE_SIZE) {
      const found = magics.find(({ magic }) => startsWith(bytes, magic, at))
      if (found !== undefined) yield { pfn: (paddr + at) / PAGE_SIZE, abi: found.abi }
    }
  }
}

/** The parts of start_info that lead to the rest. */
interface Clues {
  readonly pages: number
  /** Addresses of the top table and of the p2m list. */
  readonly ptBase: Vaddr
  readonly mfnList: Vaddr
}

function cluesIn(memory: GuestMemory, abi: PvAbi, pfn: Pfn): Clues {
  const page = memory.read(paddrOf(pfn), PAGE_SIZE)
  const { nr_pages, pt_base, mfn_list } = abi === 'x86_64' ? StartInfo64.decode(page) : StartInfo32.decode(page)
  return {
    pages: Number(nr_pages),
    ptBase: BigInt(pt_base),
    mfnList: BigInt(mfn_list),
  }
}

function guestAt(memory: GuestMemory, abi: PvAbi, startInfo: Pfn, top: Pfn): Domain<PvBoot> | undefined {
  const clues = cluesIn(memory, abi, startInfo)
  if (clues.pages !== memory.endPfn || !memory.covers(paddrOf(top), PAGE_SIZE)) return undefined
  const linear = clues.ptBase - BigInt(paddrOf(top))
  let left: number = MOST.lists
  for (const list of listPages(memory, abi, top, clues)) {
    if (left-- === 0) return undefined
    const p2m = p2mAt(memory, abi, list)
    const mfn = p2m?.mfn(top)
    if (mfn === undefined || p2m?.pfn(mfn) !== top) continue
    const cr3 = abi === 'x86_64' ? BigInt(mfn) * BigInt(PAGE_SIZE) : BigInt(foldedCr3(mfn))
    const rsi = BigInt.asUintN(64, linear + BigInt(paddrOf(startInfo)))
    const vcpu = { ...waitingPvVcpu(0), online: true, cr3, registers: registers({ rsi }) }
    const parts = { type: 'pv', abi, memory, p2m, vcpus: [vcpu] } as const
    if (!isMapped(parts, clues, { top, list, startInfo, rsi })) continue
    const domain = { ...parts, name: '', maxmem: paddrOf(memory.pageCount) }
    return discoverPv({ domain, startInfo, sharedInfo: new Uint8Array(PAGE_SIZE) })
  }
  return undefined
}

/** Whether the tables map themselves, the list and start_info to the pages that were found. */
function isMapped(
  guest: Walkable,
  { ptBase, mfnList }: Clues,
  found: { readonly top: Pfn; readonly list: Pfn; readonly startInfo: Pfn; readonly rsi: Vaddr },
): boolean {
  const leadsTo = (vaddr: Vaddr, pfn: Pfn): boolean => translate(guest, vaddr)?.pfn === pfn
  return leadsTo(ptBase, found.top) && leadsTo(mfnList, found.list) && leadsTo(found.rsi, found.startInfo)
}

/**
 * Yields the pages at which the p2m list may begin: the one at its address, if the kernel's addresses reach it; then
 * every page that has the frame of the table below the top one at that table's place. It is the next page.
 */
function* listPages(memory: GuestMemory, abi: PvAbi, top: Pfn, { ptBase, mfnList }: Clues): Iterable<Pfn> {
  const linear = Number((mfnList - ptBase) / BigInt(PAGE_SIZE)) + top
  if (linear >= 0 && linear < memory.endPfn) yield linear
  const entryBytes = abi === 'x86_64' ? 8 : 4
  // The entry of the tables' own address: another one may lead to the tables of the list.
  const index = Number((ptBase >> BigInt(levelShift(abi === 'x86_64' ? 4 : 3))) % BigInt(PT_ENTRIES))
  const entry = new DataView(memory.read(paddrOf(top), PAGE_SIZE).slice().buffer).getBigUint64(index * PTE_BYTES, true)
  if ((entry & BigInt(PTE_PRESENT)) === 0n) return
  const mfn = Number((entry & PTE_ADDR_MASK) >> BigInt(PAGE_SHIFT))
  const entriesOfPage = PAGE_SIZE / entryBytes
  const next = top + 1
  for (const { paddr, bytes } of memory.chunks()) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    for (let at = -paddr & (PAGE_SIZE - 1); at + PAGE_SIZE <= bytes.length; at += PAGE_SIZE) {
      if (view.getUint32(at + (next % entriesOfPage) * entryBytes, true) !== mfn % 2 ** 32) continue
      const list = (paddr + at) / PAGE_SIZE - Math.floor(next / entriesOfPage)
      if (list >= 0) yield list
    }
  }
}

/** A frame has at most 40 bits. */
const MFN_BITS = 40n

/** Returns the p2m of the list at a page; undefined where it has a frame that no machine has. */
function p2mAt(memory: GuestMemory, abi: PvAbi, list: Pfn): P2m | undefined {
  const entryBytes = abi === 'x86_64' ? 8 : 4
  const length = memory.endPfn * entryBytes
  if (!memory.covers(paddrOf(list), length)) return undefined
  const bytes = memory.read(paddrOf(list), length).slice().buffer
  const table =
    abi === 'x86_64'
      ? new BigUint64Array(bytes)
      : BigUint64Array.from(new Uint32Array(bytes), (mfn) => (mfn === U32_MAX ? HOLE64 : BigInt(mfn)))
  if (table.some((mfn) => mfn >> MFN_BITS !== 0n && mfn !== HOLE64)) return undefined
  return makeP2m({ table }, memory.endPfn)
}
