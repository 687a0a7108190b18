/**
 * Compares our guest with libxenguest's: memory, start_info, shared_info, registers, page types, regions, grants.
 *
 * Source: the oracle's dump; MMUEXT_PIN_L{1..4}_TABLE of xen/include/public/xen.h.
 * Gotcha: an assertion for each field of a thousand guests would be slow, so differences are returned as lines.
 */
import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import { StartInfo32, StartInfo64 } from '../../lib/abi/start-info.js'
import type { Struct } from '../../lib/abi/struct.js'
import { VcpuGuestContext32, VcpuGuestContext64 } from '../../lib/abi/vcpu-context.js'
import { type Domain, encodePvContext, PAGE_SIZE, type Region, requirePv } from '../../lib/index.js'
import { memoryDifferences, type Patch } from './compare-memory.js'
import type { OracleGuest } from './oracle.js'
import type { OracleLayout } from './oracle-layout.js'

const hex = (value: number | bigint): string => `0x${value.toString(16)}`
const show = (value: unknown): string =>
  JSON.stringify(value, (_, v) =>
    typeof v === 'bigint' ? hex(v) : v instanceof Uint8Array ? Buffer.from(v).toString('hex') : v,
  )

/** Returns the fields of two encoded structs that differ; with equal fields, a difference in the padding. */
function structDifferences<T extends object>(
  what: string,
  struct: Struct<T>,
  ours: Uint8Array,
  theirs: Uint8Array,
): string[] {
  if (Buffer.compare(ours, theirs) === 0) return []
  if (ours.length !== theirs.length) return [`${what}: ours is ${ours.length} bytes, theirs ${theirs.length}`]
  const [a, b] = [struct.decode(ours), struct.decode(theirs)]
  const lines = struct.fieldNames
    .filter((name) => show(a[name]) !== show(b[name]))
    .map((name) => `${what}.${name}: ours ${show(a[name])}, theirs ${show(b[name])}`)
  return lines.length > 0 ? lines : [`${what}: the fields are equal, the padding is not`]
}

/** Returns the oracle's allocator steps as our regions. */
function expectedRegions(layout: OracleLayout): Region[] {
  const names: Readonly<Record<string, string>> = {
    '(pad)': 'pad',
    phys2mach: 'p2m',
    'start info': 'start_info',
    'page tables': 'page_tables',
    'boot stack': 'boot_stack',
    module0: 'ramdisk',
  }
  return layout.alloc_order.flatMap(({ name, pfn, pages, va }) => {
    const region = { name: names[name] ?? name, pfn, pages, vaddr: BigInt(va) }
    const area = layout.mappings[1]?.area
    if (name !== 'phys2mach' || !area) return [region]
    // At INIT_P2M: the list, mapped there, and after it the tables that map it.
    const listPages = pages - area.tables
    return [
      { ...region, pages: listPages, vaddr: BigInt(area.from) },
      ...(area.tables > 0 ? [{ name: 'p2m_page_tables', pfn: pfn + listPages, pages: area.tables }] : []),
    ]
  })
}

function regionDifferences(domain: Domain, layout: OracleLayout): string[] {
  const place = ({ name, pfn, pages }: Region) => `${name} ${hex(pfn)}+${hex(pages)}`
  const ours = domain.regions.map(place).join(', ')
  const theirs = expectedRegions(layout).map(place).join(', ')
  return ours === theirs ? [] : [`regions: ours ${ours}; theirs ${theirs}`]
}

/** Compares the addresses of regions that have one; only the low 48 bits, as in page tables. */
function addressDifferences(domain: Domain, layout: OracleLayout): string[] {
  const low48 = (vaddr: bigint) => BigInt.asUintN(48, vaddr)
  const theirs = new Map(expectedRegions(layout).map((r) => [r.name, r.vaddr]))
  return domain.regions.flatMap(({ name, vaddr }) => {
    const expected = theirs.get(name)
    if (name === 'pad' || vaddr === undefined || expected === undefined || low48(vaddr) === low48(expected)) return []
    return [`regions: ${name} at ${hex(vaddr)}, theirs at ${hex(expected)}`]
  })
}

