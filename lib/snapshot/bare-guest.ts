/**
 * A guest for a machine without a hypervisor: the checks that it can run there, and a free page for the code that
 * enters it.
 *
 * Source: our own rules; boot_params or hvm_start_info describe the guest's memory map.
 * Gotcha: a free page is not enough to run in: where the guest has paging on, its tables must map the page to itself.
 */

import { E820_TYPE } from '../abi/boot-params.js'
import { DEVICE_HOLE } from '../abi/pc.js'
import { DomainBuilderError } from '../errors.js'
import { readBootParams } from '../guest/boot-params.js'
import type { Domain } from '../guest/domain.js'
import { isPvhDom0, readHvmStartInfo } from '../guest/hvm-start-info.js'
import { addRange, rangeEndingAfter } from '../guest/runs.js'
import { pagingLevels, translate } from '../guest/translate.js'
import type { Vcpu } from '../guest/vcpu.js'
import { PAGE_SIZE, type Paddr, type Pfn, paddrOf, type Range } from '../units.js'

/**
 * Returns the vcpu that a machine is to start with.
 * @param who the program that would run the guest, for the message.
 * @throws DomainBuilderError `does-not-fit` for a guest that needs Xen, or the state of its devices.
 */
export function requireBareGuest(domain: Domain, who: string): Vcpu {
  const [vcpu] = domain.vcpus
  const dom0 = isPvhDom0(domain)
  if (domain.type === 'hvm') {
    throw new DomainBuilderError(
      'does-not-fit',
      `the guest needs the state of its devices, which ${who} does not get`,
      {
        expected: 'pvh or linux',
        found: 'hvm',
      },
    )
  }
  if (domain.type === 'pv' || dom0 || vcpu === undefined) {
    throw new DomainBuilderError('does-not-fit', `the guest needs Xen: ${who} alone cannot run it`, {
      expected: 'pvh or linux',
      found: dom0 ? 'a dom0' : domain.type,
    })
  }
  const { boot } = domain
  if (boot.kind === 'hvm_start_info' && boot.hvmParams.length > 0) {
    throw new DomainBuilderError('does-not-fit', `the guest has Xen's special pages: ${who} has no memory there`, {
      expected: 'a PVH guest of platform pc',
      found: 'one of platform xen',
    })
  }
  return vcpu
}

/**
 * Returns the first of these pages that is free, below 4 GiB and, where the guest has paging on, mapped to itself.
 * @throws DomainBuilderError `does-not-fit` when there is no such page.
 */
export function freePage(domain: Domain, candidates: readonly Pfn[]): Paddr {
  const taken = takenRanges(domain)
  const paging = pagingLevels(domain) !== 0
  const found = candidates.find((pfn) => {
    const paddr = paddrOf(pfn)
    if (paddr >= DEVICE_HOLE.start || !domain.memory.has(pfn)) return false
    if (isTaken(taken, paddr)) return false
    if (!paging) return true
    const own = translate(domain, BigInt(paddr))
    return own?.paddr === paddr && own.writable
  })
  if (found !== undefined) return paddrOf(found)
  throw new DomainBuilderError('does-not-fit', 'a page for the code that enters the guest is missing', {
    expected: paging ? 'a free page that the tables map to itself' : 'a free page',
    found: `${candidates.length} pages that are taken, missing or not mapped to themselves`,
  })
}

/** Returns the guest's reserved ranges and its regions: sorted, adjacent and overlapping ones merged. */
function takenRanges(domain: Domain): readonly Range<Paddr>[] {
  const reserved = toldMap(domain).filter(({ type }) => type !== E820_TYPE.RAM)
  const all = [
    ...reserved.map(({ addr, size }) => ({ start: Number(addr), end: Number(addr + size) })),
    ...domain.regions.map(({ pfn, pages }) => ({ start: paddrOf(pfn), end: paddrOf(pfn + pages) })),
  ]
  all.sort((a, b) => a.start - b.start)
  const merged: Range<Paddr>[] = []
  for (const { start, end } of all) addRange(merged, start, end)
  return merged
}

/** Returns whether a page shares a byte with one of the ranges. */
function isTaken(ranges: readonly Range<Paddr>[], paddr: Paddr): boolean {
  const found = ranges[rangeEndingAfter(ranges, paddr)]
  return found !== undefined && found.start < paddr + PAGE_SIZE
}

function toldMap(domain: Domain): readonly { readonly addr: bigint; readonly size: bigint; readonly type: number }[] {
  const { boot } = domain
  switch (boot.kind) {
    case 'hvm_start_info':
      return boot.hvmStartInfo === undefined ? [] : readHvmStartInfo(domain).memmap
    case 'boot_params': {
      const { e820_table, e820_entries } = readBootParams(domain)
      return e820_table.slice(0, e820_entries)
    }
    case 'start_info':
    case 'firmware':
      // Xen tells them, when they ask.
      return []
  }
}
