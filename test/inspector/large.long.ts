/**
 * Large snapshots in the page: the files are those of the command, and the tab's memory stays small.
 *
 * Source: proc(5), VmHWM: the peak of a process's resident memory. Chromium's processes are found by their arguments.
 * Gotcha: files of 512 MiB are hashed by another program, since a browser hands them over whole.
 */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { buildDomain, readKernel } from '../../lib/index.js'
import { writeSnapshotFile } from '../../lib/node/index.js'
import { patternBytes } from '../../lib/testing/index.js'
import { findBrowser } from '../browser.js'
import { runCommand } from '../cli/command.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { choose, download, folder, openInspector, words } from './inspector.js'

const MiB = 2 ** 20
const file = (name: string): string => join(folder, name)
const sha256 = (name: string): string => execFileSync('sha256sum', [name]).toString().slice(0, 64)

/** Returns the peak memory of the browser's largest tab, in MiB. */
function peakOfTabs(): number {
  const peaks = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('--type=renderer')) return 0
        return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) / 1024
      } catch {
        return 0 // It has ended.
      }
    })
  return Math.round(Math.max(0, ...peaks))
}

/** @param pages the pages with content. */
async function writeGuest(name: string, memory: number, pages: number): Promise<void> {
  const kernel = await readKernel(pvKernelFile())
  const domain = buildDomain(kernel, { type: 'pv', memory, purpose: 'restore' })
  const page = patternBytes(4096, 3)
  const content = domain.memory.copy()
  const first = 64 * MiB
  const step = Math.floor((memory - first) / pages / 4096) * 4096
  for (let i = 0; i < pages; i++) content.write(first + i * step, page)
  await writeSnapshotFile({ ...domain, memory: content }, file(name))
}

async function compare(t: Test, input: string, product: string, output: string): Promise<void> {
  const page = await openInspector(t)
  await choose(page, file(input))
  t.equal(await words(page, '.refusal:visible'), '')
  const ran = runCommand(['convert', input, '-o', output], { cwd: folder })
  t.equal(ran.code, 0, ran.err)
  const [got] = (await download(page, product, 1)).values()
  t.equal(got && sha256(got), sha256(file(output)), `${output}: ${await words(page, '#save-refusal')}`)
  t.comment(`${input}: the tab's memory was at most ${peakOfTabs()} MiB`)
  await page.close()
}

t.test('an xl file of 512 MiB', async (t) => {
  if (!(await findBrowser(t))) return
  await writeGuest('large.xl', 600 * MiB, (512 * MiB) / 4096)
  await compare(t, 'large.xl', 'elf-core', 'large.core')
})

t.test('a sparse core of 4 GiB', async (t) => {
  if (!(await findBrowser(t))) return
  await writeGuest('sparse.core', 4096 * MiB, 4096)
  await compare(t, 'sparse.core', 'xl', 'sparse.xl')
})
