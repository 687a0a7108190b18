/**
 * The boot structures: a tab each, with the fields next to their bytes.
 *
 * Source: https://www.w3.org/WAI/ARIA/apg/patterns/tabs/ (roles and keys).
 * Gotcha: in boot_params most fields and bytes are zero: those stay hidden or folded.
 */
import { hex } from '../../units.js'
import type { FieldMap, StructMap } from '../fields.js'
import { map } from './data.js'
import { button, element, makeTabStop, onKey, tableParts } from './dom.js'

/** Bytes in a line. */
const BYTES = 16
/** Longer runs of zero lines are folded. */
const MAX_ZERO_LINES = 3
/** In a structure with more fields, those that are zero are hidden until a person asks for them. */
const MAX_FIELDS = 60

function fieldRow({ name, offset, value, note }: FieldMap): HTMLElement {
  const said = element('td', {}, value)
  if (note !== '') said.append(element('br'), element('span', { class: 'soft' }, note))
  return element(
    'tr',
    {},
    element('td', { class: 'n' }, hex(offset, 3)),
    element('td', {}, ...name.split(/(?<=[._])/).flatMap((part) => [part, element('wbr')])),
    said,
  )
}

/** Returns the bytes in lines; `cell` makes the element of the byte at an offset. */
function byteLines(bytes: string, cell: (at: number) => HTMLElement): HTMLElement[] {
  const length = bytes.length / 2
  const isZero = (at: number): boolean => /^0*$/.test(bytes.slice(2 * at, 2 * (at + BYTES)))
  const lines: HTMLElement[] = []
  for (let at = 0; at < length; at += BYTES) {
    lines.push(byteLine(bytes.slice(2 * at, 2 * (at + BYTES)), at, cell))
    let end = at
    while (end < length && isZero(end)) end += BYTES
    if (end - at <= MAX_ZERO_LINES * BYTES) continue
    const folded = `${Math.min(length, end) - at - BYTES} more bytes of zero`
    lines.push(element('div', {}, element('span', { class: 'at' }), element('span', { class: 'fold' }, folded)))
    at = end - BYTES
  }
  return lines
}

function byteLine(bytes: string, at: number, cell: (at: number) => HTMLElement): HTMLElement {
  const values = bytes.match(/../g) ?? []
  const text = values.map((byte) => String.fromCharCode(Number.parseInt(byte, 16)).replace(/[^ -~]/, '.')).join('')
  return element(
    'div',
    {},
    element('span', { class: 'at' }, at.toString(16).padStart(3, '0')),
    ...values.map((_, i) => cell(at + i)),
    element('span', { class: 'text', 'aria-hidden': 'true' }, text),
  )
}

/** Returns the fields and the bytes of a structure. A field's row and its bytes light up together. */
function structPanel({ paddr, bytes, fields }: StructMap): Node[] {
  const owners: (number | undefined)[] = new Array(bytes.length / 2)
  for (const [i, field] of fields.entries()) owners.fill(i, field.offset, field.offset + field.length)
  const rows = fields.map(fieldRow)
  const cells = fields.map((): HTMLElement[] => [])
  const light = (index: number, on: boolean) => {
    for (const at of [rows[index], ...(cells[index] ?? [])]) at?.classList.toggle('lit', on)
  }
  const lightUnder = (at: HTMLElement, index: number) => {
    at.addEventListener('pointerenter', () => light(index, true))
    at.addEventListener('pointerleave', () => light(index, rows[index] === document.activeElement))
  }
  const cell = (at: number): HTMLElement => {
    const index = owners[at]
    const byte = bytes.slice(2 * at, 2 * at + 2)
    if (index === undefined) return element('b', { class: 'none' }, byte)
    const made = element('b', { class: index % 2 ? 'odd' : 'even' }, byte)
    made.addEventListener('click', () => rows[index]?.focus())
    lightUnder(made, index)
    cells[index]?.push(made)
    return made
  }
  const lines = byteLines(bytes, cell)
  const box = element('div', { class: 'hex stay', tabindex: '0', role: 'region', 'aria-label': 'Bytes' }, ...lines)
  for (const [index, row] of rows.entries()) {
    lightUnder(row, index)
    row.addEventListener('focus', () => {
      makeTabStop(row, rows)
      light(index, true)
      // Scrolls its own box only: the page must not move away from the row.
      const [first] = cells[index] ?? []
      if (first) box.scrollTop = first.offsetTop - box.clientHeight / 2
    })
    row.addEventListener('blur', () => light(index, false))
    row.addEventListener('click', () => row.focus())
    onKey(row, () => {
      const shown = rows.filter(({ hidden }) => !hidden)
      const place = shown.indexOf(row)
      const to = (other: HTMLElement | undefined) => () => other?.focus()
      return {
        ArrowDown: to(shown[place + 1]),
        ArrowUp: to(shown[place - 1]),
        Home: to(shown[0]),
        End: to(shown.at(-1)),
      }
    })
  }
  const more = hideZeros(fields, rows)
  makeTabStop(
    rows.find(({ hidden }) => !hidden),
    rows,
  )
  const table = element('table', { class: 'fields' }, ...tableParts(['>offset', 'field', 'value'], rows))
  return [
    element('p', { class: 'soft' }, `At physical ${paddr}, ${bytes.length / 2} bytes.`),
    element('div', { class: 'split' }, element('div', {}, table, ...more), box),
  ]
}

/** Hides the fields of zero among many. Returns the button that shows them. */
function hideZeros(fields: readonly FieldMap[], rows: readonly HTMLElement[]): HTMLElement[] {
  const zero = fields.length > MAX_FIELDS ? rows.filter((_, i) => ['0x0', 'zero'].includes(fields[i]?.value ?? '')) : []
  if (zero.length === 0) return []
  for (const row of zero) row.hidden = true
  const more = button(
    `and ${zero.length} fields of zero`,
    () => {
      for (const row of zero) row.hidden = false
      more.remove()
      zero[0]?.focus()
    },
    { class: 'more' },
  )
  return [more]
}

const tabs = [...document.querySelectorAll<HTMLElement>('[role=tab]')]

function showTab(tab: HTMLElement): void {
  const struct = map.structs[tabs.indexOf(tab)]
  const panel = document.getElementById('struct')
  if (!struct || !panel) return
  makeTabStop(tab, tabs)
  for (const other of tabs) other.setAttribute('aria-selected', String(other === tab))
  panel.replaceChildren(...structPanel(struct))
  panel.setAttribute('aria-labelledby', tab.id)
}

/** Shows the first structure and listens to the tabs. */
export function startStructs(): void {
  for (const [i, tab] of tabs.entries()) {
    const to = (other: HTMLElement | undefined) => () => {
      if (!other) return
      showTab(other)
      other.focus()
    }
    tab.addEventListener('click', () => showTab(tab))
    onKey(tab, () => ({
      ArrowRight: to(tabs[(i + 1) % tabs.length]),
      ArrowLeft: to(tabs.at(i - 1)),
      Home: to(tabs[0]),
      End: to(tabs.at(-1)),
    }))
  }
  if (tabs[0]) showTab(tabs[0])
}
