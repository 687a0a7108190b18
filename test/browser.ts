/**
 * A real browser for the tests of pages, and the faults of a page that a reader would see.
 *
 * Source: Debian's chromium, driven over the DevTools protocol.
 * Gotcha: the fit of words depends on the browser's fonts, so they are measured as drawn.
 */
import { pathToFileURL } from 'node:url'
import { type Browser, chromium, type Frame, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { findCommand } from './peer/command.js'
import { requirePeer } from './peer/require-peer.js'

const FLAGS =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'
let browser: Browser | undefined
t.teardown(() => browser?.close())

/** Returns the browser; skips the test without one. */
export async function findBrowser(t: Test): Promise<Browser | undefined> {
  if (!(await requirePeer(t, () => findCommand('chromium', 'chromium')))) return undefined
  browser ??= await chromium.launch({ executablePath: '/usr/bin/chromium', args: FLAGS.split(' ') })
  return browser
}

/** The view of a page. */
export interface View {
  readonly width?: number
  readonly scheme?: 'light' | 'dark'
  /** The end of its URL. */
  readonly hash?: string
}

/** Opens a page from a file; any error, console message or network request fails the test. */
export async function openPage(
  t: Test,
  file: string,
  { width = 1280, scheme = 'light', hash = '' }: View = {},
): Promise<Page> {
  const page = await (browser as Browser).newPage({ viewport: { width, height: 900 }, colorScheme: scheme })
  page.on('pageerror', (error) => t.fail(error.message))
  page.on('console', (message) => t.fail(message.text()))
  page.on('dialog', (dialog) => t.fail(`a script of a file ran: ${dialog.message()}`))
  page.on('request', (request) => {
    if (!/^(?:file|blob):/.test(request.url())) t.fail(`asks for ${request.url()}`)
  })
  await page.goto(`${pathToFileURL(file).href}${hash}`)
  return page
}

/** Describes each element that is cut off or overlaps another. */
export const faults = (page: Page | Frame): Promise<string[]> =>
  page.evaluate(() => {
    const out: string[] = []
    const { clientWidth, scrollWidth } = document.documentElement
    if (scrollWidth > clientWidth) out.push(`the page is ${scrollWidth} wide`)
    const seen = (at: Element) => at.getClientRects().length > 0
    for (const at of document.querySelectorAll('body *')) {
      if (!seen(at)) continue
      const { left, right } = at.getBoundingClientRect()
      if (left < -0.5 || right > clientWidth + 0.5) out.push(`${at.tagName} ${at.className} leaves the page`)
      if (
        at instanceof HTMLElement &&
        at.tagName !== 'INPUT' &&
        !(at.tagName === 'PRE' && at.tabIndex === 0) &&
        at.scrollWidth > at.clientWidth + 1 &&
        at.clientWidth > 0
      )
        out.push(`${at.tagName} ${at.className} is ${at.scrollWidth} in ${at.clientWidth}`)
    }
    // A number or a name must stay on one line, unless it is longer than a 64-bit address.
    for (const at of document.querySelectorAll('td, th, td a, td button, dd, .row *')) {
      const [only, ...others] = at.childNodes
      if (!seen(at) || others.length > 0 || only?.nodeType !== Node.TEXT_NODE) continue
      if (!/^\S{1,18}$/.test(at.textContent ?? '')) continue
      const range = document.createRange()
      range.selectNodeContents(at)
      const tops = new Set([...range.getClientRects()].map(({ top }) => Math.round(top)))
      if (tops.size > 1) out.push(`'${at.textContent}' is broken into ${tops.size} lines`)
    }
    // The words of a drawing are within their box, and do not overlap.
    for (const box of document.querySelectorAll('.figure .box')) {
      if (!seen(box)) continue
      const outer = (box.querySelector('.body') ?? box).getBoundingClientRect()
      const words = [...box.querySelectorAll('text')].map((word) => word.getBoundingClientRect())
      for (const word of words) {
        if (word.left < outer.left - 1 || word.right > outer.right + 1 || word.bottom > outer.bottom + 2)
          out.push(`words leave the box ${box.textContent}`)
      }
      words.forEach((a, i) => {
        for (const b of words.slice(i + 1)) {
          const apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top + 3 || b.bottom <= a.top + 3
          if (!apart) out.push(`words overlap in ${box.textContent}`)
        }
      })
    }
    // Neighbours in the flow of the page.
    for (const parent of document.querySelectorAll('body, header, main, section, .split, form, .facts, .row, tr')) {
      const boxes = [...parent.children].filter(seen).map((at) => ({ at, box: at.getBoundingClientRect() }))
      boxes.forEach(({ at, box: a }, i) => {
        for (const { at: other, box: b } of boxes.slice(i + 1)) {
          if (a.right > b.left + 1 && b.right > a.left + 1 && a.bottom > b.top + 1 && b.bottom > a.top + 1)
            out.push(`${at.tagName} ${at.className} overlaps ${other.tagName} ${other.className}`)
        }
      })
    }
    return [...new Set(out)].slice(0, 8)
  })
