/**
 * Gives every damaged kernel to every reader of kernels, in a separate process, and reports the cost.
 *
 * Source: VmHWM in /proc/self/status, proc_pid_status(5).
 * Gotcha: wall-clock time would include other processes of the machine, so this counts processor time.
 */
import { readFileSync } from 'node:fs'
import { DomainBuilderError } from '../../lib/errors.js'
import { buildDomain } from '../../lib/index.js'
import { describeKernel, kernelText } from '../../lib/inspect/describe.js'
import { describeVerdict } from '../../lib/inspect/describe-verdicts.js'
import { readKernel } from '../../lib/kernel/kernel.js'
import { splitPayload } from '../../lib/kernel/unwrap.js'
import { bootVerdicts } from '../../lib/kernel/verdict.js'
import { damagedKernels } from '../fixtures/mutator.js'

export interface HostileReport {
  readonly cases: number
  /** The number of kernels that cannot be read, or that no builder would build. */
  readonly refused: number
  /** The number of accepted kernels that some builder would build. */
  readonly bootable: number
  readonly slowest: { readonly ms: number; readonly name: string }
  /** Peak memory in bytes, at the start and at the end. */
  readonly before: number
  readonly peak: number
  /** The first few failures. */
  readonly failures: readonly string[]
}

const PAGE = 4096
const MEMORY = 16 * 2 ** 20

/** Runs every operation on a kernel. @returns whether it would boot. */
async function useAll(bytes: Uint8Array): Promise<boolean> {
  const kernel = await readKernel(bytes, { maxBytes: 2 ** 20 })
  const verdicts = bootVerdicts(kernel)
  JSON.stringify([describeKernel(kernel), verdicts.map(describeVerdict)])
  for (const line of kernelText(kernel)) {
    if (/\p{Cc}/u.test(line)) throw new Error(`not printable: ${JSON.stringify(line)}`)
  }
  if (kernel.elf !== undefined) splitPayload(kernel.elf)
  const bootable = verdicts.some(({ ok }) => ok)
  if (!verdicts[0]?.ok) return bootable
  try {
    const guest = buildDomain(kernel, { type: 'pv', memory: MEMORY })
    for (const { pfn } of guest.regions) guest.memory.read(pfn * PAGE, PAGE)
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
  }
  return bootable
}

function peakMemory(): number {
  return Number(/VmHWM:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]) * 1024
}

const before = peakMemory()
const failures: string[] = []
let [cases, refused, bootable] = [0, 0, 0]
let slowest = { ms: 0, name: '' }
for (const { name, bytes } of damagedKernels()) {
  cases++
  const start = process.cpuUsage()
  try {
    if (await useAll(bytes)) bootable++
    else refused++
  } catch (error) {
    refused++
    const sound = error instanceof DomainBuilderError && !/\p{Cc}/u.test(error.message)
    if (!sound && failures.length < 10)
      failures.push(`${name}: ${error instanceof Error ? error.stack : String(error)}`)
  }
  const { user, system } = process.cpuUsage(start)
  const ms = (user + system) / 1000
  if (ms > slowest.ms) slowest = { ms, name }
}
process.stdout.write(
  JSON.stringify({ cases, refused, bootable, slowest, before, peak: peakMemory(), failures } satisfies HostileReport),
)
