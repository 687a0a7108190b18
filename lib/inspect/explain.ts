/**
 * explain: the origin of every byte of start_info and of every page-table entry.
 *
 * Source: xen/include/public/xen.h (start_info); lib/protocol/xen-pv-boot.ts writes the values explained here.
 * Gotcha: it explains the guest's real content, not the content we would have written: a changed field is shown as it
 * is.
 */
import { START_INFO_MAGIC, StartInfo32, StartInfo64 } from '../abi/start-info.js'
import {
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_GLOBAL,
  PTE_NX,
  PTE_PCD,
  PTE_PRESENT,
  PTE_PSE,
  PTE_PWT,
  PTE_RW,
  PTE_USER,
} from '../abi/x86.js'
import { type Domain, requirePv } from '../guest/domain.js'
import { entryPfn, entryVaddr, type TablePage } from '../guest/table-reader.js'
import { entryMfn, isLarge, isPresent } from '../guest/translate.js'
import { hex, PAGE_SIZE, type Pfn, paddrOf } from '../units.js'
import { regionAt } from './frames.js'

/** Bytes of start_info's page and their origin. */
export interface FieldOrigin {
  /** C name, or `(padding)`. */
  readonly field: string
  /** Bytes from the start of the page. */
  readonly offset: number
  /** In bytes. */
  readonly length: number
  /** A copy of its bytes in memory. */
  readonly bytes: Uint8Array
  /** The origin of the value, for people. */
  readonly from: string
}

/** The origin of each field of start_info. */
export const START_INFO_ORIGINS: Readonly<Record<string, string>> = {
  magic: `the ABI: ${START_INFO_MAGIC.x86_64} or ${START_INFO_MAGIC.x86_32p}`,
  nr_pages: 'memory / 4096',
  shared_info: 'machine address of shared_info, assigned outside the guest (its frame << 12)',
  flags:
    'SIF_VIRT_P2M_4TOOLS for a domU, PRIVILEGED and INITDOMAIN for a dom0, MOD_START_PFN for an unmapped ramdisk, and the flags given',
  store_mfn: 'p2m of the xenstore page',
  store_evtchn: 'event channel given for xenstore',
  console_mfn: 'p2m of the console page (dom0: where its console block lies, and its size)',
  console_evtchn: 'event channel given for the console',
  pt_base: 'virtual address of the region page_tables',
  nr_pt_frames: 'tables of the first mapping',
  mfn_list: 'virtual address of the region p2m: in the first mapping, or INIT_P2M',
  mod_start: 'first module: its virtual address, or its pfn where it is not mapped; 0 without one',
  mod_len: 'length of the first module',
  cmd_line: 'the command line given',
  first_p2m_pfn: 'pfn of the p2m where it lies at INIT_P2M, else 0',
  nr_p2m_frames: 'pages of the p2m and its tables where it lies at INIT_P2M, else 0',
}

/**
 * Returns every byte of the page of start_info, in order, without gaps.
 * @throws DomainBuilderError `bad-config` for a guest that is not a PV guest.
 */
export function explainStartInfo(domain: Domain): readonly FieldOrigin[] {
  const struct = domain.abi === 'x86_64' ? StartInfo64 : StartInfo32
  const page = domain.memory.read(paddrOf(requirePv(domain).startInfo.pfn), PAGE_SIZE)
  const origins: FieldOrigin[] = []
  let end = 0
  const add = (field: string, offset: number, length: number, from: string) => {
    if (length > 0) origins.push({ field, offset, length, bytes: page.subarray(offset, offset + length), from })
    end = offset + length
  }
  for (const field of struct.fieldNames) {
    const offset = struct.offsetOf(field)
    add('(padding)', end, offset - end, 'alignment of the next field: zero')
    add(field, offset, struct.sizeOf(field as never), START_INFO_ORIGINS[field] ?? '')
  }
  add('(padding)', end, struct.size - end, 'alignment of the struct: zero')
  add('(rest of the page)', struct.size, PAGE_SIZE - struct.size, "zero, or a dom0's console block")
  return origins
}

