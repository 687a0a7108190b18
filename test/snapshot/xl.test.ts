/**
 * The xl format: Xen's checker accepts the written files, which read back as the same guest.
 *
 * Source: lib/snapshot/xen-save.ts; the checker is verify-stream-v2 of Debian's xen-utils.
 * Gotcha: frames are pfns in the file, so guests with different p2m have the same file.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  DomainHeader,
  LIBXC_HEADER_BYTES,
  LIBXC_RECORD,
  PFINFO_XALLOC,
  XL_MAGIC,
  XL_MANDATORY_STREAM_V2,
  XlHeader,
} from '../../lib/abi/save-stream.js'
import { requirePv } from '../../lib/guest/domain.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  DomainBuilderError,
  describeDomain,
  PAGE_SIZE,
  type PvConfig,
  type PvhConfig,
  readKernel,
  readStartInfo,
  translate,
  writeXl,
  type XlOptions,
} from '../../lib/index.js'
import { rawSidecar } from '../../lib/snapshot/raw.js'
import { openXl } from '../../lib/snapshot/xen-save.js'
import { damagedGuest, damages } from '../fixtures/damage.js'
import { pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { findKernel } from '../peer/kernels.js'
import { requirePeer } from '../peer/require-peer.js'
import { findVerifyStream, findXenUtils } from '../peer/verify-stream.js'

const UUID = '6d0f1a5e-3b7c-4f2a-9c1d-0e8b7a6f5d4c'

export function xlBytes(domain: Domain, options?: XlOptions): Uint8Array {
  return new Uint8Array(Buffer.concat(Array.from(writeXl(domain, options), (chunk) => chunk.slice())))
}

const config = {
  type: 'pv',
  memory: 32 * 2 ** 20,
  ramdisk: pattern(50000),
  cmdline: 'console=hvc0',
  name: 'written',
  purpose: 'restore',
  vcpus: 3,
} as const satisfies PvConfig
const reverse = { function: (pfn: number) => 100000 - pfn, name: 'reverse' }

const build = async (elfClass: 32 | 64, more: Pick<PvConfig, 'vcpus' | 'p2m' | 'purpose'> = {}): Promise<Domain> =>
  buildDomain(await readKernel(pvKernelFile({ class: elfClass, notes: { MOD_START_PFN: 1 } })), { ...config, ...more })

function sameMemory(t: Test, a: Domain, b: Domain): void {
  t.same(a.memory.ranges, b.memory.ranges)
  const bytes = a.memory.pageCount * PAGE_SIZE
  t.equal(Buffer.compare(a.memory.read(0, bytes), b.memory.read(0, bytes)), 0, 'memory')
}

t.test('a guest read back is the guest that was written', async (t) => {
  for (const elfClass of [64, 32] as const) {
    for (const version of [3, 2] as const) {
      const built = await build(elfClass)
      const read = openXl(bytesSource(xlBytes(built, { version })))
      sameMemory(t, read, built)
      t.same(read.vcpus, built.vcpus, 'vcpus')
      t.equal(read.name, 'written')
      const boot = requirePv(built)
      t.same({ ...read.boot, pageTables: 0 }, { ...boot, pageTables: 0 }, 'boot information')
      t.equal(requirePv(read).pageTables.top, boot.pageTables.top)
      t.equal(requirePv(read).pageTables.pages, boot.pageTables.pages)
      for (let pfn = 0; pfn < built.memory.endPfn; pfn++) {
        const [ours, theirs] = [built.pageType(pfn), read.pageType(pfn)]
        if (ours.level !== theirs.level || ours.pinned !== theirs.pinned) t.fail(`type of pfn ${pfn}`)
      }
      for (const { name, pfn, pages, vaddr } of read.regions.filter(({ name }) => name !== 'page_tables')) {
        t.ok(
          built.regions.some((r) => r.name === name && r.pfn === pfn && r.pages === pages && r.vaddr === vaddr),
          `${name} was found`,
        )
      }
    }
  }
})

t.test('the file is the same for any p2m, to the last byte', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const expected = xlBytes(await build(elfClass))
    for (const p2m of [{ offset: 4711 }, reverse]) {
      const built = await build(elfClass, { p2m })
      t.equal(Buffer.compare(xlBytes(built), expected), 0, `${elfClass}-bit`)
    }
  }
})

t.test('writing what was read changes only what is unknown about a foreign guest', async (t) => {
  const first = xlBytes(await build(64), { uuid: UUID })
  t.equal(Buffer.compare(xlBytes(openXl(bytesSource(first)), { uuid: UUID }), first), 0)
})

t.test('zeroed memory of the kernel is data, free memory is not', async (t) => {
  const paddr = 0x100000
  const segments = [{ paddr, vaddr: 0xffffffff80100000n, data: pattern(100), memsz: 5 * PAGE_SIZE }]
  const built = buildDomain(await readKernel(pvKernelFile({ segments })), { type: 'pv', memory: 2 ** 30 })
  const bytes = xlBytes(built)
  const read = openXl(bytesSource(bytes))
  const placed = [...read.memory.pages()]
  const bss = 0x100 + 4
  t.ok(
    placed.some((run) => bss >= run.pfn && bss < run.pfn + run.pages),
    'the last page of bss',
  )
  t.notOk(
    placed.some((run) => run.pfn + run.pages > 262000),
    'free memory',
  )
  const data = placed.reduce((sum, run) => sum + run.pages, 0)
  t.ok(bytes.length <= (data * PAGE_SIZE + 8 * read.memory.pageCount) * 1.01, 'no larger than it must be')
  t.ok(
    Buffer.from(bytes).includes(Buffer.from([0xff, 0xff, 3, 0, 0, 0, 0, PFINFO_XALLOC << 4])),
    'the last page is sent',
  )
})

t.test('a ramdisk that only a flag would find', async (t) => {
  const built = await build(64, { purpose: 'create' })
  t.throws(() => xlBytes(built), { code: 'bad-config', message: /ramdisk/ })
  const mapped = await build(64)
  const { mod_start, mod_len, flags } = readStartInfo(mapped)
  t.equal(flags & 8, 0)
  t.equal(mod_len, 50000n)
  const found = translate(mapped, mod_start)
  t.same(mapped.memory.read(found?.paddr ?? 0, 100), pattern(100))
})

t.test('what cannot be restored is refused: a dom0, a foreign page table', async (t) => {
  t.throws(() => xlBytes(buildDomain(dom0Kernel, { ...config, purpose: 'create', dom0: {} })), {
    code: 'bad-config',
    message: /xenstore/,
  })
  const foreign = await build(64, { p2m: { offset: 5000 } })
  const top = requirePv(foreign).pageTables.top
  foreign.memory.write(top * PAGE_SIZE + 8 * 100, Uint8Array.of(0x67, 0xf0, 0xff, 0x7f, 0, 0, 0, 0))
  t.throws(() => xlBytes(foreign), { code: 'bad-snapshot', message: /L4 table at pfn .*0x7ffff/ })
})
const dom0Kernel = await readKernel(pvKernelFile({ notes: { FEATURES: '!dom0' } }))

t.test("Xen's own checker", async (t) => {
  const verify = await requirePeer(t, findVerifyStream)
  if (!verify) return
  const folder = mkdtempSync(join(tmpdir(), 'xdb-xl-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'saved')
  for (const elfClass of [64, 32] as const) {
    for (const version of [3, 2] as const) {
      for (const vcpus of [1, 4]) {
        writeFileSync(file, xlBytes(await build(elfClass, { vcpus, p2m: reverse }), { version }))
        t.equal(verify(file), undefined, `${elfClass}-bit, version ${version}, ${vcpus} vcpus`)
        const kernel = await readKernel(pvhKernelFile({ class: elfClass }))
        const pvh = buildDomain(kernel, { type: 'pvh', memory: 20 * 2 ** 20, ramdisk: pattern(5000), vcpus })
        writeFileSync(file, xlBytes(pvh, { version }))
        t.equal(verify(file), undefined, `PVH, ${elfClass}-bit kernel, version ${version}, ${vcpus} vcpus`)
      }
    }
  }
  writeFileSync(file, xlBytes(await build(64)).fill(0xff, 5000, 5010))
  t.type(verify(file), 'string', 'it would have said')
})

t.test('a PVH guest read back is the guest that was written', async (t) => {
  const kernel = await readKernel(pvhKernelFile())
  const asked = { memory: 20 * 2 ** 20, ramdisk: [pattern(5000), { bytes: pattern(9), cmdline: 'two' }], vcpus: 3 }
  const built = buildDomain(kernel, { ...asked, type: 'pvh', cmdline: 'console=hvc0', name: 'written' })
  const bytes = xlBytes(built)
  const read = openXl(bytesSource(bytes))
  t.same(read.memory.ranges, built.memory.ranges)
  for (const { start, end } of built.memory.ranges) {
    const all = (domain: Domain) => domain.memory.read(start * PAGE_SIZE, (end - start) * PAGE_SIZE)
    t.equal(Buffer.compare(all(read), all(built)), 0, `memory from pfn ${start}`)
  }
  t.same(read.vcpus, built.vcpus)
  t.same(read.boot, built.boot)
  t.same([read.name, read.type, read.abi], ['written', 'pvh', 'x86_32'])
  t.same(read.saved?.records, [], 'nothing that a Domain does not say, except the configuration')
  const { kernel: origin, regions, ...described } = describeDomain(built)
  t.ok(origin && regions)
  t.match(describeDomain(read), described)
  t.equal(Buffer.compare(xlBytes(read, { uuid: UUID }), xlBytes(built, { uuid: UUID })), 0, 'written again')
})

t.test('the HVM context and parameters, by the offsets that Xen documents', async (t) => {
  const built = buildDomain(await readKernel(pvhKernelFile()), { type: 'pvh', memory: 20 * 2 ** 20, vcpus: 2 })
  const stream = Buffer.from(xlBytes(built))
  const params = stream.lastIndexOf(Buffer.from([0x0a, 0, 0, 0, 8 + 8 * 16, 0, 0, 0]))
  t.equal(stream.readUInt32LE(params + 8), 8)
  const found = Array.from({ length: 8 }, (_, i) => [
    Number(stream.readBigUInt64LE(params + 16 + 16 * i)),
    Number(stream.readBigUInt64LE(params + 24 + 16 * i)),
  ])
  t.same(found, [
    [1, 0xfeffc],
    [5, 0xfeffd],
    [6, 0xfeffb],
    [12, 0xfeffe000],
    [17, 0xfefff],
    [27, 0xfeff8],
    [28, 0xfeff9],
    [29, 0xfeffa],
  ])
  const context = params + 8 + 8 + 8 * 16
  t.equal(stream.readUInt32LE(context), 9)
  const body = stream.subarray(context + 8, context + 8 + stream.readUInt32LE(context + 4))
  const records: [number, number, number][] = []
  for (let at = 0; at < body.length; at += 8 + body.readUInt32LE(at + 4))
    records.push([body.readUInt16LE(at), body.readUInt16LE(at + 2), body.readUInt32LE(at + 4)])
  t.same(
    records,
    [
      [1, 0, 24],
      [2, 0, 1032],
      [5, 0, 24],
      [5, 1, 24],
      [14, 0, 240],
      [14, 1, 240],
      [0, 0, 0],
    ],
    'one vcpu runs, each has its local APIC and its MTRRs',
  )
  const lapics = [0, 1].map((i) => body.subarray(32 + 1040 + i * 32 + 8))
  t.same(
    lapics.map((lapic) => [lapic.readBigUInt64LE(0), lapic.readUInt32LE(8), lapic.readUInt32LE(12)]),
    [
      [0xfee00900n, 2, 2],
      [0xfee00800n, 2, 2],
    ],
    'on, as each starts; the first is the one that boots',
  )
  t.equal(body.readUInt32LE(8), 0x54381286)
  const cpu = body.subarray(40)
  const boot = built.boot.kind === 'hvm_start_info' ? built.boot.hvmStartInfo : undefined
  t.equal(cpu.readBigUInt64LE(520), BigInt(boot ?? -1), 'rbx')
  t.equal(cpu.readBigUInt64LE(640), 0x1000850n, 'rip')
  t.same(
    [648, 656, 720, 728].map((at) => Number(cpu.readBigUInt64LE(at))),
    [2, 0x11, 0xffff0ff0, 0x400],
  )
  t.same(
    [768, 772, 776, 788, 792].map((at) => cpu.readUInt32LE(at)),
    [...Array(4).fill(0xffffffff), 0x67],
  )
  t.same(
    [888, 892, 896, 908, 912].map((at) => cpu.readUInt32LE(at)),
    [0xc9b, 0xc93, 0xc93, 0xc93, 0x8b],
  )
})

t.test('PVH guests that would not live through it are refused', async (t) => {
  const memory = 20 * 2 ** 20
  const build = async (more: Partial<PvhConfig>, file: Uint8Array = pvhKernelFile()) =>
    buildDomain(await readKernel(file), { memory, ...more, type: 'pvh' })
  const refused = (domain: Domain, message: RegExp) => t.throws(() => xlBytes(domain), { code: 'bad-config', message })
  refused(await build({ purpose: 'vmm' }), /special pages/)
  refused(await build({ startInfoVersion: 0 }), /hvm_start_info version 1, found version 0/)
})

t.test("GRUB's PVH image, which asks Xen for its memory map, is refused, and only as xl", async (t) => {
  const grub = await requirePeer(t, () => findKernel('grub-i386-xen_pvh'))
  if (grub === undefined) return
  const domain = buildDomain(await readKernel(readFileSync(grub)), { type: 'pvh', memory: 64 * 2 ** 20 })
  t.throws(() => xlBytes(domain), {
    code: 'bad-config',
    message: /^the kernel cannot be restored: it asks Xen for the memory map, .* found GRUB's i386-xen_pvh\)?$/m,
  })
  t.equal(rawSidecar(domain, 'grub.img').type, 'pvh', 'raw takes it')
})

t.test('Xen as the kernel of a PVH guest, which asks for the map too, is refused', async (t) => {
  const utils = await requirePeer(t, findXenUtils)
  if (utils === undefined) return
  const shim = readFileSync(join(utils, 'boot', 'xen-shim'))
  const domain = buildDomain(await readKernel(shim), { type: 'pvh', memory: 64 * 2 ** 20 })
  t.throws(() => xlBytes(domain), { code: 'bad-config', message: /asks Xen for the memory map.*xen-shim/ })
})

t.test('a PVH file with a false claim anywhere is refused', async (t) => {
  const good = xlBytes(buildDomain(await readKernel(pvhKernelFile()), { type: 'pvh', memory: 17 * 2 ** 20 }))
  // Everything except page contents: the head, and the last records.
  const places = [...Array(1200).keys(), ...Array.from({ length: 2200 }, (_, i) => good.length - 2200 + i)]
  let refused = 0
  for (const [i, at] of places.entries()) {
    const bad = good.slice()
    bad[at] = (bad[at] ?? 0) ^ ((1 << (i % 8)) | 0x01)
    try {
      describeDomain(openXl(bytesSource(bad)))
    } catch (error) {
      if (!(error instanceof DomainBuilderError)) throw error
      refused++
    }
  }
  t.ok(refused > 300, `${refused} of ${places.length} refused, the others harmless`)
})

interface PlainRecord {
  readonly type: number
  readonly body: Buffer
}

/** Divides a file into its head, the records of libxc, and the records of libxl after them. */
function recordsOf(file: Uint8Array) {
  const bytes = Buffer.from(file)
  const start = bytes.indexOf(Buffer.from('ffffffffffffffff58454e46', 'hex')) + LIBXC_HEADER_BYTES + DomainHeader.size
  const records: PlainRecord[] = []
  let at = start
  do {
    const length = bytes.readUInt32LE(at + 4)
    records.push({ type: bytes.readUInt32LE(at), body: bytes.subarray(at + 8, at + 8 + length) })
    at += 8 + Math.ceil(length / 8) * 8
  } while (records.at(-1)?.type !== LIBXC_RECORD.END)
  return { head: bytes.subarray(0, start), records, tail: bytes.subarray(at) }
}

