/**
 * Tests the page of map in a real browser: search, keyboard use, and nothing cut off or overlapping.
 *
 * Source: Debian's chromium, driven over the DevTools protocol.
 * Gotcha: the fit of a drawing's words depends on the browser's fonts, so they are measured as drawn.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { defined } from '../../lib/defined.js'
import { type Domain, mapHtml } from '../../lib/index.js'
import { type SymbolTable, symbolTable } from '../../lib/symbols/symbol-table.js'
import { faults, findBrowser, openPage } from '../browser.js'
import { GUESTS, hostile } from './map-guests.js'

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-map-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

let count = 0
/** Opens the page of a guest from a file; any error, console message or network request fails the test. */
async function open(
  t: Test,
  domain: Domain,
  width = 1280,
  scheme: 'light' | 'dark' = 'light',
  { hash = '', symbols }: { hash?: string; symbols?: SymbolTable } = {},
): Promise<Page> {
  const file = path.join(folder, `${count++}.html`)
  writeFileSync(file, mapHtml(domain, defined({ symbols })))
  return openPage(t, file, { width, scheme, hash })
}

/** Returns the visible text of an element. */
const words = async (page: Page, selector: string): Promise<string> =>
  (await page.locator(selector).allInnerTexts()).join(' ')

t.test('nothing is cut off or overlaps, for any guest, width and colours', async (t) => {
  if (!(await findBrowser(t))) return
  for (const [name, make] of Object.entries(GUESTS)) {
    const domain = await make()
    for (const [width, scheme] of [
      [1280, 'light'],
      [1280, 'dark'],
      [400, 'light'],
      [400, 'dark'],
    ] as const) {
      const page = await open(t, width === 400 && scheme === 'dark' ? hostile(domain) : domain, width, scheme)
      t.same(await faults(page), [], `${name} at ${width}, ${scheme}`)
      const paper = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
      t.equal(paper, scheme === 'dark' ? 'rgb(19, 23, 28)' : 'rgb(251, 250, 246)')
      await page.close()
    }
  }
})

t.test('an address is searched, and its way through the tables followed, by keyboard', async (t) => {
  if (!(await findBrowser(t))) return
  const page = await open(t, await (GUESTS.pv64 as () => Promise<Domain>)(), 400)
  const search = async (text: string): Promise<string> => {
    await page.fill('#address', text)
    await page.press('#address', 'Enter')
    return words(page, '#found')
  }
  const said = await search('0xffffffff80101234')
  t.match(said, /physical 0x000101234, kernel\+0x1/)
  for (const level of [4, 3, 2, 1]) t.match(said, new RegExp(`L${level}\\[\\d+\\]`))
  t.match(await search('0x101234'), /kernel, 0x1234 bytes into it[\s\S]*0xffffffff80101234/, 'and back')
  t.match(await search('0x1000000000000'), /The address is not canonical/)
  t.match(await search('0xffffffff00000000'), /is not mapped/)
  t.match(await search('kernel'), /0x000100000: pfn 0x100, kernel/)
  t.match(await search('nonsense'), /neither an address/)
  t.equal(await page.getAttribute('#address', 'aria-invalid'), 'true')
  t.equal(await page.locator('#found > .none').count(), 1, 'an answer that looks like none')
  await search('0xffffffff80101234')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Tab')
  await page.keyboard.press('Enter')
  t.match(await words(page, '#entry h3'), /^L\d\[\d+\] = 0x[0-9a-f]{16}$/, 'the step is shown bit by bit')
  t.match(await page.evaluate(() => document.activeElement?.getAttribute('role')), 'treeitem')
  await page.close()
})

