/**
 * Differences between releases of Xen in the guests and files that their toolstacks write: one row for each difference.
 *
 * Source: the sources of the stable branches 4.14 to 4.22, at the place that each row names; libxenguest of 4.14, 4.17
 * and 4.20, run side by side (test/peer).
 * Gotcha: a row is about the last version of each release. A correction may be missing in its first versions.
 */

/** Every release that a guest can be built for, oldest first. */
export const XEN_RELEASES = ['4.14', '4.15', '4.16', '4.17', '4.18', '4.19', '4.20', '4.21', '4.22'] as const
/** A release of Xen. */
export type XenRelease = (typeof XEN_RELEASES)[number]

/** The default. */
export const NEWEST_XEN: XenRelease = '4.22'

/** Returns the major and the minor number. */
export function releaseNumbers(release: XenRelease): [major: number, minor: number] {
  const [major, minor] = release.split('.').map(Number)
  return [major as number, minor as number]
}

/** One difference: the releases that behave that way, from the first to the last, or to the newest. */
interface XenDifference {
  readonly since?: XenRelease
  /** The last of them. */
  readonly until?: XenRelease
  /** The behaviour, as a sentence about these releases. */
  readonly what: string
  readonly source: string
  /** The keys of libxl's JSON that a row is about. */
  readonly keys?: readonly string[]
}

/** The table. */
const DIFFERENCES = {
  'gunzips-modules': {
    until: '4.19',
    what: 'A gzip ramdisk of a domU is decompressed. The guest gets 16 bytes of zeros after it.',
    source: 'tools/libs/guest/xg_dom_core.c, xc_dom_build_module',
  },
  'whole-page-modules': {
    until: '4.16',
    what: 'The length that a guest is told of its ramdisk is rounded up to whole pages.',
    source: 'tools/libs/guest/xg_dom_core.c, xc_dom_alloc_segment (corrected in 4.17.5 and 4.18.3)',
  },
  'console-disconnected': {
    since: '4.21',
    what: 'The console page of a created domU begins as disconnected. A restored one is marked by the host.',
    source: 'tools/libs/guest/xg_dom_boot.c, xc_dom_console_init; xen/include/public/io/console.h',
  },
  'pvh-follows-paddr-offset': {
    until: '4.15',
    what: 'A PVH kernel is loaded at its physical addresses minus PADDR_OFFSET, which later releases ignore.',
    source: 'xen/common/libelf/libelf-dominfo.c, elf_xen_addr_calc_check',
  },
  'pvh-paddr-offset-needs-virt-base': {
    until: '4.17',
    what: 'A PVH kernel that has PADDR_OFFSET must also have VIRT_BASE.',
    source: 'xen/common/libelf/libelf-dominfo.c, elf_xen_addr_calc_check',
  },
  'phys32-reloc': {
    since: '4.19',
    what: 'PHYS32_RELOC allows a PVH kernel to be moved: the builder of dom0 moves it.',
    source: 'xen/arch/x86/hvm/dom0_build.c, check_and_adjust_load_address; xen/common/libelf/libelf-dominfo.c',
  },
  'pvh-note-alone': {
    until: '4.15',
    what: 'A PV kernel with PHYS32_ENTRY is accepted without XEN_VERSION and LOADER. The library refuses it.',
    source: 'xen/common/libelf/libelf-dominfo.c, elf_xen_note_check',
  },
  'json-msr-relaxed': {
    since: '4.15',
    what: 'The configuration of a domain can have arch_x86.msr_relaxed and vmtrace_buf_kb.',
    source: 'tools/libs/light/libxl_types.idl',
    keys: ['b_info.arch_x86.msr_relaxed', 'b_info.vmtrace_buf_kb'],
  },
  'json-vpmu': {
    since: '4.16',
    what: 'The configuration of a domain can have max_grant_version and vpmu.',
    source: 'tools/libs/light/libxl_types.idl',
    keys: ['b_info.max_grant_version', 'b_info.vpmu'],
  },
  'json-xenstore-feature-mask': {
    since: '4.21',
    what: 'The configuration of a domain can have altp2m_count, trap_unmapped_accesses and xenstore_feature_mask.',
    source: 'tools/libs/light/libxl_types.idl',
    keys: ['b_info.altp2m_count', 'b_info.trap_unmapped_accesses', 'b_info.xenstore_feature_mask'],
  },
} as const satisfies Readonly<Record<string, XenDifference>>

/** The name of a row. */
export type XenDifferenceName = keyof typeof DIFFERENCES
/** The rows, by name. */
export const XEN_DIFFERENCES: Readonly<Record<XenDifferenceName, XenDifference>> = DIFFERENCES

/** Returns whether a release behaves as that row says. */
export function xenHas(release: XenRelease, name: XenDifferenceName): boolean {
  const { since, until } = XEN_DIFFERENCES[name]
  const at = (given: XenRelease) => XEN_RELEASES.indexOf(given)
  return at(release) >= at(since ?? XEN_RELEASES[0]) && at(release) <= at(until ?? NEWEST_XEN)
}
