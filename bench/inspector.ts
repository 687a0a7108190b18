/**
 * npm run bench:inspector [-- KERNEL]: from a chosen kernel to its verdicts, in the page and in the command.
 *
 * Source: Debian's chromium in the same run; the command's time is that of its process.
 * Gotcha: the page is open before, as it is for a reader; the command starts each time, as it does for a reader.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { chromium } from 'playwright-core'
import { kernel as fetched } from '../test/peer/kernels.js'

const ROUNDS = 5
/** The limit, as a multiple of the command's time. */
const ALLOWED = 2
const at = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url))
const least = (values: readonly number[]): number => Math.min(...values)

async function main(): Promise<void> {
  const kernel = process.argv[2] ?? fetched('debian-amd64')
  if (kernel === undefined) throw new Error('no kernel: name one, or fetch them with npm run kernels')
  const folder = mkdtempSync(join(tmpdir(), 'xdb-bench-'))
  const page = join(folder, 'inspector.html')
  spawnSync(process.execPath, [at('bundle/inspector.js'), page])
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu'],
  })
  try {
    const inPage: number[] = []
    const inNode: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const tab = await browser.newPage()
      await tab.goto(pathToFileURL(page).href)
      await tab.waitForSelector('#verdicts li')
      await tab.waitForFunction(() => !document.body.hasAttribute('aria-busy'))
      const start = performance.now()
      await tab.setInputFiles('#file', kernel)
      await tab.waitForFunction(
        (name) => document.querySelector('#name')?.textContent === name,
        kernel.split('/').pop() ?? '',
      )
      inPage.push(performance.now() - start)
      await tab.close()
      const before = performance.now()
      spawnSync(process.execPath, [at('package/cli/main.js'), 'check', kernel])
      inNode.push(performance.now() - before)
    }
    const ratio = least(inPage) / least(inNode)
    console.log(
      `verdicts: page ${least(inPage).toFixed(0)} ms, command ${least(inNode).toFixed(0)} ms: ${ratio.toFixed(2)} x`,
    )
    if (ratio > ALLOWED) process.exitCode = 1
  } finally {
    await browser.close()
    rmSync(folder, { recursive: true })
  }
}

await main()
