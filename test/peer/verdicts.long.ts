/**
 * Compares `check`'s verdict with `build`'s outcome for every kernel from Debian's archive, of every suite: for each type
 * and for `auto`, with little, usual and much memory.
 *
 * Source: our own rule: what `check` says of a kernel is what `build` does with it.
 * Gotcha: a verdict is about the kernel alone. A guest may have too little memory, which only `build` can know; no
 * kernel here needs more than 4 GiB.
 */
import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { defined } from '../../lib/defined.js'
import type { Purpose } from '../../lib/guest/purpose.js'
import { buildDomain, DomainBuilderError, type ErrorCode, type Kernel, readKernel } from '../../lib/index.js'
import { bootVerdict, bootVerdicts, VERDICT_TYPES, type Verdict, type VerdictType } from '../../lib/kernel/verdict.js'
import type { DomainConfig } from '../../lib/protocol/config.js'
import { type FetchedKernel, FURTHER, fetchedKernels, kernelPath } from './kernels.js'
import { type Found, requirePeer } from './require-peer.js'

const MiB = 2 ** 20
const LARGE = 4096
const MEMORIES = [64, 512, LARGE]
/** The codes of a guest that is too small for its kernel. */
const OF_THE_GUEST: readonly ErrorCode[] = ['memory-too-small', 'does-not-fit']
/** The fewest kernels of `FURTHER` that must be there. */
const FURTHER_LEAST = 20

type Outcome = { readonly type: string } | { readonly code: ErrorCode; readonly reason: string }

function outcomeOf(act: () => { readonly type: string }): Outcome {
  try {
    return { type: act().type }
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    return { code: error.code, reason: error.message }
  }
}

const build = (kernel: Kernel, config: DomainConfig): Outcome => outcomeOf(() => buildDomain(kernel, config))

/** Asserts that a guest of a named type is built exactly if the verdict is ok, or is too small. */
function followsVerdict(t: Test, kernel: Kernel, verdict: Verdict, mebibytes: number): void {
  const { type } = verdict
  const outcome = build(kernel, { type, memory: mebibytes * MiB })
  const what = `${type} with ${mebibytes} MiB`
  if (!verdict.ok) t.same(outcome, { code: verdict.code, reason: verdict.reason }, `${what}: refused as by check`)
  else if ('type' in outcome) t.equal(outcome.type, type, `${what}: built`)
  else t.ok(mebibytes < LARGE && OF_THE_GUEST.includes(outcome.code), `${what}: ${outcome.reason}`)
}

/** The types that suit each purpose, best first; without a purpose, all of them. */
const SUITABLE = new Map<Purpose | undefined, readonly VerdictType[]>([
  [undefined, VERDICT_TYPES],
  ['create', ['pv', 'pvh']],
  ['restore', ['pv', 'pvh']],
  ['vmm', ['pvh', 'linux', 'pv']],
])

/** Asserts that `auto` builds the first suitable type whose verdict is ok, or refuses for a reason that check says. */
function autoFollows(t: Test, kernel: Kernel, verdicts: readonly Verdict[], mebibytes: number): void {
  for (const [purpose, types] of SUITABLE) {
    const parts = { memory: mebibytes * MiB, ...defined({ purpose }) }
    const outcome = build(kernel, { type: 'auto', ...parts })
    const suitable = types.flatMap((type) => verdicts.filter((verdict) => verdict.type === type))
    const best = suitable.find(({ ok }) => ok)
    const what = `auto with ${mebibytes} MiB${purpose === undefined ? '' : `, to ${purpose}`}`
    if (best !== undefined) {
      t.same(outcome, build(kernel, { type: best.type, ...parts } as DomainConfig), `${what}: as ${best.type}`)
    } else {
      t.ok(suitable.some(saysWhy(outcome)), `${what}: ${JSON.stringify(outcome)}`)
    }
  }
}

/** Whether a verdict gives the reason of a refusal. */
const saysWhy = (outcome: Outcome) => (verdict: Verdict) =>
  !verdict.ok && 'code' in outcome && verdict.code === outcome.code && outcome.reason.includes(verdict.reason)

/** The kernels, each content once. */
async function findKernels(): Promise<Found<FetchedKernel[]>> {
  const all = fetchedKernels()
  const further = all.filter(({ name }) => name in FURTHER).length
  if (further < FURTHER_LEAST) return { missing: `${further} further kernels were fetched: npm run kernels` }
  return { found: [...new Map(all.map((kernel) => [kernel.sha256, kernel])).values()] }
}

t.test('check and build agree on every kernel of the archive', async (t) => {
  const kernels = await requirePeer(t, findKernels)
  if (kernels === undefined) return
  let [built, refused] = [0, 0]
  for (const { name, package: from, version } of kernels) {
    await t.test(`${name} of ${from} ${version}`, async (t) => {
      let kernel: Kernel
      try {
        kernel = await readKernel(readFileSync(kernelPath(name)))
      } catch (error) {
        t.ok(error instanceof DomainBuilderError, `read by neither: ${error}`)
        refused += 1
        return
      }
      const verdicts = bootVerdicts(kernel)
      for (const { type, ok, ...rest } of verdicts) t.comment(type, ok ? 'ok' : `${JSON.stringify(rest)}`)
      for (const mebibytes of MEMORIES) {
        for (const type of VERDICT_TYPES) followsVerdict(t, kernel, bootVerdict(kernel, type), mebibytes)
        autoFollows(t, kernel, verdicts, mebibytes)
      }
      built += verdicts.some(({ ok }) => ok) ? 1 : 0
    })
  }
  t.comment(`${kernels.length} kernels: ${built} can boot, ${refused} were refused when read`)
})
