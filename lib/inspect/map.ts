/**
 * map: the layout of a guest as text, physical next to virtual, read from its own page tables.
 *
 * Source: map-model.ts.
 * Gotcha: no line may be wider than a terminal's 80 columns, for any names in a file.
 */
import type { Domain } from '../guest/domain.js'
import { printableLines } from '../printable.js'
import { hex, PAGE_SIZE, paddrOf, showSize } from '../units.js'
import type { StructMap } from './fields.js'
import { sizeOf } from './map-boxes.js'
import { describeMap, type GuestMap } from './map-model.js'
import { fold, foldedTable, shownName, table } from './table.js'

/** The characters of a region's name that a line has room for. */
const NAME_WIDTH = 24
const clip = (name: string): string => (name.length > NAME_WIDTH ? `${name.slice(0, NAME_WIDTH - 3)}...` : name)
const left = ({ found, listed }: { found: number; listed: number }, what: string): string[] =>
  found > listed ? [`  and ${found - listed} more ${what}`] : []

/** Returns the layout for people. */
export const mapText = (domain: Domain): string[] => tellMap(describeMap(domain))

/** Returns the text of a layout that is already known. */
export function tellMap(map: GuestMap): string[] {
  const { guest, physical, bounds } = map
  const ranges = physical.map(({ name, pfn, pages, kind, data }) => [
    hex(paddrOf(pfn), 9),
    hex(paddrOf(pfn + pages), 9),
    sizeOf(pages),
    kind === 'unnamed' ? `unnamed, ${sizeOf(data)} in use` : clip(name),
  ])
  return printableLines([
    ...fold(
      `guest ${shownName(guest.name)}: ${guest.type} ${guest.abi}, ${showSize(guest.bytes)}, p2m ${guest.p2m}`,
      80,
    ),
    '',
    'physical memory',
    ...table(['start', 'end', '>size', 'region'], ranges),
    ...left(bounds.physical, 'ranges'),
    '',
    ...virtualText(map),
    ...map.structs.flatMap(structText),
  ])
}

function virtualText(map: GuestMap): string[] {
  const { paging, virtual, bounds } = map
  const digits = paging.levels === 4 ? 16 : 8
  const large = virtual.some(({ pageSize }) => pageSize > PAGE_SIZE)
  const rows = virtual.map((run) => [
    hex(BigInt(run.vaddr), digits),
    hex(paddrOf(run.pfn), 9),
    sizeOf(run.pages),
    run.access,
    ...(large ? [showSize(run.pageSize).replace('iB', '').replace(' ', '')] : []),
    clip(run.region),
  ])
  if (paging.fault !== null) return ['virtual memory', ...fold(paging.fault, 76).map((line) => `  ${line}`)]
  return [
    paging.levels === 0 ? 'virtual memory: paging is off' : 'virtual memory, from the page tables',
    ...table(['vaddr', 'paddr', '>size', 'access', ...(large ? ['>page'] : []), 'region'], rows),
    ...left(bounds.virtual, 'runs'),
    ...tablesText(map),
  ]
}

function tablesText({ paging, tables, bounds }: GuestMap): string[] {
  if (paging.top === null) return []
  const counts = [4, 3, 2, 1]
    .map((level) => ({ level, count: tables.filter((page) => page.level === level).length }))
    .filter(({ count }) => count > 0)
    .map(({ level, count }) => `${count} L${level}`)
  const { found, listed } = bounds.tables
  const all = found > listed ? `, ${found - listed} more` : ''
  const more = bounds.complete ? '' : ', and more that were not read'
  return ['', `page tables  ${counts.join(', ')}${all}${more}; top at pfn ${hex(paging.top)}`]
}

function structText({ name, paddr, fields }: StructMap): string[] {
  // A structure may have hundreds of fields: only those that are not zero are shown.
  const set = fields.filter(({ value }) => !['0x0', 'zero', '""'].includes(value))
  const rows = (fields.length > 60 ? set : fields).map((field) => [
    hex(field.offset, 3),
    clip(field.name),
    field.note === '' ? field.value : `${field.value}  ${field.note}`,
  ])
  return ['', `${name} at ${paddr}`, ...foldedTable(['>offset', 'field', 'value and meaning'], rows)]
}
