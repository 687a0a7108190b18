/**
 * The drawing of a guest's layout: the place of each box, band and word. It computes numbers only; map-svg.ts writes
 * them.
 *
 * Source: our own design: the boxes of map-boxes.ts, with bands for the mappings.
 * Gotcha: heights follow the logarithm of the size, so that a page of 4 KiB is readable next to a kernel of 60 MiB;
 * within a box they are linear. A range that is not mapped, or no memory, is a break of one height.
 */
import { defined } from '../defined.js'
import { hex, pfnOf } from '../units.js'
import { addressDigits, isIdentity } from './map-addresses.js'
import { type MapBox, type MapBoxes, type MapLink, type MemoryBox, mapBoxes, shorten, sizeOf } from './map-boxes.js'
import type { GuestMap } from './map-model.js'
import { kindName } from './region-kinds.js'

/** The room on a line and its height: two forms, for a desktop and for a phone. */
interface FigureForm {
  readonly width: number
  readonly boxWidth: number
  readonly fontSize: number
  /** Lines of text in the smallest box. */
  readonly lines: 1 | 2
}
export const WIDE: FigureForm = { width: 1040, boxWidth: 392, fontSize: 12, lines: 1 }
export const NARROW: FigureForm = { width: 368, boxWidth: 150, fontSize: 10.5, lines: 2 }

/** A stretch of addresses, or the gap between two. */
export interface Box {
  readonly kind: MapBox['kind']
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
  /** The index of its tint; undefined for none. */
  readonly tint?: number
  /** Lines of words at the left and at the right edge. */
  readonly left: readonly string[]
  readonly right: readonly string[]
  /** All of its facts in words. */
  readonly title: string
  /** The address that it begins with, for readers who want to look there. */
  readonly address?: string
}

/** A link from a stretch of the physical side to one of the virtual side. */
export interface Band {
  readonly from: readonly [number, number]
  readonly to: readonly [number, number]
  readonly tint?: number
  /** Whether these are several runs in one band: the physical frames are anywhere between. */
  readonly scattered: boolean
  /** Indexes of the boxes it joins. */
  readonly physical: number
  readonly virtual: number
}

/** A word of the legend, and the colour that it explains. */
export interface LegendEntry {
  readonly x: number
  readonly y: number
  readonly tint: number
  readonly name: string
}

export interface Figure {
  readonly form: FigureForm
  readonly height: number
  /** Whether the one column shows physical and virtual addresses, which are equal. */
  readonly isIdentity: boolean
  readonly legend: readonly LegendEntry[]
  readonly physical: readonly Box[]
  readonly virtual: readonly Box[]
  readonly bands: readonly Band[]
}

/** Advance of a letter of a monospaced face, relative to its size. */
const ADVANCE = 0.602
export const PADDING = 6
export const HEADING = 34
/** The most boxes of one side. */
const MAX_BOXES = 40

const lineHeight = ({ fontSize }: FigureForm): number => Math.round(fontSize * 1.35)
const smallest = (form: FigureForm): number => form.lines * lineHeight(form) + 5
const GROWTH = 5.5
const heightOf = (form: FigureForm, pages: number): number => smallest(form) + GROWTH * Math.log2(Math.max(1, pages))
const round = (value: number): number => Math.round(value * 100) / 100

/** Returns the characters that fit on a line of a box. */
const room = ({ boxWidth, fontSize }: FigureForm): number => Math.floor((boxWidth - 2 * PADDING) / (fontSize * ADVANCE))

/** Returns the text of a box in one line or two, by the form. */
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

  /** Adds the next box below, with addresses of `digits` digits. */
  add(box: MapBox, digits: number): void {
    if (box.kind === 'break') {
      this.#put({ kind: 'break', left: [box.name], right: [], title: box.name }, lineHeight(this.#form) + 12)
      return
    }
    const { kind, name, tint, pages, access, note } = box
    const address = hex(box.start, digits)
    this.#put(
      {
        kind,
        ...defined({ tint }),
        ...words(this.#form, address, name, access, sizeOf(pages)),
        title: `${address} to ${hex(box.end, digits)}: ${name}, ${sizeOf(pages)}${note}`,
        address,
      },
      heightOf(this.#form, pages),
    )
  }

  #put(box: Omit<Box, 'x' | 'y' | 'width' | 'height'>, height: number): void {
    this.boxes.push({ ...box, x: this.#x, y: round(this.#y), width: this.#form.boxWidth, height: round(height) })
    this.#y += height
  }
}

/** Returns the layout of the drawing. Where every virtual address is the physical one, one column shows both. */
export function layoutFigure(map: GuestMap, given: FigureForm): Figure {
  const boxes = mapBoxes(map, MAX_BOXES)
  const digits = addressDigits(map)
  const single = isIdentity(map)
  const form = single ? { ...given, boxWidth: given.width } : given
  const physical = new Side(form, 0)
  for (const box of boxes.physical) physical.add(box, digits.physical)
  const virtual = new Side(form, form.width - form.boxWidth)
  if (!single) for (const box of boxes.virtual) virtual.add(box, digits.virtual)
  const end = Math.max(physical.end, virtual.end)
  const legend = legendOf(form, [...physical.boxes, ...virtual.boxes], end)
  return {
    form,
    isIdentity: single,
    height: Math.ceil(legend.at(-1)?.y ?? end) + lineHeight(form),
    physical: physical.boxes,
    virtual: virtual.boxes,
    bands: single ? [] : boxes.links.map((link) => bandOf(link, boxes, physical.boxes, virtual.boxes)),
    legend,
  }
}

/** The width of a colour in the legend, with the room after it; and the room after a word. */
export const SWATCH = 12
const SWATCH_ROOM = SWATCH + 6
const WORD_ROOM = 22

/** Returns the legend below the boxes, in as many lines as it needs: the kinds that the drawing has. */
function legendOf(form: FigureForm, boxes: readonly Box[], end: number): LegendEntry[] {
  const tints = [...new Set(boxes.flatMap(({ tint }) => (tint === undefined ? [] : [tint])))].sort((a, b) => a - b)
  const line = lineHeight(form) + 4
  let [x, y] = [0, end + line + 6]
  return tints.map((tint) => {
    const name = kindName(tint)
    const width = SWATCH_ROOM + name.length * form.fontSize * ADVANCE
    if (x + width > form.width) [x, y] = [0, y + line]
    const entry = { x: round(x), y: round(y), tint, name }
    x += width + WORD_ROOM
    return entry
  })
}

/** The least height of a band's end. */
const HAIRLINE = 1

/** Returns a band from the place of the frames in their box to all of the box that maps them. */
function bandOf(link: MapLink, boxes: MapBoxes, physical: readonly Box[], virtual: readonly Box[]): Band {
  const { start, pages } = boxes.physical[link.physical] as MemoryBox
  const target = physical[link.physical] as Box
  const box = virtual[link.virtual] as Box
  const at = (pfn: number): number => target.y + (target.height * (pfn - pfnOf(Number(start)))) / pages
  const from = at(link.pfn)
  const end = Math.max(at(link.pfn + link.pages), from + HAIRLINE)
  return {
    from: [round(from), round(end)],
    to: [box.y, round(box.y + box.height)],
    ...defined({ tint: link.tint }),
    scattered: link.scattered,
    physical: link.physical,
    virtual: link.virtual,
  }
}
