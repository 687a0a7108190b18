/**
 * Deltas: applied, chained, merged and rebased, for every pair of formats; their size; and damaged ones.
 *
 * Source: lib/snapshot/delta.ts.
 * Gotcha: a page of zeros and a hole are the same to a delta's identity, but not to the formats: their bytes show it.
 */
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { DELTA_KIND, DELTA_ZERO, DeltaHeader, DeltaRun } from '../../lib/abi/delta.js'
import { concat, isZero } from '../../lib/bytes.js'
import { requirePv } from '../../lib/guest/domain.js'
import {
  applyDeltas,
  buildDomain,
  bytesSource,
  type Domain,
  DomainBuilderError,
  type DomainConfig,
  GuestMemory,
  PAGE_SIZE,
  readKernel,
  type SnapshotFile,
  writeDelta,
  writeSnapshot,
} from '../../lib/index.js'
import { sha256 } from '../../lib/sha256.js'
import { SNAPSHOT_FORMAT_NAMES } from '../../lib/snapshot/formats.js'
import { identify } from '../../lib/snapshot/identity.js'
import { openXl } from '../../lib/snapshot/xen-save.js'
import { HVM_VCPUS, type HvmVcpus, hvmSaveFile } from '../fixtures/hvm-save.js'
import { linuxKernelFile, pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf, FORMATS, openMain, openPair, sidecarOf, sourceOf, THROUGH } from '../fixtures/snapshots.js'

const MiB = 2 ** 20
const common = { memory: 6 * MiB, ramdisk: pattern(9000), cmdline: 'quiet' }
const built = async (kernel: Uint8Array, config: DomainConfig): Promise<Domain> =>
  buildDomain(await readKernel(kernel), config)

/** Two guests of each type: the second has another command line, name, number of vcpus and ramdisk. */
const PAIRS: Readonly<Record<string, () => Promise<readonly [Domain, Domain]>>> = Object.fromEntries(
  Object.entries({
    pv64: [pvKernelFile(), { ...common, type: 'pv', purpose: 'restore' }],
    pv32: [pvKernelFile({ class: 32 }), { ...common, type: 'pv', purpose: 'restore' }],
    pvh: [pvhKernelFile({ paddr: 0x100000 }), { ...common, type: 'pvh' }],
    'pvh for a PC': [pvhKernelFile({ paddr: 0x100000 }), { ...common, type: 'pvh', purpose: 'vmm' }],
    linux: [linuxKernelFile(), { ...common, type: 'linux', memory: 20 * MiB }],
  } satisfies Record<string, [Uint8Array, DomainConfig]>).map(([name, [kernel, config]]) => [
    name,
    async () => [
      await built(kernel, config as DomainConfig),
      await built(kernel, {
        ...config,
        name: 'second',
        cmdline: 'quiet second=yes',
        vcpus: 2,
        ramdisk: concat([pattern(5000), pattern(9000)]),
      } as DomainConfig),
    ],
  ]),
)

const sourcesOf = (...deltas: readonly { file: Parameters<typeof bytesOf>[0] }[]) =>
  deltas.map(({ file }) => bytesSource(bytesOf(file)))

type Files = ReadonlyMap<string, Uint8Array>

/** The SHA-256 of a file: an image may end just below 4 GiB, so its pages of zeros are only counted. */
function hashOf(file: SnapshotFile): Uint8Array {
  const source = sourceOf(file)
  const found = new Set<number>()
  for (const { offset, bytes } of file.pieces())
    for (let at = offset - (offset % PAGE_SIZE); at < offset + bytes.length; at += PAGE_SIZE) found.add(at)
  const pages = [...found].flatMap((at) => {
    const bytes = new Uint8Array(Math.min(PAGE_SIZE, file.size - at))
    source.readInto(at, bytes)
    return isZero(bytes) ? [] : [new Uint8Array(Float64Array.of(at).buffer), bytes]
  })
  return sha256(`${file.size}`, ...pages)
}

