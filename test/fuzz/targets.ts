/**
 * Every target, in the order in which they are started: the longest first.
 *
 * Source: one file each in targets/.
 * Gotcha: some targets start another program, so a target is made only when it is requested.
 */
import { CODEC_NAMES } from '../../lib/codec/magic.js'
import { SNAPSHOT_FORMAT_NAMES } from '../../lib/snapshot/formats.js'
import type { Target } from './target.js'
import { blocksTarget } from './targets/blocks.js'
import { codecTarget } from './targets/codec.js'
import { configTarget } from './targets/config.js'
import { deltaTarget } from './targets/delta.js'
import { kernelTarget } from './targets/kernel.js'
import { pageWalkTarget } from './targets/page-walk.js'
import { searchTarget } from './targets/search.js'
import { snapshotTarget } from './targets/snapshot.js'
import { symbolsTarget } from './targets/symbols.js'
import { testsTarget } from './targets/tests.js'
import { xlCfgTarget } from './targets/xl-cfg.js'

const TARGETS: Readonly<Record<string, () => Target>> = {
  kernel: kernelTarget,
  ...Object.fromEntries(SNAPSHOT_FORMAT_NAMES.map((format) => [format, () => snapshotTarget(format)])),
  delta: deltaTarget,
  config: configTarget,
  ...Object.fromEntries(CODEC_NAMES.map((codec) => [codec, () => codecTarget(codec)])),
  blocks: blocksTarget,
  'page-walk': pageWalkTarget,
  symbols: symbolsTarget,
  search: searchTarget,
  tests: testsTarget,
  'xl-cfg': xlCfgTarget,
}

export const TARGET_NAMES = Object.keys(TARGETS)

/** @throws Error for an unknown name. */
export function targetNamed(name: string): Target {
  const make = TARGETS[name]
  if (make === undefined) throw new Error(`there is no target ${name}: expected one of ${TARGET_NAMES.join(', ')}`)
  return make()
}
