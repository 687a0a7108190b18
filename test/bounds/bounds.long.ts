/**
 * No small file costs much: at most a second of processor time and 256 MiB for each command. Four times as much input
 * costs at most four times as much.
 *
 * Source: getrusage(2) through process.resourceUsage(); docs/untrusted.md, "The cost of each command".
 * Gotcha: wall-clock time would fail on a busy machine, so this counts processor time. Machines differ, so it allows
 * twice the promised time, or twice the time that a yardstick takes at the same moment. A virtual machine whose host
 * is busy counts time that it did not get, so a command that seems slow runs again, and its least cost counts.
 * Quadratic growth takes sixteen times as long.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import * as path from 'node:path'
import t from 'tap'
import { isZero } from '../../lib/bytes.js'
import { PAGE_SIZE } from '../../lib/units.js'
import { MAIN, UNSAFE } from '../cli/command.js'
import { type Input, KINDS } from './inputs.js'

const MiB = 2 ** 20
/** The promised limits for a file of less than a megabyte. */
const PROMISED = { seconds: 1, peak: 256 * MiB }
/** The allowed factor for a slower machine. */
const SLOWER = 2
/** Seconds below which growth is not measurable. */
const NOISE = 0.3
const LARGEST = 4
/** The number of runs of a command that seems slow. */
const RUNS = 4

interface Cost {
  readonly seconds: number
  readonly peak: number
  /** The exit status, and the beginning of a refusal. */
  readonly end: string
}

const folder = mkdtempSync(path.join(tmpdir(), 'xdb-bounds-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const usage = path.join(folder, 'usage.json')
const hook = path.join(folder, 'usage.cjs')
writeFileSync(
  hook,
  `process.on('exit', () => {
    const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage()
    const cost = { seconds: (userCPUTime + systemCPUTime) / 1e6, peak: maxRSS * 1024 }
    require('node:fs').writeFileSync(${JSON.stringify(usage)}, JSON.stringify(cost))
  })`,
)

/** Returns the number of bytes in pages that are not all zero. */
function contentOf(bytes: Uint8Array): number {
  let held = 0
  for (let at = 0; at < bytes.length; at += PAGE_SIZE) {
    const page = bytes.subarray(at, at + PAGE_SIZE)
    if (!isZero(page)) held += page.length
  }
  return held
}

function layDown(input: Input): string {
  const place = path.join(folder, 'input')
  rmSync(place, { recursive: true, force: true })
  mkdirSync(place)
  for (const [name, { bytes, size }] of Object.entries(input.files)) {
    writeFileSync(path.join(place, name), bytes)
    if (size !== undefined) truncateSync(path.join(place, name), size)
  }
  return place
}

/** The stack, in KiB: less than half of a worker's in a browser. */
const STACK_KIB = 256

/** Runs Node, and returns how it ended and the cost that it wrote down at its exit. */
function measure(args: readonly string[], cwd: string) {
  rmSync(usage, { force: true })
  const node = ['-u', 'NODE_OPTIONS', process.execPath, `--stack-size=${STACK_KIB}`, '--require', hook, ...args]
  const end = spawnSync('env', node, { cwd, maxBuffer: 2 ** 28, timeout: 60_000 })
  if (end.status === null) throw new Error(`${args.join(' ')}: ${end.signal ?? end.error}: ${end.stderr}`)
  return { ...end, cost: JSON.parse(readFileSync(usage, 'utf8')) as Omit<Cost, 'end'> }
}

/** Returns the cost of one command. @throws Error if it prints anything but its answer or one line of refusal. */
function costOf(args: readonly string[], cwd: string): Cost {
  const { cost, status, stderr, stdout } = measure([MAIN, ...args], cwd)
  const said = stderr.toString()
  const what = `${args.join(' ')}: ${status}: ${said.slice(0, 300)}`
  if (Number(status) > 2) throw new Error(what)
  if (said.split('\n').length > 3 || UNSAFE.test(said.replaceAll('\n', ''))) throw new Error(`not one line: ${what}`)
  if (UNSAFE.test(stdout.toString('utf8', 0, 2 ** 20).replaceAll('\n', '')))
    throw new Error(`a control character: ${what}`)
  return {
    ...cost,
    end: `${status} ${said
      .replace(/^xen-domain-builder: /, '')
      .slice(0, 60)
      .trim()}`,
  }
}

const idle = costOf(['--version'], folder).seconds

/**
 * Plain Node code that takes more than a second: it parses lists as a sidecar has them, reads a file page by page, and
 * writes as many pages, which is the work of the dearest command.
 */
const YARDSTICK = `
  const text = JSON.stringify(Array.from({ length: 60_000 }, (_, i) => [4 * i, 1]))
  for (let round = 0; round < 40; round++) JSON.parse(text)
  const { openSync, readSync, rmSync, writeSync } = require('node:fs')
  const [from, to] = [openSync(process.execPath), openSync('yardstick', 'w')]
  for (let page = 0; page < 60_000; page++) {
    const bytes = Buffer.alloc(${PAGE_SIZE})
    readSync(from, bytes, 0, ${PAGE_SIZE}, (page % 4096) * ${PAGE_SIZE})
    writeSync(to, bytes)
  }
  rmSync('yardstick')
`

/** Returns the seconds that a command may take now. @param promised those that it may take on a machine at rest. */
function allowedSeconds(promised: number): number {
  const yardstick = measure(['-e', YARDSTICK], folder).cost.seconds - idle
  return SLOWER * promised * Math.max(1, yardstick)
}

/** Returns the least cost of a command, of one run if that keeps the promise, and otherwise of several. */
function leastCostOf(args: readonly string[], cwd: string, promised: number): Cost {
  let least = costOf(args, cwd)
  for (let run = 1; run < RUNS && least.seconds - idle > promised; run++) {
    const cost = costOf(args, cwd)
    if (cost.seconds < least.seconds) least = cost
  }
  return least
}

for (const { name, make, refused, seconds: promised = PROMISED.seconds } of KINDS) {
  t.test(name, async (t) => {
    const input = await make(LARGEST)
    for (const [file, { bytes }] of Object.entries(input.files)) {
      const held = contentOf(bytes)
      t.ok(held <= MiB, `${file} holds ${held} bytes`)
    }
    const place = layDown(input)
    const costs = input.commands.map((command) => ({ command, ...leastCostOf(command, place, promised) }))
    for (const { command, seconds, peak, end } of costs) {
      const more = seconds - idle
      const allowed = more < promised * SLOWER ? promised * SLOWER : allowedSeconds(promised)
      t.ok(more < allowed, `${command.join(' ')}: ${more.toFixed(2)} s of ${allowed.toFixed(2)} s; ${end}`)
      t.ok(peak < PROMISED.peak, `${command.join(' ')}: ${(peak / MiB).toFixed(0)} MiB`)
    }
    const isRefused = costs.every(({ end }) => !end.startsWith('0'))
    t.equal(isRefused, refused === true, isRefused ? 'all commands refuse it' : 'a command takes it')
    const slowest = costs.reduce((a, b) => (b.seconds > a.seconds ? b : a))
    if (slowest.seconds - idle < NOISE) return
    for (const scale of [1, 2]) {
      const { seconds } = costOf(slowest.command, layDown(await make(scale)))
      const [less, more] = [seconds - idle, slowest.seconds - idle]
      const allowed = (LARGEST / scale) * SLOWER * Math.max(less, NOISE / LARGEST)
      t.ok(
        more < allowed,
        `${slowest.command.join(' ')}: ${less.toFixed(2)} s at ${scale} x, ${more.toFixed(2)} s at 4 x`,
      )
    }
  })
}
