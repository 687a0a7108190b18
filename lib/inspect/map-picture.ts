/**
 * mapPicture: the layout of a guest drawn in a terminal, physical memory next to virtual memory, with an arrow for each
 * mapping.
 *
 * Source: our own design: the boxes of map-boxes.ts, line by line.
 * Gotcha: heights are three steps of a logarithm. A box is made longer so that it begins on the same line as the box
 * that maps it.
 */
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { visible } from '../printable.js'
import { hex, pfnOf, showSize } from '../units.js'
import { Canvas, type Style } from './canvas.js'
import { type MapBox, type MapBoxes, type MapLink, type MemoryBox, mapBoxes, shorten, sizeOf } from './map-boxes.js'
import { describeMap, type GuestMap } from './map-model.js'
import { fold } from './table.js'

/** The terminal of a picture. */
export interface PictureOptions {
  /** Its width in characters, at least 60. No line is wider. */
  readonly columns: number
  /** Whether to use ANSI colours. Default: no. */
  readonly colour?: boolean
  /** Whether to use ASCII alone, for a terminal that has no Unicode. Default: no. */
  readonly ascii?: boolean
}

const COLUMNS_MIN = 60
/** A wider line is hard for the eye to follow. */
const COLUMNS_MAX = 200
/** The longest line of text that is easy to read, in characters. */
const LEGEND_MAX = 100
/** The most boxes of memory on each side. */
const MAX_BOXES = 24

/**
 * Returns the options that suit a terminal: its width within 60 and 200 columns, 80 where it has none; colours where it
 * has them; ASCII where the locale is not UTF-8.
 *
 * @example
 * console.log(mapPicture(domain, pictureOptions(process.stdout, process.env)).join('\n'))
 */
export function pictureOptions(
  terminal: { readonly columns?: number | undefined; readonly hasColors?: ((count: number) => boolean) | undefined },
  environment: Readonly<Record<string, string | undefined>>,
): PictureOptions {
  const { LC_ALL, LC_CTYPE, LANG } = environment
  return {
    columns: Math.min(COLUMNS_MAX, Math.max(COLUMNS_MIN, terminal.columns ?? 80)),
    colour: terminal.hasColors?.(16) === true,
    ascii: !/utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || ''),
  }
}

/**
 * Returns the layout of a guest as lines of text for a terminal.
 * @throws DomainBuilderError `bad-config` when `columns` is less than 60 or no integer.
 */
export function mapPicture(domain: Domain, options: PictureOptions): string[] {
  return drawMap(describeMap(domain), options)
}

/** Draws a layout that is already known. */
export function drawMap(map: GuestMap, { columns, colour = false, ascii = false }: PictureOptions): string[] {
  if (!Number.isSafeInteger(columns) || columns < COLUMNS_MIN) {
    throw new DomainBuilderError('bad-config', 'columns is too small for a picture', {
      expected: `an integer of at least ${COLUMNS_MIN}`,
      found: String(columns),
    })
  }
  const boxes = mapBoxes(map, MAX_BOXES)
  const width = Math.min(columns, COLUMNS_MAX)
  const form = formFor(map, boxes, width, ascii)
  const canvas = new Canvas(ascii)
  drawHeadings(canvas, map, form)
  const rows = placeBoxes(boxes, tagsOf(map, boxes), HEADING)
  drawSide(canvas, boxes.physical, rows.physical, form.left, 0)
  drawSide(canvas, boxes.virtual, rows.virtual, form.right, form.left.width + form.gutter)
  const undrawn = drawLinks(canvas, boxes.links, rows, form)
  const said = legend(map, form, undrawn).flatMap((line) => fold(line, Math.min(width, LEGEND_MAX)))
  return [...canvas.lines(colour), '', ...said]
}

/** One column of text within a box. */
interface Cell {
  readonly heading: string
  readonly width: number
  readonly right?: boolean
  readonly text: (box: MemoryBox) => string
}
/** A column of boxes. */
interface SideForm {
  readonly cells: readonly Cell[]
  /** Including both edges. */
  readonly width: number
}
interface Form {
  readonly left: SideForm
  readonly right: SideForm
  /** The columns between the two sides. */
  readonly gutter: number
  /** Whether the right side shows the access rights of memory. */
  readonly access: boolean
}

