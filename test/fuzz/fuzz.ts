/**
 * npm run fuzz: runs every target, two at a time, equally each time. Prints a table, every finding, and the totals.
 *
 *   npm run fuzz -- [--target NAME] [--seed N] [--seconds N]
 *   npm run fuzz -- --target NAME --input BASE64
 *
 * Source: the targets of ./targets.ts.
 * Gotcha: --seconds is for each target. With it, the clock decides what is executed, so runs differ.
 */
import { parseArgs } from 'node:util'
import { type Found, requirePeer } from '../peer/require-peer.js'
import { KINDS, type Length, type Report } from './fuzzer.js'
import { fuzzInChild } from './in-child.js'
import { TARGET_NAMES, targetNamed } from './targets.js'

const { values } = parseArgs({
  options: {
    target: { type: 'string' },
    seed: { type: 'string', default: '1' },
    seconds: { type: 'string' },
    input: { type: 'string' },
  },
})
const seed = Number(values.seed)
const names = values.target === undefined ? TARGET_NAMES : [values.target]
const AT_ONCE = 2

const say = (line: string) => process.stdout.write(`${line}\n`)
const row = (cells: readonly (string | number)[]) =>
  say(cells.map((cell, i) => (i === 0 ? String(cell).padEnd(10) : String(cell).padStart(10))).join(' '))

/** Executes one input and shows its error. */
async function runOnce(name: string, input: Uint8Array): Promise<void> {
  const target = targetNamed(name)
  await target.seeds()
  const start = process.cpuUsage()
  try {
    await target.run(input)
    say('accepted')
  } finally {
    const { user, system } = process.cpuUsage(start)
    say(`${(user + system) / 1000} ms of processor time, ${process.resourceUsage().maxRSS} KiB at most`)
    target.close?.()
  }
}

const totals = { executions: 0, escape: 0, bound: 0, wrong: 0, missing: 0 }

/** Whether the target's peer is installed. A missing one is reported, and fails in CI. */
async function hasPeer(name: string): Promise<boolean> {
  const missing = await targetNamed(name).missing?.()
  const found: Found<true> = missing === undefined ? { found: true } : { missing }
  const skip = {
    plan: (_: 0, reason: string) => say(`${name} is skipped: ${reason}`),
    fail(reason: string) {
      say(`${name}: ${reason}`)
      totals.missing++
    },
  }
  return (await requirePeer(skip, async () => found)) !== undefined
}

function show(name: string, seconds: number, report: Report): void {
  const { executions, refused, corpus, covered, findings, digest, cpu } = report
  const count = KINDS.map((kind) => findings.filter((one) => one.kind === kind).length)
  row([name, executions, refused, corpus, covered, cpu.toFixed(1), seconds.toFixed(1), ...count, digest.toString(16)])
  totals.executions += executions
  for (const { kind, message, input } of findings) {
    totals[kind]++
    say(`  ${kind}, seed ${seed}: ${message}`)
    say(`  npm run fuzz -- --target ${name} --input ${Buffer.from(input).toString('base64')}`)
  }
}

async function fuzzAll(): Promise<void> {
  const waiting = [...names]
  const work = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      if (!(await hasPeer(name))) continue
      const { executions } = targetNamed(name)
      const length: Length = values.seconds === undefined ? { executions } : { seconds: Number(values.seconds) }
      const start = performance.now()
      const report = await fuzzInChild({ target: name, seed, length })
      show(name, (performance.now() - start) / 1000, report)
    }
  }
  row(['target', 'executions', 'refused', 'corpus', 'covered', 'CPU s', 'seconds', ...KINDS, 'digest'])
  await Promise.all(Array.from({ length: AT_ONCE }, work))
}

if (values.input !== undefined && values.target !== undefined) {
  await runOnce(values.target, new Uint8Array(Buffer.from(values.input, 'base64')))
} else {
  await fuzzAll()
  const { executions, escape: escapes, bound, wrong, missing } = totals
  say(`${executions} executions, ${escapes} escapes, ${bound} over the bounds, ${wrong} wrong`)
  process.exitCode = escapes + bound + wrong + missing > 0 || executions === 0 ? 1 : 0
}