function pageTypeDifferences(domain: Domain, layout: OracleLayout): string[] {
  const { pageTables } = requirePv(domain)
  const expected = new Map<number, number>()
  for (const { levels } of layout.mappings) {
    for (const { level, first_pfn, tables } of levels) {
      for (let i = 0; i < tables; i++) expected.set(first_pfn + i, level)
    }
  }
  const pinned = new Map(layout.pins.map(({ cmd, mfn }) => [domain.p2m.pfn(mfn), cmd + 1]))
  // Every table of either side, and its neighbours, which must not be tables.
  const pfns = new Set<number>(expected.keys())
  for (const { pfn, pages } of pageTables.runs) for (let i = 0; i < pages; i++) pfns.add(pfn + i)
  for (const pfn of [...pfns]) for (const near of [pfn - 1, pfn + 1]) if (domain.memory.has(near)) pfns.add(near)
  const lines: string[] = []
  for (const pfn of pfns) {
    const { level, pinned: isPinned } = domain.pageType(pfn)
    const level2 = expected.get(pfn) ?? 0
    if (level !== level2) lines.push(`page type of pfn ${hex(pfn)}: ours L${level}, theirs L${level2}`)
    if (isPinned !== pinned.has(pfn)) lines.push(`pfn ${hex(pfn)}: ours ${isPinned ? '' : 'not '}pinned`)
  }
  const top = pageTables.top
  if (pinned.get(top) !== domain.pageType(top).level) lines.push(`top table: pinned as L${pinned.get(top)}`)
  if (pageTables.pages !== expected.size) {
    lines.push(`page tables: ours ${pageTables.pages}, theirs ${expected.size}`)
  }
  return lines
}

function grantDifferences(domain: Domain, layout: OracleLayout): string[] {
  const ours = show(requirePv(domain).grants.map(({ ref, domid, mfn }) => ({ ref, domid, frame: mfn })))
  const theirs = show(layout.grants.map(({ ref, domid, frame }) => ({ ref, domid, frame })))
  return ours === theirs ? [] : [`grants: ours ${ours}, theirs ${theirs}`]
}

/** A dump without its memory. */
export type BootDump = Pick<OracleGuest, 'layout' | 'startInfo' | 'sharedInfo' | 'vcpu'>

/** Returns every difference between the two guests except in memory, one line each. */
export function bootDifferences(domain: Domain, guest: BootDump): string[] {
  const { layout } = guest
  const abi = layout.guest_type === 'xen-3.0-x86_64' ? 'x86_64' : 'x86_32p'
  if (domain.abi !== abi) return [`abi: ours ${domain.abi}, theirs ${abi}`]
  const lines = regionDifferences(domain, layout)
  const boot = requirePv(domain)
  if (boot.startInfo.pfn === layout.start_info_pfn) {
    const ours = domain.memory.read(layout.start_info_pfn * PAGE_SIZE, PAGE_SIZE)
    const struct = abi === 'x86_64' ? StartInfo64 : StartInfo32
    lines.push(...structDifferences('start_info', struct as Struct<object>, ours, readFileSync(guest.startInfo)))
  } else {
    lines.push(`start_info: ours at pfn ${hex(boot.startInfo.pfn)}, theirs at ${hex(layout.start_info_pfn)}`)
  }
  const sharedInfo = readFileSync(guest.sharedInfo)
  const byte = sharedInfo.findIndex((value, i) => value !== boot.sharedInfo[i])
  if (byte >= 0 || sharedInfo.length !== boot.sharedInfo.length) {
    lines.push(`shared_info: byte ${hex(byte)} of ${sharedInfo.length} differs, ours has ${boot.sharedInfo.length}`)
  }
  const [vcpu] = domain.vcpus
  const context = abi === 'x86_64' ? VcpuGuestContext64 : VcpuGuestContext32
  if (vcpu) {
    const ours = encodePvContext(vcpu, abi)
    lines.push(...structDifferences('vcpu', context as Struct<object>, ours, readFileSync(guest.vcpu)))
  } else {
    lines.push('vcpu: ours has none')
  }
  return [
    ...lines,
    ...addressDifferences(domain, layout),
    ...pageTypeDifferences(domain, layout),
    ...grantDifferences(domain, layout),
  ]
}

/** Returns every difference between the two guests, one line each; empty if they are equal. */
export function guestDifferences(domain: Domain, guest: OracleGuest, patch?: Patch): string[] {
  return [...bootDifferences(domain, guest), ...memoryDifferences(domain, guest.memory, guest.layout.extents, patch)]
}

/** Asserts that our guest is libxenguest's, to the last byte. */
export function expectSameGuest(
  t: Test,
  domain: Domain,
  guest: OracleGuest,
  name = "the guest is libxenguest's",
): void {
  t.strictSame(guestDifferences(domain, guest), [], name)
}
