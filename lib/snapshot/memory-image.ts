/**
 * Memory without a description: a LiME dump, or an image of all memory by address, as QEMU's pmemsave and VMware write
 * it. Its registers are lost, unless the caller knows them. A PV guest that has not run, and a Linux, are found.
 *
 * Source: ../abi/lime.ts; ../guest/linux-discover.ts; ../guest/pv-image.ts.
 * Gotcha: an image has no magic number. A file is one only if a guest is found in it, so all of it is read.
 */
import { LIME_MAGIC, LIME_VERSION, LimeHeader } from '../abi/lime.js'
import { CR0_ET, CR0_PE, CR0_PG, CR4_PAE, DR6_RESET, DR7_RESET } from '../abi/x86.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { findLinux } from '../guest/linux-discover.js'
import { GuestMemory } from '../guest/memory.js'
import { findPvGuest } from '../guest/pv-image.js'
import { addRange } from '../guest/runs.js'
import { GENERAL_REGISTERS, type Registers, registers, type Vcpu, waitingVcpu } from '../guest/vcpu.js'
import { logSnapshot } from '../log.js'
import {
  alignDown,
  alignUp,
  hex,
  narrow,
  PADDR_MAX,
  PAGE_SIZE,
  type Paddr,
  type Pfn,
  pagesFor,
  pfnOf,
  type Range,
  shown,
} from '../units.js'
import type { ByteSource } from './byte-source.js'
import { dumpedGuest } from './dumped-guest.js'
import { startOf } from './format.js'
import { readBytes, refuse } from './records.js'

/** The least memory that a Linux runs in, in bytes. */
const IMAGE_MIN = 4 << 20
/** The most ranges of a LiME dump: a machine has some dozens. */
const RANGES_MAX = 1 << 16

/** Returns whether a file begins as a LiME dump. */
export function isLime(source: ByteSource): boolean {
  const start = startOf(source, LimeHeader.size)
  return start.length === LimeHeader.size && LimeHeader.decode(start).magic === LIME_MAGIC
}

/** Returns the guest in an image of memory: a PV guest that has not run, or a 64-bit Linux. Undefined without one. */
export function findGuest(source: ByteSource): Domain | undefined {
  if (source.size < IMAGE_MIN || source.size % PAGE_SIZE !== 0) return undefined
  return guestIn(imageMemory(source))
}

function imageMemory(source: ByteSource): GuestMemory {
  const memory = new GuestMemory(pagesFor(source.size))
  memory.generate(0, source.size, (offset, out) => source.readInto(offset, out))
  return memory
}

/** The state of memory that has no description. */
export interface MemoryState {
  /** Whether the vcpu is in 64-bit mode. Default `x86_64`. */
  readonly abi?: 'x86_64' | 'x86_32'
  /** The page tables of vcpu 0: of four levels, or PAE's for `x86_32`. Default: paging is off. */
  readonly cr3?: bigint
  /** Registers of vcpu 0 that are known. Default: all zero. */
  readonly registers?: Partial<Registers>
}

/**
 * Returns the guest in memory whose state the caller knows: a LiME dump, or an image of memory by address.
 * @throws DomainBuilderError `bad-config` for an invalid state; `bad-snapshot` or `truncated` for an invalid LiME dump, or
 *   an image that is not whole pages.
 * @example
 * ```ts
 * const guest = openMemory(bytesSource(image), { cr3: 0x1a2b000n, registers: { rip: 0xffffffff81000000n } })
 * ```
 */
export function openMemory(source: ByteSource, state: MemoryState): Domain {
  const { abi = 'x86_64', cr3, registers: known = {} } = state
  if (abi !== 'x86_64' && abi !== 'x86_32') badState('abi', 'x86_64 or x86_32', shown(abi))
  requireU64('cr3', cr3 ?? 0n)
  for (const [name, value] of Object.entries(known)) {
    if (!REGISTER_NAMES.has(name))
      badState(`the register ${shown(name)}`, [...REGISTER_NAMES].join(', '), 'another name')
    requireU64(name, value)
  }
  if (!isLime(source) && (source.size === 0 || source.size % PAGE_SIZE !== 0)) {
    throw new DomainBuilderError('bad-snapshot', 'the image of memory is not whole pages', {
      expected: `a multiple of ${PAGE_SIZE} bytes`,
      found: `${source.size}`,
    })
  }
  const memory = isLime(source) ? limeMemory(source) : imageMemory(source)
  const vcpu = { ...RESET, registers: registers(known) }
  return dumpedGuest([cr3 === undefined ? vcpu : withTables(vcpu, cr3)], abi === 'x86_64', memory)
}

