/**
 * Cases for both builders from a seed: a kernel, and a configuration of the guest.
 *
 * Source: lib/protocol/config.ts, libxenguest's struct xc_dom_image.
 * Gotcha: libxenguest takes only whole MiB of memory, so many small guests are needed to reach the limits.
 */
import { gzipSync } from 'node:zlib'
import { patternBytes } from '../../lib/testing/index.js'
import { Random } from '../fixtures/random.js'
import { type GeneratedKernel, generateKernel } from './generate-kernel.js'
import { endPfnOf, type GuestSpec } from './guest-spec.js'

export interface GeneratedCase {
  readonly seed: number
  readonly kernel: GeneratedKernel
  readonly spec: GuestSpec
}

type Draft = { -readonly [K in keyof GuestSpec]: GuestSpec[K] }

const HOLE = 0xffffffffffffffffn

/** Returns a p2m table: in reverse or shuffled, sometimes with holes. */
function chooseTable(r: Random, pages: number): BigUint64Array {
  const first = r.pick([0, 0x800, 0x100000, 0x1000000])
  const table = BigUint64Array.from({ length: pages }, (_, pfn) => BigInt(first + pages - 1 - pfn))
  if (r.percent(60)) {
    for (let i = pages - 1; i > 0; i--) {
      const j = r.integer(0, i)
      const [a, b] = [table[i] ?? 0n, table[j] ?? 0n]
      table[i] = b
      table[j] = a
    }
  }
  // Holes at the top, where a small guest has no content, or anywhere.
  if (r.percent(25)) table.fill(HOLE, pages - r.integer(1, pages >> 2))
  else if (r.percent(5)) table[r.integer(0, pages - 1)] = HOLE
  return table
}

/** Returns memory slightly below or above the kernel's needs, or plenty; in one block or in several. */
function chooseMemory(r: Random, reachMiB: number): Pick<Draft, 'memoryMiB' | 'vmem'> {
  if (r.percent(85)) {
    return { memoryMiB: reachMiB + (r.percent(60) ? r.integer(0, 8) : r.pick([16, 64, 128, 257, 1024, 4096])) }
  }
  const vmem: [number, number][] = []
  let at = r.percent(90) ? 0 : r.integer(1, 4)
  for (let i = r.integer(1, 3); i > 0; i--) {
    const end = at + r.integer(1, reachMiB + 20)
    vmem.push([at, end])
    at = end + r.integer(0, 300)
  }
  return { memoryMiB: vmem.reduce((sum, [start, end]) => sum + end - start, 0), vmem }
}

function chooseP2m(r: Random, spec: GuestSpec): GuestSpec['p2m'] {
  const pages = endPfnOf(spec)
  if (pages <= 65536 && r.percent(35)) return { table: chooseTable(r, pages) }
  return r.percent(50) ? 'identity' : { offset: r.pick([1, 0x200, 0x12345, 0xffff0, 0x100000, 0x2000000]) }
}

const REQUESTED_FEATURES = [
  '',
  '',
  'writable_page_tables',
  'pae_pgdir_above_4gb|writable_page_tables',
  'nonsense',
  '!dom0',
] as const

export function generateCase(seed: number): GeneratedCase {
  const r = new Random(seed)
  const kernel = generateKernel(r)
  const spec: Draft = chooseMemory(r, kernel.reachMiB)
  const p2m = chooseP2m(r, spec)
  if (p2m !== undefined) spec.p2m = p2m
  const ramdisks = Array.from({ length: r.pick([0, 0, 1, 1, 1, 2]) }, (_, i) =>
    patternBytes(r.pick([1, 4095, 4096, 4097, 10000, 1 << 20, 3000001]), seed + i + 1),
  )
  if (ramdisks.length > 0) spec.ramdisks = ramdisks
  if (r.percent(60)) spec.cmdline = r.pick(['', 'console=hvc0', 'a b  c="d"', 'x'.repeat(1023), 'é'])
  if (r.percent(1)) spec.cmdline = 'x'.repeat(r.integer(1024, 1100))
  if (r.percent(20)) spec.features = r.pick(REQUESTED_FEATURES)
  if (r.percent(25)) spec.flags = r.pick([1, 3, 2, 4, 0xff00])
  if (r.percent(25)) spec.storeEvtchn = r.integer(0, 4095)
  if (r.percent(25)) spec.consoleEvtchn = r.integer(0, 4095)
  // Not 1: that is the oracle's guest itself, and a domain does not grant pages to itself.
  if (r.percent(15)) spec.storeDomid = r.integer(2, 5)
  if (r.percent(15)) spec.consoleDomid = r.integer(2, 5)
  const [first, ...others] = spec.ramdisks ?? []
  // Last, so that the other choices of a seed stay what they are.
  if (first && r.percent(25)) spec.ramdisks = [gzipOf(r, first), ...others]
  return { seed, kernel, spec }
}

/** Returns a gzip ramdisk of a few bytes or of this one: whole, in two members, damaged, or with another length. */
function gzipOf(r: Random, ramdisk: Uint8Array): Uint8Array {
  const zipped = new Uint8Array(gzipSync(r.percent(50) ? ramdisk : ramdisk.subarray(0, 10), { level: 1 }))
  const how = r.pick(['whole', 'whole', 'members', 'padded', 'longer', 'shorter', 'damaged', 'cut', 'insane'] as const)
  const view = new DataView(zipped.buffer)
  if (how === 'members') return Buffer.concat([zipped, zipped])
  if (how === 'padded') return Buffer.concat([zipped, new Uint8Array(r.integer(1, 600))])
  if (how === 'cut') return zipped.subarray(0, r.integer(1, zipped.length - 1))
  if (how === 'longer') view.setUint32(zipped.length - 4, 5000 + ramdisk.length, true)
  if (how === 'shorter') view.setUint32(zipped.length - 4, 1, true)
  if (how === 'insane') view.setUint32(zipped.length - 4, 0x40000001, true)
  if (how === 'damaged') view.setUint8(zipped.length >> 1, view.getUint8(zipped.length >> 1) ^ 0x10)
  return zipped
}

/** Describes a case in a few lines, for a report. */
export function describeCase({ seed, kernel, spec }: GeneratedCase): string {
  const show = (_: string, value: unknown): unknown => {
    if (typeof value === 'bigint') return `0x${value.toString(16)}`
    if (value instanceof Uint8Array) return `${value.length} bytes`
    if (value instanceof BigUint64Array) return `${value.length} frames from ${value[0]}`
    return value
  }
  const { guestString } = kernel
  return JSON.stringify(
    { seed, kernel: kernel.spec, ...(guestString === undefined ? {} : { guestString }), spec },
    show,
  )
}
