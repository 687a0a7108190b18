/**
 * The processors of the recording Xen: a small one of 2013, for the host and for each type of guest.
 *
 * Source: Intel SDM vol. 2, CPUID; xen/include/public/arch-x86/xen.h (xen_cpuid_leaf_t, xen_msr_entry_t).
 * Gotcha: it has only the leaves and features that a toolstack decides on; no real processor has so few.
 */
import { CPUID_FEATURES, XEN_CPUID_NO_SUBLEAF, XenCpuidLeaf } from '../../abi/cpuid.js'
import { MSR_PLATFORM_INFO, XenMsrEntry } from '../../abi/msr.js'
import { concat, toHex } from '../../bytes.js'
import type { CpuPolicy } from '../../toolstack/hypervisor.js'
import { demand } from './refusal.js'

/** Leaf 1, ecx: the processor is a guest's. */
const HYPERVISOR = 1 << 31
/** MSR_PLATFORM_INFO of a processor whose CPUID can be made to fault. */
const CPUID_FAULTING = 0x80000000n

type Leaf = readonly [leaf: number, subleaf: number, a: number, b: number, c: number, d: number]

/** GenuineIntel, family 6, model 60; APIC id 0, 4 threads in the package; SSE to AVX, x2APIC and TSC deadline. */
const HOST: readonly Leaf[] = [
  [0x0, XEN_CPUID_NO_SUBLEAF, 0xd, 0x756e6547, 0x6c65746e, 0x49656e69],
  [0x1, XEN_CPUID_NO_SUBLEAF, 0x306c3, 0x00040800, 0x7ffefbff, 0xbfebfbff],
  [0x4, 0, 0x1c004121, 0x01c0003f, 0x3f, 0],
  [0x7, 0, 0, 0x000027ab, 0, 0],
  [0xb, 0, 1, 2, 0x100, 0],
  [0xb, 1, 4, 4, 0x201, 0],
  [0xd, 0, 7, 0x340, 0x340, 0],
  [0x40000000, XEN_CPUID_NO_SUBLEAF, 0x40000004, 0x566e6558, 0x65584d4d, 0x4d4d566e],
  [0x80000000, XEN_CPUID_NO_SUBLEAF, 0x80000008, 0, 0, 0],
  [0x80000001, XEN_CPUID_NO_SUBLEAF, 0, 0, 0x21, 0x2c100800],
  [0x80000007, XEN_CPUID_NO_SUBLEAF, 0, 0, 0, 0x100],
  [0x80000008, XEN_CPUID_NO_SUBLEAF, 0x3027, 0, 0, 0],
]

/**
 * Bits that Xen takes from its guests, by leaf: VMX and MONITOR, the TSC of one speed; for PV guests also the TSC
 * deadline, PSE, MTRR, PGE, PSE36 and pages of 1 GiB.
 */
const HIDDEN: Readonly<Record<'pv' | 'pvh', Readonly<Record<number, { readonly c: number; readonly d: number }>>>> = {
  pv: { 1: { c: 0x01000028, d: 0x00023008 }, 2147483649: { c: 0, d: 0x04000000 }, 2147483655: { c: 0, d: 0x100 } },
  pvh: { 1: { c: 0x00000028, d: 0 }, 2147483655: { c: 0, d: 0x100 } },
}

function leavesOf(type: 'pv' | 'pvh' | 'host'): readonly Leaf[] {
  if (type === 'host') return HOST
  return HOST.map(([leaf, subleaf, a, b, c, d]) => {
    const hidden = HIDDEN[type][leaf] ?? { c: 0, d: 0 }
    const shown = leaf === CPUID_FEATURES ? HYPERVISOR : 0
    return [leaf, subleaf, a, b, ((c & ~hidden.c) | shown) >>> 0, (d & ~hidden.d) >>> 0]
  })
}

/** Returns the processor of the host, or that of a guest before a toolstack changes it. */
export const cpuPolicyOf = (type: 'pv' | 'pvh' | 'host'): CpuPolicy => ({
  leaves: concat(
    leavesOf(type).map(([leaf, subleaf, a, b, c, d]) => XenCpuidLeaf.encode({ leaf, subleaf, a, b, c, d })),
  ),
  msrs: XenMsrEntry.encode({ idx: MSR_PLATFORM_INFO, flags: 0, val: type === 'host' ? CPUID_FAULTING : 0n }),
})

/** Returns a policy with other entries where a toolstack gives some: the others stay. */
export const changedPolicy = (policy: CpuPolicy, { leaves, msrs }: CpuPolicy): CpuPolicy => ({
  leaves: changedEntries(
    policy.leaves,
    leaves,
    XenCpuidLeaf.size,
    XenCpuidLeaf.sizeOf('leaf') + XenCpuidLeaf.sizeOf('subleaf'),
  ),
  msrs: changedEntries(policy.msrs, msrs, XenMsrEntry.size, XenMsrEntry.sizeOf('idx')),
})

/** @param keyBytes the bytes at the start of an entry that name it. */
function changedEntries(old: Uint8Array, given: Uint8Array, size: number, keyBytes: number): Uint8Array {
  demand(given.length % size === 0, 'EINVAL', `the policy of ${given.length} bytes is not whole entries of ${size}`)
  const entries = new Map<string, Uint8Array>()
  for (const list of [old, given]) {
    for (let at = 0; at < list.length; at += size) {
      entries.set(toHex(list.subarray(at, at + keyBytes)), list.subarray(at, at + size))
    }
  }
  return concat([...entries.values()])
}