const recordBytes = ({ type, body }: PlainRecord): Buffer => {
  const out = Buffer.alloc(8 + Math.ceil(body.length / 8) * 8)
  out.writeUInt32LE(type)
  out.writeUInt32LE(body.length, 4)
  out.set(body, 8)
  return out
}

type RecordName = keyof typeof LIBXC_RECORD

/** The file with other records of libxc. */
function withRecords(
  file: Uint8Array,
  change: (records: readonly PlainRecord[]) => readonly PlainRecord[],
): Uint8Array {
  const { head, records, tail } = recordsOf(file)
  return new Uint8Array(Buffer.concat([head, ...change(records).map(recordBytes), tail]))
}

/** The file with another body in the first record of that name. */
const withBody = (file: Uint8Array, name: RecordName, change: (body: Buffer) => Buffer | undefined): Uint8Array =>
  withRecords(file, (records) => {
    const place = records.findIndex(({ type }) => type === LIBXC_RECORD[name])
    if (place < 0) throw new Error(`no record ${name}`)
    const body = Buffer.from(records[place]?.body ?? [])
    return records.with(place, { type: LIBXC_RECORD[name], body: change(body) ?? body })
  })

t.test('a record that contradicts the others, or its guest, is refused by name and place', async (t) => {
  const pv = xlBytes(buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 8 * 2 ** 20 }))
  const hvm = xlBytes(buildDomain(await readKernel(pvhKernelFile()), { type: 'pvh', memory: 20 * 2 ** 20 }))
  const bad = (file: Uint8Array, message: RegExp) =>
    t.throws(
      () => openXl(bytesSource(file)),
      { name: 'DomainBuilderError', code: 'bad-snapshot', message },
      `${message}`,
    )
  const without = (file: Uint8Array, name: RecordName) =>
    withRecords(file, (records) => records.filter(({ type }) => type !== LIBXC_RECORD[name]))
  const before = (file: Uint8Array, name: RecordName, other: RecordName) =>
    withRecords(file, (records) => {
      const moved = records.find(({ type }) => type === LIBXC_RECORD[name]) as PlainRecord
      const rest = records.filter((one) => one !== moved)
      return rest.toSpliced(
        rest.findIndex(({ type }) => type === LIBXC_RECORD[other]),
        0,
        moved,
      )
    })
  const place = '.*\\(file offset 0x[0-9a-f]+\\)$'
  const at = (text: string) => new RegExp(`^${text}${place}`)
  t.ok(openXl(bytesSource(withRecords(pv, (records) => records))), 'the file as it was')

  bad(
    withRecords(hvm, (records) => [{ type: LIBXC_RECORD.X86_PV_INFO, body: Buffer.alloc(8) }, ...records]),
    at('X86_PV_INFO record: the record is not allowed in this type of guest: expected a record of hvm guests'),
  )
  bad(
    before(pv, 'X86_PV_P2M_FRAMES', 'X86_PV_INFO'),
    at('X86_PV_P2M_FRAMES record: the record is too early: expected (X86_PV_INFO|STATIC_DATA_END) before it'),
  )
  bad(
    without(pv, 'X86_PV_P2M_FRAMES'),
    at('PAGE_DATA record: the record is too early: expected X86_PV_P2M_FRAMES before it'),
  )
  bad(
    without(pv, 'STATIC_DATA_END'),
    at('[A-Z0-9_]+ record: the record is too early: expected STATIC_DATA_END before it'),
  )
  bad(
    withBody(pv, 'X86_PV_INFO', (body) => {
      body[0] = 4
    }),
    at(
      'X86_PV_INFO record: the mode of the guest is unknown: expected width 8 and 4 levels, or 4 and 3, found width 4',
    ),
  )
  bad(
    withBody(pv, 'X86_PV_P2M_FRAMES', (body) => {
      body.writeUInt32LE(body.readUInt32LE(4) + 1, 0)
    }),
    at('X86_PV_P2M_FRAMES record: the range ends before it starts: expected at least 0x800, found 0x7ff'),
  )
  bad(
    withBody(pv, 'X86_PV_P2M_FRAMES', (body) => {
      body.writeUInt32LE(512, 0)
      return body.subarray(0, -8)
    }),
    at('X86_PV_P2M_FRAMES record: frames of the p2m are missing: expected at most frame 0, found 1'),
  )
  bad(
    withBody(pv, 'X86_PV_P2M_FRAMES', (body) => {
      body.writeUInt32LE(0x800, 8)
    }),
    at('X86_PV_P2M_FRAMES record: a frame of the p2m lies outside the guest: expected at most 0x7ff, found 0x800'),
  )
  bad(
    withBody(pv, 'PAGE_DATA', (body) => {
      body.writeUInt32LE(0)
    }),
    at('PAGE_DATA record: the record has no pages'),
  )
  bad(
    withBody(pv, 'PAGE_DATA', (body) => {
      body.writeUInt32LE(0x50000000, 12)
    }),
    at('PAGE_DATA record: page 0 has an unknown type: expected a PFINFO type, found 0x5'),
  )
  bad(
    withBody(pv, 'PAGE_DATA', (body) => Buffer.concat([body, Buffer.alloc(8)])),
    at('PAGE_DATA record: the length does not match the pages: expected \\d+ bytes, found \\d+'),
  )
  bad(
    withBody(pv, 'X86_PV_VCPU_BASIC', (body) => body.subarray(0, -8)),
    at('X86_PV_VCPU_BASIC record: the body has the wrong length: expected 5176 bytes, found 5168'),
  )
  bad(
    withBody(pv, 'X86_PV_VCPU_BASIC', (body) => {
      body.writeUInt32LE(4096)
    }),
    at('X86_PV_VCPU_BASIC record: the vcpu id is too large: expected below 4096, found 4096'),
  )
  bad(
    withBody(pv, 'X86_PV_VCPU_BASIC', (body) => {
      body.writeUInt32LE(1)
    }),
    at('END record: vcpu 0 has no context'),
  )
  bad(without(pv, 'SHARED_INFO'), at('END record: the stream is incomplete: expected SHARED_INFO'))
  bad(without(hvm, 'HVM_CONTEXT'), at('END record: the stream is incomplete: expected HVM_CONTEXT'))
  bad(
    withBody(hvm, 'HVM_PARAMS', (body) => body.subarray(0, 4)),
    at('HVM_PARAMS record: the body has the wrong length: expected at least 8 bytes, found 4'),
  )
})