t.test('page tables from cr3 down to bits, by arrow keys', async (t) => {
  if (!(await findBrowser(t))) return
  for (const [name, levels] of [
    ['pv64', 4],
    ['pv32', 3],
  ] as const) {
    const page = await open(t, await (GUESTS[name] as () => Promise<Domain>)())
    await page.focus('[role=treeitem]')
    await page.keyboard.press('End')
    let text = ''
    for (let step = 0; step < 40 && !text.startsWith('L1['); step++) {
      await page.keyboard.press('ArrowRight')
      text = await words(page, '#entry h3')
    }
    t.match(text, /^L1\[\d+\] = 0x[0-9a-f]{16}$/, `${name}: ${levels} levels down`)
    t.match(await words(page, '#entry'), /RW\s+[01]\s+may be written/)
    t.ok(await page.evaluate(() => document.activeElement?.matches(':focus-visible')), 'the focus is seen')
    const deep = await page.evaluate(() => document.querySelectorAll('[aria-expanded=true]').length)
    await page.keyboard.press('Home')
    await page.keyboard.press('ArrowLeft')
    t.ok((await page.evaluate(() => document.querySelectorAll('[aria-expanded=true]').length)) < deep, 'and closed')
    await page.close()
  }
})

t.test('a field and its bytes light up together', async (t) => {
  if (!(await findBrowser(t))) return
  for (const [name, struct] of [
    ['pv64', 'start_info'],
    ['linux, paging off', 'boot_params'],
    ['pvh', 'hvm_start_info'],
  ] as const) {
    const page = await open(t, await (GUESTS[name] as () => Promise<Domain>)())
    t.equal(await words(page, '[role=tab][aria-selected=true]'), struct)
    const rows = page.locator('.fields tbody tr:not([hidden])')
    await rows.first().focus()
    await page.keyboard.press('ArrowDown')
    t.ok((await page.locator('.hex b.lit').count()) > 0, `${name}: its bytes`)
    t.equal(await page.locator('tr.lit').count(), 1, 'and its row')
    await page.close()
  }
})

const pv64 = (): Promise<Domain> => (GUESTS.pv64 as () => Promise<Domain>)()
/** Returns the entry that is selected in the tree, and the heading of the panel. */
const selected = async (page: Page): Promise<readonly string[]> => [
  (await words(page, '[aria-selected=true] > .row')).split(/\s/)[0] ?? '',
  (await words(page, '#entry h3')).split(' ')[0] ?? '',
]

t.test('a kind of region has one colour in every drawing, and a legend names it', async (t) => {
  if (!(await findBrowser(t))) return
  const seen = new Map<string, Set<string>>()
  for (const [name, make] of Object.entries(GUESTS)) {
    const page = await open(t, await make())
    const boxes = await page
      .locator('.wide .box.region')
      .evaluateAll((all) =>
        all.map((box) => [
          (box.querySelector('.name')?.textContent ?? '').split(/\s+/)[1] ?? '',
          getComputedStyle(box.querySelector('.body') as Element).stroke,
        ]),
      )
    for (const [region = '', colour = ''] of boxes) seen.set(region, (seen.get(region) ?? new Set()).add(colour))
    const legend = await page.locator('.wide .legend').allTextContents()
    t.ok(legend.includes('kernel') && legend.includes('boot information'), `${name}: ${legend}`)
    t.equal(new Set(legend).size, legend.length)
    await page.close()
  }
  for (const [region, colours] of seen) t.equal(colours.size, 1, `${region}: ${[...colours]}`)
  const [kernel, tables] = ['kernel', 'page_tables'].map((name) => [...(seen.get(name) ?? [])][0])
  t.not(kernel, tables)
  t.same([...(seen.get('p2m_page_tables') ?? [])], [tables], 'the same kind')
})