const GUTTER_MIN = 6
const GUTTER_MAX = 24
/** Edges and a space within each. */
const EDGES = 4
/** The least room for a name on a line. */
const NAME_MIN = 11
/** Headings by which a column is found again. */
const NAME = 'what'
const ACCESS = ''

/** Returns a name from a file in characters that take one column each. */
const narrow = (name: string, ascii: boolean): string =>
  name.replace(ascii ? /[^\x20-\x7e]/gu : /[^\x20-\x7e\u00a1-\u00ac\u00ae-\u024f]/gu, visible)

const isMemory = (box: MapBox): box is MemoryBox => box.kind !== 'break'

/** The columns of the left and of the right side. */
type Columns = readonly [readonly Cell[], readonly Cell[]]

/** Returns the columns that a picture may have, from all of the facts down to the fewest. */
function choices(map: GuestMap, boxes: MapBoxes, ascii: boolean): readonly Columns[] {
  const cell = (side: readonly MapBox[], heading: string, text: Cell['text'], right = false): Cell => ({
    heading,
    text,
    right,
    width: side.filter(isMemory).reduce((most, box) => Math.max(most, text(box).length), heading.length),
  })
  const name = (side: readonly MapBox[]) => cell(side, NAME, (box) => narrow(box.name, ascii))
  const size = (side: readonly MapBox[]) => cell(side, 'size', (box) => sizeOf(box.pages), true)
  const { physical, virtual } = boxes
  const pfn = cell(physical, 'pfn', (box) => hex(pfnOf(Number(box.start))))
  const paddr = cell(physical, 'paddr', (box) => hex(box.start))
  const vaddr = cell(virtual, 'vaddr', (box) => hex(box.start, map.paging.levels === 4 ? 16 : 8))
  const access = cell(virtual, ACCESS, (box) => box.access)
  const rest = [name(physical), size(physical)]
  const all = [vaddr, name(virtual), size(virtual), access]
  const rights = [all, all.filter(({ heading }) => heading !== 'size'), [vaddr, access], [vaddr]]
  return [[[pfn, paddr, ...rest], all], ...rights.map((right): Columns => [[pfn, ...rest], right])]
}

const isName = ({ heading }: Cell): boolean => heading === NAME
/** Returns the columns that names take, each at most `most`. */
const nameWidth = (cells: readonly Cell[], most = Number.POSITIVE_INFINITY): number =>
  cells.filter(isName).reduce((sum, { width }) => sum + Math.min(width, most), 0)
const sideWidth = (cells: readonly Cell[]): number =>
  cells.reduce((sum, { width }) => sum + width, EDGES + 2 * (cells.length - 1))

/** Returns the form with the most facts that fit. */
function formFor(map: GuestMap, boxes: MapBoxes, columns: number, ascii: boolean): Form {
  const all = choices(map, boxes, ascii)
  const room = (sides: Columns): number =>
    sides.reduce((left, cells) => left - sideWidth(cells) + nameWidth(cells), columns - GUTTER_MIN)
  const [left, right] = all.find((sides) => room(sides) >= nameWidth(sides.flat(), NAME_MIN)) ?? (all.at(-1) as Columns)
  // Spare room goes to longer names first, then to the gutter.
  let over = room([left, right])
  const sideForm = (cells: readonly Cell[], side: readonly MapBox[], most: number): SideForm => {
    const sized = cells.map((one) => (isName(one) ? { ...one, width: Math.min(one.width, most) } : one))
    over -= nameWidth(sized)
    // A break needs more room than a name, and takes it if there is any.
    const words = Math.max(0, ...side.filter((box) => !isMemory(box)).map((box) => box.name.length + EDGES))
    const more = Math.max(0, Math.min(over, words - sideWidth(sized)))
    over -= more
    return { cells: sized, width: sideWidth(sized) + more }
  }
  const fitted = [
    sideForm(left, boxes.physical, Math.max(Math.floor(over / 2), over - nameWidth(right))),
    sideForm(right, boxes.virtual, over),
  ] as const
  return {
    left: fitted[0],
    right: fitted[1],
    gutter: Math.min(GUTTER_MAX, GUTTER_MIN + over),
    access: right.some(({ heading }) => heading === ACCESS),
  }
}

/** Lines above the boxes, including their upper edge. */
const HEADING = 3

