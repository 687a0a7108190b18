/**
 * The script of the map's page in the reader's browser: it opens tables, highlights fields and searches.
 *
 * Source: https://www.w3.org/WAI/ARIA/apg/patterns/treeview/ (keys of the tree), .../tabs/ (keys of the tabs).
 * Gotcha: the page gets the text of this one function, so it may use nothing from outside itself except types. It must
 * put text into the document only as text, since every word of it may be untrusted.
 */
/// <reference lib="dom" />
import type { FieldMap, StructMap } from './fields.js'
import type { GuestMap } from './map-model.js'
import type { EntryRun, TableMap } from './table-entries.js'

/** The map, and the names of an entry's bits, highest first: `[low bit, how many, name, meaning]`. */
export interface PageData {
  readonly map: GuestMap
  readonly bits: readonly (readonly [number, number, string, string])[]
}

/** Runs in the page and makes the document interactive. */
export function mapClient(): void {
  const { map, bits } = JSON.parse(document.getElementById('data')?.textContent ?? '') as PageData
  const PAGE = 4096n
  const { paging } = map
  const top = paging.levels === 4 ? 48n : 32n
  const hex = (value: bigint | number, digits = 1): string => `0x${value.toString(16).padStart(digits, '0')}`
  const showAddress = (vaddr: bigint): string => hex(vaddr, paging.levels === 4 ? 16 : 8)
  const find = (id: string): HTMLElement => document.getElementById(id) as HTMLElement

  type Content = Node | string
  /** Returns an element with attributes and content; text stays text. */
  function element(
    name: string,
    attributes: Readonly<Record<string, string>> = {},
    ...content: Content[]
  ): HTMLElement {
    const made = document.createElement(name)
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
    made.append(...content)
    return made
  }

  // Names of frames.
  const rangeAt = (pfn: number) => map.physical.find((range) => pfn >= range.pfn && pfn < range.pfn + range.pages)
  function frameName(pfn: number): string {
    const range = rangeAt(pfn)
    if (!range)
      return map.bounds.physical.found > map.bounds.physical.listed
        ? 'a range not listed here'
        : "outside the guest's memory"
    return pfn === range.pfn ? range.name : `${range.name}+${hex(pfn - range.pfn)}`
  }

  // Entries: a run of them holds one for each index.
  interface Entry {
    readonly table: TableMap
    readonly run: EntryRun
    readonly index: number
    readonly value: bigint
    readonly pfn: number | null
    readonly vaddr: bigint
  }
  const tables = new Map(map.tables.map((table) => [`${table.level}:${table.pfn}`, table]))
  const tableAt = (level: number, pfn: number | null) => (pfn === null ? undefined : tables.get(`${level}:${pfn}`))
  const bytesOf = (level: number): bigint => PAGE << (9n * BigInt(level - 1))
  const canonical = (vaddr: bigint): bigint =>
    paging.levels === 4 ? BigInt.asUintN(64, BigInt.asIntN(48, vaddr)) : vaddr
  function entryAt(table: TableMap, run: EntryRun, index: number, base = BigInt(table.vaddr)): Entry {
    const further = (index - run.index) * run.step
    return {
      table,
      run,
      index,
      value: BigInt(run.entry) + BigInt(further) * PAGE,
      pfn: run.pfn === null ? null : run.pfn + further,
      vaddr: canonical(base + BigInt(index) * bytesOf(table.level)),
    }
  }
  const runAt = (table: TableMap, index: number) =>
    table.runs.find((run) => index >= run.index && index < run.index + run.count)

  // Shows the bits of an entry.
  function showEntry(entry: Entry): void {
    const { table, index, value, pfn, vaddr, run } = entry
    const grid = element('div', { class: 'bits', 'aria-hidden': 'true' })
    for (let bit = 63; bit >= 0; bit--) {
      const set = (value >> BigInt(bit)) & 1n
      const classes = [...(set ? ['set'] : []), ...(bit >= 12 && bit < 52 ? ['frame'] : [])].join(' ')
      grid.append(element('span', { class: classes }, element('i', {}, String(bit)), String(set)))
    }
    const rows = bits.map(([low, count, name, meaning]) => {
      const part = (value >> BigInt(low)) & ((1n << BigInt(count)) - 1n)
      const high = low + count - 1
      return element(
        'tr',
        {},
        element('td', { class: 'n' }, count === 1 ? String(low) : `${high}–${low}`),
        element('td', { class: 'w' }, name),
        element('td', { class: 'w' }, count === 1 ? String(part) : hex(part)),
        element('td', {}, element('span', { class: 'soft' }, meaning)),
      )
    })
    const head = ['>bit', 'name', 'value', 'meaning'].map((word) =>
      element('th', word.startsWith('>') ? { class: 'n', scope: 'col' } : { scope: 'col' }, word.replace('>', '')),
    )
    const leads =
      pfn === null
        ? run.why
        : `${run.why}: pfn ${hex(pfn)} (${frameName(pfn)}), ${run.leads === 'table' ? `L${table.level - 1} table` : `physical ${hex(BigInt(pfn) * PAGE)}`}`
    find('entry').replaceChildren(
      element('h3', { class: 'mono' }, `L${table.level}[${index}] = ${hex(value, 16)}`),
      element('p', {}, `Translates ${showAddress(vaddr)} to ${showAddress(vaddr + bytesOf(table.level) - 1n)}.`),
      element('p', {}, `${leads.charAt(0).toUpperCase()}${leads.slice(1)}.`),
      grid,
      element(
        'div',
        { class: 'wrap' },
        element('table', {}, element('thead', {}, element('tr', {}, ...head)), element('tbody', {}, ...rows)),
      ),
    )
  }

  // The tree: the content of an item is made when it is opened.
  const children = new WeakMap<HTMLElement, () => HTMLElement[]>()
  const onSelect = new WeakMap<HTMLElement, () => void>()
  const keys = new WeakMap<HTMLElement, string>()

  function item(key: string, words: readonly string[], select: () => void, make?: () => HTMLElement[]): HTMLElement {
    const row = element(
      'div',
      { class: 'row' },
      ...words.map((word, i) => element('span', i > 1 ? { class: 'soft' } : {}, word)),
    )
    const made = element(
      'li',
      { role: 'treeitem', tabindex: '-1', 'aria-selected': 'false', ...(make ? { 'aria-expanded': 'false' } : {}) },
      row,
    )
    if (make) children.set(made, make)
    onSelect.set(made, select)
    keys.set(made, key)
    return made
  }

  function entryItem(entry: Entry): HTMLElement {
    const { table, run, index, pfn, vaddr } = entry
    const child = run.leads === 'table' ? tableAt(table.level - 1, pfn) : undefined
    const target = pfn === null ? run.why : frameName(pfn)
    const missing = run.leads === 'table' && !child ? ['table not embedded'] : []
    return item(
      `${index}`,
      [`L${table.level}[${index}]`, showAddress(vaddr), target, ...missing],
      () => showEntry(entry),
      child && (() => tableItems(child, vaddr)),
    )
  }

  function runItem(table: TableMap, run: EntryRun, base: bigint): HTMLElement {
    const first = entryAt(table, run, run.index, base)
    if (run.count === 1) return entryItem(first)
    const last = run.index + run.count - 1
    const target = run.pfn === null ? run.why : frameName(run.pfn)
    return item(
      `${run.index}-${last}`,
      [
        `L${table.level}[${run.index}–${last}]`,
        showAddress(first.vaddr),
        run.step === 0 ? `${target}, all the same` : `${target} onwards`,
      ],
      () => showEntry(first),
      () => Array.from({ length: run.count }, (_, i) => entryItem(entryAt(table, run, run.index + i, base))),
    )
  }

  /** Returns runs and the gaps between them. Several paths may reach the same table: `base` is that of this one. */
  function tableItems(table: TableMap, base: bigint): HTMLElement[] {
    const size = paging.levels === 3 && table.level === 3 ? 4 : 512
    const out: HTMLElement[] = []
    let end = 0
    const gap = (to: number) => {
      if (to > end)
        out.push(
          element('li', { role: 'none', class: 'gap' }, to - end === 1 ? `[${end}] zero` : `[${end}–${to - 1}] zero`),
        )
    }
    for (const run of table.runs) {
      gap(run.index)
      out.push(runItem(table, run, base))
      end = run.index + run.count
    }
    gap(size)
    return out
  }

  const tree = find('tree')
  const parentOf = (at: HTMLElement) => at.parentElement?.closest<HTMLElement>('[role=treeitem]') ?? undefined
  const isOpen = (at: HTMLElement): boolean => at.getAttribute('aria-expanded') === 'true'
  const visible = (): HTMLElement[] =>
    [...tree.querySelectorAll<HTMLElement>('[role=treeitem]')].filter((at) => at.offsetParent !== null)

  function open(at: HTMLElement): void {
    if (!at.hasAttribute('aria-expanded') || isOpen(at)) return
    at.setAttribute('aria-expanded', 'true')
    at.append(element('ul', { role: 'group' }, ...(children.get(at)?.() ?? [])))
  }
  function close(at: HTMLElement): void {
    if (!isOpen(at)) return
    at.setAttribute('aria-expanded', 'false')
    at.lastElementChild?.remove()
    if (!tree.querySelector('[tabindex="0"]')) at.tabIndex = 0
  }
  function select(at: HTMLElement, focus: boolean): void {
    for (const other of tree.querySelectorAll<HTMLElement>('[role=treeitem]')) {
      other.tabIndex = other === at ? 0 : -1
      other.setAttribute('aria-selected', String(other === at))
    }
    onSelect.get(at)?.()
    if (focus) at.focus()
  }

  tree.addEventListener('click', (event) => {
    const at = (event.target as HTMLElement).closest<HTMLElement>('[role=treeitem]')
    if (!at) return
    if (isOpen(at)) close(at)
    else open(at)
    select(at, true)
  })
  tree.addEventListener('keydown', (event) => {
    const at = (event.target as HTMLElement).closest<HTMLElement>('[role=treeitem]')
    if (!at || event.altKey || event.ctrlKey || event.metaKey) return
    const all = visible()
    const place = all.indexOf(at)
    const to = (other: HTMLElement | undefined) => other && select(other, true)
    if (event.key === 'ArrowDown') to(all[place + 1])
    else if (event.key === 'ArrowUp') to(all[place - 1])
    else if (event.key === 'Home') to(all[0])
    else if (event.key === 'End') to(all.at(-1))
    else if (event.key === 'ArrowRight') {
      if (isOpen(at)) to(at.querySelector<HTMLElement>('[role=treeitem]') ?? undefined)
      else open(at)
    } else if (event.key === 'ArrowLeft') {
      if (isOpen(at)) close(at)
      else to(parentOf(at))
    } else if (event.key === 'Enter' || event.key === ' ') {
      if (isOpen(at)) close(at)
      else open(at)
      select(at, true)
    } else return
    event.preventDefault()
  })

  const root = paging.top === null ? undefined : tableAt(paging.levels, paging.top)
  if (root) {
    const first = item(
      'cr3',
      ['cr3', map.registers.cr3 ?? '', `L${root.level} table in ${frameName(root.pfn)}, ${root.present} present`],
      () => {
        const [run] = root.runs
        if (run) showEntry(entryAt(root, run, run.index))
      },
      () => tableItems(root, BigInt(root.vaddr)),
    )
    tree.append(first)
    open(first)
    select(first, false)
  }

  /** Returns the item below `at` that holds an index, opened if it was not. */
  function descend(at: HTMLElement, index: number): HTMLElement | undefined {
    open(at)
    for (const child of at.querySelectorAll<HTMLElement>(':scope > ul > [role=treeitem]')) {
      const [from = -1, to = from] = (keys.get(child) ?? '').split('-').map(Number)
      if (index < from || index > to) continue
      return (keys.get(child) ?? '').includes('-') ? descend(child, index) : child
    }
    return undefined
  }

  // The search.
  interface Walk {
    readonly steps: readonly Entry[]
    readonly end: 'mapped' | 'absent' | 'unknown'
    readonly paddr?: bigint
  }
  function walk(vaddr: bigint): Walk {
    const steps: Entry[] = []
    const masked = BigInt.asUintN(Number(top), vaddr)
    let table = root
    let base = 0n
    while (table) {
      const shift = 12n + 9n * BigInt(table.level - 1)
      const index = Number((masked >> shift) & 511n)
      const run = runAt(table, index)
      if (!run) return { steps, end: 'absent' }
      const entry = entryAt(table, run, index, base)
      steps.push(entry)
      if (run.leads === 'absent' || run.leads === 'foreign' || entry.pfn === null) return { steps, end: 'absent' }
      if (run.leads === 'page') {
        const size = bytesOf(table.level)
        const frame = (BigInt(entry.pfn) * PAGE) & ~(size - 1n)
        return { steps, end: 'mapped', paddr: frame + (masked & (size - 1n)) }
      }
      base += BigInt(index) << shift
      table = tableAt(table.level - 1, entry.pfn)
    }
    return { steps, end: 'unknown' }
  }

  const lookUp = (text: string, address: bigint): HTMLElement => {
    const made = element('button', { type: 'button' }, text)
    made.addEventListener('click', () => search(hex(address)))
    return made
  }

  function physicalAnswer(paddr: bigint): HTMLElement | undefined {
    if (paddr >= 1n << 52n) return undefined
    const pfn = Number(paddr / PAGE)
    const range = rangeAt(pfn)
    if (!range) return undefined
    const box = element(
      'div',
      {},
      element('h3', {}, 'As a physical address'),
      element(
        'p',
        { class: 'mono' },
        `${hex(paddr)}: pfn ${hex(pfn)}, ${range.name}, ${hex(paddr - BigInt(range.pfn) * PAGE)} bytes into it`,
      ),
    )
    const seen = map.virtual.filter((run) => pfn >= run.pfn && pfn < run.pfn + run.pages).slice(0, 16)
    const places = seen.map((run) => {
      const vaddr = BigInt(run.vaddr) + BigInt(pfn - run.pfn) * PAGE + (paddr % PAGE)
      return element('li', {}, lookUp(showAddress(vaddr), vaddr), ` ${run.access}`)
    })
    const more = map.bounds.virtual.found > map.bounds.virtual.listed ? ' among the runs listed here' : ''
    box.append(
      places.length === 0
        ? element('p', { class: 'soft' }, `No virtual address leads there${more}.`)
        : element('p', { class: 'soft' }, 'Mapped at'),
      ...(places.length === 0 ? [] : [element('ol', {}, ...places)]),
    )
    return box
  }

  function virtualAnswer(vaddr: bigint): HTMLElement {
    const box = element('div', {}, element('h3', {}, 'As a virtual address'))
    const say = (text: string) => box.append(element('p', { class: 'mono' }, text))
    if (paging.levels === 0) {
      say(paging.fault ?? `Paging is off: ${hex(vaddr)} means itself${vaddr >> 32n ? ', but lies above 4 GiB' : ''}.`)
      return box
    }
    if (vaddr >> 64n || canonical(BigInt.asUintN(Number(top), vaddr)) !== vaddr) {
      say(paging.levels === 4 ? 'The address is not canonical.' : 'The address is above 4 GiB.')
      return box
    }
    const { steps, end, paddr } = walk(vaddr)
    if (end === 'mapped' && paddr !== undefined) {
      const pfn = Number(paddr / PAGE)
      box.append(
        element(
          'p',
          { class: 'mono' },
          `${showAddress(vaddr)} is physical `,
          lookUp(hex(paddr), paddr),
          `, ${frameName(pfn)}`,
        ),
      )
    } else if (end === 'absent') say(`${showAddress(vaddr)} is not mapped.`)
    else {
      const run = map.virtual.find(
        (one) => vaddr >= BigInt(one.vaddr) && vaddr < BigInt(one.vaddr) + BigInt(one.pages) * PAGE,
      )
      const where = run && BigInt(run.pfn) * PAGE + vaddr - BigInt(run.vaddr)
      say(
        where === undefined
          ? 'The tables on the way are not embedded in this page.'
          : `${showAddress(vaddr)} is physical ${hex(where)}, ${run?.region}; the last table is not embedded in this page.`,
      )
    }
    const path = steps.map((step, i) => {
      const link = element('button', { type: 'button' }, `L${step.table.level}[${step.index}]`)
      link.addEventListener('click', () => {
        let at = tree.firstElementChild as HTMLElement | undefined
        for (const { index } of steps.slice(0, i + 1)) at = at && descend(at, index)
        if (at) select(at, true)
      })
      return element(
        'li',
        {},
        link,
        ` ${hex(step.value, 16)} ${step.pfn === null ? step.run.why : frameName(step.pfn)}`,
      )
    })
    if (path.length > 0) box.append(element('ol', { 'aria-label': 'Translation, from cr3 down' }, ...path))
    return box
  }

  const input = find('address') as HTMLInputElement
  const found = find('found')
  function search(text: string): void {
    input.value = text
    const given = text.trim().replace(/[_`]/g, '')
    const number = /^(0x[0-9a-f]{1,16}|[0-9]{1,19})$/i.test(given)
      ? BigInt(given)
      : /^[0-9a-f]{1,16}$/i.test(given)
        ? BigInt(`0x${given}`)
        : undefined
    const named = number === undefined && given !== '' ? map.physical.find(({ name }) => name === given) : undefined
    const address = number ?? (named && BigInt(named.pfn) * PAGE)
    input.setAttribute('aria-invalid', String(address === undefined))
    if (address === undefined) {
      found.replaceChildren(
        element(
          'div',
          {},
          element('p', {}, 'The text is neither an address, such as 0x1000000, nor the name of a region.'),
        ),
      )
      return
    }
    const physical = physicalAnswer(address)
    found.replaceChildren(...(named ? [] : [virtualAnswer(address)]), ...(physical ? [physical] : []))
  }
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

  // The drawing: one tab stop, arrow keys from box to box.
  for (const figure of document.querySelectorAll<SVGElement>('.figure')) {
    const boxes = [...figure.querySelectorAll<SVGGElement>('.box[data-address]')]
    const bandsOf = (box: SVGGElement) =>
      [...figure.querySelectorAll<SVGPathElement>('.band')].filter((band) =>
        box.dataset.p === undefined ? band.dataset.v === box.dataset.v : band.dataset.p === box.dataset.p,
      )
    const light = (box: SVGGElement, on: boolean) => {
      box.classList.toggle('lit', on)
      for (const band of bandsOf(box)) {
        band.classList.toggle('lit', on)
        const other = box.dataset.p === undefined ? `[data-p="${band.dataset.p}"]` : `[data-v="${band.dataset.v}"]`
        figure.querySelector(`.box${other}`)?.classList.toggle('lit', on)
      }
    }
    const go = (box: SVGGElement) => search(box.dataset.address ?? '')
    const to = (box: SVGGElement | undefined) => {
      if (!box) return
      for (const other of boxes) other.setAttribute('tabindex', other === box ? '0' : '-1')
      box.focus()
    }
    boxes.forEach((box, i) => {
      box.setAttribute('tabindex', i === 0 ? '0' : '-1')
      box.setAttribute('role', 'button')
      box.setAttribute('aria-label', box.querySelector('title')?.textContent ?? '')
      for (const [name, on] of [
        ['pointerenter', true],
        ['pointerleave', false],
        ['focus', true],
        ['blur', false],
      ] as const)
        box.addEventListener(name, () => light(box, on))
      box.addEventListener('click', () => go(box))
      box.addEventListener('keydown', (event) => {
        const side = (other: SVGGElement) => other.dataset.side === box.dataset.side
        const partner = () => {
          const [band] = bandsOf(box)
          return boxes.find(
            (other) =>
              !side(other) &&
              (other.dataset.p ?? band?.dataset.p) === band?.dataset.p &&
              (other.dataset.v ?? band?.dataset.v) === band?.dataset.v,
          )
        }
        if (event.key === 'ArrowDown') to(boxes.slice(i + 1).find(side))
        else if (event.key === 'ArrowUp') to(boxes.slice(0, i).reverse().find(side))
        else if (event.key === 'ArrowRight' || event.key === 'ArrowLeft') to(partner())
        else if (event.key === 'Enter' || event.key === ' ') go(box)
        else return
        event.preventDefault()
      })
    })
  }

  // The boot structures: fields next to their bytes.
  const BYTES = 16
  function structPanel(struct: StructMap): Node[] {
    const { bytes, fields } = struct
    const length = bytes.length / 2
    const owner: (number | undefined)[] = new Array(length)
    for (const [i, field] of fields.entries()) owner.fill(i, field.offset, field.offset + field.length)
    const cells = new Map<number, HTMLElement[]>()
    const rows: HTMLElement[] = []
    const light = (index: number, on: boolean) => {
      for (const cell of cells.get(index) ?? []) cell.classList.toggle('lit', on)
      rows[index]?.classList.toggle('lit', on)
    }
    const both = (at: HTMLElement, index: number) => {
      at.addEventListener('pointerenter', () => light(index, true))
      at.addEventListener('pointerleave', () => light(index, rows[index] === document.activeElement))
    }
    const value = (at: number): number => Number.parseInt(bytes.slice(2 * at, 2 * at + 2), 16)
    const lines: HTMLElement[] = []
    const isZero = (at: number): boolean => /^0*$/.test(bytes.slice(2 * at, 2 * (at + BYTES)))
    for (let at = 0; at < length; at += BYTES) {
      let end = at
      while (end < length && isZero(end)) end += BYTES
      if (end - at >= 4 * BYTES) {
        const from = at + BYTES
        lines.push(byteLine(at))
        const line = element(
          'div',
          {},
          element('span', { class: 'at' }, ''),
          element('span', { class: 'fold' }, `${Math.min(length, end) - from} more bytes of zero`),
        )
        lines.push(line)
        at = end - BYTES
        continue
      }
      lines.push(byteLine(at))
    }
    function byteLine(at: number): HTMLElement {
      const line = element('div', {}, element('span', { class: 'at' }, at.toString(16).padStart(3, '0')))
      let text = ''
      for (let i = at; i < Math.min(length, at + BYTES); i++) {
        const index = owner[i]
        const cell = element(
          'b',
          { class: index === undefined ? 'none' : index % 2 ? 'odd' : 'even' },
          bytes.slice(2 * i, 2 * i + 2),
        )
        if (index !== undefined) {
          cells.set(index, [...(cells.get(index) ?? []), cell])
          both(cell, index)
          cell.addEventListener('click', () => rows[index]?.focus())
        }
        line.append(cell)
        const code = value(i)
        text += code >= 0x20 && code < 0x7f ? String.fromCharCode(code) : '.'
      }
      line.append(element('span', { class: 'text', 'aria-hidden': 'true' }, text))
      return line
    }
    const bytesBox = element(
      'div',
      { class: 'hex stay', tabindex: '0', role: 'region', 'aria-label': 'Bytes' },
      ...lines,
    )
    fields.forEach((field, index) => {
      const row = fieldRow(field)
      rows.push(row)
      both(row, index)
      row.addEventListener('focus', () => {
        for (const other of rows) other.tabIndex = other === row ? 0 : -1
        light(index, true)
        // Scrolls its own box only: the page must not move away from the row.
        const [cell] = cells.get(index) ?? []
        if (cell) bytesBox.scrollTop = cell.offsetTop - bytesBox.clientHeight / 2
      })
      row.addEventListener('blur', () => light(index, false))
      row.addEventListener('click', () => row.focus())
      row.addEventListener('keydown', (event) => {
        const shown = rows.filter((one) => !one.hidden)
        const place = shown.indexOf(row)
        const target = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: shown.length - 1 }[event.key]
        if (target === undefined) return
        shown[target]?.focus()
        event.preventDefault()
      })
    })
    const head = ['offset', 'field', 'value'].map((word, i) =>
      element('th', i === 0 ? { class: 'n', scope: 'col' } : { scope: 'col' }, word),
    )
    const table = element(
      'table',
      { class: 'fields' },
      element('thead', {}, element('tr', {}, ...head)),
      element('tbody', {}, ...rows),
    )
    // In a structure of hundreds of fields, those that are zero stay hidden until they are asked for.
    const zero = fields.length > 60 ? rows.filter((_, i) => ['0x0', 'zero'].includes(fields[i]?.value ?? '')) : []
    for (const row of zero) row.hidden = true
    const more = element('button', { type: 'button', class: 'more' }, `and ${zero.length} fields of zero`)
    more.addEventListener('click', () => {
      for (const row of zero) row.hidden = false
      more.remove()
      zero[0]?.focus()
    })
    const first = rows.find((row) => !row.hidden)
    for (const row of rows) row.tabIndex = row === first ? 0 : -1
    return [
      element('p', { class: 'soft' }, `At physical ${struct.paddr}, ${length} bytes.`),
      element('div', { class: 'split' }, element('div', {}, table, ...(zero.length > 0 ? [more] : [])), bytesBox),
    ]
  }
  function fieldRow(field: FieldMap): HTMLElement {
    const said = element('td', {}, field.value)
    if (field.note !== '') said.append(element('br'), element('span', { class: 'soft' }, field.note))
    return element(
      'tr',
      {},
      element('td', { class: 'n' }, hex(field.offset, 3)),
      element('td', {}, ...field.name.split(/(?<=[._])/).flatMap((part) => [part, element('wbr')])),
      said,
    )
  }

  const tabs = [...document.querySelectorAll<HTMLElement>('[role=tab]')]
  const panel = document.getElementById('struct')
  function showTab(index: number, focus: boolean): void {
    const struct = map.structs[index]
    if (!struct || !panel) return
    tabs.forEach((tab, i) => {
      tab.setAttribute('aria-selected', String(i === index))
      tab.tabIndex = i === index ? 0 : -1
    })
    panel.replaceChildren(...structPanel(struct))
    panel.setAttribute('aria-labelledby', `tab-${index}`)
    if (focus) tabs[index]?.focus()
  }
  tabs.forEach((tab, i) => {
    tab.addEventListener('click', () => showTab(i, false))
    tab.addEventListener('keydown', (event) => {
      const target = {
        ArrowRight: (i + 1) % tabs.length,
        ArrowLeft: (i + tabs.length - 1) % tabs.length,
        Home: 0,
        End: tabs.length - 1,
      }[event.key]
      if (target === undefined) return
      showTab(target, true)
      event.preventDefault()
    })
  })
  showTab(0, false)
}