t.test('names with _, registers and symbols are found, and the entry is selected in the tree', async (t) => {
  if (!(await findBrowser(t))) return
  const symbols = symbolTable([
    { name: 'start_of_it', address: 0xffffffff80100000n, type: 'T' },
    { name: 'a_local_one', address: 0xffffffff80100100n, type: 't' },
    { name: '_end', address: 0xffffffff80102000n, type: 'B' },
    { name: 'not_mapped', address: 0xffffffffff000000n, type: 'T' },
  ])
  const page = await open(t, await pv64(), 1280, 'light', { symbols })
  const search = async (text: string): Promise<string> => {
    await page.fill('#address', text)
    await page.press('#address', 'Enter')
    const [item, panel] = await selected(page)
    t.equal(item, panel, `${text}: the tree and the panel`)
    return words(page, '#found')
  }
  t.match(await search('start_info'), /0x000105000: pfn 0x105, start_info/)
  t.match(await selected(page), ['L1[261]'])
  t.match(await search('page_tables'), /0x000108000: pfn 0x108, page_tables/)
  t.match(await search('rsi'), /0xffffffff80105000 is physical 0x000105000, start_info/)
  t.match(await search('esi'), /0xffffffff80105000/, 'by its other width')
  t.match(await search('cr3'), /0x000108000: pfn 0x108, page_tables/, 'the frame, not the machine frame')
  t.match(await search('start_of_it'), /0xffffffff80100000 \(start_of_it\) is physical 0x000100000, kernel/)
  t.match(await search('0xffffffff80100123'), /\(a_local_one\+0x23\)/)
  t.match(await search('0x100123'), /0xffffffff80100123 \(a_local_one\+0x23\)/)
  t.match(await search('not_mapped'), /neither/)
  t.match(await search('0xffff_ffff_8010_1234'), /0x000101234/, 'digits in groups')
  t.match(await words(page, '.facts'), /rip\s*0xffffffff80100000\s*start_of_it/)
  t.match(await words(page, 'footer'), /3 of 3 symbols/)
  await page.click('[data-search=cr3]')
  t.match(await words(page, '#found'), /pfn 0x108, page_tables/, 'cr3 is a link')
  await page.close()
})

t.test('the URL leads to what is shown', async (t) => {
  if (!(await findBrowser(t))) return
  const page = await open(t, await pv64(), 1280, 'light', { hash: '#0xffffffff80101234' })
  t.match(await words(page, '#found'), /0x000101234, kernel\+0x1/)
  t.same(await selected(page), ['L1[257]', 'L1[257]'])
  const hash = () => page.evaluate(() => location.hash)
  await page.locator('.wide .box', { hasText: 'ramdisk' }).first().click()
  t.equal(await hash(), '#0x000103000', 'a box')
  await page.locator('[role=treeitem]', { hasText: 'L4[511]' }).last().locator('> .row').click()
  t.equal(await hash(), '#0xffffff8000000000', 'an entry')
  await page.evaluate(() => {
    location.hash = '#start_info'
  })
  await page.waitForFunction(() => document.querySelector('#found')?.textContent?.includes('start_info'))
  await page.evaluate(() => {
    location.hash = '#%'
  })
  await page.close()
})

t.test('addresses are of one width, and one column shows a guest whose addresses are equal', async (t) => {
  if (!(await findBrowser(t))) return
  for (const [name, make] of Object.entries(GUESTS)) {
    const page = await open(t, await make())
    for (const side of ['p', 'v']) {
      const found = await page
        .locator(`.wide .box[data-side=${side}]`)
        .evaluateAll((all) => all.map((box) => box.getAttribute('data-address')))
      t.ok(new Set(found.map((address) => address?.length)).size <= 1, `${name}, ${side}: ${found}`)
    }
    const isEqual = name === 'linux, paging off' || name === 'pvh'
    t.equal((await page.locator('.wide .box[data-side=v]').count()) === 0, isEqual, name)
    const [heading] = await page.locator('.wide .heading').allTextContents()
    t.equal(heading === 'physical and virtual: paging off', isEqual, `${name}: ${heading}`)
    t.equal(await page.locator('#lists ~ .split table').count(), isEqual ? 0 : 2)
    await page.close()
  }
})
