/**
 * A kernel's claims for Xen, from its notes or its __xen_guest string.
 *
 * Source: xen/include/public/elfnote.h.
 * Gotcha: a magic number for "absent" would collide with a value: libelf takes an ENTRY of 2^64-1 for "unset". Here an
 * absent value is undefined.
 */

/** Raw claims of the file; pv-kernel.ts and pvh-kernel.ts add defaults and checks. */
export interface XenParams {
  /** Where they were read from. The comments below give the notes' names; a __xen_guest string has other keys. */
  readonly source: 'PT_NOTE' | 'SHT_NOTE' | '__xen_guest'
  /** GUEST_OS. */
  readonly guestOs?: string
  /** GUEST_VERSION. */
  readonly guestVersion?: string
  /** XEN_VERSION; PV kernels say `xen-3.0`. */
  readonly xenVersion?: string
  /** LOADER; PV kernels say `generic`. */
  readonly loader?: string
  /** VIRT_BASE: the virtual address of physical 0. */
  readonly virtBase?: bigint
  /** ENTRY, a virtual address. */
  readonly entry?: bigint
  /** HYPERCALL_PAGE, the virtual address of a page for the hypervisor to fill. */
  readonly hypercallPage?: bigint
  /** PADDR_OFFSET: the origin of p_paddr, bytes. */
  readonly paddrOffset?: bigint
  /** INIT_P2M: the virtual address at which to map the p2m. */
  readonly initP2m?: bigint
  /** HV_START_LOW: the lowest virtual address that the hypervisor may use. */
  readonly hvStartLow?: bigint
  /** Whether MOD_START_PFN is not zero: then the ramdisk need not be mapped. */
  readonly modStartPfn: boolean
  /** 'yes' only from __xen_guest: PAE without extended cr3. */
  readonly pae: 'no' | 'yes' | 'extended-cr3' | 'bimodal'
  /** BSD_SYMTAB: whether to load symbols after the kernel. */
  readonly bsdSymtab: boolean
  /** SUSPEND_CANCEL: a cancelled suspension returns to the guest. */
  readonly suspendCancel: boolean
  /** Feature words (bit numbers in abi/features.ts); required is a subset of supported. */
  readonly supported: number
  /** The features that a FEATURES string marks with `!`. */
  readonly required: number
  /** An unknown FEATURES entry with !: the kernel cannot be started. */
  readonly unknownRequired?: string
  /** PHYS32_ENTRY, the physical address of a PVH entry. */
  readonly physEntry?: number
  /** PHYS32_RELOC: the alignment in bytes, and the range of physical addresses, `max` the last one. */
  readonly physReloc?: { readonly align?: number; readonly min?: number; readonly max?: number }
}

/** XenParams under construction. */
export type XenParamsDraft = { -readonly [K in keyof XenParams]: XenParams[K] }

/** Returns parameters without any claim. */
export const emptyParams = (source: XenParams['source']): XenParamsDraft => ({
  source,
  modStartPfn: false,
  pae: 'no',
  bsdSymtab: false,
  suspendCancel: false,
  supported: 0,
  required: 0,
})
