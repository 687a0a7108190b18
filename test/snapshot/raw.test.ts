/**
 * The raw format: written files read back equal, and a false sidecar is refused.
 *
 * Source: lib/snapshot/raw.ts.
 * Gotcha: the image here is bytes in memory; test/cli covers files.
 */
import fc from 'fast-check'
import t, { type Test } from 'tap'
import {
  type ByteSource,
  buildDomain,
  bytesSource,
  type Domain,
  DomainBuilderError,
  describeDomain,
  readKernel,
} from '../../lib/index.js'
import { PAGE_SIZE } from '../../lib/units.js'
import { pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { openPair, sidecarOf } from '../fixtures/snapshots.js'

function imageOf(domain: Domain): Uint8Array {
  const image = new Uint8Array(domain.memory.endPfn * PAGE_SIZE)
  for (const { paddr, bytes } of domain.memory.chunks()) image.set(bytes, paddr)
  return image
}

const config = { type: 'pv', memory: 16 * 2 ** 20, ramdisk: pattern(777), cmdline: 'a "quoted" é', vcpus: 2 } as const

t.test('a guest read back is the guest that was written', async (t) => {
  for (const elfClass of [64, 32] as const) {
    for (const p2m of [
      'identity',
      { offset: 77 },
      { function: (pfn: number) => 4095 - pfn, name: 'reverse' },
    ] as const) {
      const built = buildDomain(await readKernel(pvKernelFile({ class: elfClass })), { ...config, p2m })
      const image = imageOf(built)
      const text = sidecarOf(built, 'raw', 'guest.img')
      const read = openPair(text, bytesSource(image))
      t.same(sidecarOf(read, 'raw', 'guest.img'), text, `${elfClass}-bit: the sidecar of what was read is the same`)
      t.same({ ...describeDomain(read), p2m: 0 }, { ...describeDomain(built), p2m: 0 })
      t.equal(Buffer.compare(imageOf(read), image), 0)
      for (const pfn of [0, 300, 4095]) t.equal(read.p2m.mfn(pfn), built.p2m.mfn(pfn))
      t.same(read.vcpus, built.vcpus)
      t.same(read.boot, built.boot)
    }
  }
})

/** Like imageOf, for a guest with addresses up to 4 GiB and above. */
const sparseImage = (domain: Domain): ByteSource => ({
  size: domain.memory.endPfn * PAGE_SIZE,
  readInto: (offset, out) => domain.memory.readInto(offset, out),
})

t.test('a PVH guest read back is the guest that was written', async (t) => {
  const kernel = await readKernel(pvhKernelFile({ notes: { GUEST_OS: 'test' } }))
  for (const platform of ['xen', 'pc'] as const) {
    for (const memory of [2 ** 26, 5 * 2 ** 30]) {
      const built = buildDomain(kernel, { ...config, type: 'pvh', memory, platform })
      const text = sidecarOf(built, 'raw', 'guest.img')
      const read = openPair(text, sparseImage(built))
      t.equal(sidecarOf(read, 'raw', 'guest.img'), text)
      t.same(describeDomain(read), describeDomain(built))
      t.same(read.vcpus, built.vcpus)
      t.same(read.boot, built.boot)
      t.same(read.memory.ranges, built.memory.ranges)
    }
  }
})

t.test('the same input gives the same bytes', async (t) => {
  const once = async () => sidecarOf(buildDomain(await readKernel(pvKernelFile()), config), 'raw')
  t.equal(await once(), await once())
})

t.test('a sidecar with any false claim is refused', async (t) => {
  await lieOf(t, buildDomain(await readKernel(pvKernelFile()), { ...config, type: 'pv' }))
  const pvh = await readKernel(pvhKernelFile({ paddr: 0x100000 }))
  await lieOf(t, buildDomain(pvh, { ...config, type: 'pvh', purpose: 'vmm' }))
})

async function lieOf(t: Test, built: Domain): Promise<void> {
  const image = bytesSource(imageOf(built))
  const good = JSON.parse(sidecarOf(built, 'raw')) as Record<string, unknown>
  const lies: fc.Arbitrary<unknown> = fc.oneof(
    fc.constantFrom(
      null,
      -1,
      1e300,
      0.5,
      '',
      '0x',
      '0xzz',
      `0x${'f'.repeat(17)}`,
      [],
      {},
      [[]],
      true,
      2 ** 53,
      'identity',
    ),
    fc.anything(),
  )
  const paths: string[][] = []
  const walk = (value: unknown, path: string[]) => {
    if (path.length > 0) paths.push(path)
    if (typeof value === 'object' && value !== null)
      for (const [key, inner] of Object.entries(value)) walk(inner, [...path, key])
  }
  walk(good, [])
  let refused = 0
  fc.assert(
    fc.property(fc.constantFrom(...paths), lies, (path, lie) => {
      const copy = structuredClone(good)
      let at: Record<string, unknown> = copy
      for (const key of path.slice(0, -1)) at = at[key] as Record<string, unknown>
      at[path.at(-1) as string] = lie
      try {
        const domain = openPair(JSON.stringify(copy), image)
        describeDomain(domain)
        imageOf(domain)
      } catch (error) {
        if (!(error instanceof DomainBuilderError)) throw error
        refused++
      }
    }),
    { numRuns: 1500 },
  )
  t.ok(refused > 500, `${refused} of 1500 refused, the others harmless`)
  t.throws(() => openPair('{', image), { code: 'unknown-format' })
  t.throws(() => openPair(JSON.stringify(good), bytesSource(new Uint8Array(4096))), { code: 'truncated' })
}
