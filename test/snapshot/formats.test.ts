/**
 * The parts of a guest that cores keep, in our files and in others'.
 *
 * Source: lib/snapshot.
 * Gotcha: frames are pfns in some formats and mfns in others, so only the guest's view can be compared.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { DumpcoreHeader, XC_CORE_MAGIC } from '../../lib/abi/core-files.js'
import {
  DomainHeader,
  LIBXC_HEADER_BYTES,
  LIBXC_RECORD,
  PFINFO_PINNED,
  RecordHeader,
  X86PvP2mFrames,
} from '../../lib/abi/save-stream.js'
import { requirePv } from '../../lib/guest/domain.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  domainText,
  openSnapshot,
  PAGE_SIZE,
  readKernel,
  readVirtual,
  writeXenCore,
  writeXl,
} from '../../lib/index.js'
import { readCoreSections } from '../../lib/snapshot/elf-file.js'
import { openXl } from '../../lib/snapshot/xen-save.js'
import { pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf, sameGuest, THROUGH } from '../fixtures/snapshots.js'
import { requirePeer } from '../peer/require-peer.js'
import { findVerifyStream } from '../peer/verify-stream.js'

/** Returns a core with a misspelt owner of our note, so that it has only the parts that xl itself writes. */
function strangersCore(domain: Domain): Buffer {
  const bytes = Buffer.from(bytesOf(writeXenCore(domain)))
  bytes.write('xen-domain-foreign_', bytes.indexOf('xen-domain-builder\0'), 18, 'latin1')
  return bytes
}

/** Returns the offset of the body of the first record of that type, in an xl file that was just written. */
function bodyOf(file: Buffer, type: number): number {
  const magic = Buffer.alloc(8)
  magic.writeBigUInt64LE(0xffffffffffffffffn)
  for (let at = file.indexOf(magic) + LIBXC_HEADER_BYTES + DomainHeader.size; at < file.length; ) {
    const found = RecordHeader.decode(file, at)
    if (found.type === type) return at + RecordHeader.size
    at += RecordHeader.size + Math.ceil(found.body_length / 8) * 8
  }
  throw new Error(`no record ${type}`)
}

t.test('cores keep a p2m, regions and kernel; a core of xl goes without our note', async (t) => {
  const kernel = await readKernel(pvKernelFile())
  const built = buildDomain(kernel, { type: 'pv', memory: 8 * 2 ** 20, p2m: { offset: 99 }, cmdline: 'quiet' })
  for (const format of ['xen-core', 'elf-core'] as const) {
    const read = THROUGH[format](built)
    sameGuest(t, read, built, format)
    t.same(read.regions, built.regions)
    t.same(read.boot, built.boot)
    t.same(read.kernel, built.kernel)
    t.equal(read.p2m.mfn(5), 104)
  }
  const foreign = await openSnapshot(bytesSource(strangersCore(built)))
  t.same(foreign.vcpus, built.vcpus)
  t.match(domainText(foreign)[0], /^guest +\(no name\): pv x86_64, /)
  t.equal(foreign.p2m.mfn(0x100), 0x100 + 99)
  t.same(requirePv(foreign).startInfo, requirePv(built).startInfo)
  const si = requirePv(built).startInfo.vaddr
  t.same(readVirtual(foreign, si, 14), readVirtual(built, si, 14))
})

t.test('a core of a guest that runs: its registers have moved on, start_info is found by its magic', async (t) => {
  const kernel = await readKernel(pvKernelFile())
  const built = buildDomain(kernel, { type: 'pv', memory: 8 * 2 ** 20, p2m: { offset: 99 } })
  const [first, ...others] = built.vcpus
  if (first === undefined) return t.fail('a guest has a vcpu')
  const run = (rsi: bigint): Domain => {
    const registers = { ...first.registers, rsi, rdx: 0x4000000000000000n }
    return { ...built, vcpus: [{ ...first, registers }, ...others] }
  }
  // A register may be anything: another mapped page, or no address.
  for (const rsi of [first.registers.rip & ~0xfffn, 0x1234n]) {
    const bytes = strangersCore(run(rsi))
    const { pfn, vaddr } = requirePv(await openSnapshot(bytesSource(bytes))).startInfo
    t.same({ pfn, vaddr }, requirePv(built).startInfo)
    bytes.write('xen-0.0', bytes.indexOf('xen-3.0-x86_64\0\0\0'), 'latin1')
    await t.rejects(openSnapshot(bytesSource(bytes)), {
      code: 'bad-snapshot',
      message: /start_info is missing/,
    })
  }
})

