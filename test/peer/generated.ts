/**
 * The comparison of generated kernels and guests with one libxenguest.
 *
 * Source: generate.ts, known-differences.ts.
 * Gotcha: a case counts as known only by an entry of that table that recognises its cause.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { guestDifferences } from './compare.js'
import { describeCase, type GeneratedCase, generateCase } from './generate.js'
import { buildOurs, buildTheirs, type OurResult } from './guest-spec.js'
import { KNOWN_DIFFERENCES } from './known-differences.js'
import { type Oracle, type OracleResult, serveOracle } from './oracle.js'
import type { OracleLayout } from './oracle-layout.js'

interface Verdict {
  readonly outcome: 'both build' | 'both refuse' | 'known' | 'different'
  /** Names of the known differences that occurred. */
  readonly known: readonly string[]
  readonly lines: readonly string[]
}

const same = (outcome: Verdict['outcome']): Verdict => ({ outcome, known: [], lines: [] })

/** Properties that occur among the guests that both build, for the default seeds. */
export const TRAITS = [
  'a 64-bit guest',
  'a 32-bit guest',
  'told by __xen_guest',
  'p != v',
  'PAE without extended cr3',
  'PAE, bimodal',
  'an L3 moved below 4 GiB',
  'a p2m at INIT_P2M',
  'INIT_P2M ignored',
  'a gzip ramdisk',
  'a mapped ramdisk',
  'an unmapped ramdisk',
  'two modules',
  'a symbol table',
  'memory in several ranges',
  'frames at an offset',
  'frames by a table',
  'frames above 4 GiB',
  'features asked for',
  'a hypercall page',
  'segments out of order',
] as const

/** Returns the properties of an accepted case, to check that the seeds reach all of them. */
function traits({ spec, kernel }: GeneratedCase, layout: OracleLayout): string[] {
  const { parms } = layout
  const all: Readonly<Record<(typeof TRAITS)[number], boolean>> = {
    'a 64-bit guest': layout.sizeof_pfn === 8,
    'a 32-bit guest': layout.sizeof_pfn === 4,
    'told by __xen_guest': parms.source === '__xen_guest',
    'p != v': parms.virt_base !== parms.elf_paddr_offset && parms.elf_paddr_offset !== '0x0',
    'PAE without extended cr3': layout.sizeof_pfn === 4 && parms.pae === 'yes',
    'PAE, bimodal': layout.sizeof_pfn === 4 && parms.pae === 'bimodal',
    'an L3 moved below 4 GiB': layout.l3_moved_below_4g !== undefined,
    'a p2m at INIT_P2M': layout.mappings.length > 1,
    'INIT_P2M ignored':
      layout.mappings.length === 1 && (kernel.spec.notes?.some(({ type }) => type === 'INIT_P2M') ?? false),
    'a gzip ramdisk': spec.ramdisks?.[0]?.[0] === 0x1f,
    'a mapped ramdisk': layout.start_info.mod_len !== '0x0' && !parms.unmapped_initrd,
    'an unmapped ramdisk': layout.start_info.mod_len !== '0x0' && parms.unmapped_initrd,
    'two modules': spec.ramdisks?.length === 2,
    'a symbol table': parms.bsd_symtab && (kernel.spec.sections?.some(({ name }) => name === '.symtab') ?? false),
    'memory in several ranges': (spec.vmem?.length ?? 0) > 1,
    'frames at an offset': typeof spec.p2m === 'object' && 'offset' in spec.p2m,
    'frames by a table': typeof spec.p2m === 'object' && 'table' in spec.p2m,
    'frames above 4 GiB': BigInt(layout.pins[0]?.mfn ?? 0) >= 0x100000n,
    'features asked for': Boolean(spec.features),
    'a hypercall page': layout.hypercall_page !== undefined,
    'segments out of order': kernel.spec.segments.some(
      (s, i, every) => i > 0 && BigInt(s.paddr) < BigInt(every[i - 1]?.paddr ?? 0),
    ),
  }
  return TRAITS.filter((name) => all[name])
}