/** The hash of each file of a guest, in every format that can have it. */
function everyFormat(domain: Domain): Files {
  const found = new Map<string, Uint8Array>()
  for (const name of SNAPSHOT_FORMAT_NAMES) {
    try {
      for (const file of writeSnapshot(domain, name, { name: 'x' })) found.set(`${name}${file.suffix}`, hashOf(file))
    } catch (error) {
      if (!(error instanceof DomainBuilderError)) throw error
    }
  }
  return found
}

function sameFormats(t: Test, found: Domain, wanted: Domain | Files, what: string): void {
  const all = wanted instanceof Map ? wanted : everyFormat(wanted as Domain)
  t.ok(all.size >= 4)
  t.same(everyFormat(found), all, what)
}

const refused = async (t: Test, work: Promise<unknown>, why: RegExp): Promise<void> => {
  try {
    await work
    t.fail(`was not refused: ${why}`)
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    t.match(error.message, why)
  }
}

for (const [name, make] of Object.entries(PAIRS)) {
  t.test(`${name}: from every format to every format`, async (t) => {
    const [first, second] = await make()
    const through = (domain: Domain) =>
      FORMATS.flatMap((format) => {
        try {
          return [{ format, domain: THROUGH[format](domain) }]
        } catch (error) {
          if (error instanceof DomainBuilderError) return []
          throw error
        }
      })
    const bases = through(first)
    t.ok(bases.length >= 4)
    const { sha256: wanted } = await identify(first, {})
    for (const { format, domain } of bases)
      t.same((await identify(domain, {})).sha256, wanted, `${format}: the same identity`)
    for (const { format: to, domain: guest } of through(second)) {
      const wantedFiles = everyFormat(guest)
      for (const [i, { format: from, domain: base }] of bases.entries()) {
        const delta = await writeDelta(base, guest)
        const [source] = sourcesOf(delta)
        // Applied to the base in the next format.
        const other = bases[(i + 1) % bases.length] as (typeof bases)[number]
        const applied = await applyDeltas(other.domain, source ? [source] : [])
        sameFormats(t, applied, wantedFiles, `${from} and ${to}, applied to ${other.format}`)
        t.equal(Buffer.from((await identify(applied, {})).sha256).toString('hex'), delta.guest, 'its identity')
      }
    }
  })
}

t.test('HVM guests that xl saved', async (t) => {
  const [one, two] = (Object.keys(HVM_VCPUS) as HvmVcpus[]).map((vcpus, i) =>
    openXl(bytesSource(hvmSaveFile({ vcpus, version: i === 0 ? 3 : 2 }))),
  ) as [Domain, Domain]
  const delta = await writeDelta(one, two)
  sameFormats(t, await applyDeltas(THROUGH.raw(one), sourcesOf(delta)), two, 'hvm')
})

t.test('a chain, merged into one and rebased', async (t) => {
  const kernel = await readKernel(pvKernelFile())
  const make = (cmdline: string, ramdisk: Uint8Array) =>
    buildDomain(kernel, { ...common, type: 'pv', cmdline, ramdisk, purpose: 'restore' })
  const a = make('a', pattern(9000))
  const b = make('b', pattern(20000))
  const c = make('c', pattern(40000))
  const other = make('other', pattern(100))
  const [ab, bc] = [await writeDelta(a, b), await writeDelta(b, c)]
  const chained = await applyDeltas(a, sourcesOf(ab, bc))
  sameFormats(t, chained, c, 'base + d1 + d2')
  const merged = await writeDelta(a, chained)
  t.same(bytesOf(merged.file), bytesOf((await writeDelta(a, c)).file), 'd1 + d2 is the delta of the ends')
  const rebased = await writeDelta(other, chained)
  sameFormats(t, await applyDeltas(other, sourcesOf(rebased)), c, 'rebased')
  await refused(
    t,
    applyDeltas(a, sourcesOf(bc)),
    /the delta is for another base: expected one with SHA-256 [0-9a-f]{64}/,
  )
  await refused(t, applyDeltas(a, sourcesOf(bc, ab)), /is for another base/)
  await refused(t, applyDeltas(a, sourcesOf(ab, ab)), /is for another base/)
})