function drawHeadings(canvas: Canvas, map: GuestMap, { left, right, gutter }: Form): void {
  const columns = (side: SideForm, x: number): void =>
    cellsAt(side, x, (cell, at) => canvas.put(at, 1, aligned(cell.heading, cell), 'dim'))
  const memory = `physical memory, ${showSize(map.guest.bytes)}`
  canvas.put(0, 0, memory, 'strong')
  columns(left, 0)
  if (map.paging.fault !== null) return
  const x = left.width + gutter
  const view = map.paging.levels === 0 ? 'virtual: paging is off' : 'virtual memory'
  canvas.put(Math.max(memory.length + 2, Math.min(x, x + right.width - view.length)), 0, view, 'strong')
  columns(right, x)
}

function cellsAt({ cells }: SideForm, x: number, put: (cell: Cell, x: number) => void): void {
  let at = x + 2
  for (const cell of cells) {
    put(cell, at)
    at += cell.width + 2
  }
}

const aligned = (text: string, { width, right }: Cell): string =>
  right ? shorten(text, width).padStart(width) : shorten(text, width)

/** A register that points into a box. */
interface Tag {
  readonly name: string
  readonly meaning: string
}
/** By the index of the box. */
type TagsOfSide = ReadonlyMap<number, readonly Tag[]>
interface Tags {
  readonly physical: TagsOfSide
  readonly virtual: TagsOfSide
}

const MEANINGS: Readonly<Record<string, string>> = {
  ip: 'the first instruction',
  sp: 'the stack',
  si: 'boot information',
  bx: 'boot information',
}

function tagsOf(map: GuestMap, boxes: MapBoxes): Tags {
  const physical = new Map<number, Tag[]>()
  const virtual = new Map<number, Tag[]>()
  const tag = (to: Map<number, Tag[]>, side: readonly MapBox[], address: bigint, found: Tag): void => {
    const index = side.findIndex((box) => isMemory(box) && box.start <= address && address < box.end)
    if (index >= 0) to.set(index, [...(to.get(index) ?? []), found])
  }
  for (const [name, value] of Object.entries(map.registers)) {
    const meaning = MEANINGS[name.slice(1)]
    // A stack grows down: its first byte is the one before.
    if (meaning) tag(virtual, boxes.virtual, BigInt(value) - (name.endsWith('sp') ? 1n : 0n), { name, meaning })
  }
  const { top } = map.paging
  if (top !== null) tag(physical, boxes.physical, BigInt(top) * 4096n, { name: 'cr3', meaning: 'the top page table' })
  return { physical, virtual }
}

/** The place of a box on its side: its first line of text, and its number of lines. */
interface Row {
  readonly y: number
  height: number
  readonly tags: readonly Tag[]
}
interface Rows {
  readonly physical: readonly Row[]
  readonly virtual: readonly Row[]
}

/** Returns the lines of a box by the size of its memory: up to 1 MiB, 1 GiB, more. */
const heightOf = (box: MapBox, tags: readonly Tag[]): number =>
  isMemory(box) ? Math.max(1 + tags.length, box.pages <= 2 ** 8 ? 1 : box.pages <= 2 ** 18 ? 2 : 3) : 1

/** Returns the most links that can all be horizontal, with both of their ends in order. */
function levelLinks(links: readonly MapLink[]): MapLink[] {
  const best: MapLink[][] = []
  for (const link of links) {
    let before: MapLink[] = []
    for (const chain of best) {
      const last = chain.at(-1) as MapLink
      if (last.virtual < link.virtual && last.physical <= link.physical && chain.length > before.length) before = chain
    }
    best.push([...before, link])
  }
  return best.reduce((most, chain) => (chain.length > most.length ? chain : most), [])
}

