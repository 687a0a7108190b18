/**
 * npm run bench:snapshot [-- KERNEL]: converts a large guest to a file of each format below and
 * back to raw, next to cp of that file.
 *
 * Source: cp(1) of the same machine in the same run; getrusage(2) through process.resourceUsage().
 * Gotcha: a cold page cache would favour one side. The finished file was just written, and the kernel was read once.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { rmSync, statSync, writeFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { MEASURED_GUESTS, type MeasuredFormat, type MeasuredSnapshot } from './measure-snapshot.js'
import { touchMemory } from './touch-memory.js'
import { withKernel } from './with-kernel.js'

const MiB = 2 ** 20
const ROUNDS = 9
const MEMORY = 64 * 1024 * MiB
/** Limits, as multiples of the time of cp and of the sizes of the kernel and the pages with data. */
const ALLOWED = { ratio: 1.5, peakMiB: 128, size: 1.01 }
/** Bytes of a page without content: xl's list of frames, and QEMU's record of a zero page. */
const PAGE_COST: Readonly<Record<MeasuredFormat, number>> = { xl: 8, 'qemu-stream': 9 }
const MEASURE = fileURLToPath(new URL('./measure-snapshot.js', import.meta.url))

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN
/** The best round: a virtual machine needs six times as long for memory that its host took back. */
const least = (values: readonly number[]): number => Math.min(...values)
const print = (line: string): void => void process.stdout.write(`${line}\n`)

function measured(what: 'write' | 'read', format: MeasuredFormat, input: string, output: string): MeasuredSnapshot {
  const out = execFileSync(process.execPath, [MEASURE, what, format, input, output, String(MEMORY)], {
    encoding: 'utf8',
  })
  return JSON.parse(out) as MeasuredSnapshot
}

function copy(from: string, to: string): number {
  rmSync(to, { force: true })
  touchMemory(`${to}.touched`)
  const start = performance.now()
  const ran = spawnSync('cp', ['--sparse=never', '--reflink=never', from, to])
  if (ran.status !== 0) throw new Error('cp failed')
  return performance.now() - start
}

/** Writes and reads a guest of 64 GiB, and prints the times next to those of cp. */
function compare(format: MeasuredFormat, kernelMiB: number, file: (name: string) => string): void {
  const [saved, copied, raw] = [file(`guest.${format}`), file('copy'), file('guest.img')]
  const rounds = Array.from({ length: ROUNDS }, () => {
    // Replacing an existing file takes longer: it is truncated first, and ext4 flushes the new one when it is closed.
    rmSync(saved, { force: true })
    const write = measured('write', format, file('vmlinux'), saved)
    const cp = copy(saved, copied)
    rmSync(copied)
    const read = measured('read', format, saved, raw)
    rmSync(raw)
    return { write, cp, read }
  })
  const cp = rounds.map((r) => r.cp)
  const bytes = statSync(saved).size
  const { dataPages = 0, pages = 0 } = rounds[0]?.write ?? {}
  const bound = (dataPages * 4096 + PAGE_COST[format] * pages) * ALLOWED.size
  print(
    `${format}: kernel of ${kernelMiB.toFixed(1)} MiB, guest of ${MEMORY / MiB} MiB, ${ROUNDS} rounds; ` +
      `cp of the file ${median(cp).toFixed(0)} ms, least ${least(cp).toFixed(0)}`,
  )
  for (const what of ['write', 'read'] as const) {
    const ms = rounds.map((r) => r[what].ms)
    const whole = median(rounds.map((r) => r[what].wholeMs))
    const peak = Math.max(...rounds.map((r) => r[what].peak)) / MiB
    print(
      `${what === 'write' ? 'written' : 'to raw'}  ${median(ms).toFixed(0)} ms (${whole.toFixed(0)} with Node's start and the kernel's reading), ` +
        `ratio of medians ${(median(ms) / median(cp)).toFixed(2)} of ${ALLOWED.ratio}; ` +
        `least ${least(ms).toFixed(0)} ms, ratio ${(least(ms) / least(cp)).toFixed(2)}; ` +
        `peak ${peak.toFixed(0)} MiB of ${(kernelMiB + ALLOWED.peakMiB).toFixed(0)}`,
    )
  }
  print(
    `file ${(bytes / MiB).toFixed(1)} MiB, bound ${(bound / MiB).toFixed(1)} (${dataPages} pages of data among ${pages})`,
  )
}

await withKernel((elf, file) => {
  writeFileSync(file('vmlinux'), elf)
  for (const format of Object.keys(MEASURED_GUESTS) as MeasuredFormat[]) compare(format, elf.length / MiB, file)
})
