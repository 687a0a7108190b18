/**
 * The table of known differences is about values that the probe kernels report, and our builder accepts the kernels.
 *
 * Source: known-differences.ts; test/fixtures/probe-kernel.ts.
 * Gotcha: only `npm run test:xen` shows whether the values differ.
 */
import t from 'tap'
import { buildDomain, readKernel } from '../../lib/index.js'
import { type ProbedGuest, probeKernel, probeNames } from '../fixtures/probe-kernel.js'
import { knownDifferences } from './known-differences.js'

const GUESTS: readonly ProbedGuest[] = ['pv64', 'pv32', 'pvh']

t.test('each row is about values of each of its guests', (t) => {
  const [restored, launched] = [knownDifferences('restored'), knownDifferences('launch')]
  t.ok(restored.length > 0 && launched.length > 0, `${restored.length} and ${launched.length} patterns`)
  const rows = [...restored, ...launched]
  for (const { pattern, names, guests } of rows)
    for (const guest of guests)
      t.ok(
        probeNames(guest).some((name) => names.test(name)),
        `${pattern} of ${guest}`,
      )
  t.end()
})

t.test('the probe kernels name each value once, and are the same bytes each time', async (t) => {
  for (const guest of GUESTS) {
    const names = probeNames(guest)
    t.equal(new Set(names).size, names.length, `${names.length} values of ${guest}`)
    const kernel = probeKernel(guest)
    t.same(kernel, probeKernel(guest))
    const type = guest === 'pvh' ? 'pvh' : 'pv'
    const domain = buildDomain(await readKernel(kernel), { type, memory: 32 * 2 ** 20 })
    t.equal(domain.abi, { pv64: 'x86_64', pv32: 'x86_32p', pvh: 'x86_32' }[guest])
  }
})
