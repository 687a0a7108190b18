/**
 * Builds more than a thousand kernels and guests from seeds, with this library and with libxenguest. Both accept the
 * same ones, with the same image, start_info, shared_info, registers and page types.
 *
 * Source: generate.ts, known-differences.ts.
 * Gotcha: with random seeds, failures would be hard to repeat. XDB_PEER_SEED and XDB_PEER_CASES change the fixed ones.
 */
import t from 'tap'
import { compareGenerated, TRAITS } from './generated.js'
import { KNOWN_DIFFERENCES } from './known-differences.js'
import { findOracle } from './oracle.js'
import { requirePeer } from './require-peer.js'

const DEFAULT = { seed: 1, cases: 1500 }
const FIRST_SEED = Number(process.env.XDB_PEER_SEED ?? DEFAULT.seed)
const CASES = Number(process.env.XDB_PEER_CASES ?? DEFAULT.cases)

t.test('generated kernels and guests', { timeout: 1_200_000 }, async (t) => {
  const oracle = await requirePeer(t, findOracle)
  if (!oracle) return
  const { outcomes, seen } = await compareGenerated(t, oracle, FIRST_SEED, CASES)
  // Only the default seeds must reach every property; others are for further search.
  if (FIRST_SEED !== DEFAULT.seed || CASES < DEFAULT.cases) return
  t.ok(outcomes['both build'] >= CASES / 3, 'a third of them and more is built by both')
  t.ok(outcomes['both refuse'] >= CASES / 10, 'a tenth of them and more is refused by both')
  for (const { name, seed } of KNOWN_DIFFERENCES) {
    const seenThere = seed === undefined ? seen : (await compareGenerated(t, oracle, seed, 1)).seen
    t.ok(seenThere.has(name), `known difference, seen: ${name}`)
  }
  for (const trait of TRAITS) t.ok((seen.get(trait) ?? 0) >= 3, `compared: ${trait}`)
})
