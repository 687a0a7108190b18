/**
 * The processor of a new guest: Xen's default for its type, with the fields that libxl decides.
 *
 * Source: Xen tools/libs/guest/xg_cpuid_x86.c, xc_cpuid_apply_policy (the meanings, not the code); the same in 4.14 to
 * 4.22.
 * Gotcha: an HVM or PVH guest's APIC numbers are twice its vcpu numbers, so the counts of processors are doubled too.
 */
import {
  CPUID_1_EBX_LPPP_MASK,
  CPUID_1_EBX_LPPP_SHIFT,
  CPUID_1_ECX_VMX,
  CPUID_1_EDX_HTT,
  CPUID_1_EDX_PAE,
  CPUID_4_EAX_CORES_MASK,
  CPUID_4_EAX_CORES_SHIFT,
  CPUID_4_EAX_THREADS_MASK,
  CPUID_4_EAX_TYPE_MASK,
  CPUID_81_ECX_CMP_LEGACY,
  CPUID_81_ECX_SVM,
  CPUID_87_EDX_ITSC,
  CPUID_88_ECX_APIC_ID_SIZE_MASK,
  CPUID_88_ECX_APIC_ID_SIZE_SHIFT,
  CPUID_88_ECX_NC_MASK,
  CPUID_CACHES,
  CPUID_EXTENDED_FEATURES,
  CPUID_FEATURES,
  CPUID_POWER,
  CPUID_SIZES,
  CPUID_VENDOR,
  CPUID_VENDORS,
  XenCpuidLeaf,
} from '../abi/cpuid.js'
import type { Infer } from '../abi/struct.js'
import { concat, decodeLatin1 } from '../bytes.js'
import type { CpuPolicy } from './hypervisor.js'

type Leaf = Infer<typeof XenCpuidLeaf>
/** Returns a leaf with other values. */
type Change = (leaf: Leaf) => Partial<Leaf>

/** The choices of a toolstack. */
export interface CpuChoices {
  readonly type: 'pv' | 'pvh'
  /** Whether the guest may rely on a TSC of one speed: it never moves to another host. */
  readonly itsc: boolean
  readonly nestedVirtualization: boolean
}

const leavesOf = ({ leaves }: CpuPolicy): Leaf[] =>
  Array.from({ length: leaves.length / XenCpuidLeaf.size }, (_, i) =>
    XenCpuidLeaf.decode(leaves, i * XenCpuidLeaf.size),
  )

const withBit = (value: number, bit: number, on: boolean): number => (on ? value | bit : value & ~bit) >>> 0
const withField = (value: number, shift: number, mask: number, field: number): number =>
  ((value & ~(mask << shift)) | ((field & mask) << shift)) >>> 0
const fieldOf = (value: number, shift: number, mask: number): number => (value >>> shift) & mask

/** Returns the policy that a toolstack sets: CPUID alone, since Xen's default MSRs stay. */
export function guestCpuPolicy(base: CpuPolicy, host: CpuPolicy, choices: CpuChoices): CpuPolicy {
  const leaves = leavesOf(base)
  const changes = {
    ...common(choices),
    ...(choices.type === 'pv' ? likeHost(host) : doubled(vendorOf(leaves), choices)),
  }
  const changed = leaves.map((leaf) => XenCpuidLeaf.encode({ ...leaf, ...changes[leaf.leaf]?.(leaf) }))
  return { leaves: concat(changed), msrs: new Uint8Array(0) }
}

function vendorOf(leaves: readonly Leaf[]): string {
  const found = leaves.find(({ leaf }) => leaf === CPUID_VENDOR)
  const words = Uint32Array.of(found?.b ?? 0, found?.d ?? 0, found?.c ?? 0)
  return decodeLatin1(new Uint8Array(words.buffer))
}

const common = ({ itsc }: CpuChoices): Record<number, Change> => ({
  [CPUID_POWER]: ({ d }) => ({ d: withBit(d, CPUID_87_EDX_ITSC, itsc) }),
})

