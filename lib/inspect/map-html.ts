/**
 * map as one HTML page that contains everything it needs: it uses no network and no other file, and works from file://.
 *
 * Source: https://html.spec.whatwg.org/ and https://www.w3.org/TR/CSP3/ (the page allows only its own script).
 * Gotcha: the policy names the hash of the page's script, so that a script in a snapshot's names would not run.
 */
import { toBase64 } from '../bytes.js'
import type { Domain } from '../guest/domain.js'
import { printable } from '../printable.js'
import { sha256 } from '../sha256.js'
import { type SymbolTable, showSymbol } from '../symbols/symbol-table.js'
import { hex, PAGE_SIZE, paddrOf, showSize } from '../units.js'
import { escapeText, scriptJson } from './escape.js'
import { addressDigits, isIdentity } from './map-addresses.js'
import type { PageData } from './map-client/data.js'
import { layoutFigure, NARROW, WIDE } from './map-figure.js'
import { describeMap, type GuestMap } from './map-model.js'
import { MAP_SCRIPT } from './map-script.js'
import { FIGURE_STYLE, PAGE_STYLE, PALETTE } from './map-style.js'
import { figureSvg } from './map-svg.js'
import { type PageSymbols, pageSymbols, readPageSymbols, symbolNear } from './map-symbols.js'
import { shownName } from './table.js'

/** The bits of a page-table entry (Intel SDM vol. 3, table 4-19 and its neighbours). */
const BITS: PageData['bits'] = [
  [63, 1, 'NX', 'no instruction is fetched through it'],
  [59, 4, 'PK', 'protection key, or free for software'],
  [52, 7, 'AVL', 'free for software'],
  [12, 40, 'frame', 'the machine frame'],
  [9, 3, 'AVL', 'free for software'],
  [8, 1, 'G', 'global: kept when cr3 changes'],
  [7, 1, 'PS', 'a large page, at L2 and L3; PAT at L1'],
  [6, 1, 'D', 'dirty: was written through'],
  [5, 1, 'A', 'accessed: was used'],
  [4, 1, 'PCD', 'not cached'],
  [3, 1, 'PWT', 'written through the cache'],
  [2, 1, 'US', 'user mode may use it'],
  [1, 1, 'RW', 'may be written'],
  [0, 1, 'P', 'present'],
]

/** The options of a page. */
export interface MapPageOptions {
  /** The names of addresses, which the page then shows and finds. It has room for some: those in mapped memory. */
  readonly symbols?: SymbolTable
}

/** Returns the layout of a guest as one page. The same guest and symbols always give the same bytes. */
export function mapHtml(domain: Domain, { symbols: given }: MapPageOptions = {}): string {
  const map = describeMap(domain)
  const symbols = pageSymbols(given, map.virtual)
  const { guest } = map
  const hash = toBase64(sha256(MAP_SCRIPT))
  const title = escapeText(shownName(guest.name))
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}: memory map</title>
<style>${PALETTE}${FIGURE_STYLE}${PAGE_STYLE}</style>
</head>
<body>
<header>
<h1>${title}</h1>
${facts(map, readPageSymbols(symbols))}
<form id="search" role="search">
<label for="address">Address, region, register or symbol
<input id="address" autocomplete="off" autocapitalize="off" spellcheck="false" placeholder="0x1000000"></label>
<button type="submit">Look up</button>
</form>
<div id="found" role="status" aria-live="polite"></div>
<noscript><p>Without scripts this page shows the drawing and the lists; the tables, the search and the bytes need them.</p></noscript>
</header>
<main>
<section aria-labelledby="layout">
<h2 id="layout">Layout</h2>
<p class="soft">${layoutNote(map)}</p>
${figureSvg(map, layoutFigure(map, WIDE), 'w', 'wide')}
${figureSvg(map, layoutFigure(map, NARROW), 'n', 'narrow')}
</section>
${tablesSection(map)}
${structsSection(map)}
${runsSection(map)}
</main>
<footer>${boundsNote(map, symbols)}</footer>
<script type="application/json" id="data">${scriptJson({ map, symbols, bits: BITS } satisfies PageData)}</script>
<script>${MAP_SCRIPT}</script>
</body>
</html>
`
}

const pagingName = (levels: number): string => ({ 4: 'four levels', 3: 'PAE, three levels' })[levels] ?? 'off'

function facts(map: GuestMap, symbols: SymbolTable): string {
  const { guest, registers, paging } = map
  const digits = addressDigits(map)
  const said = [
    ['type', `${guest.type}, ${guest.abi}`],
    ['memory', `${showSize(guest.bytes)}, ${guest.pages} pages`],
    ['p2m', guest.p2m],
    ['paging', pagingName(paging.levels)],
  ].map(([name, value]) => `<li><b>${name}</b><span class="mono">${escapeText(value ?? '')}</span></li>`)
  const leads = Object.entries(registers).map(([name, value]) => {
    const near = name === 'cr3' ? undefined : symbolNear(symbols, BigInt(value))
    const shown = hex(BigInt(value), name === 'cr3' ? digits.physical : digits.virtual)
    const symbol =
      near === undefined ? '' : ` <span class="soft mono">${escapeText(printable(showSymbol(near)))}</span>`
    return `<li><b>${name}</b><button type="button" data-search="${name}">${shown}</button>${symbol}</li>`
  })
  return `<ul class="facts">${[...said, ...leads].join('')}</ul>`
}

function layoutNote(map: GuestMap): string {
  const scale = 'Heights follow the logarithm of the size; a torn edge marks a gap without memory or mapping.'
  const bands =
    map.paging.levels === 0
      ? 'Paging is off: virtual addresses equal physical ones.'
      : isIdentity(map)
        ? 'The page tables map every address to itself.'
        : 'Bands connect virtual ranges to their frames.'
  return `${bands} ${scale} Choose a box to look up its address.`
}

function tablesSection({ paging, bounds }: GuestMap): string {
  const { found, listed } = bounds.tables
  const left = found > listed ? ` ${found - listed} of ${found} tables are not embedded in this page.` : ''
  const body =
    paging.top === null
      ? `<p>${escapeText(paging.fault ?? 'Paging is off, so no page tables are in use.')}</p>`
      : `<p class="soft">From cr3 down to one entry’s bits. Arrow keys move and open, Enter opens and closes. A run of similar entries is one line until it is opened.${left}</p>
