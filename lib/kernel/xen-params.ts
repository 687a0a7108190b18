/**
 * What a kernel says to Xen, out of its notes or its __xen_guest string.
 *
 * Source: xen/include/public/elfnote.h.
 * Gotcha: absent is absent (undefined), never a magic number: libelf takes an ENTRY of 2^64-1 for "unset".
 */

/** Raw claims of the file; defaults and checks are pv-kernel.ts's and pvh-kernel.ts's business. */
export interface XenParams {
  readonly source: 'PT_NOTE' | 'SHT_NOTE' | '__xen_guest'
  readonly guestOs?: string
  readonly guestVersion?: string
  readonly xenVersion?: string
  readonly loader?: string
  readonly virtBase?: bigint
  readonly entry?: bigint
  readonly hypercallPage?: bigint
  readonly paddrOffset?: bigint
  readonly initP2m?: bigint
  readonly hvStartLow?: bigint
  /** MOD_START_PFN is not zero: the ramdisk need not be mapped. */
  readonly modStartPfn: boolean
  /** 'yes' only from __xen_guest: PAE without extended cr3. */
  readonly pae: 'no' | 'yes' | 'extended-cr3' | 'bimodal'
  readonly bsdSymtab: boolean
  readonly suspendCancel: boolean
  /** Feature words (bit numbers in abi/features.ts); required is a subset of supported. */
  readonly supported: number
  readonly required: number
  /** A FEATURES entry with ! that nobody knows: the kernel cannot be started. */
  readonly unknownRequired?: string
  readonly physEntry?: number
  readonly physReloc?: { readonly align?: number; readonly min?: number; readonly max?: number }
}