t.test('a stream of libxl without a guest, and the flags of an older one', async (t) => {
  const good = Buffer.from(xlBytes(await build(64)))
  const flags = XL_MAGIC.length + XlHeader.offsetOf('mandatory_flags')
  const legacy = Buffer.from(good)
  legacy.writeUInt32LE(legacy.readUInt32LE(flags) & ~XL_MANDATORY_STREAM_V2, flags)
  t.throws(() => openXl(bytesSource(legacy)), {
    code: 'unknown-format',
    message: /^the file is a legacy save file of xl, of Xen before 4\.6/,
  })
  const unknown = Buffer.from(good)
  unknown.writeUInt32LE(unknown.readUInt32LE(flags) | 0x80, flags)
  t.throws(() => openXl(bytesSource(unknown)), {
    code: 'bad-snapshot',
    message: /^xl header: the mandatory flags are not supported: expected stream v2, with or without JSON, found 1/,
  })
})

t.test('a guest larger than any host is refused', async (t) => {
  const kernel = await readKernel(pvhKernelFile())
  const guest = buildDomain(kernel, { type: 'pvh', memory: 2 ** 46, purpose: 'restore' })
  t.throws(() => writeXl(guest), {
    code: 'does-not-fit',
    message: /^the guest is too large for a save file: expected at most \d+ pages/,
  })
})

t.test('a file of the other byte order is refused, in hex', async (t) => {
  const bytes = xlBytes(await build(64))
  bytes.subarray(32, 36).reverse()
  t.throws(() => openXl(bytesSource(bytes)), {
    code: 'bad-snapshot',
    message: 'xl header: the byte order is wrong: expected 0x01020304, found 0x04030201 (file offset 0x20)',
  })
})

t.test('an invalid uuid and an invalid version are refused', async (t) => {
  const guest = await build(64)
  for (const options of [{ uuid: 'x' }, { uuid: `${UUID}0` }, { version: 4 as 3 }]) {
    t.throws(() => xlBytes(guest, options), { code: 'bad-config' })
  }
  t.ok(xlBytes(guest, { uuid: UUID.toUpperCase(), version: 2 }).length > 0)
})

t.test('a guest that has not run is written as it is, damage included: Xen gives its verdict', async (t) => {
  for (const [name, kind] of damages) t.ok(xlBytes(await damagedGuest(kind)).length > 0, name)
})
