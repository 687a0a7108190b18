/**
 * Where we are not like libxenguest on purpose: the one table. Whatever differs and is not in it is a defect.
 *
 * Source: what libxenguest 4.17 does, seen by running it; why we do not, beside each.
 * Gotcha: an entry must recognise its own cause in the case that was built, not only the outcome, or it would excuse
 * other defects.
 */
import type { Patch } from './compare-memory.js'
import type { GeneratedCase } from './generate.js'
import { endPfnOf, type OurResult } from './guest-spec.js'
import type { OracleResult } from './oracle.js'
import type { OracleLayout } from './oracle-layout.js'

export interface KnownDifference {
  readonly name: string
  readonly reason: string
  /** Whether we refuse and they do not, for this cause. */
  readonly refusal?: (built: GeneratedCase, ours: OurResult, theirs: OracleResult) => boolean
  /** Whether both build and this cause may show in memory, */
  readonly cause?: (built: GeneratedCase) => boolean
  /** and what of theirs is then to be taken for ours. */
  readonly patch?: (layout: OracleLayout) => Patch
}

const MAX_CMDLINE = 1023
const HOLE = 0xffffffffffffffffn

type Refusal = NonNullable<KnownDifference['refusal']>

/** A refusal of ours with that code and words, of something that they build. */
const weRefuse =
  (code: string, words: RegExp, theirs: readonly OracleResult['outcome'][] = ['built']): Refusal =>
  (_, ours, peer) =>
    ours.outcome === 'refused' &&
    ours.error.code === code &&
    words.test(ours.error.message) &&
    theirs.includes(peer.outcome)

/** Frames of the address space that the guest does not have. */
function hasHoles({ spec }: GeneratedCase): boolean {
  const { p2m } = spec
  if (spec.vmem && spec.memoryMiB * 256 !== endPfnOf(spec)) return true
  return typeof p2m === 'object' && 'table' in p2m && p2m.table.includes(HOLE)
}

/** Removes entries whose frame is all ones, out of frames that hold page tables. */
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
      weRefuse('bad-config', /command line does not fit/)(built, ours, theirs),
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
    name: 'a p2m at INIT_P2M that runs into the initial mapping',
    reason: 'they compare a masked address with an unmasked one, map both over each other, or abort',
    refusal: weRefuse('overlap', /two initial mappings want the same virtual addresses/, ['built', 'crashed']),
  },
  {
    name: 'a page that the initial mapping covers and the guest does not have',
    reason: 'they write an entry that is present and names frame 2^52-1, which Xen refuses; ours is not present',
    cause: hasHoles,
    patch: withoutHoleEntries,
  },
]