t.test('a p2m list that lies in pieces keeps its order, and tables their pins, in every format', async (t) => {
  const kernel = await readKernel(pvKernelFile())
  const built = buildDomain(kernel, { type: 'pv', memory: 8 * 2 ** 20, name: 'run', purpose: 'restore' })
  const uuid = '6cf5c1f3-4b2e-4e52-9f7c-3a5b9d2f0c11'
  const file = Buffer.from(bytesOf(writeXl(built, { uuid })))
  // As Linux leaves it: the list was made again, from the top of memory down.
  const list = bodyOf(file, LIBXC_RECORD.X86_PV_P2M_FRAMES) + X86PvP2mFrames.size
  const frames = Array.from({ length: 4 }, (_, i) => file.readBigUInt64LE(list + 8 * i))
  for (const [i, frame] of frames.toReversed().entries()) file.writeBigUInt64LE(frame, list + 8 * i)
  // It also pins a table other than the top one.
  const { runs } = requirePv(built).pageTables
  const table = runs.find(({ level }) => level === 1)?.pfn ?? 0
  const entry = bodyOf(file, LIBXC_RECORD.PAGE_DATA) + 8 + 8 * table + 7
  t.equal(file[entry], 1 << 4, 'the type is in the top bits')
  file[entry] = (1 | PFINFO_PINNED) << 4

  const guest = await openSnapshot(bytesSource(file))
  t.same(guest.pageType(table), { level: 1, pinned: true })
  t.same(
    guest.regions.filter(({ name }) => name === 'p2m').map(({ pfn }) => pfn),
    frames.toReversed().map(Number),
  )
  for (const format of ['raw', 'xen-core', 'elf-core', 'xl'] as const) {
    t.equal(Buffer.compare(bytesOf(writeXl(THROUGH[format](guest), { uuid })), file), 0, format)
  }
})

