/**
 * CPUID leaves as Xen's tools exchange them, and the fields that a toolstack decides for a guest.
 *
 * Source: xen/include/public/arch-x86/xen.h (xen_cpuid_leaf_t); Intel SDM vol. 2, CPUID; AMD APM vol.
 * 3, appendix E.
 * Gotcha: a leaf without subleaves has XEN_CPUID_NO_SUBLEAF there, not 0.
 */
import { U32_MAX } from '../units.js'
import { struct, u32 } from './struct.js'

export const XEN_CPUID_NO_SUBLEAF = U32_MAX

export const XenCpuidLeaf = struct('xen_cpuid_leaf_t', 24, {
  leaf: u32,
  subleaf: u32,
  a: u32,
  b: u32,
  c: u32,
  d: u32,
})

/** Leaf 0: the vendor's name in ebx, edx, ecx. */
export const CPUID_VENDOR = 0
/** Leaf 1: ebx 23:16 the number of logical processors; ecx and edx features. */
export const CPUID_FEATURES = 1
export const CPUID_1_EBX_LPPP_SHIFT = 16
export const CPUID_1_EBX_LPPP_MASK = 0xff
export const CPUID_1_ECX_VMX = 1 << 5
export const CPUID_1_EDX_PAE = 1 << 6
export const CPUID_1_EDX_HTT = 1 << 28
/** Leaf 4, Intel: eax 4:0 the type of a cache, 25:14 the threads that share it, 31:26 the cores of a package. */
export const CPUID_CACHES = 4
export const CPUID_4_EAX_TYPE_MASK = 0x1f
export const CPUID_4_EAX_THREADS_MASK = 0xfff << 14
export const CPUID_4_EAX_CORES_SHIFT = 26
export const CPUID_4_EAX_CORES_MASK = 0x3f
/** Leaf 0x80000001: ecx features. */
export const CPUID_EXTENDED_FEATURES = 0x80000001
export const CPUID_81_ECX_CMP_LEGACY = 1 << 1
export const CPUID_81_ECX_SVM = 1 << 2
/** Leaf 0x80000007: edx 8 says that the TSC runs at one speed. */
export const CPUID_POWER = 0x80000007
export const CPUID_87_EDX_ITSC = 1 << 8
/** Leaf 0x80000008, AMD: ecx 7:0 the number of cores less one, 15:12 the bits of an APIC's number for a core. */
export const CPUID_SIZES = 0x80000008
export const CPUID_88_ECX_NC_MASK = 0xff
export const CPUID_88_ECX_APIC_ID_SIZE_SHIFT = 12
export const CPUID_88_ECX_APIC_ID_SIZE_MASK = 0xf

/** The names of vendors in leaf 0. */
export const CPUID_VENDORS = { intel: 'GenuineIntel', amd: 'AuthenticAMD', hygon: 'HygonGenuine' } as const
