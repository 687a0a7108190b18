/**
 * Can this kernel be a Xen PV guest, and where does it want to be? Defaults and checks of a PV kernel's claims.
 *
 * Source: xen/include/public/elfnote.h; confirmed against libxenguest.
 * Gotcha: p_vaddr is not used. A segment lies at p_paddr + (VIRT_BASE - PADDR_OFFSET): p != v.
 */
import type { Vaddr } from '../units.js'
import type { ElfImage } from './elf.js'
import type { XenParams } from './xen-params.js'

export type PvAbi = 'x86_64' | 'x86_32p'

/** A kernel that can be started as a PV guest, its claims checked and its defaults filled. */
export interface PvKernel {
  readonly abi: PvAbi
  readonly elf: ElfImage
  readonly params: XenParams
  readonly virtBase: Vaddr
  readonly paddrOffset: bigint
  /** virtBase - paddrOffset, mod 2^64: add it to p_paddr to get the virtual address. */
  readonly virtOffset: bigint
  /** Lowest and highest (exclusive) p_paddr of the loadable segments. */
  readonly pstart: bigint
  readonly pend: bigint
  /** The image's virtual range, half-open; vstart >= virtBase. */
  readonly vstart: Vaddr
  readonly vend: Vaddr
  readonly entry: Vaddr
  /** INIT_P2M where it is usable (64-bit, page aligned, below virtBase), else absent. */
  readonly initP2m?: Vaddr
}