t.test("a core of xl's of a guest that is not PV: memory and registers, and no devices to restore", async (t) => {
  const kernel = await readKernel(pvhKernelFile())
  const built = buildDomain(kernel, { type: 'pvh', memory: 64 * 2 ** 20, vcpus: 2, cmdline: 'quiet' })
  const [boot, waits] = built.vcpus
  if (!boot || !waits) throw new Error('two vcpus')
  // As in a running guest: in 64-bit mode, on tables that it made.
  const registers = { ...boot.registers, rip: 0xffffffff81000000n }
  const running = { ...built, vcpus: [{ ...boot, registers, cr0: 0x80050033n, cr3: 0x1000n, cr4: 0x20n }, waits] }
  const core = strangersCore(running)
  const read = await openSnapshot(bytesSource(core))
  t.equal(read.type, 'hvm')
  t.equal(read.abi, 'x86_64')
  t.same(read.vcpus[0]?.registers, registers)
  t.same(
    read.vcpus.map(({ cr0, cr3, efer }) => [cr0, cr3, efer]),
    [
      [0x80050033n, 0x1000n, 0x500n],
      [waits.cr0, waits.cr3, 0n],
    ],
  )
  for (const { paddr, bytes } of built.memory.chunks()) {
    t.equal(Buffer.compare(read.memory.read(paddr, bytes.length), bytes), 0, `the bytes at ${paddr}`)
  }
  t.notOk(read.memory.has(0x200000), 'what is not in the file is not there')
  for (const format of ['raw', 'xen-core', 'elf-core'] as const) sameGuest(t, THROUGH[format](read), read, format)
  t.throws(() => bytesOf(writeXl(read)), { code: 'bad-config', message: /the state of the guest's devices is missing/ })
  const still = await openSnapshot(bytesSource(strangersCore(built)))
  t.equal(still.abi, 'x86_32', 'before it turned anything on')
})

t.test('a hole of the p2m is a hole in an xl file, through every format', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'xdb-holes-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const pages = 2048
  // Frames that the guest gave back: some in the middle, and the last ones.
  const isHole = (pfn: number): boolean => (pfn >= 0x600 && pfn < 0x620) || pfn >= 0x7f0
  const ranges = [
    { start: 0, end: 0x600 },
    { start: 0x620, end: 0x7f0 },
  ]
  for (const elfClass of [64, 32] as const) {
    const kernel = await readKernel(pvKernelFile({ class: elfClass }))
    const config = { type: 'pv', memory: pages * PAGE_SIZE, name: 'holes', purpose: 'restore' } as const
    const p2m = { function: (pfn: number) => (isHole(pfn) ? undefined : 100000 - pfn) }
    const built = buildDomain(kernel, { ...config, p2m })
    const bytes = Buffer.from(bytesOf(writeXl(built)))
    const list = bodyOf(bytes, LIBXC_RECORD.X86_PV_P2M_FRAMES)
    t.equal(X86PvP2mFrames.decode(bytes, list).p2m_end_pfn, pages - 1, 'the list keeps its length')
    const read = openXl(bytesSource(bytes))
    t.same(read.memory.ranges, ranges, `${elfClass}-bit`)
    t.equal(read.p2m.mfn(0x600), undefined)
    for (const format of ['raw', 'xen-core', 'elf-core', 'xl'] as const) {
      const again = THROUGH[format](read)
      t.same(again.memory.ranges, ranges, format)
      t.equal(again.p2m.mfn(0x600), undefined, `${format}: a hole`)
      t.equal(Buffer.compare(bytesOf(writeXl(again)), bytes), 0, `${format}: the same file`)
      t.same(THROUGH.xl(THROUGH[format](built)).memory.ranges, ranges, `${format}: before it is an xl file`)
    }
    await t.test(`Xen's own checker takes the ${elfClass}-bit file`, async (t) => {
      const verify = await requirePeer(t, findVerifyStream)
      if (verify === undefined) return
      writeFileSync(join(folder, 'holes'), bytes)
      t.equal(verify(join(folder, 'holes')), undefined)
    })
    // A core of xl has every frame of the guest, so those that it does not list are holes.
    const listed = ranges.map(({ start, end }) => ({ name: 'listed', pfn: start, pages: end - start }))
    const core = await openSnapshot(bytesSource(strangersCore({ ...built, regions: [...built.regions, ...listed] })))
    t.same(core.memory.ranges, ranges, 'a core of xl')
    t.same(THROUGH.xl(core).memory.ranges, ranges, 'a core of xl, as an xl file')
    built.memory.write(0x600 * PAGE_SIZE, Uint8Array.of(1))
    t.throws(() => writeXl(built), {
      code: 'bad-snapshot',
      message: /^a page with content has no machine frame: expected a machine frame for pfn 0x600, found a hole/,
    })
  }
})

t.test('a core of xl whose parts contradict one another', async (t) => {
  const built = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 8 * 2 ** 20 })
  const foreign = strangersCore(built)
  const list = readCoreSections(bytesSource(foreign)).get('.xen_p2m')?.offset ?? 0
  const magic = Buffer.alloc(4)
  magic.writeUInt32LE(Number(XC_CORE_MAGIC))
  const header = foreign.indexOf(magic)
  const changed = (change: (core: Buffer) => unknown, core = foreign): Uint8Array => {
    const copy = Buffer.from(core)
    change(copy)
    return copy
  }
  const rename = (from: string, to: string) => (core: Buffer) => core.write(to, core.lastIndexOf(from), 'latin1')
  const field = (name: string, value: bigint) => (core: Buffer) =>
    core.writeBigUInt64LE(value, header + DumpcoreHeader.offsetOf(name))
  const bad = (change: (core: Buffer) => unknown, message: RegExp, core = foreign) =>
    t.rejects(openSnapshot(bytesSource(changed(change, core))), { code: 'bad-snapshot', message })
  await bad(
    rename('.xen_pages', '.xen_xxxxx'),
    /^ELF: the section \.xen_pages is missing: expected \.xen_pages, found /,
  )
  await bad(
    rename('.xen_prstatus', '.xen_xxxxxxxx'),
    /^ELF: the number of vcpu contexts is wrong: expected 1 contexts, found 0 bytes/,
  )
  await bad(
    field('xch_nr_vcpus', 7n),
    /^ELF: the number of vcpu contexts is wrong: expected 7 contexts, found 5168 bytes/,
  )
  await bad(
    field('xch_nr_pages', 5n),
    /^ELF: the header note contradicts the sections: expected 5 pages, found \d+ bytes/,
  )
  await bad((core) => core.write('x', header - 4), /^ELF: the header note is missing: expected \d+ bytes, found 0/)
  await bad(
    (core) => core.writeBigUInt64LE(0n, list + 16),
    /^ELF: the frame list is not in order: expected a pfn from \d+ on, found 0/,
  )
  const ours = Buffer.from(bytesOf(writeXenCore(built)))
  const ourList = readCoreSections(bytesSource(ours)).get('.xen_p2m')
  const last = (ourList?.offset ?? 0) + (ourList?.length ?? 0) - 16
  await bad(
    (core) => core.writeBigUInt64LE(5000n, last),
    /^ELF: a page lies outside the guest: expected pages that the guest has/,
    ours,
  )
  const pfn = Number(foreign.readBigUInt64LE(list))
  const hole = await openSnapshot(bytesSource(changed((core) => core.writeBigUInt64LE(2n ** 64n - 1n, list))))
  t.notOk(hole.memory.has(pfn), 'a page that xl could not read')
})