function placeBoxes(boxes: MapBoxes, tags: Tags, top: number): Rows {
  const side = (list: readonly MapBox[], tagsOfSide: TagsOfSide) => {
    const rows: Row[] = []
    let next = top
    return {
      rows,
      get next() {
        return next
      },
      /** Places all boxes before that one. */
      upTo(index: number): void {
        for (const box of list.slice(rows.length, index)) {
          const own = tagsOfSide.get(rows.length) ?? []
          const height = heightOf(box, own)
          rows.push({ y: next, height, tags: own })
          next += height + 1
        }
      },
      /** Makes the last box longer, so that the next one begins there. */
      stretch(y: number): void {
        const last = rows.at(-1)
        if (last && y > next) last.height += y - next
        next = Math.max(next, y)
      },
    }
  }
  const physical = side(boxes.physical, tags.physical)
  const virtual = side(boxes.virtual, tags.virtual)
  for (const link of levelLinks(boxes.links)) {
    physical.upTo(link.physical)
    virtual.upTo(link.virtual)
    // A further mapping of the same box begins within it.
    if (physical.rows.length > link.physical) {
      virtual.upTo(link.virtual + 1)
      const [to, from] = [physical.rows[link.physical] as Row, virtual.rows[link.virtual] as Row]
      if (from.y >= to.y + to.height) physical.stretch(from.y + from.height + 1)
      continue
    }
    const y = Math.max(physical.next, virtual.next)
    physical.stretch(y)
    virtual.stretch(y)
    physical.upTo(link.physical + 1)
    virtual.upTo(link.virtual + 1)
  }
  physical.upTo(boxes.physical.length)
  virtual.upTo(boxes.virtual.length)
  return { physical: physical.rows, virtual: virtual.rows }
}

const styleOf = (box: MapBox): Style =>
  !isMemory(box) || box.kind === 'free' || box.name === 'pad' ? 'dim' : (box.tint ?? 'plain')

function drawSide(canvas: Canvas, boxes: readonly MapBox[], rows: readonly Row[], form: SideForm, x: number): void {
  const right = x + form.width - 1
  for (const [i, box] of boxes.entries()) {
    const { y, height, tags } = rows[i] as Row
    const end = y + height
    for (const edge of [y - 1, end]) canvas.line(x, edge, right, edge)
    for (const edge of [x, right]) canvas.line(edge, y - 1, edge, end, 'plain', !isMemory(box))
    const style = styleOf(box)
    if (isMemory(box)) cellsAt(form, x, (cell, at) => canvas.put(at, y, aligned(cell.text(box), cell), style))
    else canvas.put(x + 2, y, shorten(box.name, form.width - EDGES), style)
    for (const [line, { name, meaning }] of tags.entries()) {
      const said = `${name}: ${meaning}`
      canvas.put(x + 2, y + 1 + line, said.length <= form.width - EDGES ? said : name, 'strong')
    }
  }
}

/** Draws an arrow for each link; returns the number of links that found no room. */
function drawLinks(canvas: Canvas, links: readonly MapLink[], rows: Rows, { left, gutter }: Form): number {
  const start = left.width
  const end = start + gutter - 1
  const lanes: { readonly top: number; readonly bottom: number }[][] = Array.from({ length: gutter - 4 }, () => [])
  let undrawn = 0
  const shape = (link: MapLink) => {
    const [to, from] = [rows.physical[link.physical] as Row, rows.virtual[link.virtual] as Row]
    const level = from.y >= to.y && from.y < to.y + to.height
    return { link, from: from.y, to: level ? from.y : to.y, span: level ? 0 : Math.abs(to.y - from.y) }
  }
  // Short links first, so that long ones go around them.
  for (const { link, from, to, span } of links.map(shape).sort((a, b) => a.span - b.span)) {
    const style = link.tint ?? 'plain'
    if (span === 0) {
      canvas.line(end + 1, to, start, to, style, link.scattered)
      canvas.put(start, to, '◄', style)
      continue
    }
    const [top, bottom] = [Math.min(from, to), Math.max(from, to)]
    const lane = lanes.findIndex((taken) => taken.every((other) => other.bottom < top || other.top > bottom))
    if (lane < 0) {
      undrawn++
      continue
    }
    lanes[lane]?.push({ top, bottom })
    const x = start + 2 + lane
    canvas.line(end + 1, from, x, from, style, link.scattered)
    canvas.line(x, from, x, to, style, link.scattered)
    canvas.line(x, to, start, to, style, link.scattered)
    canvas.put(start, to, '◄', style)
  }
  return undrawn
}

function legend(map: GuestMap, form: Form, undrawn: number): string[] {
  const { levels, fault } = map.paging
  const access = form.access ? ' r, w, x: readable, writable, executable.' : ''
  return [
    'pfn: the number of a page of 4 KiB. vaddr: an address that the guest uses. Taller boxes hold more.',
    ...(fault === null ? [] : [`The page tables cannot be read: ${fault}`]),
    ...(levels === 0 || fault !== null ? [] : [`An arrow leads from an address to its memory.${access}`]),
    ...(undrawn > 0 ? [`${undrawn} more mappings have no arrow.`] : []),
  ]
}