/** Returns a guest with these pages, by frame, in place of its memory. */
function withPages(guest: Domain, pages: number, content: Readonly<Record<number, Uint8Array>>): Domain {
  const memory = new GuestMemory(pages)
  for (const run of guest.memory.pages())
    memory.place(run.pfn * PAGE_SIZE, guest.memory.read(run.pfn * PAGE_SIZE, run.pages * PAGE_SIZE))
  for (const [pfn, bytes] of Object.entries(content)) memory.place(Number(pfn) * PAGE_SIZE, bytes)
  return { ...guest, memory }
}
const page = (value: number): Uint8Array => new Uint8Array(PAGE_SIZE).fill(value)

t.test('a page costs itself only where the base does not have it', async (t) => {
  const [guest] = await (PAIRS.linux as (typeof PAIRS)[string])()
  const pages = 2 ** 28
  const at = (from: number, values: readonly number[]) =>
    Object.fromEntries(values.map((value, i) => [from + i, page(value)]))
  const base = withPages(guest, pages, at(0x800000, [1, 2, 3, 4, 5]))
  const size = async (content: Readonly<Record<number, Uint8Array>>) => {
    const changed = withPages(guest, pages, content)
    const delta = await writeDelta(base, changed)
    const bytes = bytesOf(delta.file)
    const applied = await applyDeltas(base, [bytesSource(bytes)])
    t.same([...applied.memory.pages()], [...changed.memory.pages()], 'the same pages have content')
    for (const { pfn, pages: count } of changed.memory.pages()) {
      const [x, y] = [applied, changed].map(({ memory }) => memory.read(pfn * PAGE_SIZE, count * PAGE_SIZE))
      t.equal(Buffer.compare(x as Uint8Array, y as Uint8Array), 0)
    }
    return { bytes: bytes.length, ...delta.pages }
  }
  const all = at(0x800000, [1, 2, 3, 4, 5])
  const nothing = await size(all)
  t.ok(nothing.bytes < 1200, `a terabyte without a difference: ${nothing.bytes} bytes`)
  t.match(nothing, { own: 0, moved: 0 })
  const extra = async (content: Readonly<Record<number, Uint8Array>>) => {
    const found = await size({ ...all, ...content })
    return { ...found, bytes: found.bytes - nothing.bytes }
  }
  t.match(await extra(at(0x2000000, [3, 1, 4, 5, 1, 1])), { bytes: DeltaRun.size + 6 * 8, moved: 6, own: 0 })
  t.match(await extra(at(0x2000000, [0, 0, 0, 0, 0])), { bytes: DeltaRun.size, zero: nothing.zero + 5, own: 0 })
  t.match(await extra(at(0x2000000, [9, 8, 9])), { bytes: DeltaRun.size + 3 * PAGE_SIZE, own: 3 })
  t.match(await extra(at(0x800001, [0])), { bytes: 2 * DeltaRun.size, zero: nothing.zero + 1, own: 0 }, 'cleared')
  t.match(await size({}), { own: 0, moved: 0 }, 'pages that are gone')
})

t.test('a thousand guests of one kernel', async (t) => {
  const kernel = await readKernel(pvKernelFile({ pages: 512 }))
  const make = (i: number) =>
    buildDomain(kernel, {
      type: 'pv',
      memory: 16 * MiB,
      name: `guest-${i}`,
      cmdline: `quiet ip=10.0.${i >> 8}.${i & 255}`,
      ramdisk: concat([pattern(3000), Buffer.from(`config ${i}`), pattern(9000)]),
    })
  const base = make(0)
  const image = writeSnapshot(base, 'elf-core')[0]
  let [bytes, own] = [image?.size ?? 0, 0]
  const baseBytes = bytes
  for (let i = 1; i <= 1000; i++) {
    const delta = await writeDelta(base, make(i))
    bytes += delta.file.size
    own += delta.pages.own * PAGE_SIZE
  }
  t.ok(own >= 1000 * PAGE_SIZE)
  t.comment(`base ${baseBytes}, own pages ${own}, all ${bytes}: ratio ${bytes / (baseBytes + own)}`)
  t.ok(bytes <= 1.1 * (baseBytes + own), `${bytes} bytes, at most 1.1 * ${baseBytes + own}`)
})

