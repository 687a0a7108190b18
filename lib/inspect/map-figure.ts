/**
 * The drawing of a guest's layout: where each box, band and word goes. Numbers in, numbers out; map-svg.ts writes them.
 *
 * Source: our own design: the boxes of map-boxes.ts, bands for what maps what.
 * Gotcha: heights go by the logarithm of the size, so that a page of 4 KiB can be read beside a kernel of 60 MiB; within
 * a box they are linear. What is not mapped, or no memory, is a break of one height.
 */
import { hex, pfnOf } from '../units.js'
import { type MapBox, type MapBoxes, type MapLink, type MemoryBox, mapBoxes, shorten, sizeOf } from './map-boxes.js'
import type { GuestMap } from './map-model.js'

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
  readonly kind: MapBox['kind']
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
/** Boxes of one side. */
const MAX_BOXES = 40

const lineHeight = ({ fontSize }: FigureForm): number => Math.round(fontSize * 1.35)
const smallest = (form: FigureForm): number => form.lines * lineHeight(form) + 5
const GROWTH = 5.5
const heightOf = (form: FigureForm, pages: number): number => smallest(form) + GROWTH * Math.log2(Math.max(1, pages))
const round = (value: number): number => Math.round(value * 100) / 100

/** Characters that fit on a line of a box. */
const room = ({ boxWidth, fontSize }: FigureForm): number => Math.floor((boxWidth - 2 * PADDING) / (fontSize * ADVANCE))

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

  /** The next one down, its addresses of so many digits. */
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
        ...(tint === undefined ? {} : { tint }),
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

/** Lays out the drawing. */
export function layoutFigure(map: GuestMap, form: FigureForm): Figure {
  const boxes = mapBoxes(map, MAX_BOXES)
  const physical = new Side(form, 0)
  for (const box of boxes.physical) physical.add(box, 9)
  const virtual = new Side(form, form.width - form.boxWidth)
  for (const box of boxes.virtual) virtual.add(box, map.paging.levels === 4 ? 16 : 8)
  return {
    form,
    height: Math.ceil(Math.max(physical.end, virtual.end)) + 2,
    physical: physical.boxes,
    virtual: virtual.boxes,
    bands: boxes.links.map((link) => bandOf(link, boxes, physical.boxes, virtual.boxes)),
  }
}

/** Least height of a band's end. */
const HAIRLINE = 1

/** Where frames lie in their box, to all of the box that maps them. */
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
    ...(link.tint === undefined ? {} : { tint: link.tint }),
    scattered: link.scattered,
    physical: link.physical,
    virtual: link.virtual,
  }
}
