/**
 * npm run bench [-- KERNEL]: times building a PV guest, here and in libxenguest, on one machine in one run.
 *
 * Source: the peer is test/peer/oracle; it holds the guest in RAM and drops it, as `measure` does.
 * Gotcha: absolute times vary with the load of the machine. Runs of the two alternate; only the medians' ratio counts.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import { fileURLToPath } from 'node:url'
import { readKernel } from '../lib/index.js'
import { kernel as fetched } from '../test/peer/kernels.js'
import { findOracle, type OracleTimings, oracleBench } from '../test/peer/oracle.js'
import type { Measured } from './measure.js'

const ROUNDS = 7
const MiB = 2 ** 20
const SIZES = [128 * MiB, 16 * 1024 * MiB, 256 * 1024 * MiB, 1024 * 1024 * MiB]
const MEASURE = fileURLToPath(new URL('./measure.js', import.meta.url))

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
const medianOf = <T>(all: readonly T[], pick: (one: T) => number): number => median(all.map(pick))
const ms = (value: number): string => value.toFixed(value < 10 ? 2 : 0)
const size = (bytes: number): string =>
  bytes < 2 ** 30 ? `${bytes / MiB} MiB` : bytes < 2 ** 40 ? `${bytes / 2 ** 30} GiB` : `${bytes / 2 ** 40} TiB`
const print = (line: string): void => void process.stdout.write(`${line}\n`)

function ours(file: string, memory: number, whole: boolean): Measured {
  const out = execFileSync(process.execPath, [MEASURE, file, String(memory), whole ? 'whole' : ''], {
    encoding: 'utf8',
  })
  return JSON.parse(out) as Measured
}

const given = process.argv[2] ?? fetched('debian-amd64')
const oracle = await findOracle()
if (given === undefined) throw new Error('no kernel: name one, or fetch them with npm run kernels')
const peer = 'found' in oracle
if (!peer) print(`libxenguest is not measured: ${oracle.missing}`)

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-bench-'))
const vmlinux = path.join(folder, 'vmlinux')
const { elf, codec } = await readKernel(readFileSync(given))
if (!elf) throw new Error('the kernel holds no ELF')
writeFileSync(vmlinux, elf.bytes)
const decompressed = elf.bytes.length

try {
  print(
    `kernel ${path.basename(given)}, ${codec ?? 'not compressed'}, ${(decompressed / MiB).toFixed(1)} MiB decompressed; ms, medians of ${ROUNDS}`,
  )
  print('')
  print(
    'guest     ours: read decompress    rest   total  peak MiB   peer: unzip    rest   total  peak MiB   ratios: unzip  rest  total',
  )
  const totals: number[] = []
  let peerRaw = Number.NaN
  let further = Number.NaN
  for (const memory of SIZES) {
    const rounds = memory > 512 * 1024 * MiB ? 3 : ROUNDS
    const mine: Measured[] = []
    const theirs: OracleTimings[] = []
    const raw: OracleTimings[] = []
    for (let round = 0; round < rounds; round++) {
      mine.push(ours(given, memory, false))
      if (!peer) continue
      theirs.push(await oracleBench(given, { memoryMiB: memory / MiB, cmdline: 'root=/dev/xvda1 ro console=hvc0' }))
      if (memory === SIZES[0]) raw.push(await oracleBench(vmlinux, { memoryMiB: memory / MiB }))
    }
    const read = medianOf(mine, (m) => m.read)
    const decompress = medianOf(mine, (m) => m.decompress)
    const rest = medianOf(mine, (m) => m.rest)
    const total = medianOf(mine, (m) => m.read + m.decompress + m.rest)
    const peak = Math.max(...mine.map((m) => m.peak)) / MiB
    totals.push(total)
    if (memory === SIZES[0]) {
      further = medianOf(mine, (m) => m.further)
      peerRaw = medianOf(raw, (r) => r.total_ms)
    }
    const unzip = medianOf(theirs, (o) => o.unzip_ms)
    const peerRest = medianOf(theirs, (o) => o.total_ms - o.unzip_ms)
    const peerTotal = medianOf(theirs, (o) => o.total_ms)
    const peerPeak = Math.max(...theirs.map((o) => o.maxrss_kib)) / 1024
    const left = [
      size(memory).padEnd(8),
      ms(read).padStart(11),
      ms(decompress).padStart(10),
      ms(rest).padStart(7),
      ms(total).padStart(7),
      peak.toFixed(0).padStart(9),
    ]
    const right = [
      ms(unzip).padStart(13),
      ms(peerRest).padStart(7),
      ms(peerTotal).padStart(7),
      peerPeak.toFixed(0).padStart(9),
    ]
    const ratios = [
      (decompress / unzip).toFixed(2).padStart(15),
      ((read + rest) / peerRest).toFixed(2).padStart(5),
      (total / peerTotal).toFixed(2).padStart(6),
    ]
    print([...left, ...(peer ? [...right, ...ratios] : [])].join(' '))
  }
  print('')
  print(`1 TiB against our own 128 MiB: ${((totals.at(-1) ?? 0) / (totals[0] ?? 1)).toFixed(2)}`)
  print(
    `a further guest from a Kernel already read: ${ms(further)} ms; libxenguest from a raw vmlinux: ${ms(peerRaw)} ms; ratio ${(further / peerRaw).toFixed(3)}`,
  )
  const whole = ours(given, 16 * 1024 * MiB, true)
  print(
    `every byte of a 16 GiB guest's image (${(whole.imageBytes / MiB).toFixed(0)} MiB that are no hole): ${ms(whole.bytes)} ms`,
  )
} finally {
  rmSync(folder, { recursive: true })
}