t.test('the bytes are the same each time, and for a base in any format', async (t) => {
  const [first, second] = await (PAIRS.linux as (typeof PAIRS)[string])()
  const once = bytesOf((await writeDelta(first, second)).file)
  t.same(bytesOf((await writeDelta(first, second)).file), once)
  t.same(bytesOf((await writeDelta(THROUGH['elf-core'](first), second)).file), once)
})

t.test('damaged deltas', async (t) => {
  const [first, second] = await (PAIRS.pv64 as (typeof PAIRS)[string])()
  const sound = bytesOf((await writeDelta(first, second)).file)
  const apply = (bytes: Uint8Array) => applyDeltas(first, [bytesSource(bytes)])
  /** Returns the delta with changed bytes and a hash that agrees with them. */
  const changed = (change: (bytes: DataView) => void): Uint8Array => {
    const bytes = sound.slice()
    change(new DataView(bytes.buffer))
    const hashAt = DeltaHeader.offsetOf('sha256')
    bytes.set(sha256(bytes.subarray(0, hashAt), bytes.subarray(DeltaHeader.size)), hashAt)
    return bytes
  }
  const { state_bytes, runs } = DeltaHeader.decode(sound)
  const runAt = DeltaHeader.size + state_bytes
  const kinds = Array.from({ length: Number(runs) }, (_, i) => DeltaRun.decode(sound, runAt + i * DeltaRun.size).kind)
  const atKind = (kind: number) => runAt + kinds.indexOf(kind) * DeltaRun.size
  t.ok(kinds.includes(DELTA_KIND.SAME) && kinds.includes(DELTA_KIND.OWN))
  await apply(changed(() => {}))
  for (const at of [8, 20, 60, 90, 130, DeltaHeader.size + 5, runAt + 1, sound.length - 1]) {
    const bytes = sound.slice()
    bytes[at] = (bytes[at] as number) ^ 0x10
    await refused(t, apply(bytes), /delta/)
  }
  for (const length of [0, 7, 8, 100, DeltaHeader.size, sound.length - 1]) {
    await refused(t, apply(sound.subarray(0, length)), /not a delta|ends too early|differs from the sizes/)
  }
  const kindAt = DeltaRun.offsetOf('kind')
  const pagesAt = DeltaRun.offsetOf('pages')
  await refused(t, apply(changed((v) => v.setUint32(runAt + kindAt, 4, true))), /invalid run: expected a kind from 0/)
  await refused(t, apply(changed((v) => v.setUint32(runAt + pagesAt, 0, true))), /invalid run/)
  await refused(t, apply(changed((v) => v.setUint32(runAt + pagesAt, 2 ** 32 - 1, true))), /pages that the guest has/)
  await refused(t, apply(changed((v) => v.setBigUint64(runAt, 2n ** 63n, true))), /pages that the guest has/)
  await refused(t, apply(changed((v) => v.setBigUint64(runAt + DeltaRun.size, 0n, true))), /in order/)
  await refused(t, apply(changed((v) => v.setUint32(atKind(DELTA_KIND.OWN) + kindAt, DELTA_KIND.MOVED, true))), /moved/)
  await refused(
    t,
    apply(changed((v) => v.setUint32(atKind(DELTA_KIND.OWN) + kindAt, DELTA_KIND.ZERO, true))),
    /in no run/,
  )
  await refused(t, apply(changed((v) => v.setUint32(8, 2, true))), /unknown version/)
  const sameAt = atKind(DELTA_KIND.SAME)
  await refused(t, apply(changed((v) => v.setUint32(sameAt + kindAt, DELTA_KIND.OWN, true))), /at most \d+ own pages/)
  const { moved } = DeltaHeader.decode(sound)
  t.ok(moved > 0n)
  const movedAt = runAt + Number(runs) * DeltaRun.size
  await refused(
    t,
    apply(changed((v) => v.setBigUint64(movedAt, 2n ** 40n, true))),
    /invalid page number: expected a page of the base that is not zero, found 0x10000000000/,
  )
  await refused(t, apply(changed((v) => v.setUint8(DeltaHeader.size + 12, 0))), /decompress|checksum|differs/)
  await refused(t, applyDeltas(second, [bytesSource(sound)]), /is for another base/)
  t.equal(DELTA_ZERO, Number.MAX_SAFE_INTEGER)
})

