/**
 * The tree of page tables, from cr3 down to single entries.
 *
 * Source: https://www.w3.org/WAI/ARIA/apg/patterns/treeview/ (roles and keys).
 * Gotcha: a guest may have thousands of entries, so an item's content is made when the item is opened.
 */
import { PT_ENTRIES } from '../../abi/x86.js'
import type { EntryRun, TableMap } from '../table-entries.js'
import { frameName, map, PAGE, showPaddr, showVaddr } from './data.js'
import { element, find, makeTabStop, onKey } from './dom.js'
import { type Entry, entryAt, root, tableAt } from './entries.js'
import { showEntry, showTop } from './entry-panel.js'
import { link } from './link.js'

/** An item of the tree: it stands for entries, shows one of them when chosen, and makes its content when opened. */
interface Item {
  readonly first?: number
  readonly last?: number
  /** The first address that its entries translate. */
  readonly vaddr?: bigint
  readonly show: () => void
  readonly make?: (() => HTMLElement[]) | undefined
}

const tree = find('tree')
const items = new WeakMap<Element, Item>()

function itemElement(words: readonly string[], item: Item): HTMLElement {
  const spans = words.map((word, i) => element('span', i > 1 ? { class: 'soft' } : {}, word))
  const expanded = item.make ? { 'aria-expanded': 'false' } : {}
  const made = element(
    'li',
    { role: 'treeitem', tabindex: '-1', 'aria-selected': 'false', ...expanded },
    element('div', { class: 'row' }, ...spans),
  )
  items.set(made, item)
  return made
}

function entryItem(entry: Entry): HTMLElement {
  const { table, run, index, pfn, vaddr } = entry
  const child = run.leads === 'table' ? tableAt(table.level - 1, pfn) : undefined
  const target = pfn === null ? run.why : frameName(pfn)
  const missing = run.leads === 'table' && !child ? ['table not embedded'] : []
  return itemElement([`L${table.level}[${index}]`, showVaddr(vaddr), target, ...missing], {
    first: index,
    last: index,
    vaddr,
    show: () => showEntry(entry),
    make: child && (() => tableItems(child, vaddr)),
  })
}

function runItem(table: TableMap, run: EntryRun, base: bigint): HTMLElement {
  const first = entryAt(table, run, run.index, base)
  if (run.count === 1) return entryItem(first)
  const last = run.index + run.count - 1
  const target = run.pfn === null ? run.why : frameName(run.pfn)
  const where = run.step === 0 ? `${target}, all the same` : `${target} onwards`
  return itemElement([`L${table.level}[${run.index}–${last}]`, showVaddr(first.vaddr), where], {
    first: run.index,
    last,
    vaddr: first.vaddr,
    show: () => showEntry(first),
    make: () => Array.from({ length: run.count }, (_, i) => entryItem(entryAt(table, run, run.index + i, base))),
  })
}

/** Returns runs and the gaps between them. */
function tableItems(table: TableMap, base: bigint): HTMLElement[] {
  const size = map.paging.levels === 3 && table.level === 3 ? 4 : PT_ENTRIES
  const out: HTMLElement[] = []
  let end = 0
  const gap = (to: number) => {
    if (to === end) return
    const text = to - end === 1 ? `[${end}] zero` : `[${end}–${to - 1}] zero`
    out.push(element('li', { role: 'none', class: 'gap' }, text))
  }
  for (const run of table.runs) {
    gap(run.index)
    out.push(runItem(table, run, base))
    end = run.index + run.count
  }
  gap(size)
  return out
}

const isOpen = (at: HTMLElement): boolean => at.getAttribute('aria-expanded') === 'true'
const itemsIn = (at: ParentNode): HTMLElement[] => [...at.querySelectorAll<HTMLElement>('[role=treeitem]')]