/** Returns a frame as its region and its offset there in pages: `kernel+0x3`. */
function showFrame(domain: Domain, pfn: Pfn): string {
  const region = regionAt(domain, pfn)
  if (!region) return domain.memory.has(pfn) ? 'free memory' : "outside the guest's memory"
  return `${region.name}${pfn === region.pfn ? '' : `+${hex(pfn - region.pfn)}`}`
}

const FLAGS: readonly [number, string][] = [
  [PTE_PRESENT, 'present'],
  [PTE_RW, 'rw'],
  [PTE_USER, 'user'],
  [PTE_PWT, 'pwt'],
  [PTE_PCD, 'pcd'],
  [PTE_ACCESSED, 'accessed'],
  [PTE_DIRTY, 'dirty'],
  [PTE_PSE, 'pse'],
  [PTE_GLOBAL, 'global'],
]

/** Returns the flags of an entry by name. */
export function showFlags(entry: bigint): string {
  const names = FLAGS.filter(([bit]) => entry & BigInt(bit)).map(([, name]) => name)
  if (entry & PTE_NX) names.push('nx')
  return names.join(' ') || 'none'
}

/** The target of a page-table entry. */
export interface EntryOrigin {
  /** To a table of the guest, a page of it, a frame outside the guest, or nowhere. */
  readonly leads: 'table' | 'page' | 'foreign' | 'absent'
  /** The guest's frame, if the entry has one. */
  readonly pfn?: Pfn
  /** The reason for the entry's content, in a few words. */
  readonly why: string
}

/** Returns the target of an entry in a table of that level, and the reason for its content. */
export function entryOrigin(domain: Domain, level: number, entry: bigint): EntryOrigin {
  if (!(entry & BigInt(PTE_PRESENT))) {
    return { leads: 'absent', why: entry === 0n ? 'nothing is mapped there' : 'not present, but not zero' }
  }
  if (!isPresent(domain, entry, level)) return { leads: 'absent', why: 'bit 7 is reserved in a top table' }
  const pfn = entryPfn(domain, entry, level)
  if (pfn === undefined) return { leads: 'foreign', why: 'its frame is outside the guest' }
  if (level > 1 && !isLarge(domain, entry, level)) {
    return { leads: 'table', pfn, why: `names an L${level - 1} table` }
  }
  const table = domain.pageType(pfn).level
  if (table > 0) {
    const why = entry & BigInt(PTE_RW) ? `writable, although it is an L${table} table` : tableIsReadOnly(table)
    return { leads: 'page', pfn, why }
  }
  return { leads: 'page', pfn, why: level === 1 ? 'maps a page' : `maps a large page of ${level === 2 ? 2 : 1024} MiB` }
}

const tableIsReadOnly = (level: number): string => `read-only because it is an L${level} table`

/** Returns the address that an entry translates, its target, and the reason for its content. */
export function explainEntry(domain: Domain, table: TablePage, index: number): string {
  const entry = table.entries[index] ?? 0n
  const vaddr = hex(entryVaddr(domain, table, index), domain.abi === 'x86_64' ? 16 : 8)
  const where = `L${table.level}[${index}] ${vaddr} = ${hex(entry)}`
  const { leads, pfn, why } = entryOrigin(domain, table.level, entry)
  if (leads === 'absent') return entry === 0n ? `${where}: not present, ${why}` : `${where}: ${why}`
  if (pfn === undefined) return `${where}: mfn ${hex(entryMfn(domain, entry, table.level))}, a frame outside the guest`
  const target = `pfn ${hex(pfn)} (${showFrame(domain, pfn)}), ${showFlags(entry)}`
  if (leads === 'table') return `${where}: the L${table.level - 1} table in ${target}`
  return `${where}: ${target}${domain.pageType(pfn).level > 0 ? `; ${why}` : ''}`
}