<div class="split">
<div class="list"><ul id="tree" role="tree" aria-label="Page tables"></ul></div>
<div id="entry" class="stay" role="region" aria-label="Entry" aria-live="polite"></div>
</div>`
  const hidden = paging.top === null ? '<ul id="tree" role="tree" aria-label="Page tables" hidden></ul>' : ''
  return `<section aria-labelledby="tables">
<h2 id="tables">Page tables</h2>
${body}${hidden}
</section>`
}

function structsSection({ structs }: GuestMap): string {
  if (structs.length === 0) return ''
  const tabs = structs.map(
    ({ name }, i) =>
      `<button type="button" role="tab" id="tab-${i}" aria-controls="struct">${escapeText(name)}</button>`,
  )
  return `<section aria-labelledby="boot">
<h2 id="boot">Boot information</h2>
<div role="tablist" aria-labelledby="boot">${tabs.join('')}</div>
<div id="struct" role="tabpanel"></div>
</section>`
}

/** The most rows of the lists; longer lists say less than the drawing and the search. */
const MAX_ROWS = 256
/** A list with more rows scrolls in its own box. */
const LONG_ROWS = 40

function runsSection(map: GuestMap): string {
  const { physical, virtual, bounds } = map
  const digits = addressDigits(map)
  const button = (address: string): string => `<button type="button" data-search="${address}">${address}</button>`
  const left = physical
    .slice(0, MAX_ROWS)
    .map(({ name, pfn, pages }) => [
      button(hex(paddrOf(pfn), digits.physical)),
      showSize(pages * PAGE_SIZE),
      escapeText(name),
    ])
  const right = virtual.slice(0, MAX_ROWS).map(({ vaddr, pfn, pages, access, region }) => {
    const paddr = BigInt(paddrOf(pfn))
    const place = paddr === BigInt(vaddr) ? '' : `${hex(paddr, digits.physical)} `
    return [
      `${button(hex(BigInt(vaddr), digits.virtual))}<br><span class="soft">${place}${access}</span>`,
      showSize(pages * PAGE_SIZE),
      escapeText(region),
    ]
  })
  const both = list('Physical', ['start', 'size', 'region'], left, bounds.physical.found)
  const mapped = list('Virtual', ['address,<br>physical, access', 'size', 'region'], right, bounds.virtual.found)
  return `<section aria-labelledby="lists">
<h2 id="lists">Lists</h2>
${map.paging.levels === 0 ? both.replace('>Physical<', '>Physical and virtual<') : `<div class="split">\n${both}\n${mapped}\n</div>`}
</section>`
}

function list(caption: string, heads: readonly string[], rows: readonly (readonly string[])[], found: number): string {
  const classes = ['w', 'n', '']
  const cell = (tag: string, text: string, i: number) => `<${tag} class="${classes[i]}">${text}</${tag}>`
  const more = found > rows.length ? `<p class="soft">and ${found - rows.length} more</p>` : ''
  return `<div class="wrap${rows.length > LONG_ROWS ? ' list' : ''}"${rows.length > LONG_ROWS ? ` tabindex="0" role="region" aria-label="${caption}"` : ''}><table><caption class="soft">${caption}</caption><thead><tr>${heads.map((head, i) => cell('th', head, i)).join('')}</tr></thead><tbody>${rows
    .map((row) => `<tr>${row.map((text, i) => cell('td', text, i)).join('')}</tr>`)
    .join('')}</tbody></table>${more}</div>`
}

function boundsNote({ bounds }: GuestMap, symbols: PageSymbols): string {
  const said = (['physical', 'virtual', 'tables'] as const).map((name) => {
    const { found, listed } = bounds[name]
    const what = { physical: 'physical ranges', virtual: 'virtual runs', tables: 'page tables' }[name]
    return found > listed ? `${listed} of ${found} ${what}` : `all ${found} ${what}`
  })
  const rest = bounds.complete ? '' : ' Some tables were not read, so the counts are incomplete.'
  const names =
    symbols.found === 0 ? '' : ` It has ${symbols.listed} of ${symbols.found} symbols that lie in mapped memory.`
  return `This page holds ${said.join(', ')}.${rest}${names} Read back from the guest’s own memory by xen-domain-builder.`
}
