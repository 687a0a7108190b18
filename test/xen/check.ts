/**
 * checkInXen runs a table of cases in one boot, each with a check of its result, and reports them one by one.
 *
 * Source: our own; harness.ts runs them.
 * Gotcha: one case alone (XEN_ONLY=part-of-its-name,of-another) is hardly faster, since dom0's start takes the time.
 */
import t, { type Test } from 'tap'
import { findKernel, type KernelName } from '../peer/kernels.js'
import { type Found, requirePeer } from '../peer/require-peer.js'
import { findXen, type Hypervisor, runInXen, type XenCase, type XenResult } from './harness.js'

export interface CheckedCase extends XenCase {
  /** Checks the result after every step has succeeded. */
  check(t: Test, result: XenResult): void | Promise<void>
}

/** Returns a Xen if all kernels that its cases need are fetched, or the first that is missing. */
async function findAll(hypervisor: Hypervisor, kernels: readonly KernelName[]): Promise<Found<Hypervisor>> {
  for (const name of kernels) {
    const kernel = await findKernel(name)
    if ('missing' in kernel) return kernel
  }
  return findXen(hypervisor)
}

/** Returns each step's duration in dom0's time, from its line in the log to the next. The last line ends the case. */
function stepTimes(log: string): string {
  const steps = [...log.matchAll(/^\[([\d.]+)\] (.*)$/gm)].map(([, at, step]) => ({ at: Number(at), step }))
  return steps
    .slice(0, -1)
    .map(({ at, step }, i) => `${((steps[i + 1]?.at ?? at) - at).toFixed(1)} s ${step}`)
    .join('\n')
}

/** Registers one test that boots that Xen once and has a subtest for each case. */
export function checkInXen(hypervisor: Hypervisor, kernels: readonly KernelName[], all: readonly CheckedCase[]): void {
  const only = process.env.XEN_ONLY?.split(',') ?? ['']
  const cases = all.filter(({ name }) => only.some((part) => name.includes(part)))
  t.test(`real Xen (${hypervisor})`, async (t) => {
    if (!(await requirePeer(t, () => findAll(hypervisor, kernels)))) return
    const run = await runInXen(cases, hypervisor)
    let failed = false
    for (const { name, check } of cases) {
      await t.test(name, async (t) => {
        const result = run.results.get(name)
        if (result?.status === undefined) {
          t.fail(`the machine ended before this case did: ${run.serial.split('\n').slice(-15).join('\n')}`)
        } else if (result.status !== 0) {
          t.fail(`a step failed:\n${result.log}\nconsole:\n${result.console}\nXen:\n${result.xen}`)
        } else await check(t, result)
        if (result?.killed) t.comment(`xl was killed by a signal, and the case tried once more:\n${result.killed}`)
        t.comment(stepTimes(result?.log ?? ''))
        failed ||= !t.passing()
      })
    }
    if (failed) t.comment(`everything the run left behind is in ${run.directory}`)
    else run.remove()
  })
}
