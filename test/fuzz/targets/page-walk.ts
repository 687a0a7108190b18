/**
 * Random page tables, and the translation of an address: compares translate with a walker that shares no code with it.
 *
 * Source: Intel SDM vol. 3, 4.4.2 (PAE), 4.5.4 (4-level); which bits are reserved: tables 4-8 to 4-11 and 4-15 to 4-20.
 * Gotcha: with many frames, entries would rarely name tables, so frames are few. The p2m may swap them or have holes.
 */
import {
  buildDomain,
  type Domain,
  DomainBuilderError,
  describeWalk,
  GuestMemory,
  PAGE_SIZE,
  readKernel,
  readVirtual,
  type Translation,
  translate,
  walkPageTables,
  walkText,
} from '../../../lib/index.js'
import { linuxKernelFile, pvKernelFile } from '../../fixtures/kernels.js'
import { Random } from '../../fixtures/random.js'
import { Choices } from '../choices.js'
import { type Target, WrongAnswer } from '../target.js'
import { orRefuse } from './use-guest.js'

type Walked = Pick<Translation, 'paddr' | 'writable' | 'user' | 'pageSize'>

const FRAMES = 24
const GIB = 2n ** 30n
/** The frames of the guest: some low ones, and those of a large page of 1 GiB. */
const RANGES = [
  { start: 0, end: FRAMES - 4 },
  { start: FRAMES, end: FRAMES + 8 },
  { start: 0x200, end: 0x400 },
  { start: 0x40000, end: 0x40000 + 0x600 },
]
const TABLES = 8

const KINDS = ['4-level', 'PAE', 'unpaged', 'pv 64', 'pv PAE'] as const
type Kind = (typeof KINDS)[number]

/** The size of a large page in address bits, by its level. */
const LARGE: Readonly<Record<number, bigint>> = { 2: 21n, 3: 30n }

/** The straightforward walk: bigint throughout, one level after another. */
function walk(
  kind: Kind,
  read: (frame: bigint, index: bigint) => bigint | undefined,
  top: bigint,
  vaddr: bigint,
  has: (frame: bigint) => bigint | undefined,
): Walked | undefined {
  const levels = kind === '4-level' || kind === 'pv 64' ? 4 : 3
  if (levels === 4) {
    const upper = vaddr >> 47n
    if (upper !== 0n && upper !== 0x1ffffn) return undefined
  } else if (vaddr >= 2n ** 32n) return undefined
  let [frame, writable, user] = [top, true, true]
  for (let level = levels; level > 0; level--) {
    const shift = 12n + 9n * BigInt(level - 1)
    const entry = read(frame, (vaddr >> shift) & 0x1ffn)
    if (entry === undefined || entry % 2n === 0n) return undefined
    // PAE L3 entries grant every access; these two bits are reserved there.
    if (!(kind === 'PAE' && level === 3)) {
      writable = writable && (entry & 2n) !== 0n
      user = user && (entry & 4n) !== 0n
    }
    const address = entry & 0x000ffffffffff000n
    const canBeLarge = level === 2 || (level === 3 && levels === 4)
    if (level > 1 && !canBeLarge && (entry & 0x80n) !== 0n) return undefined
    const bits = level === 1 ? 12n : (entry & 0x80n) !== 0n ? LARGE[level] : undefined
    if (bits === undefined) {
      frame = address >> 12n
      continue
    }
    const size = 1n << bits
    const machine = address - (address % size) + (vaddr % size)
    const pfn = has(machine >> 12n)
    if (pfn === undefined) return undefined
    return { paddr: Number(pfn * 4096n + (machine % 4096n)), writable, user, pageSize: Number(size) }
  }
  return undefined
}

const REGISTERS = { cr0: 0x80000001n, cr4: 0x20n, efer: 0x500n }

function controlOf(kind: Kind): typeof REGISTERS {
  if (kind === 'unpaged') return { cr0: 1n, cr4: 0n, efer: 0n }
  return kind === 'PAE' ? { ...REGISTERS, efer: 0n } : REGISTERS
}

/** A mapping from machine frames to guest frames. */
type Turn = (frame: number) => number | undefined
const TURNS: readonly Turn[] = [
  (frame) => frame,
  (frame) => frame ^ 1,
  (frame) => (frame % 7 === 6 ? undefined : frame),
  (frame) => (frame >= 1 ? frame - 1 : undefined),
]

/** The guests, apart from memory and page tables. */
const guests = {
  pv: buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 16 * 2 ** 20 }),
  linux: buildDomain(await readKernel(linuxKernelFile()), { type: 'linux', memory: 64 * 2 ** 20 }),
}

