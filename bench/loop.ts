/**
 * npm run bench:loop [-- KERNEL]: for a real kernel under every compression, how long readKernel blocks the event loop,
 * and how soon it reacts to a signal.
 *
 * Source: the budget is lib/work.ts's; the kernel's own payload is unpacked once, then compressed as Linux does it.
 * Gotcha: a gap is the time between two turns of a 1 ms timer, so on a busy machine it includes other processes. The
 * gap of processor time next to it is ours alone, including the engine's compilation and garbage collection.
 */
import { readFileSync } from 'node:fs'
import * as path from 'node:path'
import { performance } from 'node:perf_hooks'
import { CODEC_NAMES } from '../lib/codec/magic.js'
import { readKernel } from '../lib/index.js'
import { compress } from '../test/kernel/codec-peers.js'
import { kernel as fetched } from '../test/peer/kernels.js'

const ROUNDS = 5
/** Milliseconds until the signal is sent. */
const ABORT_AFTER = 50

const given = process.argv[2] ?? fetched('debian-amd64')
if (given === undefined) throw new Error('no kernel: name one, or fetch them with npm run kernels')
const file = new Uint8Array(readFileSync(given))
const { elf } = await readKernel(file)
if (!elf) throw new Error('the kernel holds no ELF')
const vmlinux = elf.bytes.slice()

const cpu = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
const print = (line: string): void => void process.stdout.write(`${line}\n`)

interface Gaps {
  readonly took: number
  /** The longest gap of each kind, in milliseconds. */
  readonly clock: number
  readonly processor: number
}

async function gaps(bytes: Uint8Array): Promise<Gaps> {
  let [clock, processor] = [0, 0]
  const start = performance.now()
  let last = { clock: start, processor: cpu() }
  const turn = (): void => {
    const now = { clock: performance.now(), processor: cpu() }
    clock = Math.max(clock, now.clock - last.clock)
    processor = Math.max(processor, now.processor - last.processor)
    last = now
  }
  const timer = setInterval(turn, 1)
  await readKernel(bytes)
  turn()
  clearInterval(timer)
  return { took: performance.now() - start, clock, processor }
}

/** Milliseconds from the signal to the refusal; undefined if the kernel was read before it. */
async function latency(bytes: Uint8Array): Promise<number | undefined> {
  const controller = new AbortController()
  let aborted = 0
  const timer = setTimeout(() => {
    aborted = performance.now()
    controller.abort()
  }, ABORT_AFTER)
  try {
    await readKernel(bytes, { signal: controller.signal })
    clearTimeout(timer)
    return undefined
  } catch {
    return performance.now() - aborted
  }
}

print(`${path.basename(given)}: ms, medians of ${ROUNDS}, and the longest of all`)
print('file          took   gap  longest   of processor time  longest   signal heard after')
const files = { 'as it is': file, vmlinux, ...Object.fromEntries(CODEC_NAMES.map((name) => [name, name] as const)) }
for (const [name, of] of Object.entries(files)) {
  const bytes = typeof of === 'string' ? compress(of, vmlinux) : of
  const measured: Gaps[] = []
  for (let round = 0; round < ROUNDS; round++) measured.push(await gaps(bytes))
  const heard = await latency(bytes)
  const column = (value: number, width: number): string => value.toFixed(0).padStart(width)
  const both = (pick: (one: Gaps) => number, width: number): string =>
    column(median(measured.map(pick)), width) + column(Math.max(...measured.map(pick)), 9)
  print(
    `${name.padEnd(10)}${column(median(measured.map(({ took }) => took)), 8)}${both(({ clock }) => clock, 6)}${both(
      ({ processor }) => processor,
      20,
    )}${heard === undefined ? 'read before it'.padStart(21) : column(heard, 21)}`,
  )
}
