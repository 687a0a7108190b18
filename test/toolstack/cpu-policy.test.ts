/**
 * The processor that a launch gives a guest: the fields that libxl decides, and no others.
 *
 * Source: Intel SDM vol. 2 and AMD APM vol. 3 for the fields. The real-Xen suite compares whole policies with xl's.
 * Gotcha: a leaf may have several subleaves, each of which changes.
 */
import t from 'tap'
import { XEN_CPUID_NO_SUBLEAF, XenCpuidLeaf } from '../../lib/abi/cpuid.js'
import { concat } from '../../lib/bytes.js'
import { type CpuChoices, guestCpuPolicy } from '../../lib/toolstack/cpu-policy.js'
import type { CpuPolicy } from '../../lib/toolstack/hypervisor.js'

type Words = readonly [a: number, b: number, c: number, d: number]

const vendor = (name: string): Words => {
  const words = new Uint32Array(new TextEncoder().encode(name).buffer)
  return [0x16, words[0] as number, words[2] as number, words[1] as number]
}

/** Returns a policy of leaves; one with subleaves is named LEAF.SUBLEAF. */
const policy = (leaves: Readonly<Record<string, Words>>): CpuPolicy => ({
  msrs: new Uint8Array(16),
  leaves: concat(
    Object.entries(leaves).map(([name, [a, b, c, d]]) => {
      const [leaf = '', subleaf] = name.split('.')
      return XenCpuidLeaf.encode({
        leaf: Number(leaf),
        subleaf: subleaf === undefined ? XEN_CPUID_NO_SUBLEAF : Number(subleaf),
        ...{ a, b, c, d },
      })
    }),
  ),
})

const read = ({ leaves }: CpuPolicy): Record<string, Words> =>
  Object.fromEntries(
    Array.from({ length: leaves.length / XenCpuidLeaf.size }, (_, i) => {
      const { leaf, subleaf, a, b, c, d } = XenCpuidLeaf.decode(leaves, i * XenCpuidLeaf.size)
      return [
        subleaf === XEN_CPUID_NO_SUBLEAF ? `0x${leaf.toString(16)}` : `0x${leaf.toString(16)}.${subleaf}`,
        [a, b, c, d],
      ]
    }),
  )

const ONES = 0xffffffff
const pv: CpuChoices = { type: 'pv', itsc: false, nestedVirtualization: false }
const pvh: CpuChoices = { ...pv, type: 'pvh' }
const nothing = policy({})

t.test('a PV guest has the topology bits of the host', async (t) => {
  const base = policy({ '0x1': [1, 2, 3, 0], '0x80000001': [1, 2, ONES, 4], '0x80000007': [0, 0, 0, ONES] })
  const host = policy({ '0x1': [0, 0, 0, 1 << 28], '0x80000001': [0, 0, 0, 0] })
  const made = guestCpuPolicy(base, host, pv)
  t.same(read(made), {
    '0x1': [1, 2, 3, 1 << 28],
    '0x80000001': [1, 2, ONES - 2, 4],
    '0x80000007': [0, 0, 0, ONES - 0x100],
  })
  t.equal(made.msrs.length, 0, 'MSRs stay those of Xen')
  t.same(read(guestCpuPolicy(base, nothing, { ...pv, itsc: true }))['0x80000007'], [0, 0, 0, ONES])
})

t.test('a PVH guest has twice the processors', async (t) => {
  const lppp = (from: number, to: number) => {
    const base = policy({ '0x0': vendor('GenuineIntel'), '0x1': [0, from << 16, 0, 0] })
    t.equal(((read(guestCpuPolicy(base, nothing, pvh))['0x1']?.[1] ?? 0) >>> 16) & 0xff, to, `${from} become ${to}`)
  }
  lppp(0, 2)
  lppp(4, 8)
  lppp(0x7f, 0xfe)
  lppp(0x80, 0x80)
})

t.test('a PVH guest has no threads, and virtualization only if it is asked for', async (t) => {
  const base = policy({ '0x1': [0, 0, ONES, 0], '0x80000001': [0, 0, ONES, 0], '0x6': [1, 2, 3, 4] })
  const without = read(guestCpuPolicy(base, nothing, pvh))
  t.same(without['0x1'], [0, 2 << 16, ONES - (1 << 5), (1 << 28) | (1 << 6)])
  t.same(without['0x80000001'], [0, 0, ONES - (1 << 1) - (1 << 2), 0])
  t.same(without['0x6'], [1, 2, 3, 4], 'other leaves stay')
  const nested = read(guestCpuPolicy(base, nothing, { ...pvh, nestedVirtualization: true }))
  t.same([nested['0x1']?.[2], nested['0x80000001']?.[2]], [ONES, ONES - (1 << 1)])
})

t.test('the caches of an Intel processor, up to the last one', async (t) => {
  const cache = (type: number, threads: number, cores: number) => ((cores << 26) | (threads << 14) | type) >>> 0
  const base = policy({
    '0x0': vendor('GenuineIntel'),
    '0x4.0': [cache(1, 7, 3), 1, 2, 3],
    '0x4.1': [cache(2, 1, 0), 1, 2, 3],
    '0x4.2': [0, 0, 0, 0],
    '0x80000008': [0, 0, 0x4003, 0],
  })
  const made = read(guestCpuPolicy(base, nothing, pvh))
  t.same(made['0x4.0'], [cache(1, 0, 7), 1, 2, 3])
  t.same(made['0x4.1'], [cache(2, 0, 1), 1, 2, 3])
  t.same(made['0x4.2'], [0, 0, 0, 0])
  t.same(made['0x80000008'], [0, 0, 0x4003, 0], 'a field of AMD')
})

t.test('the cores of an AMD processor', async (t) => {
  const cores = (from: number, to: number, name = 'AuthenticAMD') => {
    const base = policy({ '0x0': vendor(name), '0x4.0': [1, 0, 0, 0], '0x80000008': [5, 6, from, 7] })
    const made = read(guestCpuPolicy(base, nothing, pvh))
    t.same(made['0x80000008'], [5, 6, to, 7], `${from.toString(16)} becomes ${to.toString(16)}`)
    t.same(made['0x4.0'], [1, 0, 0, 0], 'a leaf of Intel')
  }
  cores(0x0000, 0x0001)
  cores(0x4007, 0x500f)
  cores(0x7007, 0x700f)
  cores(0x407e, 0x50fd)
  cores(0x407f, 0x407f)
  cores(0x4007, 0x500f, 'HygonGenuine')
})
