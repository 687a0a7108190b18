/**
 * Memory of a domain of a live Xen: given, mapped, read and written.
 *
 * Source: xen/include/public/{memory,domctl,xen,grant_table}.h; tools/libs/foreignmemory/include/xenforeignmemory.h.
 * Gotcha: a page table that a toolstack still maps as writable cannot be pinned, so no mapping outlives its method.
 */
import { BootE820Entry } from '../abi/boot-params.js'
import { GetPageFrameInfo3, HypercallInit } from '../abi/domctl.js'
import { GrantEntry, GTF_PERMIT_ACCESS } from '../abi/grant-table.js'
import { HYPERCALL } from '../abi/hypercall.js'
import { ForeignMemoryMap, MemoryDomain, MemoryReservation, PodTarget, XENMEMF } from '../abi/memory-op.js'
import { MMUEXT_PIN, MmuextOp } from '../abi/mmuext.js'
import { DomainBuilderError } from '../errors.js'
import type { Domid } from '../toolstack/answer.js'
import { FRAMES_AT_ONCE, type Hypervisor, type NewGrant } from '../toolstack/hypervisor.js'
import { checkedInteger, hex, PAGE_SIZE } from '../units.js'
import { breathe } from '../work.js'
import type { Hypercalls } from './hypercalls.js'
import type { Address } from './native.js'

/** Pages given in one request: Xen may have to clear all of them first. */
const PAGES_AT_ONCE = 2 ** 14
/** Entries in the one page of a grant table that is mapped. */
const GRANTS = PAGE_SIZE / GrantEntry.size

type MemoryMethods = Pick<
  Hypervisor,
  | ('populate' | 'setPodTarget' | 'exchangeBelow4GiB' | 'setMemoryMap' | 'maximumGpfn')
  | ('frameTypes' | 'readFrames' | 'writeFrames' | 'initHypercallPage' | 'pinTable' | 'setGrants')
>

