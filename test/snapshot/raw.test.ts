/**
 * The raw format: written files read back equal, and a false sidecar is refused.
 *
 * Source: lib/snapshot/raw.ts.
 * Gotcha: the image here is bytes in memory; test/cli covers files.
 */
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { requirePv } from '../../lib/guest/domain.js'
import { makeP2m } from '../../lib/guest/p2m.js'
import {
  type ByteSource,
  buildDomain,
  bytesSource,
  type Domain,
  DomainBuilderError,
  describeDomain,
  readKernel,
} from '../../lib/index.js'
import { readSidecar } from '../../lib/snapshot/sidecar.js'
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

t.test('a false claim is refused by its path', async (t) => {
  const pvBuilt = buildDomain(await readKernel(pvKernelFile()), { ...config, p2m: { function: (pfn) => 4095 - pfn } })
  const kernel = await readKernel(pvhKernelFile({ paddr: 0x100000 }))
  const pvhBuilt = buildDomain(kernel, { ...config, type: 'pvh', purpose: 'vmm' })
  type Json = Record<string, unknown> & { memory: Record<string, unknown> }
  const bad = (built: Domain, change: (json: Json) => unknown, message: RegExp) => {
    const json = JSON.parse(sidecarOf(built, 'raw')) as Json
    change(json)
    const act = () => openPair(JSON.stringify(json), bytesSource(imageOf(built)))
    t.throws(act, { code: 'bad-snapshot', message })
  }
  const set = (key: string, value: unknown) => (json: Json) => Object.assign(json, { [key]: value })
  const setMemory = (key: string, value: unknown) => (json: Json) => Object.assign(json.memory, { [key]: value })
  bad(
    pvBuilt,
    setMemory('ranges', [
      [0, 10],
      [5, 4091],
    ]),
    /ranges cannot be used: expected sorted, disjoint ranges of pfn/,
  )
  bad(
    pvBuilt,
    setMemory('ranges', [[0, 4095]]),
    /pages cannot be used: expected 4095, the sum of the ranges, found 4096/,
  )
  bad(
    pvBuilt,
    setMemory('data', [
      [8, 1],
      [4, 1],
    ]),
    /expected an address of at least 0x9000, in order/,
  )
  bad(pvBuilt, setMemory('data', [[8, 0]]), /expected whole pages/)
  bad(pvBuilt, set('p2m', 'else'), /p2m cannot be used: expected identity, offset:N or list, found "else"/)
  bad(pvBuilt, set('regions', []), /p2m cannot be used: expected regions p2m that hold the list/)
  bad(pvBuilt, set('regions', [{ name: 'p2m', pfn: 4000, pages: 8 }]), /p2m cannot be used: expected a list that is in/)
  bad(pvBuilt, setMemory('data', [[0, 1]]), /p2m cannot be used: expected a list that is in the file/)
  bad(
    pvBuilt,
    set('saved', { records: [{ name: 'x', body: '*' }] }),
    /body cannot be used: expected base64, found "\*"/,
  )
  const holes = {
    pages: 4064,
    bytes: 4064 * PAGE_SIZE,
    ranges: [
      [0, 0x600],
      [0x620, 4096],
    ],
  }
  bad(
    pvBuilt,
    (json) => Object.assign(json, { p2m: 'identity', hypercallPage: 0x600, memory: { ...json.memory, ...holes } }),
    /hypercallPage cannot be used: expected a frame that the guest has, found 1536/,
  )
  bad(pvBuilt, set('hypercallPage', 5000), /hypercallPage cannot be used: expected an integer from 0 to 4095/)
  bad(pvhBuilt, set('hvmStartInfo', { paddr: '0xfffff000' }), /paddr cannot be used: expected an address in the memory/)
  const large = { size: 2 ** 27, readInto: (_: number, out: Uint8Array) => void out.fill(0x20) }
  const beside = (suffix: string) => (suffix === '.json' ? large : undefined)
  const files = { main: bytesSource(imageOf(pvBuilt)), beside }
  t.throws(() => readSidecar(files, 'xdb'), {
    code: 'bad-snapshot',
    message: 'the sidecar is too large: expected at most 67108864 bytes, found 134217728',
  })
  t.throws(() => readSidecar({ ...files, beside: () => undefined }, 'xdb'), {
    code: 'bad-snapshot',
    message: /^the sidecar is missing: expected a file whose name ends in \.json next to the image$/,
  })
})

t.test('members that most guests lack come back', async (t) => {
  const built = buildDomain(await readKernel(pvKernelFile()), { ...config, purpose: 'restore' })
  const through = (domain: Domain) => openPair(sidecarOf(domain, 'raw'), bytesSource(imageOf(domain)))
  const boot = { ...requirePv(built), features: ['writable_page_tables'] as const, hypercallPage: 0x200 }
  t.same(through({ ...built, boot }).boot, boot)
  const [vcpu] = built.vcpus
  if (vcpu?.pv === undefined) throw new Error('no vcpu')
  const context = new Uint8Array(5168).fill(3)
  const kept = through({ ...built, vcpus: [{ ...vcpu, pv: { ...vcpu.pv, context } }] })
  t.same(kept.vcpus[0]?.pv?.context, context)
  const saved = { config: '{}', records: [{ name: 'x', body: Uint8Array.of(1, 2) }] }
  t.same(through({ ...built, saved }).saved, saved)
  const { runs, ...tables } = boot.pageTables
  const pinned = runs.map((run, i) => (i === 0 ? { ...run, pinned: true as const } : run))
  const pins = through({ ...built, boot: { ...boot, pageTables: { ...tables, runs: pinned } } })
  t.same(requirePv(pins).pageTables.runs, pinned)
  const json = JSON.parse(sidecarOf(built, 'raw')) as { pageTables: { runs: Record<string, unknown>[] } }
  for (const run of json.pageTables.runs) run.pinned = false
  const plain = openPair(JSON.stringify(json), bytesSource(imageOf(built)))
  t.same(requirePv(plain).pageTables.runs, runs, 'a pin that is false is absent')
  if (built.kernel === undefined) throw new Error('no kernel')
  const packed = { ...built.kernel, codec: 'gzip' as const }
  t.same(through({ ...built, kernel: packed }).kernel, packed)
  const narrow = buildDomain(await readKernel(pvKernelFile({ class: 32 })), config)
  const [first] = narrow.vcpus
  if (first?.pv === undefined) throw new Error('no vcpu')
  const short = new Uint8Array(2800).fill(3)
  const wide = through({ ...narrow, vcpus: [{ ...first, pv: { ...first.pv, context: short } }] })
  t.same(wide.vcpus[0]?.pv?.context, short)
  const ran = { ...built, p2m: makeP2m({ function: (pfn) => (pfn === 9 ? undefined : pfn + 5) }, 4096) }
  t.equal(through(ran).p2m.mfn(4096), undefined, 'after the last page')
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
