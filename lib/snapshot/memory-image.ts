/**
 * Memory without a description: a LiME dump, or an image of all memory by address, as QEMU's pmemsave and VMware write
 * it. Its registers are lost, and the page tables of a Linux in it are found.
 *
 * Source: ../abi/lime.ts; ../guest/linux-discover.ts.
 * Gotcha: an image has no magic number. A file is one only if a Linux is found in it, so all of it is read.
 */
import { LIME_MAGIC, LIME_VERSION, LimeHeader } from '../abi/lime.js'
import { CR0_ET, CR0_PE, CR0_PG, CR4_PAE, DR6_RESET, DR7_RESET } from '../abi/x86.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { findLinux } from '../guest/linux-discover.js'
import { GuestMemory } from '../guest/memory.js'
import { addRange } from '../guest/runs.js'
import { type Vcpu, waitingVcpu } from '../guest/vcpu.js'
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

/** Returns whether a file is an image of memory with a 64-bit Linux in it. */
export const isLinuxImage = (source: ByteSource): boolean =>
  source.size >= IMAGE_MIN && source.size % PAGE_SIZE === 0 && findLinux(imageMemory(source)) !== undefined

/** Returns the guest in an image of memory. */
export const openImage = (source: ByteSource): Domain => bareGuest(imageMemory(source))

function imageMemory(source: ByteSource): GuestMemory {
  const memory = new GuestMemory(pagesFor(source.size))
  memory.generate(0, source.size, (offset, out) => source.readInto(offset, out))
  return memory
}

/** Bytes of the file at an address. */
interface Piece {
  readonly paddr: Paddr
  readonly offset: number
  readonly length: number
}

/**
 * Returns the guest in a LiME dump.
 * @throws DomainBuilderError `bad-snapshot` or `truncated` with the offset of a header.
 */
export function openLime(source: ByteSource): Domain {
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
  return bareGuest(memory)
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

/** Returns a guest with one vcpu, which has a Linux's own page tables if there is one, and no paging otherwise. */
function bareGuest(memory: GuestMemory): Domain {
  const found = findLinux(memory)
  logSnapshot('memory: %d pages, %s', memory.pageCount, found ? `page tables at ${hex(found.cr3)}` : 'no Linux')
  const vcpu = { ...waitingVcpu(0), online: true, dr6: BigInt(DR6_RESET), dr7: BigInt(DR7_RESET) }
  return dumpedGuest([found === undefined ? vcpu : withTables(vcpu, found.cr3)], found !== undefined, memory)
}

const withTables = (vcpu: Vcpu, cr3: Paddr): Vcpu => ({
  ...vcpu,
  cr0: BigInt(CR0_PE | CR0_ET) | BigInt(CR0_PG),
  cr3: BigInt(cr3),
  cr4: BigInt(CR4_PAE),
})
