/**
 * The table of intended differences from libxenguest. Any difference that is not in it is a defect.
 *
 * Source: the behaviour of libxenguest 4.14, 4.17 and 4.20, by running them; each entry has our reason.
 * Gotcha: an entry that checks only the outcome would excuse other defects, so it must detect its cause in the case
 * that was built.
 */
import type { Domain } from '../../lib/index.js'
import type { Patch } from './compare-memory.js'
import type { GeneratedCase } from './generate.js'
import { endPfnOf, type OurResult } from './guest-spec.js'
import type { OracleResult } from './oracle.js'
import type { OracleLayout } from './oracle-layout.js'

export interface KnownDifference {
  readonly name: string
  readonly reason: string
  /** Whether only one of the two refuses, for this cause. */
  readonly refusal?: (built: GeneratedCase, ours: OurResult, theirs: OracleResult) => boolean
  /** Whether both build and this cause gives our guest another layout, so that nothing more can be compared. */
  readonly layout?: (ours: Domain, theirs: OracleLayout) => boolean
  /** A seed whose case shows it, if it is rarer than one of a thousand. */
  readonly seed?: number
  /** Whether both build and this cause may show in memory. */
  readonly cause?: (built: GeneratedCase) => boolean
  /** The change that makes their memory equal to ours in that case. */
  readonly patch?: (layout: OracleLayout) => Patch
}

const MAX_CMDLINE = 1023
const HOLE = 0xffffffffffffffffn

type Refusal = NonNullable<KnownDifference['refusal']>

/** Our refusal with that code and text, of a case that they build. */
const weRefuse =
  (code: string, words: RegExp, theirs: readonly OracleResult['outcome'][] = ['built']): Refusal =>
  (_, ours, peer) =>
    ours.outcome === 'refused' &&
    ours.error.code === code &&
    words.test(ours.error.message) &&
    theirs.includes(peer.outcome)

/** How theirs may end where we refuse the configuration: a kernel with INIT_P2M may also make theirs abort, see below. */
const outcomesOf = ({ kernel }: GeneratedCase): readonly OracleResult['outcome'][] =>
  kernel.spec.notes?.some(({ type }) => type === 'INIT_P2M') ? ['built', 'crashed'] : ['built']

/** Whether INIT_P2M and VIRT_BASE lie in the 2 MiB of one L1 table, in a case that we build. */
const sharesAnL1: Refusal = (built, ours, theirs) => {
  const note = (name: string) => built.kernel.spec.notes?.find(({ type }) => type === name)?.desc
  const [initP2m, virtBase] = [note('INIT_P2M'), note('VIRT_BASE')]
  return (
    ours.outcome === 'built' &&
    theirs.outcome === 'refused' &&
    /get_pg_table: xc_dom_pfn_to_ptr failed/.test(theirs.reason) &&
    typeof initP2m === 'bigint' &&
    typeof virtBase === 'bigint' &&
    initP2m >> 21n === virtBase >> 21n
  )
}

/** Whether the address space has frames that the guest does not have. */
function hasHoles({ spec }: GeneratedCase): boolean {
  const { p2m } = spec
  if (spec.vmem && spec.memoryMiB * 256 !== endPfnOf(spec)) return true
  return typeof p2m === 'object' && 'table' in p2m && p2m.table.includes(HOLE)
}

/** Whether our kernel has one page more than theirs, in which the symbols of a 32-bit kernel end. */
function symbolsNeedAPage(ours: Domain, { sizeof_pfn, parms, segments }: OracleLayout): boolean {
  const pages = ours.regions.find(({ name }) => name === 'kernel')?.pages
  return sizeof_pfn === 4 && parms.bsd_symtab && pages === (segments.kernel?.pages ?? 0) + 1
}

/** Removes entries whose frame is all ones from page tables. */
function withoutHoleEntries(layout: OracleLayout): Patch {
  const tables = new Set<number>()
  for (const { levels } of layout.mappings) {
    for (const { first_pfn, tables: count } of levels) for (let i = 0; i < count; i++) tables.add(first_pfn + i)
  }
  return (pfn, page) => {
    if (!tables.has(pfn)) return
    for (let at = 0; at < page.length; at += 8) {
      const entry = page.readBigUInt64LE(at)
      if (entry >> 12n === HOLE >> 12n) page.writeBigUInt64LE(0n, at)
    }
  }
}

export const KNOWN_DIFFERENCES: readonly KnownDifference[] = [
  {
    name: 'a command line of more than 1023 bytes',
    reason: 'they cut it off without a word, and the guest boots with half of an option',
    refusal: (built, ours, theirs) =>
      Buffer.byteLength(built.spec.cmdline ?? '') > MAX_CMDLINE &&
      weRefuse('bad-config', /command line does not fit/, outcomesOf(built))(built, ours, theirs),
  },
  {
    name: 'a request for an unknown feature',
    reason: 'they pass it over without a word: a slip in its name would go unnoticed',
    refusal: (built, ours, theirs) =>
      built.spec.features?.includes('nonsense') === true &&
      weRefuse('bad-config', /features has an unknown name/, outcomesOf(built))(built, ours, theirs),
  },
  {
    name: 'an entry of 2^64-1',
    reason: 'they take it for an absent one, and start the kernel at its e_entry',
    refusal: weRefuse('wrong-layout', /entry is outside of the image.*found 0xffffffffffffffff/),
    seed: 5120,
  },
  {
    name: 'a segment whose bytes lie beyond the end of the file',
    reason: 'they leave it zero without a word: a truncated kernel starts, and runs into zeros',
    refusal: weRefuse('truncated', /segment reaches past the end of the file/),
  },
  {
    name: 'a segment with more bytes in the file than in memory',
    reason: 'they leave it zero without a word',
    refusal: weRefuse('bad-elf', /more bytes in the file than in memory/),
  },
  {
    name: 'segments that overlap so much that they are more than twice the image',
    reason: 'they leave out the last ones without a word, and the guest starts with half of a kernel',
    refusal: weRefuse('wrong-layout', /segments overlap too much/),
  },
  {
    name: 'a p2m at INIT_P2M that runs into the initial mapping',
    reason: 'they compare a masked address with an unmasked one, map both over each other, or abort',
    refusal: weRefuse('overlap', /two initial mappings overlap/, ['built', 'crashed']),
  },
  {
    name: 'a p2m at INIT_P2M in the same 2 MiB as the initial mapping',
    reason: 'they lose the L1 table that both mappings share, an internal error; ours serves both',
    refusal: sharesAnL1,
  },
  {
    name: 'a boot stack without a machine frame',
    reason: 'they never touch it: the guest faults at its first push',
    refusal: weRefuse('bad-config', /hole where the boot_stack must be/),
  },
  {
    name: 'an empty image, with or without symbols after it',
    reason: 'they start a guest that has no instruction',
    refusal: weRefuse('wrong-layout', /image is empty/),
  },
  {
    name: "a 32-bit kernel's symbols that end in a separate page",
    reason: 'they reserve up to 68 bytes too few, and write the rest after the mapped pages',
    layout: symbolsNeedAPage,
  },
  {
    name: 'a page that the initial mapping covers and the guest does not have',
    reason: 'they write an entry that is present and names frame 2^52-1, which Xen refuses; ours is not present',
    cause: hasHoles,
    patch: withoutHoleEntries,
  },
]
