/**
 * One conversion in a separate process: a kernel to a file of a format, or such a file to a raw image.
 *
 * Source: getrusage(2) through process.resourceUsage().
 * Gotcha: `ms` counts from the request for the guest, `wholeMs` from the start of the process.
 */
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { buildDomain, readKernel } from '../lib/index.js'
import { openSnapshotFile, writeSnapshotFile } from '../lib/node/index.js'
import { touchMemory } from './touch-memory.js'

/** The formats that are measured, and the guest that each holds. */
export const MEASURED_GUESTS = {
  xl: { type: 'pv', purpose: 'restore' },
  'qemu-stream': { type: 'pvh', platform: 'pc' },
} as const

export type MeasuredFormat = keyof typeof MEASURED_GUESTS

export interface MeasuredSnapshot {
  readonly ms: number
  readonly wholeMs: number
  /** Bytes. */
  readonly peak: number
  readonly pages: number
  /** Pages whose content is in the file. */
  readonly dataPages: number
}

async function measure(
  what: string,
  format: MeasuredFormat,
  input: string,
  output: string,
  memory: number,
): Promise<MeasuredSnapshot> {
  let start = performance.now()
  let found: { pages: number; dataPages: number }
  if (what === 'write') {
    const kernel = await readKernel(readFileSync(input))
    touchMemory(`${output}.touched`)
    start = performance.now()
    const domain = buildDomain(kernel, { ...MEASURED_GUESTS[format], memory, cmdline: 'console=hvc0' })
    await writeSnapshotFile(domain, output, { format })
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

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [what = '', format, input = '', output = '', memory = ''] = process.argv.slice(2)
  process.stdout.write(JSON.stringify(await measure(what, format as MeasuredFormat, input, output, Number(memory))))
}
