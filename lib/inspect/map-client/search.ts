/**
 * The search: an address as a physical and as a virtual one, or a region by its name.
 *
 * Source: the lists and tables in the page's data.
 * Gotcha: a run of the lists may tell where an address leads although the tables on the way are not embedded.
 */
import { hex } from '../../units.js'
import { frameName, map, PAGE, rangeAt, showPaddr, showVaddr, symbolAt, symbols } from './data.js'
import { button, element, find } from './dom.js'
import { isVaddr, walk } from './entries.js'
import { link, linked } from './link.js'
import { choosePath, selectPath } from './tree.js'

/** The most virtual addresses of a frame that an answer lists. */
const MAX_PLACES = 16

const lookUp = (text: string, address: bigint): HTMLElement => button(text, () => search(hex(address)))
const line = (...content: (Node | string)[]): HTMLElement => element('p', { class: 'mono' }, ...content)
const soft = (text: string): HTMLElement => element('p', { class: 'soft' }, text)

function physicalAnswer(paddr: bigint): HTMLElement[] {
  const pfn = Number(paddr / PAGE)
  const range = rangeAt(pfn)
  if (!range) return []
  const place = `${range.name}, ${hex(paddr - BigInt(range.pfn) * PAGE)} bytes into it`
  return [
    element(
      'div',
      {},
      element('h3', {}, 'As a physical address'),
      line(`${showPaddr(paddr)}: pfn ${hex(pfn)}, ${place}`),
      ...mappedAt(pfn, paddr % PAGE),
    ),
  ]
}

function mappedAt(pfn: number, offset: bigint): HTMLElement[] {
  const seen = map.virtual.filter((run) => pfn >= run.pfn && pfn < run.pfn + run.pages).slice(0, MAX_PLACES)
  const { found, listed } = map.bounds.virtual
  if (seen.length === 0)
    return [soft(`No virtual address leads there${found > listed ? ' among the runs listed here' : ''}.`)]
  const places = seen.map((run) => {
    const vaddr = BigInt(run.vaddr) + BigInt(pfn - run.pfn) * PAGE + offset
    return element('li', {}, lookUp(showVaddr(vaddr), vaddr), `${symbolAt(vaddr)} ${run.access}`)
  })
  return [soft('Mapped at'), element('ol', {}, ...places)]
}

function virtualAnswer(vaddr: bigint): HTMLElement {
  return element('div', {}, element('h3', {}, 'As a virtual address'), ...translation(vaddr))
}

function translation(vaddr: bigint): HTMLElement[] {
  const { levels, fault } = map.paging
  if (levels === 0) {
    return [
      line(fault ?? `Paging is off: ${showVaddr(vaddr)} means itself${vaddr >> 32n ? ', but lies above 4 GiB' : ''}.`),
    ]
  }
  if (!isVaddr(vaddr)) {
    return [line(levels === 4 ? 'The address is not canonical.' : 'The address is above 4 GiB.')]
  }
  const { steps, end, paddr } = walk(vaddr)
  const said =
    paddr !== undefined
      ? line(
          `${showVaddr(vaddr)}${symbolAt(vaddr)} is physical `,
          lookUp(showPaddr(paddr), paddr),
          `, ${frameName(Number(paddr / PAGE))}`,
        )
      : line(end === 'absent' ? `${showVaddr(vaddr)} is not mapped.` : listedMapping(vaddr))
  if (steps.length === 0) return [said]
  const path = steps.map(({ table, index, value, pfn, run }, i) => {
    const link = button(`L${table.level}[${index}]`, () => choosePath(steps.slice(0, i + 1).map(({ index }) => index)))
    return element('li', {}, link, ` ${hex(value, 16)} ${pfn === null ? run.why : frameName(pfn)}`)
  })
  return [said, element('ol', { 'aria-label': 'Translation, from cr3 down' }, ...path)]
}

/** Returns what the list of mappings says of an address whose tables are not all embedded. */
function listedMapping(vaddr: bigint): string {
  const run = map.virtual.find(
    (one) => vaddr >= BigInt(one.vaddr) && vaddr < BigInt(one.vaddr) + BigInt(one.pages) * PAGE,
  )
  if (!run) return 'The tables on the way are not embedded in this page.'
  const paddr = BigInt(run.pfn) * PAGE + vaddr - BigInt(run.vaddr)
  return `${showVaddr(vaddr)} is physical ${showPaddr(paddr)}, ${run.region}; the last table is not embedded in this page.`
}

