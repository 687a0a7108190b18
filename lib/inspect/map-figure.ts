/**
 * The drawing of a guest's layout: where each box, band and word goes. Numbers in, numbers out; map-svg.ts writes them.
 *
 * Source: our own design: physical memory to the left, the virtual view to the right, bands for what maps what.
 * Gotcha: heights go by the logarithm of the size, so that a page of 4 KiB can be read beside a kernel of 60 MiB; within
 * a box they are linear. What is not mapped, or no memory, is a break of one height.
 */
import { hex, PAGE_SIZE, paddrOf, showSize } from '../units.js'
import type { GuestMap, VirtualRun } from './map-model.js'

/** What fits on a line and how high it is: two forms, for a desk and for a hand. */
export interface FigureForm {
  readonly width: number
  readonly boxWidth: number
  readonly fontSize: number
  /** Lines of text in the smallest box. */
  readonly lines: 1 | 2
}
export const WIDE: FigureForm = { width: 1040, boxWidth: 392, fontSize: 12, lines: 1 }
export const NARROW: FigureForm = { width: 368, boxWidth: 150, fontSize: 10.5, lines: 2 }

/** A stretch of addresses, or what lies between two. */
export interface Box {
  readonly kind: 'region' | 'free' | 'unnamed' | 'break' | 'group'
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
  /** Which of the tints it has; undefined for none. */
  readonly tint?: number
  /** Lines of words at the left and at the right edge. */
  readonly left: readonly string[]
  readonly right: readonly string[]
  /** All of it in words. */
  readonly title: string
  /** The address that it begins with, for whoever wants to look there. */
  readonly address?: string
}

/** What leads from a stretch of the physical side to one of the virtual side. */
export interface Band {
  readonly from: readonly [number, number]
  readonly to: readonly [number, number]
  readonly tint?: number
  /** Physical frames are anywhere between: several runs in one band. */
  readonly scattered: boolean
  /** Index of the boxes it joins. */
  readonly physical: number
  readonly virtual: number
}

export interface Figure {
  readonly form: FigureForm
  readonly height: number
  readonly physical: readonly Box[]
  readonly virtual: readonly Box[]
  readonly bands: readonly Band[]
}

/** Advance of a letter of a monospaced face, by its size. */
const ADVANCE = 0.602
export const PADDING = 6
export const HEADING = 34
export const TINTS = 10
/** Boxes of one side. */
const MAX_BOXES = 40

const lineHeight = ({ fontSize }: FigureForm): number => Math.round(fontSize * 1.35)
const smallest = (form: FigureForm): number => form.lines * lineHeight(form) + 5
const GROWTH = 5.5
const heightOf = (form: FigureForm, pages: number): number => smallest(form) + GROWTH * Math.log2(Math.max(1, pages))
const round = (value: number): number => Math.round(value * 100) / 100
const sizeOf = (pages: number): string => showSize(pages * PAGE_SIZE)

/** Characters that fit on a line of a box. */
const room = ({ boxWidth, fontSize }: FigureForm): number => Math.floor((boxWidth - 2 * PADDING) / (fontSize * ADVANCE))

/** A text cut in its middle, where it is longer than there is room. */
export function shorten(text: string, width: number): string {
  const letters = [...text]
  if (letters.length <= width) return text
  const tail = Math.floor((width - 1) / 3)
  return `${letters.slice(0, Math.max(1, width - 1 - tail)).join('')}…${letters.slice(letters.length - tail).join('')}`
}

/** Runs of the virtual side that share a box: one, or several that lie close together. */
interface Group {
  readonly runs: readonly VirtualRun[]
  readonly start: bigint
  readonly end: bigint
}

const endOf = (run: VirtualRun): bigint => BigInt(run.vaddr) + BigInt(run.pages) * BigInt(PAGE_SIZE)

