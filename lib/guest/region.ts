/**
 * A region: a named part of the guest, as maps and descriptions show it.
 *
 * Source: the names are the field's, such as `start_info` and `page_tables`.
 * Gotcha: `vaddr` is its address in the initial page tables; a guest that ran may have mapped it elsewhere.
 */
import type { Pfn, Vaddr } from '../units.js'

/** A named part of the guest. */
export interface Region {
  /** Such as `kernel`, `p2m`, `start_info`, `page_tables`. */
  readonly name: string
  /** The first frame, as the guest counts them. */
  readonly pfn: Pfn
  /** The number of frames, each 4096 bytes. */
  readonly pages: number
  /** Virtual address of its first page in the initial page tables; absent if it is not mapped. */
  readonly vaddr?: Vaddr
  /** Bytes used, if fewer than its pages hold. */
  readonly bytes?: number
}

/** A region from the allocator, which has a virtual address. */
export type LinearRegion = Region & { readonly vaddr: Vaddr }
