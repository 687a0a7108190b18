/**
 * Compares our guests with the goldens, which libxenguest built, byte for byte, without libxenguest installed.
 *
 * Source: test/golden/README.md.
 * Gotcha: kernels are found by content. A kernel that Debian's archive no longer has is skipped with that reason, in CI
 * too; the peer tests compare the archive's current one.
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bootDifferences } from './compare.js'
import { buildOurs, type GuestSpec } from './guest-spec.js'
import { fetchedKernels, type KernelName, kernelPath } from './kernels.js'
import { type Manifest, memoryManifest } from './manifest.js'
import type { OracleLayout } from './oracle-layout.js'
import { goldenDir } from './paths.js'
import { requirePeer } from './require-peer.js'

interface GoldenKernel {
  readonly name?: KernelName
  readonly file: string
  readonly version?: string
  readonly sha256: string
}

const json = <T>(...path: string[]): T => JSON.parse(readFileSync(join(goldenDir, ...path), 'utf8')) as T
const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex')

/** Returns the file with that content: next to the golden, among the fetched ones, or in XDB_GOLDEN_KERNELS. */
function findByContent(golden: string, wanted: GoldenKernel): string | undefined {
  const stored = join(goldenDir, golden, wanted.file)
  if (existsSync(stored) && sha256(stored) === wanted.sha256) return stored
  const fetched = fetchedKernels().find((k) => k.sha256 === wanted.sha256)
  if (fetched) return kernelPath(fetched.name)
  const dir = process.env.XDB_GOLDEN_KERNELS
  if (!dir) return undefined
  const files = readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isFile())
  return files.map(({ name }) => join(dir, name)).find((path) => sha256(path) === wanted.sha256)
}

/** Ends a test whose kernel is missing. In CI this fails, unless the archive has another version. */
async function kernelGone(t: Test, { name, file, version }: GoldenKernel): Promise<void> {
  const other = fetchedKernels().find((k) => k.name === name)
  if (other)
    t.plan(0, `the archive has another version of ${file}: ${other.version}, not ${version}; see the peer tests`)
  else await requirePeer(t, async () => ({ missing: `${file} was not fetched: npm run kernels` }))
}

/** Returns the options of the golden's guest. */
function specOf(golden: string, { input }: OracleLayout): GuestSpec {
  const pages = input.memory_mib * 256
  const reverse = () => ({
    table: BigUint64Array.from({ length: pages }, (_, pfn) => BigInt(0x1000 + pages - 1 - pfn)),
  })
  return {
    memoryMiB: input.memory_mib,
    p2m: input.p2m === 'reverse' ? reverse() : 'identity',
    ramdisks: input.ramdisk.map((file) => readFileSync(join(goldenDir, golden, file))),
    ...(input.cmdline === null ? {} : { cmdline: input.cmdline }),
  }
}

const goldens = readdirSync(goldenDir, { withFileTypes: true }).filter((entry) => entry.isDirectory())
t.equal(goldens.length, 6, 'all goldens are there')

for (const { name: golden } of goldens) {
  t.test(golden, async (t) => {
    const wanted = json<GoldenKernel>(golden, 'kernel.json')
    const path = findByContent(golden, wanted)
    if (path === undefined) return kernelGone(t, wanted)
    const layout = json<OracleLayout>(golden, 'layout.json')
    const ours = await buildOurs(readFileSync(path), specOf(golden, layout))
    if (ours.outcome === 'refused') return t.fail(ours.error.message)
    const file = (name: string) => join(goldenDir, golden, name)
    const dump = {
      layout,
      startInfo: file('start_info.bin'),
      sharedInfo: file('shared_info.bin'),
      vcpu: file('vcpu.bin'),
    }
    t.strictSame(bootDifferences(ours.domain, dump), [], 'all but memory is as libxenguest had it')
    t.strictSame(memoryManifest(ours.domain.memory), json<Manifest>(golden, 'manifest.json'), 'and so is memory')
  })
}
