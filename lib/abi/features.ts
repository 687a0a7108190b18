/**
 * XENFEAT_*: features of a hypervisor that a kernel requires or supports.
 *
 * Source: xen/include/public/features.h; xen/common/libelf/libelf-dominfo.c (elf_xen_feature_names).
 * Gotcha: not every bit has a name in the string table. SUPPORTED_FEATURES may set any bit; only names are refused.
 */
export const XENFEAT = {
  writable_page_tables: 0,
  writable_descriptor_tables: 1,
  auto_translated_physmap: 2,
  supervisor_mode_kernel: 3,
  pae_pgdir_above_4gb: 4,
  mmu_pt_update_preserve_ad: 5,
  highmem_assist: 6,
  gnttab_map_avail_bits: 7,
  hvm_callback_vector: 8,
  hvm_safe_pvclock: 9,
  hvm_pirqs: 10,
  dom0: 11,
  grant_map_identity: 12,
  memory_op_vnode_supported: 13,
  ARM_SMCCC_supported: 14,
  linux_rsdp_unrestricted: 15,
  not_direct_mapped: 16,
  direct_mapped: 17,
  runstate_phys_area: 18,
  vcpu_time_phys_area: 19,
} as const

/** A feature of Xen, named without XENFEAT_: a key of XENFEAT. */
export type FeatureName = keyof typeof XENFEAT

/** The names that a FEATURES string can hold. */
export const STRING_FEATURES: readonly FeatureName[] = [
  'writable_page_tables',
  'writable_descriptor_tables',
  'auto_translated_physmap',
  'supervisor_mode_kernel',
  'pae_pgdir_above_4gb',
  'hvm_callback_vector',
  'dom0',
]

/** A feature word as names, unnamed bits as `bit N`. */
export function featureNames(word: number): string[] {
  const names: string[] = []
  for (let bit = 0; bit < 32; bit++) {
    if ((word >>> bit) & 1) {
      names.push(Object.entries(XENFEAT).find(([, value]) => value === bit)?.[0] ?? `bit ${bit}`)
    }
  }
  return names
}