/** At most so many groups, parted where the widest stretches are not mapped, or else where they are many. */
function groupRuns(runs: readonly VirtualRun[]): Group[] {
  const gaps = runs.slice(1).map((run, i) => ({ at: i + 1, bytes: BigInt(run.vaddr) - endOf(runs[i] as VirtualRun) }))
  // Pages in a row tell little, and long ones much: a gap of none counts by what it parts.
  const weight = ({ at, bytes }: { at: number; bytes: bigint }): number =>
    bytes > 0n ? 2 ** 40 + Number(bytes / BigInt(PAGE_SIZE)) : Math.min(runs[at]?.pages ?? 0, runs[at - 1]?.pages ?? 0)
  const parted = gaps
    .map((gap) => ({ at: gap.at, weight: weight(gap) }))
    .sort((a, b) => b.weight - a.weight || a.at - b.at)
    .slice(0, MAX_BOXES - 1)
    .map(({ at }) => at)
    .sort((a, b) => a - b)
  return [0, ...parted].flatMap((start, i, starts) => {
    const part = runs.slice(start, starts[i + 1])
    const [first] = part
    const last = part.at(-1)
    return first && last ? [{ runs: part, start: BigInt(first.vaddr), end: endOf(last) }] : []
  })
}

/** Two lines, or one: what a box says, by the form. */
function words(
  form: FigureForm,
  address: string,
  name: string,
  facts: string,
  size: string,
): Pick<Box, 'left' | 'right'> {
  const width = room(form)
  if (form.lines === 1) {
    return {
      left: [`${address}  ${shorten(name, width - address.length - size.length - facts.length - 5)}`],
      right: [`${facts}  ${size}`.trim()],
    }
  }
  return { left: [shorten(name, width - size.length - 1), address], right: [size, facts] }
}

class Side {
  readonly boxes: Box[] = []
  readonly #form: FigureForm
  readonly #x: number
  #y = HEADING

  constructor(form: FigureForm, x: number) {
    this.#form = form
    this.#x = x
  }

  get end(): number {
    return this.#y
  }

