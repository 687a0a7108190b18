/**
 * The machine's frames: those that the guest has, and free ones for the supervisor.
 *
 * Source: QEMU's machines, ../abi/pc.ts: RAM ends at 3 GiB and goes on at 4 GiB; the last 64 KiB below 1 MiB are ROM.
 * Gotcha: a guest's frames cannot be moved, since its p2m and page tables hold their numbers. So a guest may have frames
 * that no such machine has.
 */
import { DEVICE_HOLE } from '../abi/pc.js'
import { ROM_BYTES, ROM_START } from '../abi/x86.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain, PvBoot } from '../guest/domain.js'
import type { GuestMemory } from '../guest/memory.js'
import type { P2m } from '../guest/p2m.js'
import { addRange } from '../guest/runs.js'
import { hex, type Mfn, overlaps, type Paddr, type Pfn, paddrOf, pfnOf, type Range, showRange } from '../units.js'
import { DIRECT_BYTES } from './layout.js'

const frames = ({ start, end }: Range<Paddr>): Range<Mfn> => ({ start: pfnOf(start), end: pfnOf(end) })
/** Frames that are no RAM. */
const HOLE = frames(DEVICE_HOLE)
/** Frames that the guest may have, if it has nothing there: they read as the ROM, and writes are lost. */
export const ROM = frames({ start: ROM_START, end: ROM_START + ROM_BYTES })
/** The first frames that the supervisor may take: no page at 0, and the RAM after 1 MiB. */
const FREE_FROM: readonly Mfn[] = [1, 0x100]
const LOW_END = 0xa0

/** Pages that are consecutive in the guest and in the machine. */
export interface FrameRun {
  readonly pfn: Pfn
  readonly mfn: Mfn
  readonly pages: number
}

/** Yields pages of a guest in runs of consecutive frames; pages without a frame are in none. */
export function* frameRuns(p2m: P2m, start: Pfn, end: Pfn): Generator<FrameRun> {
  for (let pfn = start; pfn < end; ) {
    const mfn = p2m.mfn(pfn)
    let pages = 1
    if (p2m.distance !== undefined) pages = end - pfn
    else if (p2m.rangeFrom) pages = Math.min(p2m.rangeFrom(pfn)?.pages ?? 1, end - pfn)
    else if (mfn !== undefined) while (pfn + pages < end && p2m.mfn(pfn + pages) === mfn + pages) pages++
    if (mfn !== undefined) yield { pfn, mfn, pages }
    pfn += pages
  }
}

/**
 * Returns the frames of a guest and of its shared_info, as sorted ranges.
 * @throws DomainBuilderError `overlap` if two pages have the same frame; `does-not-fit` for a frame that the machine
 *   does not have.
 */
export function takenFrames({ memory, p2m, boot }: Domain<PvBoot>): readonly Range<Mfn>[] {
  const all = [{ start: boot.sharedInfoMfn, end: boot.sharedInfoMfn + 1 }]
  for (const range of memory.ranges) {
    for (const { mfn, pages } of frameRuns(p2m, range.start, range.end)) all.push({ start: mfn, end: mfn + pages })
  }
  all.sort((a, b) => a.start - b.start)
  const merged: Range<Mfn>[] = []
  for (const { start, end } of all) {
    const last = merged.at(-1)
    if (last && start < last.end) {
      throw new DomainBuilderError('overlap', 'two pages of the guest have the same machine frame', {
        found: hex(start),
      })
    }
    addRange(merged as { start: number; end: number }[], start, end)
  }
  const outside = merged.find((range) => overlaps(range, HOLE) || paddrOf(range.end) > DIRECT_BYTES)
  if (outside) {
    throw new DomainBuilderError('does-not-fit', 'the guest has machine frames that are no RAM of the machine', {
      expected: `no frame in ${showRange(HOLE)}, and none from ${hex(pfnOf(DIRECT_BYTES))} on`,
      found: showRange(outside),
    })
  }
  return merged
}

/** Refuses a guest with content where the machine has its ROM. */
export function requireNothingInRom(memory: GuestMemory, p2m: P2m): void {
  for (const { pfn, pages } of memory.pages()) {
    for (const run of frameRuns(p2m, pfn, pfn + pages)) {
      if (!overlaps({ start: run.mfn, end: run.mfn + run.pages }, ROM)) continue
      throw new DomainBuilderError('does-not-fit', "the guest has content where the machine's ROM is", {
        expected: `nothing in the frames ${showRange(ROM)}, as with a p2m offset of ${hex(ROM.end)}`,
        found: showRange({ start: run.mfn, end: run.mfn + run.pages }),
      })
    }
  }
}

/**
 * Returns the first of `pages` free frames below 4 GiB.
 * @throws DomainBuilderError `does-not-fit` without such frames.
 */
export function freeLowFrames(taken: readonly Range<Mfn>[], pages: number): Mfn {
  const ends = [...FREE_FROM, ...taken.map(({ end }) => end)].sort((a, b) => a - b)
  const found = ends.find((start) => {
    const range = { start, end: start + pages }
    const isRam = start > 0 && (range.end <= LOW_END || start >= ROM.end) && range.end <= HOLE.start
    return isRam && !taken.some((other) => overlaps(other, range))
  })
  if (found !== undefined) return found
  throw new DomainBuilderError('does-not-fit', 'the guest leaves no machine frames below 4 GiB for the supervisor', {
    expected: `${pages} consecutive frames in [1, ${hex(LOW_END)}) or [${hex(ROM.end)}, ${hex(HOLE.start)})`,
  })
}

/** Returns the first of `pages` frames after all others that are RAM. */
export const framesAfter = (end: Mfn, pages: number): Mfn => (end + pages <= HOLE.start ? end : Math.max(end, HOLE.end))

/** Returns the RAM of a machine that ends at a frame, as ranges. */
export const ramUpTo = (end: Mfn): Range<Mfn>[] =>
  end <= HOLE.start
    ? [{ start: 0, end }]
    : [
        { start: 0, end: HOLE.start },
        { start: HOLE.end, end },
      ]
