/**
 * translate: translates a virtual address by walking the guest's real page tables. An independent check of the writer.
 * If paging is off, an address is its own translation.
 *
 * Source: Intel SDM vol. 3, 4.4 (PAE) and 4.5 (4-level).
 * Gotcha: entries hold machine frames, so their content is read through the reverse p2m, like the hypervisor's m2p.
 */
import {
  CR0_PG,
  CR3_PAE_OFFSET,
  CR4_LA57,
  CR4_PAE,
  EFER_LME,
  PTE_ADDR_MASK,
  PTE_PRESENT,
  PTE_PSE,
  PTE_RW,
  PTE_USER,
  unfoldedCr3,
  X86_32_VADDR_BITS,
  X86_64_VADDR_BITS,
} from '../abi/x86.js'
import { DomainBuilderError, refusalOf } from '../errors.js'
import { logTables } from '../log.js'
import { checkedInteger, hex, type Mfn, PAGE_SIZE, type Paddr, type Pfn, paddrOf, type Vaddr } from '../units.js'
import type { Domain } from './domain.js'
import type { Vcpu } from './vcpu.js'

/** The parts of a guest that a walk needs. */
export type Walkable = Pick<Domain, 'type' | 'abi' | 'memory' | 'p2m' | 'vcpus'>

/** One entry on the way from cr3 to the page. */
export interface WalkStep {
  /** Level of the table: 1 maps pages, 4 (or 3, PAE) is the top. */
  readonly level: number
  /** Frame of the table. */
  readonly pfn: Pfn
  /** Index of the entry in it, 0 to 511. */
  readonly index: number
  /** All 64 bits of the entry. */
  readonly entry: bigint
}

/** The translation of a virtual address, and the path to it. */
export interface Translation {
  /** The address that was translated. */
  readonly vaddr: Vaddr
  /** The byte it leads to, guest-physical. */
  readonly paddr: Paddr
  /** The 4 KiB guest frame of that byte. */
  readonly pfn: Pfn
  /** The machine frame that the last entry names; of a large page, the first one. */
  readonly mfn: Mfn
  /** Whether every level allows writes. */
  readonly writable: boolean
  /** Whether every level allows access from ring 3. */
  readonly user: boolean
  /** Bytes of the page: 4 KiB, 2 MiB or 1 GiB. */
  readonly pageSize: number
  /** From the top table down; empty if paging is off. */
  readonly path: readonly WalkStep[]
}

/** Bytes of an entry. */
export const PTE_BYTES = 8
const INDEX_BITS = 9n
const OFFSET_BITS = 12n

/**
 * The levels of page tables at the start of vcpu 0: 4, 3 (PAE), or 0 if paging is off. A PV guest's own control
 * registers do not tell, since Xen's are in force.
 * @throws DomainBuilderError `not-mapped` for tables of two or five levels, which are not supported.
 */
export function pagingLevels(domain: Walkable): 0 | 3 | 4 {
  if (domain.type === 'pv') return domain.abi === 'x86_64' ? 4 : 3
  const { cr0, cr4, efer } = domain.vcpus[0] ?? { cr0: 0n, cr4: 0n, efer: 0n }
  if ((cr0 & BigInt(CR0_PG)) === 0n) return 0
  if (cr4 & BigInt(CR4_PAE)) {
    if (!(efer & BigInt(EFER_LME))) return 3
    if (!(cr4 & BigInt(CR4_LA57))) return 4
    throw new DomainBuilderError('not-mapped', 'page tables of five levels are not supported', {
      expected: 'cr4.LA57 clear',
      found: hex(cr4),
    })
  }
  throw new DomainBuilderError('not-mapped', 'page tables of two levels are not supported', {
    expected: 'cr4.PAE set',
    found: hex(cr4),
  })
}

/** The top table's frame, from vcpu 0's cr3. @throws DomainBuilderError `not-mapped` if the guest has no such frame. */
export function topTable(domain: Walkable): Pfn {
  const cr3 = domain.vcpus[0]?.cr3 ?? 0n
  const mfn =
    domain.type === 'pv' && domain.abi === 'x86_32p'
      ? unfoldedCr3(Number(cr3))
      : Number((cr3 & PTE_ADDR_MASK) >> OFFSET_BITS)
  const pfn = domain.p2m.pfn(mfn)
  if (pfn === undefined || !domain.memory.has(pfn)) {
    throw new DomainBuilderError('not-mapped', 'cr3 names a frame the guest does not have', { found: hex(cr3) })
  }
  return pfn
}

/** Whether vcpu 0's tables can be walked: a running guest may use another kind, or a cr3 outside its frames. */
export function hasPageTables(domain: Walkable): boolean {
  try {
    return pagingLevels(domain) !== 0 && domain.memory.has(topTable(domain))
  } catch (error) {
    logTables('no virtual addresses: %s', refusalOf(error).message)
    return false
  }
}

/** The index in its page at which the top table begins: PAE's L3 has four entries anywhere, except in a PV guest. */
export function topEntry(domain: Walkable): number {
  if (domain.type === 'pv' || pagingLevels(domain) !== 3) return 0
  const { cr3 } = domain.vcpus[0] as Vcpu
  return (Number(BigInt.asUintN(12, cr3)) & CR3_PAE_OFFSET) / PTE_BYTES
}

/**
 * Returns the translation of a virtual address. Undefined if the walk ends at an entry that is not present, has the
 * reserved bit 7 in the top table, or names no frame of the guest; also for a 64-bit address that is not canonical.
 */