  add(box: Omit<Box, 'x' | 'y' | 'width' | 'height'>, height: number): void {
    this.boxes.push({ ...box, x: this.#x, y: round(this.#y), width: this.#form.boxWidth, height: round(height) })
    this.#y += height
  }

  addBreak(what: string, pages: number | bigint): void {
    // Nobody has a word for most of a 64-bit address space.
    const bytes = Number(pages) * PAGE_SIZE
    const text = bytes < 2 ** 50 ? `${what}, ${showSize(bytes)}` : what
    this.add({ kind: 'break', left: [text], right: [], title: text }, lineHeight(this.#form) + 12)
  }
}

/** Lays out the drawing. */
export function layoutFigure(map: GuestMap, form: FigureForm): Figure {
  const tints = tintsOf(map)
  const physical = layoutPhysical(map, form, tints)
  const virtual = new Side(form, form.width - form.boxWidth)
  const bands: Band[] = []
  const digits = map.paging.levels === 4 ? 16 : 8
  let last: bigint | undefined
  for (const group of groupRuns(map.virtual)) {
    if (last === undefined ? group.start > 0n : group.start > last) {
      virtual.addBreak('not mapped', (group.start - (last ?? 0n)) / BigInt(PAGE_SIZE))
    }
    last = group.end
    const pages = group.runs.reduce((sum, run) => sum + run.pages, 0)
    const [first] = group.runs as readonly [VirtualRun]
    const one = group.runs.length === 1
    const address = hex(group.start, digits)
    const tint = one ? tints.get(first.region) : undefined
    const name = one ? first.region : `${group.runs.length} runs`
    const title = `${address} to ${hex(group.end, digits)}: ${name}, ${sizeOf(pages)}${one ? `, ${first.access}, at physical ${hex(paddrOf(first.pfn))}` : ''}`
    const kind = one ? ((['free', 'unnamed'] as const).find((word) => word === first.region) ?? 'region') : 'group'
    virtual.add(
      {
        kind,
        ...(tint === undefined ? {} : { tint }),
        ...words(form, address, name, one ? first.access : '', sizeOf(pages)),
        title,
        address,
      },
      heightOf(form, pages),
    )
    bands.push(...bandsOf(group, virtual.boxes.length - 1, virtual, physical, tint))
  }
  if (map.bounds.virtual.found > map.bounds.virtual.listed) {
    const text = `and ${map.bounds.virtual.found - map.bounds.virtual.listed} more runs`
    virtual.add({ kind: 'break', left: [text], right: [], title: text }, lineHeight(form) + 12)
  }
  return {
    form,
    height: Math.ceil(Math.max(physical.side.end, virtual.end)) + 2,
    physical: physical.side.boxes,
    virtual: virtual.boxes,
    bands,
  }
}

/** A tint for each name, in the order in which the names come; memory without a name and padding have none. */
function tintsOf(map: GuestMap): ReadonlyMap<string, number> {
  const names = map.physical.filter(({ kind, name }) => kind === 'region' && name !== 'pad').map(({ name }) => name)
  return new Map([...new Set(names)].map((name, i) => [name, i % TINTS]))
}

/** A box of the physical side and the frames in it. */
interface Placed {
  readonly pfn: number
  readonly pages: number
  readonly box: number
}

interface Physical {
  readonly side: Side
  readonly placed: readonly Placed[]
}

function layoutPhysical(map: GuestMap, form: FigureForm, tints: ReadonlyMap<string, number>): Physical {
  const side = new Side(form, 0)
  const placed: Placed[] = []
  let end = 0
  const shown = map.physical.slice(0, MAX_BOXES)
  for (const { pfn, pages, name, kind, data } of shown) {
    if (pfn > end) side.addBreak('no memory', pfn - end)
    end = pfn + pages
    const tint = kind === 'region' ? tints.get(name) : undefined
    const address = hex(paddrOf(pfn), 9)
    const used = kind === 'unnamed' ? `, ${sizeOf(data)} of it in use` : ''
    side.add(
      {
        kind,
        ...(tint === undefined ? {} : { tint }),
        ...words(form, address, name, '', sizeOf(pages)),
        title: `${address} to ${hex(paddrOf(end), 9)}: ${name}, ${sizeOf(pages)}${used}`,
        address,
      },
      heightOf(form, pages),
    )
    placed.push({ pfn, pages, box: side.boxes.length - 1 })
  }
  const more = map.bounds.physical.found - shown.length
  if (more > 0) {
    const text = `and ${more} more ranges`
    side.add({ kind: 'break', left: [text], right: [], title: text }, lineHeight(form) + 12)
  }
  return { side, placed }
}

/** Least height of a band's end. */
const HAIRLINE = 1

/** From each box of the physical side that a group's frames lie in, one band. */
function bandsOf(
  group: Group,
  index: number,
  virtual: Side,
  { side, placed }: Physical,
  tint: number | undefined,
): Band[] {
  const box = virtual.boxes[index] as Box
  const one = group.runs.length === 1
  return placed.flatMap((range) => {
    let low = Number.POSITIVE_INFINITY
    let high = 0
    for (const { pfn, pages } of group.runs) {
      const from = Math.max(pfn, range.pfn)
      const to = Math.min(pfn + pages, range.pfn + range.pages)
      if (from >= to) continue
      low = Math.min(low, from)
      high = Math.max(high, to)
    }
    if (low >= high) return []
    const target = side.boxes[range.box] as Box
    const at = (pfn: number): number => target.y + (target.height * (pfn - range.pfn)) / range.pages
    const start = at(low)
    const end = Math.max(at(high), start + HAIRLINE)
    const own = tint ?? (one ? undefined : target.tint)
    return [
      {
        from: [round(start), round(end)] as const,
        to: [box.y, round(box.y + box.height)] as const,
        ...(own === undefined ? {} : { tint: own }),
        scattered: !one,
        physical: range.box,
        virtual: index,
      },
    ]
  })
}
