/**
 * The panel next to the tree: one entry, bit by bit.
 *
 * Source: Intel SDM vol. 3, 4.5; the names of the bits come with the page's data.
 * Gotcha: a screen reader skips the grid of bits: the table below it says the same.
 */
import { hex } from '../../units.js'
import type { TableMap } from '../table-entries.js'
import { bits, frameName, map, PAGE, showPaddr, showVaddr } from './data.js'
import { element, find, tableParts } from './dom.js'
import { bytesAt, type Entry } from './entries.js'

/** Shows an entry in the panel. */
export function showEntry(entry: Entry): void {
  const { table, index, value, vaddr } = entry
  const leads = leadsTo(entry)
  const parts = tableParts(
    ['>bit', 'name', 'value', 'meaning'],
    bits.map((part) => partRow(value, part)),
  )
  find('entry').replaceChildren(
    element('h3', { class: 'mono' }, `L${table.level}[${index}] = ${hex(value, 16)}`),
    element('p', {}, `Translates ${showVaddr(vaddr)} to ${showVaddr(vaddr + bytesAt(table.level) - 1n)}.`),
    element('p', {}, `${leads.charAt(0).toUpperCase()}${leads.slice(1)}.`),
    bitGrid(value),
    element('div', { class: 'wrap' }, element('table', {}, ...parts)),
  )
}

/** Shows the top table in the panel. */
export function showTop({ level, pfn, present }: TableMap): void {
  const value = map.registers.cr3 ?? '0x0'
  find('entry').replaceChildren(
    element('h3', { class: 'mono' }, `cr3 = ${hex(BigInt(value), 16)}`),
    element(
      'p',
      {},
      `Names the L${level} table: pfn ${hex(pfn)} (${frameName(pfn)}), physical ${showPaddr(BigInt(pfn) * PAGE)}.`,
    ),
    element('p', {}, `${present} of its entries are present.`),
  )
}

function leadsTo({ table, run, pfn }: Entry): string {
  if (pfn === null) return run.why
  const place = run.leads === 'table' ? `L${table.level - 1} table` : `physical ${showPaddr(BigInt(pfn) * PAGE)}`
  return `${run.why}: pfn ${hex(pfn)} (${frameName(pfn)}), ${place}`
}

function bitGrid(value: bigint): HTMLElement {
  const grid = element('div', { class: 'bits', 'aria-hidden': 'true' })
  for (let bit = 63; bit >= 0; bit--) {
    const set = (value >> BigInt(bit)) & 1n
    const classes = [...(set ? ['set'] : []), ...(bit >= 12 && bit < 52 ? ['frame'] : [])].join(' ')
    grid.append(element('span', { class: classes }, element('i', {}, String(bit)), String(set)))
  }
  return grid
}

function partRow(value: bigint, [low, count, name, meaning]: (typeof bits)[number]): HTMLElement {
  const part = BigInt.asUintN(count, value >> BigInt(low))
  return element(
    'tr',
    {},
    element('td', { class: 'n' }, count === 1 ? String(low) : `${low + count - 1}–${low}`),
    element('td', { class: 'w' }, name),
    element('td', { class: 'w' }, count === 1 ? String(part) : hex(part)),
    element('td', {}, element('span', { class: 'soft' }, meaning)),
  )
}