const REGISTER_NAMES: ReadonlySet<string> = new Set(['rip', 'rflags', ...GENERAL_REGISTERS])

function requireU64(name: string, value: unknown): void {
  if (typeof value !== 'bigint' || value < 0n || value >> 64n !== 0n)
    badState(name, 'a bigint of 64 bits', shown(value))
}

function badState(what: string, expected: string, found: string): never {
  throw new DomainBuilderError('bad-config', `${what} is invalid`, { expected, found })
}

/** Bytes of the file at an address. */
interface Piece {
  readonly paddr: Paddr
  readonly offset: number
  readonly length: number
}

/**
 * Returns the guest in a LiME dump; one without paging, if none is found.
 * @throws DomainBuilderError `bad-snapshot` or `truncated` with the offset of a header.
 */
export function openLime(source: ByteSource): Domain {
  const memory = limeMemory(source)
  return guestIn(memory) ?? dumpedGuest([RESET], false, memory)
}

function limeMemory(source: ByteSource): GuestMemory {
  const pieces: Piece[] = []
  const ranges: Range<Pfn>[] = []
  let end = 0
  for (let at = 0; at < source.size; ) {
    const { magic, version, s_addr, e_addr } = LimeHeader.decode(readBytes(source, at, LimeHeader.size, 'LiME header'))
    const place = { name: 'LiME', offset: at }
    if (magic !== LIME_MAGIC) refuse(place, 'the magic is missing', { expected: hex(LIME_MAGIC), found: hex(magic) })
    if (version !== LIME_VERSION) {
      refuse(place, 'the version is unknown', { expected: `${LIME_VERSION}`, found: `${version}` })
    }
    if (pieces.length === RANGES_MAX) refuse(place, 'the ranges are too many', { expected: `${RANGES_MAX}` })
    const paddr = narrow(s_addr, 'the start of a range', { offset: at })
    const last = narrow(e_addr, 'the end of a range', { max: PADDR_MAX - 1, offset: at })
    if (paddr < end || last < paddr) {
      refuse(place, 'the range is not above the one before', { expected: `at least ${hex(end)}`, found: hex(paddr) })
    }
    const length = last + 1 - paddr
    const offset = at + LimeHeader.size
    if (offset + length > source.size) {
      throw new DomainBuilderError('truncated', 'LiME: the file ends in a range', {
        expected: `${length} bytes`,
        found: `${source.size - offset}`,
        offset: at,
      })
    }
    pieces.push({ paddr, offset, length })
    addRange(ranges, pfnOf(paddr), pagesFor(last + 1))
    end = last + 1
    at = offset + length
  }
  const memory = new GuestMemory(ranges)
  for (const piece of pieces) placeBytes(memory, source, piece)
  return memory
}

/** Places bytes of a file; a range of a machine may begin or end within a page. */
function placeBytes(memory: GuestMemory, source: ByteSource, { paddr, offset, length }: Piece): void {
  const end = paddr + length
  const first = Math.min(end, alignUp(paddr, PAGE_SIZE))
  const last = Math.max(first, alignDown(end, PAGE_SIZE))
  const exact = (from: Paddr, to: Paddr): void => {
    if (to > from) memory.place(from, readBytes(source, offset + from - paddr, to - from, 'LiME range'))
  }
  exact(paddr, first)
  if (last > first) {
    memory.generate(first, last - first, (done, out) => source.readInto(offset + first - paddr + done, out))
  }
  exact(last, end)
}

/** Returns the guest that is found: PV, or with one vcpu, which has a Linux's own page tables. */
function guestIn(memory: GuestMemory): Domain | undefined {
  const pv = findPvGuest(memory)
  if (pv !== undefined) return pv
  const found = findLinux(memory)
  logSnapshot('memory: %d pages, %s', memory.pageCount, found ? `page tables at ${hex(found.cr3)}` : 'no guest')
  return found && dumpedGuest([withTables(RESET, BigInt(found.cr3))], true, memory)
}

/** The one vcpu, without paging. */
const RESET: Vcpu = { ...waitingVcpu(0), online: true, dr6: BigInt(DR6_RESET), dr7: BigInt(DR7_RESET) }

const withTables = (vcpu: Vcpu, cr3: bigint): Vcpu => ({
  ...vcpu,
  cr0: BigInt(CR0_PE | CR0_ET) | BigInt(CR0_PG),
  cr3,
  cr4: BigInt(CR4_PAE),
})