t.test('runs that a delta cannot have', async (t) => {
  const [guest] = await (PAIRS.linux as (typeof PAIRS)[string])()
  const pages = 2 ** 28
  const base = withPages(guest, pages, { 16: page(1) })
  const sound = bytesOf((await writeDelta(base, withPages(guest, pages, { 16: page(1), 32: page(2) }))).file)
  const { state_bytes, runs } = DeltaHeader.decode(sound)
  const at = DeltaHeader.size + state_bytes
  const own = Array.from({ length: Number(runs) }, (_, i) => at + i * DeltaRun.size).find(
    (place) => DeltaRun.decode(sound, place).kind === DELTA_KIND.OWN,
  ) as number
  const bad = async (change: (view: DataView) => void, why: RegExp) => {
    const bytes = sound.slice()
    change(new DataView(bytes.buffer))
    const hashAt = DeltaHeader.offsetOf('sha256')
    bytes.set(sha256(bytes.subarray(0, hashAt), bytes.subarray(DeltaHeader.size)), hashAt)
    await refused(t, applyDeltas(base, [bytesSource(bytes)]), why)
  }
  const setKind = (view: DataView, kind: number) => view.setUint32(own + DeltaRun.offsetOf('kind'), kind, true)
  await bad((view) => setKind(view, DELTA_KIND.SAME), /invalid run: expected pages that the base has/)
  await bad((view) => {
    setKind(view, DELTA_KIND.ZERO)
    view.setUint32(own + DeltaRun.offsetOf('pages'), 2 ** 27, true)
  }, /invalid run: expected at most \d+ pages of zeros, found 134217728 pages/)
})

t.test('a compressed delta, and one whose guest lacks a member of the base', async (t) => {
  const [first, second] = await (PAIRS.pv64 as (typeof PAIRS)[string])()
  const packed = gzipSync(bytesOf((await writeDelta(first, second)).file))
  sameFormats(t, await applyDeltas(first, [bytesSource(packed)]), second, 'gzip')
  const { console, ...boot } = requirePv(second)
  t.ok(console)
  const applied = await applyDeltas(first, sourcesOf(await writeDelta(first, { ...second, boot })))
  t.equal(requirePv(applied).console, undefined)
  const heard = new AbortController()
  const { file } = await writeDelta(first, second, { signal: heard.signal })
  t.same(bytesOf(file), bytesOf((await writeDelta(first, second)).file), 'a signal that does not stop it')
})

t.test('a raw image and its sidecar as the base', async (t) => {
  const [first, second] = await (PAIRS.pvh as (typeof PAIRS)[string])()
  const [main] = writeSnapshot(first, 'raw', { name: 'x' })
  const base = openPair(sidecarOf(first, 'raw'), main ? sourceOf(main) : bytesSource(new Uint8Array(0)))
  const applied = await applyDeltas(base, sourcesOf(await writeDelta(first, second)))
  sameFormats(t, applied, second, 'raw')
  t.throws(() => openMain(bytesSource(bytesOf(writeSnapshot(first, 'raw')[1] ?? []))), /unknown/)
})

t.test('progress is reported, and a signal heard', async (t) => {
  const [first, second] = await (PAIRS.linux as (typeof PAIRS)[string])()
  const parts: number[] = []
  await writeDelta(first, second, { onProgress: ({ done, total }) => parts.push(done / total) })
  t.equal(parts.at(-1), 1)
  const stop = new AbortController()
  stop.abort(new Error('enough'))
  await t.rejects(writeDelta(first, second, { signal: stop.signal }), /enough/)
  await t.rejects(applyDeltas(first, sourcesOf(await writeDelta(first, second)), { signal: stop.signal }), /enough/)
})
