/**
 * One measurement in a separate process: reads a kernel, builds a guest, reports the time of each step and peak memory.
 *
 * Source: getrusage(2) through process.resourceUsage().
 * Gotcha: in a process that is used again, code would be warm and the peak would be that of an earlier guest.
 */
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { buildDomain, readKernel } from '../lib/index.js'
import { PAGE_SIZE } from '../lib/units.js'

/** Milliseconds, and bytes of peak memory. */
export interface Measured {
  readonly read: number
  readonly decompress: number
  /** Everything else until the guest is built: hashing, parsing, layout. */
  readonly rest: number
  readonly peak: number
  /** Milliseconds to produce every byte of the image, which a snapshot writer needs. */
  readonly bytes: number
  readonly imageBytes: number
  /** Milliseconds for each further guest from the same Kernel, median. */
  readonly further: number
}

const GUESTS = 41

async function measure(file: string, memory: number, wholeImage: boolean): Promise<Measured> {
  const start = performance.now()
  const bytes = readFileSync(file)
  const read = performance.now() - start
  let decompress = 0
  const kernel = await readKernel(bytes, {
    // Decompressing comes first.
    onProgress: ({ step }) => {
      if (step === 'decompress') decompress = performance.now() - start - read
    },
  })
  const guest = buildDomain(kernel, { type: 'pv', memory, cmdline: 'root=/dev/xvda1 ro console=hvc0' })
  guest.memory.read(guest.boot.startInfo.pfn * PAGE_SIZE, PAGE_SIZE)
  const total = performance.now() - start
  const peak = process.resourceUsage().maxRSS * 1024
  const further = Array.from({ length: GUESTS }, (_, i) => {
    const at = performance.now()
    const other = buildDomain(kernel, { type: 'pv', memory: memory + i * 2 ** 20, cmdline: `guest ${i}` })
    other.memory.read(other.boot.startInfo.pfn * PAGE_SIZE, PAGE_SIZE)
    return performance.now() - at
  }).sort((a, b) => a - b)
  const from = performance.now()
  let imageBytes = 0
  if (wholeImage) for (const chunk of guest.memory.chunks()) imageBytes += chunk.bytes.length
  return {
    read,
    decompress,
    rest: total - read - decompress,
    peak,
    bytes: performance.now() - from,
    imageBytes,
    further: further[GUESTS >> 1] ?? 0,
  }
}

const [file = '', memory = '', whole = ''] = process.argv.slice(2)
process.stdout.write(JSON.stringify(await measure(file, Number(memory), whole === 'whole')))
