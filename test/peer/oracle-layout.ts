/**
 * The content of the oracle's layout.json, as far as tests use it.
 *
 * Source: dump() in oracle/oracle.c.
 * Gotcha: addresses and u64 are hex strings, frames and counts are numbers.
 */

/** A hex number with the prefix 0x. */
export type Hex = `0x${string}`

export interface OracleSegment {
  readonly vstart: Hex
  /** One past the last byte. */
  readonly vend: Hex
  readonly pfn: number
  readonly pages: number
}

/** A step of the allocator; `(pad)` is a gap that it left to reach an address. */
export interface OracleStep {
  readonly name: string
  readonly pfn: number
  readonly pages: number
  readonly va: Hex
}

export interface OracleLevel {
  readonly level: 1 | 2 | 3 | 4
  readonly from: Hex
  /** The last address, inclusive. */
  readonly to: Hex
  readonly first_pfn: number
  readonly tables: number
}

export interface OracleMapping {
  readonly area: { readonly from: Hex; readonly to: Hex; readonly pfn: number; readonly tables: number }
  readonly levels: readonly OracleLevel[]
}

/** The fields of both outcomes, with the state of the builder when it stopped. */
interface OracleCommon {
  readonly input: {
    readonly kernel: string
    readonly ramdisk: readonly string[]
    readonly cmdline: string | null
    readonly features: string | null
    readonly memory_mib: number
    readonly p2m: string
    readonly flags: number
    readonly store_evtchn: number
    readonly console_evtchn: number
    readonly shared_info_mfn: Hex
    readonly vmem?: readonly (readonly [number, number])[]
  }
  readonly log: readonly string[]
  /** Byte ranges [start, end) of memory.img that are not holes. */
  readonly extents: readonly (readonly [number, number])[]
}

export interface OracleRefusalLayout extends OracleCommon {
  readonly result: 'error'
  readonly failed_stage: string
}

export interface OracleLayout extends OracleCommon {
  readonly result: 'ok'
  readonly guest_type: 'xen-3.0-x86_64' | 'xen-3.0-x86_32p'
  readonly parms: {
    readonly guest_os: string
    readonly guest_ver: string
    readonly xen_ver: string
    readonly loader: string
    readonly source: 'notes' | '__xen_guest'
    readonly pae: 'no' | 'yes' | 'extended-cr3' | 'bimodal'
    readonly bsd_symtab: boolean
    readonly unmapped_initrd: boolean
    readonly virt_base: Hex
    readonly virt_entry: Hex
    readonly virt_hypercall: Hex
    readonly p2m_base: Hex
    readonly elf_paddr_offset: Hex
    readonly f_supported: Hex
    readonly f_required: Hex
    readonly f_active: Hex
    readonly phys_entry: Hex
    readonly virt_kstart: Hex
    readonly virt_kend: Hex
  }
  readonly notes: Readonly<Record<string, string>>
  readonly total_pages: number
  readonly p2m_size: number
  readonly sizeof_pfn: 4 | 8
  readonly segments: Readonly<Record<string, OracleSegment>>
  readonly alloc_order: readonly OracleStep[]
  readonly virt_alloc_end: Hex
  readonly virt_pgtab_end: Hex
  readonly pfn_alloc_end: number
  readonly start_info_pfn: number
  readonly xenstore_pfn: number
  readonly console_pfn: number
  readonly bootstack_pfn: number
  readonly mappings: readonly OracleMapping[]
  readonly hypercall_page?: { readonly pfn: number; readonly mfn: number; readonly filled: boolean }
  /** MMUEXT_PIN_L{1..4}_TABLE is 0 to 3. */
  readonly pins: readonly { readonly cmd: number; readonly mfn: number }[]
  readonly l3_moved_below_4g?: { readonly pfn: number; readonly mfn: number }
  /** Registers by the names of the guest's ABI. */
  readonly vcpu: Readonly<Record<string, Hex | readonly Hex[]>>
  readonly start_info: Readonly<Record<string, string | number>>
  readonly grants: readonly { readonly ref: number; readonly domid: number; readonly frame: number }[]
}
