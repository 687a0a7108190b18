/**
 * One conversion in a separate process: a kernel to an xl file, or an xl file to a raw image.
 *
 * Source: getrusage(2) through process.resourceUsage().
 * Gotcha: `ms` counts from the request for the guest, `wholeMs` from the start of the process.
 */
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { buildDomain, readKernel } from '../lib/index.js'
import { openSnapshotFile, writeSnapshotFile } from '../lib/node/index.js'
import { touchMemory } from './touch-memory.js'

export interface MeasuredSnapshot {
  readonly ms: number
  readonly wholeMs: number
  /** Bytes. */
  readonly peak: number
  readonly pages: number
  /** Pages whose content is in the file. */
  readonly dataPages: number
}

async function measure(what: string, input: string, output: string, memory: number): Promise<MeasuredSnapshot> {
  let start = performance.now()
  let found: { pages: number; dataPages: number }
  if (what === 'write') {
    const kernel = await readKernel(readFileSync(input))
    touchMemory(`${output}.touched`)
    start = performance.now()
    const domain = buildDomain(kernel, { type: 'pv', memory, cmdline: 'console=hvc0', purpose: 'restore' })
    await writeSnapshotFile(domain, output, { format: 'xl' })
    const named = domain.regions.filter(({ name }) => name !== 'pad' && name !== 'boot_stack')
    found = { pages: domain.memory.pageCount, dataPages: named.reduce((sum, { pages }) => sum + pages, 0) }
  } else {
    touchMemory(`${output}.touched`)
    start = performance.now()
    const { domain, close } = await openSnapshotFile(input)
    await writeSnapshotFile(domain, output, { format: 'raw' })
    const dataPages = [...domain.memory.pages()].reduce((sum, { pages }) => sum + pages, 0)
    found = { pages: domain.memory.pageCount, dataPages }
    close()
  }
  const now = performance.now()
  return { ms: now - start, wholeMs: now, peak: process.resourceUsage().maxRSS * 1024, ...found }
}

const [what = '', input = '', output = '', memory = ''] = process.argv.slice(2)
process.stdout.write(JSON.stringify(await measure(what, input, output, Number(memory))))