function open(at: HTMLElement): void {
  if (!at.hasAttribute('aria-expanded') || isOpen(at)) return
  at.setAttribute('aria-expanded', 'true')
  at.append(element('ul', { role: 'group' }, ...(items.get(at)?.make?.() ?? [])))
}

function close(at: HTMLElement): void {
  at.setAttribute('aria-expanded', 'false')
  at.lastElementChild?.remove()
  if (!tree.querySelector('[tabindex="0"]')) at.tabIndex = 0
}

function select(at: HTMLElement): void {
  makeTabStop(at, itemsIn(tree))
  for (const other of itemsIn(tree)) other.setAttribute('aria-selected', String(other === at))
  items.get(at)?.show()
}

function choose(at: HTMLElement): void {
  select(at)
  at.focus()
  const { vaddr } = items.get(at) ?? {}
  if (vaddr !== undefined) link(showVaddr(vaddr))
}

function toggle(at: HTMLElement): void {
  if (isOpen(at)) close(at)
  else open(at)
  choose(at)
}

/** Opens the tree along the indices of entries, the top table's first. Returns the last entry's item. */
function openPath(indices: readonly number[]): HTMLElement | undefined {
  let at = tree.firstElementChild as HTMLElement | undefined
  for (const index of indices) at = at && descend(at, index)
  return at
}

/** Opens the tree along the indices of entries, and chooses the last entry. */
export function choosePath(indices: readonly number[]): void {
  const at = openPath(indices)
  if (at) choose(at)
}

/** Opens the tree along the indices of entries, and selects the last entry. The focus and the page stay in place. */
export function selectPath(indices: readonly number[]): void {
  const at = openPath(indices)
  if (!at) return
  select(at)
  const list = tree.parentElement
  if (list) list.scrollTop += at.getBoundingClientRect().top - list.getBoundingClientRect().top - list.clientHeight / 3
}

/** Returns the item below `at` that stands for one entry; opens what is closed. */
function descend(at: HTMLElement, index: number): HTMLElement | undefined {
  open(at)
  for (const child of at.querySelectorAll<HTMLElement>(':scope > ul > [role=treeitem]')) {
    const { first = -1, last = -1 } = items.get(child) ?? {}
    if (index >= first && index <= last) return last > first ? descend(child, index) : child
  }
  return undefined
}

const itemOf = (target: EventTarget | Element | null | undefined): HTMLElement | null =>
  target instanceof Element ? target.closest<HTMLElement>('[role=treeitem]') : null

function keys(event: KeyboardEvent): Readonly<Record<string, () => void>> {
  const at = itemOf(event.target)
  if (!at || event.altKey || event.ctrlKey || event.metaKey) return {}
  const visible = itemsIn(tree).filter((item) => item.offsetParent !== null)
  const place = visible.indexOf(at)
  const to = (other: HTMLElement | null | undefined) => () => other && choose(other)
  return {
    ArrowDown: to(visible[place + 1]),
    ArrowUp: to(visible[place - 1]),
    Home: to(visible[0]),
    End: to(visible.at(-1)),
    ArrowRight: isOpen(at) ? to(itemsIn(at)[0]) : () => open(at),
    ArrowLeft: isOpen(at) ? () => close(at) : to(itemOf(at.parentElement)),
    Enter: () => toggle(at),
    ' ': () => toggle(at),
  }
}

/** Shows the top table, opened, and listens to keys and clicks. */
export function startTree(): void {
  tree.addEventListener('click', (event) => {
    const at = itemOf(event.target)
    if (at) toggle(at)
  })
  onKey(tree, keys)
  if (!root) return
  const top = root
  const base = BigInt(top.vaddr)
  const words = [
    'cr3',
    showPaddr(BigInt(top.pfn) * PAGE),
    `L${top.level} table in ${frameName(top.pfn)}, ${top.present} present`,
  ]
  const first = itemElement(words, {
    show: () => showTop(top),
    make: () => tableItems(top, base),
  })
  tree.append(first)
  open(first)
  select(first)
}
