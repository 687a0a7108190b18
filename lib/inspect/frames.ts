/**
 * physicalRanges: every frame of a guest in exactly one named range, in order, including the frames between regions.
 *
 * Source: our own design: regions as they were placed, over the guest's ranges of memory.
 * Gotcha: regions from an untrusted file may overlap or lie outside memory: the first placed has the frame, the rest is
 * cut off.
 */

import type { Domain } from '../guest/domain.js'
import type { Region } from '../guest/region.js'
import { countUpTo, runBefore, runEndingAfter } from '../guest/runs.js'
import { printable } from '../printable.js'
import type { Pfn } from '../units.js'

/** Frames that follow one another and share a name. */
export type PhysicalRange = {
  /** The region's name; `free` for unused memory, `unnamed` for data outside all regions. */
  readonly name: string
  /** The first frame, as the guest counts them. */
  readonly pfn: Pfn
  /** The number of pages of 4096 bytes. */
  readonly pages: number
  /** A region, or memory between regions. */
  readonly kind: 'region' | 'free' | 'unnamed'
  /** The number of its pages that were placed or written. */
  readonly data: number
}

/** Returns starts and ends of regions and of memory, sorted, each once. */
function boundaries(domain: Domain): Pfn[] {
  const all = new Set<Pfn>()
  for (const { start, end } of domain.memory.ranges) all.add(start).add(end)
  for (const { pfn, pages } of domain.regions) all.add(pfn).add(pfn + pages)
  return [...all].sort((a, b) => a - b)
}

/** Returns the region of each stretch between two boundaries: the one that was placed first. */
function owners(domain: Domain, bounds: readonly Pfn[]): (number | undefined)[] {
  const at = new Map(bounds.map((pfn, i) => [pfn, i]))
  const owner: (number | undefined)[] = new Array(bounds.length)
  // For a taken stretch, the next one that may be free: no region visits the same stretch twice.
  const next = bounds.map((_, i) => i)
  const free = (i: number): number => {
    let found = i
    while ((next[found] ?? found) !== found) found = next[found] as number
    for (let walk = i; walk !== found; ) {
      const after = next[walk] as number
      next[walk] = found
      walk = after
    }
    return found
  }
  domain.regions.forEach(({ pfn, pages }, region) => {
    const end = at.get(pfn + pages) ?? 0
    for (let i = free(at.get(pfn) ?? 0); i < end; i = free(i)) {
      owner[i] = region
      next[i] = i + 1
    }
  })
  return owner
}

/** Bounds and owners of the guests that were looked up: each is computed once. */
const indexes = new WeakMap<Domain, { bounds: readonly Pfn[]; owner: readonly (number | undefined)[] }>()

/** Returns the region of a frame: the one that was placed first. */
export function regionAt(domain: Domain, pfn: Pfn): Region | undefined {
  let index = indexes.get(domain)
  if (index === undefined) {
    const bounds = boundaries(domain)
    index = { bounds, owner: owners(domain, bounds) }
    indexes.set(domain, index)
  }
  const owner = index.owner[countUpTo(index.bounds, pfn) - 1]
  return owner === undefined ? undefined : domain.regions[owner]
}

/** Returns the guest's frames as ranges, in order; gaps between them are not memory of the guest. */
export function physicalRanges(domain: Domain): PhysicalRange[] {
  const bounds = boundaries(domain)
  const owner = owners(domain, bounds)
  const placed = [...domain.memory.pages()]
  const out: (Omit<PhysicalRange, 'pages' | 'data'> & { pages: number; data: number; region: number | undefined })[] =
    []
  let run = 0
  bounds.slice(0, -1).forEach((pfn, i) => {
    const end = bounds[i + 1] as Pfn
    if (!domain.memory.has(pfn)) return
    while (run < placed.length && (placed[run]?.pfn ?? 0) + (placed[run]?.pages ?? 0) <= pfn) run++
    let data = 0
    for (let r = run; r < placed.length && (placed[r]?.pfn ?? 0) < end; r++) {
      const { pfn: from, pages } = placed[r] as (typeof placed)[number]
      data += Math.min(end, from + pages) - Math.max(pfn, from)
    }
    const region = owner[i]
    const last = runBefore(out, pfn)
    if (last && last.region === region) {
      last.pages += end - pfn
      last.data += data
    } else out.push({ name: '', kind: 'region', pfn, pages: end - pfn, data, region })
  })
  return out.map(({ region, pfn, pages, data }) => {
    const named = region === undefined ? undefined : domain.regions[region]
    const kind = named ? 'region' : data > 0 ? 'unnamed' : 'free'
    return { name: named ? printable(named.name) : kind, pfn, pages, kind, data }
  })
}

/** Returns the index of the range of a frame, or -1. */
export function rangeOf(ranges: readonly PhysicalRange[], pfn: Pfn): number {
  const index = runEndingAfter(ranges, pfn)
  const range = ranges[index]
  return range !== undefined && range.pfn <= pfn ? index : -1
}
