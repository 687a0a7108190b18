/**
 * mapBoxes: the content of every drawing of a guest: boxes of physical memory, boxes of virtual memory, and the links
 * between them.
 *
 * Source: our own design: physical memory to the left, the virtual view to the right.
 * Gotcha: each side has a bounded number of boxes; neighbouring runs share one, so that none is lost.
 */

import { defined } from '../defined.js'
import { append } from '../lists.js'
import { PAGE_SIZE, type Pfn, paddrOf, showSize } from '../units.js'
import type { GuestMap, VirtualRun } from './map-model.js'
import { tintOf } from './region-kinds.js'

/** A stretch of addresses. */
export interface MemoryBox {
  readonly kind: 'region' | 'free' | 'unnamed' | 'group'
  readonly name: string
  /** Physical or virtual addresses, [start, end). */
  readonly start: bigint
  readonly end: bigint
  /** The pages of memory in it, of 4096 bytes. */
  readonly pages: number
  /** Such as `rw-`; empty for physical memory and for several runs. */
  readonly access: string
  /** Further information, as the end of a sentence. */
  readonly note: string
  /** The index of its tint; undefined for none. */
  readonly tint?: number
}

/** The gap between two boxes, in words: no memory, or nothing mapped. */
interface BreakBox {
  readonly kind: 'break'
  readonly name: string
}

export type MapBox = MemoryBox | BreakBox

/** Frames of one physical box that one virtual box maps. */
export interface MapLink {
  /** Indexes of the boxes that it joins. */
  readonly physical: number
  readonly virtual: number
  /** From the lowest frame to the highest. */
  readonly pfn: Pfn
  readonly pages: number
  /** Whether these are several runs: their frames may be anywhere between. */
  readonly scattered: boolean
  readonly tint?: number
}

export interface MapBoxes {
  readonly physical: readonly MapBox[]
  readonly virtual: readonly MapBox[]
  /** In the order of the virtual boxes. */
  readonly links: readonly MapLink[]
}

/** Returns the size of `pages` pages, in words. */
export const sizeOf = (pages: number): string => showSize(pages * PAGE_SIZE)

/** Returns a text, cut in its middle where it is longer than `width`. */
export function shorten(text: string, width: number): string {
  const letters = [...text]
  if (letters.length <= width) return text
  const tail = Math.floor((width - 1) / 3)
  return `${letters.slice(0, Math.max(1, width - 1 - tail)).join('')}…${letters.slice(letters.length - tail).join('')}`
}

/** Returns a break, with its size if there is a word for it: most of a 64-bit address space is too large. */
function breakBox(what: string, pages: number | bigint): BreakBox {
  const bytes = Number(pages) * PAGE_SIZE
  return { kind: 'break', name: bytes < 2 ** 50 ? `${what}, ${showSize(bytes)}` : what }
}

/** Runs of the virtual side that share a box: one, or several neighbours. */
interface Group {
  readonly runs: readonly VirtualRun[]
  readonly start: bigint
  readonly end: bigint
}

const endOf = (run: VirtualRun): bigint => BigInt(run.vaddr) + BigInt(run.pages) * BigInt(PAGE_SIZE)

/** Returns at most `max` groups, split at the widest unmapped gaps, and then between the longest runs. */
function groupRuns(runs: readonly VirtualRun[], max: number): Group[] {
  const gaps = runs.slice(1).map((run, i) => ({ at: i + 1, bytes: BigInt(run.vaddr) - endOf(runs[i] as VirtualRun) }))
  // Short runs tell little, and long ones much: a gap of 0 bytes counts by the shorter run next to it.
  const weight = ({ at, bytes }: { at: number; bytes: bigint }): number =>
    bytes > 0n ? 2 ** 40 + Number(bytes / BigInt(PAGE_SIZE)) : Math.min(runs[at]?.pages ?? 0, runs[at - 1]?.pages ?? 0)
  const parted = gaps
    .map((gap) => ({ at: gap.at, weight: weight(gap) }))
    .sort((a, b) => b.weight - a.weight || a.at - b.at)
    .slice(0, max - 1)
    .map(({ at }) => at)
    .sort((a, b) => a - b)
  return [0, ...parted].flatMap((start, i, starts) => {
    const part = runs.slice(start, starts[i + 1])
    const [first] = part
    const last = part.at(-1)
    return first && last ? [{ runs: part, start: BigInt(first.vaddr), end: endOf(last) }] : []
  })
}