/** A PV guest sees the host's topology where the processor cannot hide it, so it needs the host's two bits. */
function likeHost(host: CpuPolicy): Record<number, Change> {
  const has = (leaf: number, word: 'c' | 'd', bit: number): boolean =>
    leavesOf(host).some((one) => one.leaf === leaf && (one[word] & bit) !== 0)
  const htt = has(CPUID_FEATURES, 'd', CPUID_1_EDX_HTT)
  const legacy = has(CPUID_EXTENDED_FEATURES, 'c', CPUID_81_ECX_CMP_LEGACY)
  return {
    [CPUID_FEATURES]: ({ d }) => ({ d: withBit(d, CPUID_1_EDX_HTT, htt) }),
    [CPUID_EXTENDED_FEATURES]: ({ c }) => ({ c: withBit(c, CPUID_81_ECX_CMP_LEGACY, legacy) }),
  }
}

/** A guest without hyperthreads, whose APIC numbers are even. */
function doubled(vendor: string, { nestedVirtualization }: CpuChoices): Record<number, Change> {
  const changes: Record<number, Change> = {
    [CPUID_FEATURES]: ({ b, c, d }) => {
      const lppp = fieldOf(b, CPUID_1_EBX_LPPP_SHIFT, CPUID_1_EBX_LPPP_MASK)
      const twice = lppp === 0 ? 2 : lppp & 0x80 ? lppp : 2 * lppp
      return {
        b: withField(b, CPUID_1_EBX_LPPP_SHIFT, CPUID_1_EBX_LPPP_MASK, twice),
        c: withBit(c, CPUID_1_ECX_VMX, nestedVirtualization),
        d: withBit(withBit(d, CPUID_1_EDX_HTT, true), CPUID_1_EDX_PAE, true),
      }
    },
    [CPUID_EXTENDED_FEATURES]: ({ c }) => ({
      c: withBit(withBit(c, CPUID_81_ECX_CMP_LEGACY, false), CPUID_81_ECX_SVM, nestedVirtualization),
    }),
  }
  if (vendor === CPUID_VENDORS.intel) changes[CPUID_CACHES] = ({ a }) => ({ a: doubledCache(a) })
  if (vendor === CPUID_VENDORS.amd || vendor === CPUID_VENDORS.hygon)
    changes[CPUID_SIZES] = ({ c }) => ({ c: doubledCores(c) })
  return changes
}

/** Leaf 4's eax: twice the cores, and each cache for one thread. Unchanged after the last cache. */
function doubledCache(a: number): number {
  if ((a & CPUID_4_EAX_TYPE_MASK) === 0) return a
  const cores = (fieldOf(a, CPUID_4_EAX_CORES_SHIFT, CPUID_4_EAX_CORES_MASK) << 1) | 1
  return withField(a & ~CPUID_4_EAX_THREADS_MASK, CPUID_4_EAX_CORES_SHIFT, CPUID_4_EAX_CORES_MASK, cores)
}

/** The most bits of an APIC's number that systems accept. */
const APIC_ID_SIZE_MAX = 7

/** Leaf 0x80000008's ecx: twice the cores, unless the field would overflow. */
function doubledCores(c: number): number {
  const nc = fieldOf(c, 0, CPUID_88_ECX_NC_MASK)
  if (nc >= 0x7f) return c
  const size = fieldOf(c, CPUID_88_ECX_APIC_ID_SIZE_SHIFT, CPUID_88_ECX_APIC_ID_SIZE_MASK)
  const larger = size !== 0 && size < APIC_ID_SIZE_MAX ? size + 1 : size
  return withField(
    withField(c, 0, CPUID_88_ECX_NC_MASK, (nc << 1) | 1),
    CPUID_88_ECX_APIC_ID_SIZE_SHIFT,
    CPUID_88_ECX_APIC_ID_SIZE_MASK,
    larger,
  )
}
