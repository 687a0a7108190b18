/**
 * One description of a guest for both builders, so that a test compares the builders, not two descriptions.
 *
 * Source: lib/protocol/config.ts on our side, oracle.ts on the other.
 * Gotcha: by default, each side picks another frame for shared_info. The oracle may pick one that the p2m also names,
 * which would then be two pages at once. So the frame is always given.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  buildDomain,
  type Domain,
  DomainBuilderError,
  type Kernel,
  type P2mSpec,
  readKernel,
  type XenRelease,
} from '../../lib/index.js'
import { INSTALLED_RELEASE, type Oracle, type OracleResult, runOracle } from './oracle.js'

const MIB = 2 ** 20
const PAGES_PER_MIB = 256
/** The first frame that the oracle allocates when a page must move below 4 GiB. */
const LOW_MFN = 0x100

export interface GuestSpec {
  /** The release that ours is built for. Default: that of the installed libxenguest. */
  readonly xen?: XenRelease
  readonly memoryMiB: number
  /** Ranges [start, end) in MiB that exist; they add up to memoryMiB. */
  readonly vmem?: readonly (readonly [number, number])[]
  readonly ramdisks?: readonly Uint8Array[]
  readonly cmdline?: string
  readonly features?: string
  readonly p2m?: 'identity' | { readonly offset: number } | { readonly table: BigUint64Array }
  readonly flags?: number
  readonly storeEvtchn?: number
  readonly consoleEvtchn?: number
  readonly storeDomid?: number
  readonly consoleDomid?: number
}

/** Returns the frame number after the highest frame. */
export function endPfnOf(spec: GuestSpec): number {
  return (spec.vmem?.at(-1)?.[1] ?? spec.memoryMiB) * PAGES_PER_MIB
}

const HOLE = 0xffffffffffffffffn

/** Returns a frame that the p2m does not name. */
function sharedInfoMfn(spec: GuestSpec): number {
  const { p2m = 'identity' } = spec
  const end = endPfnOf(spec)
  if (p2m === 'identity') return end
  if ('offset' in p2m) return p2m.offset + end
  let max = 0n
  for (const mfn of p2m.table) if (mfn !== HOLE && mfn > max) max = mfn
  return Number(max) + 1
}

/** The result on our side. Any error except a DomainBuilderError is a defect and is thrown. */
export type OurResult =
  | { readonly outcome: 'built'; readonly domain: Domain }
  | { readonly outcome: 'refused'; readonly error: DomainBuilderError }

/** Builds with this library. */
export async function buildOurs(kernel: Kernel | Uint8Array, spec: GuestSpec): Promise<OurResult> {
  const { memoryMiB, vmem, ramdisks, p2m = 'identity', ...same } = spec
  try {
    const domain = buildDomain(kernel instanceof Uint8Array ? await readKernel(kernel) : kernel, {
      xen: INSTALLED_RELEASE,
      ...same,
      type: 'pv',
      memory: memoryMiB * MIB,
      p2m: p2m satisfies P2mSpec,
      sharedInfoMfn: sharedInfoMfn(spec),
      lowMfn: LOW_MFN,
      ...(ramdisks ? { ramdisk: ramdisks } : {}),
      ...(vmem ? { vmemranges: vmem.map(([start, end]) => ({ start: start * MIB, end: end * MIB })) } : {}),
    })
    return { outcome: 'built', domain }
  } catch (error) {
    if (error instanceof DomainBuilderError) return { outcome: 'refused', error }
    throw error
  }
}

/** Builds with libxenguest, by default the installed one. The result's remove() deletes its files. */
export async function buildTheirs(kernelFile: string, spec: GuestSpec, oracle?: Oracle): Promise<OracleResult> {
  const { ramdisks = [], p2m = 'identity', ...same } = spec
  const dir = await mkdtemp(join(tmpdir(), 'xdb-spec-'))
  try {
    const files: string[] = []
    for (const [i, bytes] of ramdisks.entries()) {
      files.push(join(dir, `ramdisk${i}`))
      await writeFile(join(dir, `ramdisk${i}`), bytes)
    }
    let p2mArgument = 'identity'
    if (p2m !== 'identity' && 'offset' in p2m) p2mArgument = `offset:${p2m.offset}`
    if (p2m !== 'identity' && 'table' in p2m) {
      p2mArgument = join(dir, 'p2m')
      await writeFile(p2mArgument, p2m.table)
    }
    const options = { ...same, ramdisks: files, p2m: p2mArgument, sharedInfoMfn: sharedInfoMfn(spec) }
    return await runOracle(kernelFile, options, oracle)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