/** Returns the boxes of both sides, at most `max` of memory on each, and the links between them. */
export function mapBoxes(map: GuestMap, max: number): MapBoxes {
  const physical = physicalBoxes(map, max)
  const virtual: MapBox[] = []
  const links: MapLink[] = []
  let last: bigint | undefined
  for (const group of groupRuns(map.virtual, max)) {
    if (last === undefined ? group.start > 0n : group.start > last) {
      virtual.push(breakBox('not mapped', (group.start - (last ?? 0n)) / BigInt(PAGE_SIZE)))
    }
    last = group.end
    const box = virtualBox(group)
    virtual.push(box)
    append(links, linksOf(group, virtual.length - 1, physical, box.tint))
  }
  const more = map.bounds.virtual.found - map.bounds.virtual.listed
  if (more > 0) virtual.push({ kind: 'break', name: `and ${more} more runs` })
  return { physical, virtual, links }
}

function virtualBox({ runs, start, end }: Group): MemoryBox {
  const pages = runs.reduce((sum, run) => sum + run.pages, 0)
  const [first] = runs as readonly [VirtualRun]
  if (runs.length > 1) return { kind: 'group', name: `${runs.length} runs`, start, end, pages, access: '', note: '' }
  const { region, access, pfn } = first
  const kind = (['free', 'unnamed'] as const).find((word) => word === region) ?? 'region'
  return {
    kind,
    name: region,
    start,
    end,
    pages,
    access,
    note: `, ${access}, at physical 0x${paddrOf(pfn).toString(16)}`,
    ...defined({ tint: kind === 'region' ? tintOf(region) : undefined }),
  }
}

function physicalBoxes(map: GuestMap, max: number): MapBox[] {
  const boxes: MapBox[] = []
  let end = 0
  const shown = map.physical.slice(0, max)
  for (const { pfn, pages, name, kind, data } of shown) {
    if (pfn > end) boxes.push(breakBox('no memory', pfn - end))
    end = pfn + pages
    boxes.push({
      kind,
      name,
      start: BigInt(paddrOf(pfn)),
      end: BigInt(paddrOf(end)),
      pages,
      access: '',
      note: kind === 'unnamed' ? `, ${sizeOf(data)} of it in use` : '',
      ...defined({ tint: kind === 'region' ? tintOf(name) : undefined }),
    })
  }
  const more = map.bounds.physical.found - shown.length
  if (more > 0) boxes.push({ kind: 'break', name: `and ${more} more ranges` })
  return boxes
}

/** Returns one link to each physical box that has frames of a group. */
function linksOf({ runs }: Group, virtual: number, boxes: readonly MapBox[], tint: number | undefined): MapLink[] {
  const scattered = runs.length > 1
  return boxes.flatMap((box, physical) => {
    if (box.kind === 'break') return []
    const [first, end] = [Number(box.start) / PAGE_SIZE, Number(box.end) / PAGE_SIZE]
    let low = Number.POSITIVE_INFINITY
    let high = 0
    for (const { pfn, pages } of runs) {
      const from = Math.max(pfn, first)
      const to = Math.min(pfn + pages, end)
      if (from >= to) continue
      low = Math.min(low, from)
      high = Math.max(high, to)
    }
    if (low >= high) return []
    return [
      { physical, virtual, pfn: low, pages: high - low, scattered, ...defined({ tint: scattered ? box.tint : tint }) },
    ]
  })
}
