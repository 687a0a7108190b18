/**
 * The comparison of generated kernels and guests with one libxenguest.
 *
 * Source: generate.ts, known-differences.ts.
 * Gotcha: a case counts as known only by an entry of that table that recognises its cause.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { guestDifferences } from './compare.js'
import { describeCase, type GeneratedCase, generateCase } from './generate.js'
import { buildOurs, buildTheirs, type OurResult } from './guest-spec.js'
import { KNOWN_DIFFERENCES } from './known-differences.js'
import type { Oracle, OracleResult } from './oracle.js'
import type { OracleLayout } from './oracle-layout.js'

/** One for each of two cores: libxenguest runs in separate processes. */
const WORKERS = 2

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
  readonly outcomes: Readonly<Record<Verdict['outcome'], number>>
  /** How often each known difference and each property occurred. */
  readonly seen: ReadonlyMap<string, number>
}

/** Builds cases with both, one for each seed. Fails for a difference that is not known. */
export async function compareGenerated(t: Test, oracle: Oracle, first: number, cases: number): Promise<Comparison> {
  const dir = t.testdir()
  const outcomes: Record<Verdict['outcome'], number> = { 'both build': 0, 'both refuse': 0, known: 0, different: 0 }
  const seen = new Map<string, number>()
  const count = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1)
  const failures: string[] = []
  let next = first

  const worker = async (): Promise<void> => {
    while (next < first + cases) {
      const seed = next++
      const built = generateCase(seed)
      const file = join(dir, `kernel-${seed % WORKERS}-${seed}`)
      await writeFile(file, built.kernel.elf)
      const ours = await buildOurs(built.kernel.elf, { ...built.spec, xen: oracle.release })
      const theirs = await buildTheirs(file, built.spec, oracle)
      const { outcome, known, lines } = judge(built, ours, theirs)
      if (outcome === 'both build' && theirs.outcome === 'built') traits(built, theirs.layout).forEach(count)
      known.forEach(count)
      outcomes[outcome]++
      if (outcome === 'different') failures.push([...lines.slice(0, 5), describeCase(built)].join('\n'))
      await theirs.remove()
    }
  }
  await Promise.all(Array.from({ length: WORKERS }, worker))

  t.comment(`Xen ${oracle.release}: ${cases} cases from seed ${first}: ${JSON.stringify(outcomes)}`)
  t.comment(JSON.stringify(Object.fromEntries([...seen].sort())))
  t.strictSame(failures, [], 'nothing differs but what the table of known differences names')
  return { outcomes, seen }
}