export const pageWalkTarget = (): Target => ({
  name: 'page-walk',
  executions: 40_000,
  maxBytes: 2048,
  async seeds() {
    return [1, 2, 3, 4, 5, 6, 7, 8].map((seed) => new Random(seed).bytes(200 + 40 * seed))
  },
  run(bytes) {
    const choices = new Choices(bytes)
    const kind = choices.pick(KINDS)
    const isPv = kind.startsWith('pv')
    const turn: Turn = isPv ? choices.pick(TURNS) : (frame) => frame
    const memory = new GuestMemory(RANGES)
    const flags = choices.pick([0x67, 0x07, 0x01, 0x03])
    const indexes = [choices.below(4), 4 * choices.below(128), 511].map(BigInt)
    for (let left = choices.below(48); left > 0 && !choices.isOver; left--) {
      const entry = entryOf(choices, flags)
      const at = choices.below(TABLES) * PAGE_SIZE + 8 * Number(choices.pick(indexes))
      const out = new Uint8Array(8)
      new DataView(out.buffer).setBigUint64(0, entry, true)
      memory.write(at, out)
    }
    const top = choices.below(TABLES + 1)
    const base = isPv ? guests.pv : guests.linux
    const guest: Domain = {
      ...base,
      abi: kind === 'pv 64' || kind === '4-level' ? 'x86_64' : 'x86_32p',
      memory,
      regions: [],
      pageType: () => ({ level: 0, pinned: false }),
      p2m: { name: 'turned', mfn: () => undefined, pfn: turn },
      vcpus: base.vcpus.map((vcpu) => ({ ...vcpu, ...controlOf(kind), cr3: BigInt(top) << 12n })),
    }
    const has = (frame: bigint) => {
      const pfn = turn(Number(frame))
      return pfn !== undefined && RANGES.some(({ start, end }) => pfn >= start && pfn < end) ? BigInt(pfn) : undefined
    }
    const read = (frame: bigint, index: bigint) => {
      const pfn = has(frame)
      if (pfn === undefined) return undefined
      const entry = memory.read(Number(pfn * 4096n + 8n * index), 8)
      return new DataView(entry.buffer, entry.byteOffset).getBigUint64(0, true)
    }
    for (let left = 4; left > 0; left--) {
      const vaddr = vaddrOf(choices, indexes)
      const found = translated(guest, vaddr)
      const wanted = kind === 'unpaged' ? unpaged(vaddr, has) : walk(kind, read, BigInt(top), vaddr, has)
      expectSameWalk(found, wanted, `${kind}, address 0x${vaddr.toString(16)}`)
      orRefuse(() => JSON.stringify(describeWalk(guest, vaddr)))
      orRefuse(() => walkText(guest, vaddr))
      orRefuse(() => readVirtual(guest, vaddr, 5000))
    }
    orRefuse(() => {
      for (const { entries } of walkPageTables(guest)) entries.at(-1)
    })
  },
})

/** A cr3 outside memory is refused, which counts as not mapped. */
function translated(guest: Domain, vaddr: bigint): Walked | undefined {
  try {
    return translate(guest, vaddr)
  } catch (error) {
    if (error instanceof DomainBuilderError && error.code === 'not-mapped') return undefined
    throw error
  }
}

function unpaged(vaddr: bigint, has: (frame: bigint) => bigint | undefined): Walked | undefined {
  if (vaddr >= 4n * GIB || has(vaddr >> 12n) === undefined) return undefined
  return { paddr: Number(vaddr), writable: true, user: true, pageSize: PAGE_SIZE }
}

function entryOf(choices: Choices, flags: number): bigint {
  const frame = choices.pick([
    () => BigInt(choices.below(TABLES)),
    () => BigInt(choices.below(FRAMES + 10)),
    () => 0x200n + BigInt(choices.byte()),
    () => 0x40000n + BigInt(choices.byte()),
    () => (choices.u64() >> 12n) & 0xffffffffffn,
  ])()
  const changed = choices.pick([0n, 0n, 0n, 0x80n, 0x80n, 0x1080n, 2n, 4n, 1n, 1n << 63n, 1n << 52n, 0x18n, 0x100n])
  return (frame << 12n) | (BigInt(flags) ^ changed)
}

function vaddrOf(choices: Choices, indexes: readonly bigint[]): bigint {
  let vaddr = BigInt(choices.byte() * 16 + choices.below(16))
  for (const shift of [12n, 21n, 30n, 39n]) vaddr |= choices.pick(indexes) << shift
  const shape = choices.below(8)
  if (shape === 0) return choices.u64()
  if (shape === 1) return vaddr
  return shape < 5 ? vaddr & 0xffffffffn : BigInt.asUintN(64, BigInt.asIntN(48, vaddr))
}

function expectSameWalk(found: Walked | undefined, wanted: Walked | undefined, where: string): void {
  const show = (one: Walked | undefined) =>
    one ? `0x${one.paddr.toString(16)} ${one.writable ? 'w' : '-'}${one.user ? 'u' : '-'} ${one.pageSize}` : 'nothing'
  if (show(found) !== show(wanted)) throw new WrongAnswer(`${where} leads to ${show(found)} instead of ${show(wanted)}`)
}