/** Returns a number in decimal or in hex, with or without 0x; undefined for other text. */
function addressIn(text: string): bigint | undefined {
  if (/^(0x[0-9a-f]{1,16}|[0-9]{1,19})$/i.test(text)) return BigInt(text)
  return /^[0-9a-f]{1,16}$/i.test(text) ? BigInt(`0x${text}`) : undefined
}

const input = find('address') as HTMLInputElement

/** An address that a person asked for, as one of the spaces or of both. */
interface Wanted {
  readonly address: bigint
  readonly space: 'physical' | 'virtual' | 'both'
}

/** Returns the address of a region, a register or a symbol; registers of both widths have the same value. */
function addressNamed(name: string): Wanted | undefined {
  const region = map.physical.find((range) => range.name === name)
  if (region) return { address: BigInt(region.pfn) * PAGE, space: 'physical' }
  if (name === 'cr3')
    return map.paging.top === null ? undefined : { address: BigInt(map.paging.top) * PAGE, space: 'physical' }
  const register = map.registers[name] ?? map.registers[name.replace(/^[re]/, (letter) => (letter === 'r' ? 'e' : 'r'))]
  const value = register ?? symbols().named(name)[0]?.address
  if (value === undefined) return undefined
  return { address: BigInt(value), space: map.paging.levels === 0 ? 'both' : 'virtual' }
}

/** Returns the address that a text names. A region may have the name of an address, such as `ace`. */
function wantedBy(given: string): Wanted | undefined {
  const number = addressIn(given.replaceAll(/[_`]/g, ''))
  return addressNamed(given) ?? (number === undefined ? undefined : { address: number, space: 'both' })
}

/** Returns the answers for a text, in words. */
function answers(given: string): HTMLElement[] {
  const wanted = wantedBy(given)
  if (wanted === undefined) {
    const names = map.bounds.physical.found > 0 ? `, such as ${map.physical[0]?.name ?? ''}` : ''
    return [
      notFound(
        `“${given}” is neither an address, such as 0x1000000, nor the name of a region${names}, of a register or of a symbol in this page.`,
      ),
    ]
  }
  const { address, space } = wanted
  const physical = space === 'virtual' ? [] : physicalAnswer(address)
  const virtual = space === 'physical' ? [] : [virtualAnswer(address)]
  const isNowhere = physical.length === 0 && !isMapped(address)
  return isNowhere
    ? [notFound(`${hex(address)} is outside the guest’s memory, and no virtual address of it.`), ...virtual]
    : [...virtual, ...physical]
}

const notFound = (text: string): HTMLElement => element('div', { class: 'none' }, element('p', {}, text))

function isMapped(vaddr: bigint): boolean {
  if (map.paging.levels === 0) return rangeAt(Number(vaddr / PAGE)) !== undefined
  return isVaddr(vaddr) && walk(vaddr).end !== 'absent'
}

/** Shows the answers for what a person typed or chose, selects the entry that maps it, and makes it the page's link. */
export function search(text: string): void {
  const given = text.trim()
  input.value = text
  const found = answers(given)
  input.setAttribute('aria-invalid', String(found[0]?.className === 'none'))
  find('found').replaceChildren(...found)
  const wanted = wantedBy(given)
  const vaddr = wanted && vaddrOf(wanted)
  if (vaddr !== undefined) selectPath(walk(vaddr).steps.map(({ index }) => index))
  link(given)
}

/** Returns a virtual address that leads to the wanted one; undefined for no such address. */
function vaddrOf({ address, space }: Wanted): bigint | undefined {
  if (space !== 'physical' && isVaddr(address) && walk(address).end !== 'absent') return address
  if (space === 'virtual') return undefined
  const pfn = Number(address / PAGE)
  const run = map.virtual.find((one) => pfn >= one.pfn && pfn < one.pfn + one.pages)
  return run && BigInt(run.vaddr) + address - BigInt(run.pfn) * PAGE
}

/** Searches for the address or the name that the page's link has. */
function followLink(): void {
  const text = linked()
  if (text !== '' && text !== input.value.trim()) search(text)
}

/** Listens to the form and to the addresses of the page. */
export function startSearch(): void {
  find('search').addEventListener('submit', (event) => {
    event.preventDefault()
    search(input.value)
  })
  for (const button of document.querySelectorAll<HTMLElement>('[data-search]')) {
    button.addEventListener('click', () => {
      search(button.dataset.search ?? '')
      find('search').scrollIntoView({ block: 'nearest' })
    })
  }
  addEventListener('hashchange', followLink)
  followLink()
}
