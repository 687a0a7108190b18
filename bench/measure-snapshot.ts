/**
 * One conversion in a process of its own: a kernel to an xl file, or an xl file to a raw image.
 *
 * Source: getrusage(2) through process.resourceUsage().
 * Gotcha: `ms` begins when the guest is asked for; `wholeMs` when the process did.
 */
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, readSync, writeSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { buildDomain, openXl, PAGE_SIZE, readKernel, writeXl } from '../lib/index.js'

export interface MeasuredSnapshot {
  readonly ms: number
  readonly wholeMs: number
  /** Bytes. */
  readonly peak: number
  readonly pages: number
  /** Pages whose content is in the file. */
  readonly dataPages: number
}

function writeAll(fd: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, at + done)
}

async function measure(what: string, input: string, output: string, memory: number): Promise<MeasuredSnapshot> {
  const fd = openSync(output, 'w')
  let start = performance.now()
  let found: { pages: number; dataPages: number }
  if (what === 'write') {
    const kernel = await readKernel(readFileSync(input))
    start = performance.now()
    const domain = buildDomain(kernel, { type: 'pv', memory, cmdline: 'console=hvc0', purpose: 'restore' })
    let at = 0
    for (const chunk of writeXl(domain)) {
      writeAll(fd, chunk, at)
      at += chunk.length
    }
    const named = domain.regions.filter(({ name }) => name !== 'pad' && name !== 'boot_stack')
    found = { pages: domain.memory.pageCount, dataPages: named.reduce((sum, { pages }) => sum + pages, 0) }
  } else {
    const from = openSync(input, 'r')
    const domain = openXl({
      size: fstatSync(from).size,
      readInto(offset, out) {
        for (let done = 0; done < out.length; ) done += readSync(from, out, done, out.length - done, offset + done)
      },
    })
    ftruncateSync(fd, domain.memory.endPfn * PAGE_SIZE)
    for (const { paddr, bytes } of domain.memory.chunks()) writeAll(fd, bytes, paddr)
    const dataPages = [...domain.memory.pages()].reduce((sum, { pages }) => sum + pages, 0)
    found = { pages: domain.memory.pageCount, dataPages }
    closeSync(from)
  }
  closeSync(fd)
  const now = performance.now()
  return { ms: now - start, wholeMs: now, peak: process.resourceUsage().maxRSS * 1024, ...found }
}

const [what = '', input = '', output = '', memory = ''] = process.argv.slice(2)
process.stdout.write(JSON.stringify(await measure(what, input, output, Number(memory))))