function judge(built: GeneratedCase, ours: OurResult, theirs: OracleResult): Verdict {
  if (ours.outcome === 'refused' && theirs.outcome === 'refused') return same('both refuse')
  if (ours.outcome === 'built' && theirs.outcome === 'built') {
    const raw = guestDifferences(ours.domain, theirs)
    if (raw.length === 0) return same('both build')
    for (const { name, layout, cause, patch } of KNOWN_DIFFERENCES) {
      if (layout?.(ours.domain, theirs.layout)) return { outcome: 'known', known: [name], lines: [] }
      if (!cause?.(built) || !patch) continue
      if (guestDifferences(ours.domain, theirs, patch(theirs.layout)).length === 0) {
        return { outcome: 'known', known: [name], lines: [] }
      }
    }
    return { outcome: 'different', known: [], lines: raw }
  }
  const known = KNOWN_DIFFERENCES.filter(({ refusal }) => refusal?.(built, ours, theirs)).map(({ name }) => name)
  const weSay = ours.outcome === 'built' ? 'we build it' : `we refuse: ${ours.error.message}`
  const theySay = theirs.outcome === 'built' ? 'they build it' : `they do not: ${theirs.outcome}, ${theirs.reason}`
  return { outcome: known.length > 0 ? 'known' : 'different', known, lines: [weSay, theySay] }
}

/** The outcomes of a number of cases. */
export interface Comparison {
  readonly cases: number
  readonly outcomes: Readonly<Record<Verdict['outcome'], number>>
  /** How often each known difference and each property occurred. */
  readonly seen: ReadonlyMap<string, number>
  /** A report of each difference that is not known. */
  readonly failures: readonly string[]
}

/** Builds cases with both, one for each seed from `first` on. Yields the outcomes so far after each. */
export async function* compareCases(oracle: Oracle, first: number, cases: number): AsyncGenerator<Comparison> {
  const dir = await mkdtemp(join(tmpdir(), 'xdb-equal-'))
  const server = serveOracle(oracle)
  const file = join(dir, 'kernel')
  const outcomes: Record<Verdict['outcome'], number> = { 'both build': 0, 'both refuse': 0, known: 0, different: 0 }
  const seen = new Map<string, number>()
  const count = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1)
  const failures: string[] = []
  try {
    for (let seed = first; seed < first + cases; seed++) {
      const built = generateCase(seed)
      await writeFile(file, built.kernel.elf)
      const theirs = buildTheirs(file, built.spec, server)
      const ours = await buildOurs(built.kernel.elf, { ...built.spec, xen: oracle.release })
      const result = await theirs
      const { outcome, known, lines } = judge(built, ours, result)
      if (outcome === 'both build' && result.outcome === 'built') traits(built, result.layout).forEach(count)
      known.forEach(count)
      outcomes[outcome]++
      if (outcome === 'different') failures.push([...lines, describeCase(built)].join('\n'))
      await result.remove()
      yield { cases: seed - first + 1, outcomes, seen, failures }
    }
  } finally {
    server.stop()
    await rm(dir, { recursive: true, force: true })
  }
}

/** Builds cases with both, and fails for a difference that is not known. */
export async function compareGenerated(t: Test, oracle: Oracle, first: number, cases: number): Promise<Comparison> {
  // One part for each of two cores.
  const half = Math.ceil(cases / 2)
  const parts = await Promise.all([
    lastOf(compareCases(oracle, first, half)),
    lastOf(compareCases(oracle, first + half, cases - half)),
  ])
  const whole = parts.reduce(sum)
  t.comment(`Xen ${oracle.release}: ${cases} cases from seed ${first}: ${JSON.stringify(whole.outcomes)}`)
  t.comment(JSON.stringify(Object.fromEntries([...whole.seen].sort())))
  t.strictSame(whole.failures, [], 'nothing differs but what the table of known differences names')
  return whole
}

const NOTHING: Comparison = {
  cases: 0,
  outcomes: { 'both build': 0, 'both refuse': 0, known: 0, different: 0 },
  seen: new Map(),
  failures: [],
}

async function lastOf(comparisons: AsyncIterable<Comparison>): Promise<Comparison> {
  let last = NOTHING
  for await (const comparison of comparisons) last = comparison
  return last
}

function sum(a: Comparison, b: Comparison): Comparison {
  const outcomes = { ...a.outcomes }
  for (const name of Object.keys(outcomes) as Verdict['outcome'][]) outcomes[name] += b.outcomes[name]
  const seen = new Map(a.seen)
  for (const [name, count] of b.seen) seen.set(name, (seen.get(name) ?? 0) + count)
  return { cases: a.cases + b.cases, outcomes, seen, failures: [...a.failures, ...b.failures] }
}
