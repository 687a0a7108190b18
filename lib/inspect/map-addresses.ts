/**
 * The widths of addresses: all of one guest's have the same number of digits, so that columns align.
 *
 * Source: our own design.
 * Gotcha: the page's script uses this file too.
 */
import { PAGE_SIZE } from '../units.js'
import type { GuestMap } from './map-model.js'

/** Digits that are enough for 64 GiB, as most guests are smaller. */
const PHYSICAL_LEAST = 9

/** The hexadecimal digits of a guest's addresses. */
interface AddressDigits {
  readonly physical: number
  readonly virtual: number
}

/** Returns the digits of all addresses of a guest. Without paging, virtual addresses are as wide as physical ones. */
export function addressDigits({ physical, paging }: Pick<GuestMap, 'physical' | 'paging'>): AddressDigits {
  const { pfn = 0, pages = 0 } = physical.at(-1) ?? {}
  const digits = Math.max(
    PHYSICAL_LEAST,
    (pfn + pages) * PAGE_SIZE > 0 ? ((pfn + pages) * PAGE_SIZE).toString(16).length : 0,
  )
  return { physical: digits, virtual: { 0: digits, 4: 16 }[paging.levels] ?? 8 }
}

/** Returns whether every virtual address is the physical one, so that one column shows both. */
export const isIdentity = ({ virtual, paging }: Pick<GuestMap, 'virtual' | 'paging'>): boolean =>
  paging.fault === null && virtual.every(({ vaddr, pfn }) => BigInt(vaddr) === BigInt(pfn) * BigInt(PAGE_SIZE))
