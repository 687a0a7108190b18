/**
 * The page under test: it is made once, files are chosen in it, and its answers are read.
 *
 * Source: ../../bundle/inspector.ts.
 * Gotcha: the page opens its first example by itself, so an answer is awaited by the name of the file.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { openPage, type View } from '../browser.js'
import { projectRoot } from '../peer/paths.js'

/** A folder that is removed in the end. */
export const folder = mkdtempSync(path.join(tmpdir(), 'xdb-inspector-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** The page's file. */
export const PAGE = path.join(folder, 'inspector.html')
const made = spawnSync('env', [
  '-u',
  'NODE_OPTIONS',
  process.execPath,
  path.join(projectRoot, 'dist/bundle/inspector.js'),
  PAGE,
])
if (made.status !== 0) throw new Error(made.stderr.toString())

/** Opens the page, and waits for its first example. */
export async function openInspector(t: Test, view: View = {}): Promise<Page> {
  const page = await openPage(t, PAGE, view)
  await answered(page, 'hello.elf')
  return page
}

/** Waits until nothing is under way, and the page shows the file or refuses it. */
export async function answered(page: Page, name?: string): Promise<void> {
  await page.waitForFunction(
    (name) => {
      const shown = document.querySelector('#name')?.textContent ?? ''
      const refused = document.querySelector<HTMLElement>('#refusal')?.hidden === false
      const loading = document.querySelector('iframe.loading') !== null
      return (
        !document.body.hasAttribute('aria-busy') && !loading && (refused || name === undefined || shown.includes(name))
      )
    },
    name,
    { timeout: 240_000 },
  )
}

/** Chooses files, by their paths, and waits for the answer. */
export async function choose(page: Page, ...files: readonly string[]): Promise<void> {
  await page.setInputFiles('#file', [])
  await page.setInputFiles('#file', [...files])
  await answered(page, path.basename(files[0] as string))
}

/** Sets values of the form, and waits for the guest. */
export async function fill(page: Page, values: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, value] of Object.entries(values)) {
    if (name === 'type') await page.selectOption('#type', value)
    else if (name === 'ramdisk') await page.setInputFiles('#ramdisk', value)
    else await page.fill(`#${name}`, value)
  }
  await answered(page)
}

/** Makes a product, and returns the downloaded files by name. */
export async function download(page: Page, product: string, count: number): Promise<ReadonlyMap<string, string>> {
  const downloads: Promise<readonly [string, string]>[] = []
  const all = new Promise<void>((resolve) => {
    page.on('download', (one) => {
      const file = path.join(folder, `got-${one.suggestedFilename()}`)
      downloads.push(one.saveAs(file).then(() => [one.suggestedFilename(), file] as const))
      if (downloads.length === count) resolve()
    })
  })
  await page.click(`[data-product="${product}"]`)
  await Promise.race([all, refused(page)])
  page.removeAllListeners('download')
  return new Map(await Promise.all(downloads))
}

const refused = (page: Page): Promise<unknown> =>
  page.waitForFunction(() => document.querySelector<HTMLElement>('#save-refusal')?.hidden === false, undefined, {
    timeout: 240_000,
  })

/** Returns the visible text of an element. */
export const words = async (page: Page, selector: string): Promise<string> =>
  (await page.locator(selector).allInnerTexts()).join('\n')

/** Returns the text that the page has of a command, folded or not. */
export const said = async (page: Page, command: string): Promise<string> =>
  (await page.locator(`pre[aria-label^="xdb ${command}"]`).allTextContents()).join('\n')