export function translate(domain: Walkable, vaddr: Vaddr): Translation | undefined {
  const levels = pagingLevels(domain)
  const bits = levels === 4 ? X86_64_VADDR_BITS : X86_32_VADDR_BITS
  if (levels === 0) return unpaged(domain, vaddr)
  if (levels === 4 && BigInt.asUintN(64, BigInt.asIntN(bits, vaddr)) !== BigInt.asUintN(64, vaddr)) return undefined
  if (levels === 3 && vaddr >> BigInt(X86_32_VADDR_BITS) !== 0n) return undefined
  let table: Pfn | undefined = topTable(domain)
  const path: WalkStep[] = []
  let writable = true
  let user = true
  // A page is the end, at level 1 at the latest.
  for (let level: number = levels; ; level--) {
    if (table === undefined || !domain.memory.has(table)) return undefined
    const shift = OFFSET_BITS + INDEX_BITS * BigInt(level - 1)
    const index = Number((BigInt.asUintN(bits, vaddr) >> shift) & 511n)
    const entry = readEntry(domain, table, level === levels ? topEntry(domain) + index : index)
    path.push({ level, pfn: table, index, entry })
    if (!isPresent(domain, entry, level)) return undefined
    // PAE's L3 entries have no RW or US bit for the processor; Xen writes them set.
    if (levels === 4 || level < 3 || domain.type === 'pv') {
      writable &&= (entry & BigInt(PTE_RW)) !== 0n
      user &&= (entry & BigInt(PTE_USER)) !== 0n
    }
    const mfn = entryMfn(domain, entry, level)
    if (level === 1 || isLarge(domain, entry, level)) {
      // Looks up each frame of a large page: the guest may not have all of them.
      const pfn = domain.p2m.pfn(mfn + Number(BigInt.asUintN(Number(shift), vaddr) >> OFFSET_BITS))
      if (pfn === undefined || !domain.memory.has(pfn)) return undefined
      const paddr = paddrOf(pfn) + Number(BigInt.asUintN(Number(OFFSET_BITS), vaddr))
      return { vaddr, paddr, pfn, mfn, writable, user, pageSize: Number(1n << shift), path }
    }
    table = domain.p2m.pfn(mfn)
  }
}

/**
 * Whether an entry of a table of that level leads anywhere: it is present, and bit 7 of a top table, which is reserved, is
 * clear (Intel SDM vol. 3, 4.4.2 and 4.5.4).
 */
export const isPresent = (domain: Walkable, entry: bigint, level: number): boolean =>
  (entry & BigInt(PTE_PRESENT)) !== 0n && !(level === pagingLevels(domain) && (entry & BigInt(PTE_PSE)) !== 0n)

/** Whether an entry of a table of that level maps a large page. In the top table, PAE's L3 too, bit 7 is reserved. */
export const isLarge = (domain: Walkable, entry: bigint, level: number): boolean =>
  (entry & BigInt(PTE_PSE)) !== 0n && level > 1 && level < pagingLevels(domain)

/**
 * The machine frame that an entry of a table of that level names; of a large page, the first one. Bit 12 of a large
 * page's entry is PAT, and the bits above it, up to the page's size, are reserved (Intel SDM vol. 3, 4.5.4).
 */
export function entryMfn(domain: Walkable, entry: bigint, level: number): Mfn {
  const mfn = Number((entry & PTE_ADDR_MASK) >> OFFSET_BITS)
  return isLarge(domain, entry, level) ? mfn - (mfn % 2 ** (Number(INDEX_BITS) * (level - 1))) : mfn
}

/** Without paging only a segment's base is added to an address, and every base is 0 here. */
function unpaged(domain: Walkable, vaddr: Vaddr): Translation | undefined {
  if (vaddr >> BigInt(X86_32_VADDR_BITS) !== 0n) return undefined
  const paddr = Number(vaddr)
  const pfn = Math.floor(paddr / PAGE_SIZE)
  if (!domain.memory.has(pfn)) return undefined
  return { vaddr, paddr, pfn, mfn: pfn, writable: true, user: true, pageSize: PAGE_SIZE, path: [] }
}

function readEntry(domain: Walkable, table: Pfn, index: number): bigint {
  const bytes = domain.memory.read(paddrOf(table) + index * PTE_BYTES, PTE_BYTES)
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)
}

/** Far more bytes than one read needs, and no more than Node 20 can hold. */
const READ_MAX = 2 ** 32 - 1

/**
 * Returns a copy of `length` bytes at a virtual address, page by page.
 * @throws DomainBuilderError `not-mapped`, with the first unmapped address; `bad-config` for an invalid length.
 */
export function readVirtual(domain: Walkable, vaddr: Vaddr, length: number): Uint8Array {
  const out = new Uint8Array(checkedInteger(length, 'length (bytes)', 0, READ_MAX))
  for (let done = 0; done < length; ) {
    const at = vaddr + BigInt(done)
    const found = translate(domain, at)
    if (!found)
      throw new DomainBuilderError('not-mapped', 'the page tables do not map that address', { found: hex(at) })
    // A large page's frames are consecutive, but the guest may not have all of them.
    const count = Math.min(PAGE_SIZE - (found.paddr % PAGE_SIZE), length - done)
    domain.memory.readInto(found.paddr, out.subarray(done, done + count))
    done += count
  }
  return out
}
