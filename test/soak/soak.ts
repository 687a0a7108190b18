/**
 * `npm run soak -- N [SEED]`: N rounds in this process and in threads that are started and ended, and a verdict on what stays.
 *
 * Source: proc(5): /proc/self/fd, VmRSS; process.memoryUsage(), process.getActiveResourcesInfo().
 * Gotcha: memory is measured after a collection, and from the end of the first quarter on. Before, caches and compiled
 * code fill. Needs --expose-gc.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { type Counts, round } from './rounds.js'

const MiB = 2 ** 20
/** Intervals of a run, each with one measurement. */
const INTERVALS = 20
/** One round of so many runs in a separate thread. */
const THREAD_EVERY = 50
const THREAD_ROUNDS = 10
/** The most that the fitted line of each value may rise from the first to the last measurement. */
const LEVEL = { heap: 3 * MiB, external: 2 * MiB, arrayBuffers: 2 * MiB, rss: 48 * MiB } as const
type Measured = Record<keyof typeof LEVEL, number>

const print = (line: string): boolean => process.stdout.write(`${line}\n`)

async function measure(): Promise<Measured> {
  // Buffers are freed by a later turn than the collection.
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await setTimeout(10)
  }
  const { heapUsed, external, arrayBuffers, rss } = process.memoryUsage()
  return { heap: heapUsed, external, arrayBuffers, rss }
}

/** The rise of the line of least squares over all values, from the first to the last. */
function rise(values: readonly number[]): number {
  const mid = (values.length - 1) / 2
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  let above = 0
  let below = 0
  for (const [i, value] of values.entries()) {
    above += (i - mid) * (value - mean)
    below += (i - mid) ** 2
  }
  return below === 0 ? 0 : (above / below) * (values.length - 1)
}

/** The open files and the active resources of the process, by name. */
const descriptors = (): string[] => readdirSync('/proc/self/fd').sort()
const resources = (): string[] =>
  process
    .getActiveResourcesInfo()
    .filter((name) => name !== 'Timeout')
    .sort()

async function roundsIn(folder: string, from: number, to: number, seed: number, counts: Counts): Promise<void> {
  for (let number = from; number < to; number++) {
    await round(number, seed, join(folder, 'round'), counts)
    rmSync(join(folder, 'round'), { recursive: true, force: true })
  }
}

async function inThread(folder: string, from: number, seed: number, counts: Counts): Promise<void> {
  const worker = new Worker(fileURLToPath(import.meta.url), {
    workerData: { folder: join(folder, 'thread'), from, seed },
  })
  worker.on('message', (more: Counts) => {
    for (const [name, count] of Object.entries(more)) counts[name] = (counts[name] ?? 0) + count
  })
  await new Promise<void>((resolve, reject) => {
    worker.once('error', reject)
    worker.once('exit', () => resolve())
  })
  rmSync(join(folder, 'thread'), { recursive: true, force: true })
}

/** Returns the exit status: 1 if something stays. */
async function soak(rounds: number, seed: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'xdb-soak-'))
  // The library's temporary files are made here.
  process.env.TMPDIR = join(folder)
  const counts: Counts = {}
  const values: Measured[] = []
  const step = Math.max(1, Math.floor(rounds / INTERVALS))
  await roundsIn(folder, 0, 1, seed, counts)
  await inThread(folder, 0, seed, {})
  await measure()
  const before = { descriptors: descriptors(), resources: resources() }
  let threads = 0
  for (let from = 0; from < rounds; from += step) {
    const to = Math.min(rounds, from + step)
    await roundsIn(folder, from, to, seed, counts)
    for (; threads < Math.ceil(to / THREAD_EVERY); threads++)
      await inThread(folder, threads * THREAD_ROUNDS, seed, counts)
    const measured = await measure()
    values.push(measured)
    const shown = Object.entries(measured).map(([name, bytes]) => `${name} ${(bytes / MiB).toFixed(2)}`)
    print(`${to} rounds, ${threads} threads: ${shown.join(', ')} MiB, ${descriptors().length} descriptors`)
  }
  for (const [name, count] of Object.entries(counts).sort()) print(`${String(count).padStart(8)}  ${name}`)

  const faults: string[] = []
  const warm = values.slice(Math.floor(values.length / 4))
  for (const name of Object.keys(LEVEL) as (keyof typeof LEVEL)[]) {
    const rose = rise(warm.map((value) => value[name]))
    print(`${name}: ${(rose / MiB).toFixed(2)} MiB from the first quarter to the end; ${LEVEL[name] / MiB} are allowed`)
    if (rose > LEVEL[name]) faults.push(`${name} rises`)
  }
  const left = readdirSync(folder)
  if (left.length > 0) faults.push(`files are left: ${left.join(', ')}`)
  if (descriptors().join() !== before.descriptors.join())
    faults.push(`descriptors are left: ${descriptors().join(', ')}`)
  if (resources().join() !== before.resources.join()) faults.push(`handles are left: ${resources().join(', ')}`)
  rmSync(folder, { recursive: true })
  print(faults.length === 0 ? `level after ${rounds} rounds and ${threads} threads, seed ${seed}` : faults.join('; '))
  return faults.length === 0 ? 0 : 1
}

if (isMainThread) {
  const [rounds = 10_000, seed = 1] = process.argv.slice(2).map(Number)
  if (Number.isSafeInteger(rounds) && rounds >= INTERVALS && Number.isSafeInteger(seed)) {
    process.exitCode = await soak(rounds, seed)
  } else {
    print(`usage: npm run soak -- ROUNDS [SEED], at least ${INTERVALS} rounds`)
    process.exitCode = 2
  }
} else {
  const { folder, from, seed } = workerData as { folder: string; from: number; seed: number }
  const counts: Counts = {}
  await roundsIn(folder, from, from + THREAD_ROUNDS, seed, counts)
  parentPort?.postMessage(counts)
}