/** The bytes of an array of numbers: the same memory. */
const bytesOf = ({ buffer, byteOffset, byteLength }: BigUint64Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** Returns the methods about memory. */
export function memoryMethods(xen: Hypercalls): MemoryMethods {
  return {
    async populate(domid, frames, order, onDemand) {
      const extents = Math.max(1, Math.floor(PAGES_AT_ONCE / 2 ** order))
      for (let done = 0; done < frames.length; ) {
        const part = frames.subarray(done, done + extents)
        const flags = onDemand ? XENMEMF.populate_on_demand : 0
        const given = reserve(xen, 'populate_physmap', domid, part, order, flags)
        done += given
        if (given < part.length) return done
        await breathe()
      }
      return frames.length
    },
    setPodTarget: (domid, pages) =>
      void xen.memoryOp(
        'set_pod_target',
        domid,
        PodTarget.encode({ ...PodTarget.zero, domid, target_pages: BigInt(pages) }),
      ),
    exchangeBelow4GiB(domid, pfn, mfn) {
      const frame = BigUint64Array.of(BigInt(mfn))
      const given =
        reserve(xen, 'decrease_reservation', domid, frame, 0, 0) === 1 &&
        reserve(xen, 'populate_physmap', domid, frame.fill(BigInt(pfn)), 0, XENMEMF.below_4gib) === 1
      if (!given) {
        throw new DomainBuilderError('hypercall-failed', `domain ${domid} gets no frame below 4 GiB for ${hex(mfn)}`)
      }
      return Number(frame[0])
    },
    setMemoryMap(domid, entries) {
      const map = new Uint8Array(entries.length * BootE820Entry.size)
      entries.forEach(({ start, end, type }, i) => {
        map.set(BootE820Entry.encode({ addr: BigInt(start), size: BigInt(end - start), type }), i * BootE820Entry.size)
      })
      xen.withBuffer(map, (buffer) =>
        xen.memoryOp('set_memory_map', domid, ForeignMemoryMap.encode({ domid, nr_entries: entries.length, buffer })),
      )
    },
    maximumGpfn: (domid) => xen.memoryOp('maximum_gpfn', domid, MemoryDomain.encode({ domid })),
    frameTypes(domid, frames) {
      requireFew(frames)
      const types = frames.slice()
      xen.withBuffer(bytesOf(types), (array) =>
        xen.domctl('getpageframeinfo3', domid, GetPageFrameInfo3.encode({ num: BigInt(types.length), array })),
      )
      const words = new Uint32Array(types.buffer)
      return new Uint32Array(types.length).map((_, i) => words[2 * i] as number)
    },
    readFrames(domid, frames, out) {
      const length = frames.length * PAGE_SIZE
      if (out.length !== length) {
        throw new DomainBuilderError('bad-range', 'the buffer for the frames has the wrong length', {
          expected: `${length} bytes`,
          found: `${out.length} bytes`,
        })
      }
      withFrames(xen, domid, frames, false, (address) => xen.native.read(address, out))
    },
    writeFrames(domid, frames, pieces) {
      const length = frames.length * PAGE_SIZE
      let end = 0
      for (const { offset, bytes } of pieces) {
        checkedInteger(offset, 'the offset of a piece', end, length)
        end = checkedInteger(offset + bytes.length, 'the end of a piece', offset, length)
      }
      withFrames(xen, domid, frames, true, (address) => {
        let done = 0
        for (const { offset, bytes } of pieces) {
          xen.native.zero(address + done, offset - done)
          xen.native.write(address + offset, bytes)
          done = offset + bytes.length
        }
        xen.native.zero(address + done, length - done)
      })
    },
    initHypercallPage: (domid, mfn) =>
      void xen.domctl('hypercall_init', domid, HypercallInit.encode({ gmfn: BigInt(mfn) })),
    pinTable(domid, level, mfn) {
      const op = MmuextOp.encode({ ...MmuextOp.zero, cmd: MMUEXT_PIN[level], mfn: BigInt(mfn) })
      const what = `the pin of the L${level} table ${hex(mfn)}`
      xen.withBuffer(op, (address) => xen.call(what, domid, HYPERCALL.mmuext_op, [address, 1, 0, domid]))
    },
    setGrants(domid, grants) {
      const entries = grants.map(encodeGrant)
      xen.requireOpen()
      const isMapped = xen.native.withGrantTable(domid, (table) => {
        for (const { at, entry } of entries) xen.native.write(table + at, entry)
      })
      if (!isMapped) throw xen.refused('the map of the grant table', domid)
    },
  }
}

/** Changes extents of memory; those that Xen gave are in `frames` afterwards. Returns their number. */
function reserve(
  xen: Hypercalls,
  name: 'populate_physmap' | 'decrease_reservation',
  domid: Domid,
  frames: BigUint64Array,
  order: number,
  flags: number,
): number {
  return xen.withBuffer(bytesOf(frames), (address) => {
    const reservation = { extent_start: address, nr_extents: BigInt(frames.length), extent_order: order }
    return xen.memoryOp(name, domid, MemoryReservation.encode({ ...reservation, mem_flags: flags, domid }))
  })
}

function encodeGrant({ ref, domid, frame }: NewGrant): { at: number; entry: Uint8Array } {
  checkedInteger(ref, 'the reference of a grant', 0, GRANTS - 1)
  return { at: ref * GrantEntry.size, entry: GrantEntry.encode({ flags: GTF_PERMIT_ACCESS, domid, frame }) }
}

const requireFew = (frames: BigUint64Array): unknown =>
  checkedInteger(frames.length, 'the number of frames', 0, FRAMES_AT_ONCE)

/** Maps frames one after another for `use`. @throws Refused if one of them is not there, or may not be written. */
function withFrames(
  xen: Hypercalls,
  domid: Domid,
  frames: BigUint64Array,
  writable: boolean,
  use: (address: Address) => void,
): void {
  requireFew(frames)
  if (frames.length === 0) return
  xen.requireOpen()
  const errors = new Int32Array(frames.length)
  const address = xen.native.map(domid, frames, writable, errors)
  const what = (frame: bigint | undefined): string => `the map of frame ${hex(frame ?? 0n)}`
  if (address === 0) throw xen.refused(what(frames[0]), domid)
  let result: number
  try {
    const bad = errors.findIndex((error) => error !== 0)
    if (bad >= 0) throw xen.refused(what(frames[bad]), domid, Math.abs(errors[bad] ?? 0))
    use(address)
  } finally {
    result = xen.native.unmap(address, frames.length)
  }
  if (result < 0) throw xen.refused('the unmap of frames', domid)
}
