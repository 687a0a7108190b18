/**
 * Kdump files: those of makedumpfile and QEMU are read, and other programs can read our files.
 *
 * Source: lib/snapshot/kdump.ts; test/fixtures/kdump.ts.
 * Gotcha: a page that makedumpfile left out is not zero, so it must not be read as zero.
 */
import t from 'tap'
import { DiskDumpHeader64, KdumpSubHeader64, NewUtsname, PageDesc } from '../../lib/abi/kdump.js'
import { BLOCK_CODECS } from '../../lib/codec/blocks.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  openSnapshot,
  PAGE_SIZE,
  readKernel,
  sniffSnapshot,
  translate,
  writeElfCore,
  writeKdump,
} from '../../lib/index.js'
import { dataRuns } from '../../lib/snapshot/data-pages.js'
import { encodeNote } from '../../lib/snapshot/elf-file.js'
import { type KdumpOptions, kdumpFile, kdumpPages, ZERO_PAGES } from '../fixtures/kdump.js'
import { pvKernelFile } from '../fixtures/kernels.js'
import { pagedGuest } from '../fixtures/paged-guest.js'
import { QEMU_CODE, qemuCore } from '../fixtures/qemu-core.js'
import { Random } from '../fixtures/random.js'
import { bytesOf } from '../fixtures/snapshots.js'

const open = (bytes: Uint8Array): Promise<Domain> => openSnapshot(bytesSource(bytes))
const differs = ({ memory }: Domain, pages: ReadonlyMap<number, Uint8Array>): number[] =>
  [...pages].flatMap(([pfn, page]) => (Buffer.compare(memory.read(pfn * PAGE_SIZE, PAGE_SIZE), page) ? [pfn] : []))

for (const width of [64, 32] as const) {
  for (const codec of BLOCK_CODECS) {
    for (const flattened of [false, true]) {
      t.test(`${width}-bit, ${codec}, ${flattened ? 'flattened' : 'plain'}`, async (t) => {
        const options: KdumpOptions = { width, codec, flattened }
        const file = kdumpFile(options)
        t.equal(await sniffSnapshot(bytesSource(file)), 'kdump')
        const guest = await open(file)
        t.same(differs(guest, kdumpPages(options)), [])
        t.equal(guest.memory.pageCount, kdumpPages(options).size)
        const core = await open(qemuCore({ elfClass: width }))
        t.same(guest.vcpus, core.vcpus, "the vcpus are those of QEMU's core")
        t.same([guest.type, guest.abi], [core.type, core.abi])
        t.same(guest.saved, core.saved)
        t.equal(translate(guest, width === 64 ? QEMU_CODE.vaddr : QEMU_CODE.vaddr32)?.pfn, QEMU_CODE.pfn)
      })
    }
  }
}

t.test('pages of zeros are holes', async (t) => {
  const guest = await open(kdumpFile())
  const placed = [...guest.memory.pages()].flatMap(({ pfn, pages }) => Array.from({ length: pages }, (_, i) => pfn + i))
  t.notOk(ZERO_PAGES.some((pfn) => placed.includes(pfn)))
  t.ok(ZERO_PAGES.every((pfn) => guest.memory.has(pfn)))
})

t.test('pages that were left out', async (t) => {
  const zero = await open(kdumpFile({ level: 1, excluded: [0x30, 0x31] }))
  t.same(zero.memory.read(0x30 * PAGE_SIZE, PAGE_SIZE), new Uint8Array(PAGE_SIZE), 'of level 1, zero pages alone')
  const filtered = await open(kdumpFile({ level: 31, excluded: [0x30, 0x31] }))
  t.throws(() => filtered.memory.read(0x30 * PAGE_SIZE, 1), { code: 'not-mapped' }, 'of level 31, any page')
  t.notOk(filtered.memory.has(0x31))
  t.ok(filtered.memory.has(0x2f) && filtered.memory.has(0x32))
  const unfinished = await open(kdumpFile({ missing: [0x30, 0x3f] }))
  t.throws(() => unfinished.memory.read(0x30 * PAGE_SIZE, 1), { code: 'not-mapped' })
  const rest = kdumpPages()
  for (const pfn of [0x30, 0x3f]) rest.delete(pfn)
  t.same(differs(unfinished, rest), [])
})

t.test('a kernel that dumped itself: registers by its status, and its tables by its vmcoreinfo', async (t) => {
  const core = await open(qemuCore())
  const mapped = 0xffffffff80000000n + (core.vcpus[0]?.cr3 ?? 0n) - 0x1000000n
  const lines = [`SYMBOL(swapper_pg_dir)=${mapped.toString(16)}`, 'NUMBER(phys_base)=16777216', 'OSRELEASE=6.1.0']
  const notes = statusNotes(kdumpFile())
  const guest = await open(kdumpFile({ vmcoreinfo: `${lines.join('\n')}\n`, notes, level: 31 }))
  t.same([guest.type, guest.abi, guest.vcpus.length], ['hvm', 'x86_64', 2])
  t.equal(guest.vcpus[0]?.registers.rip, core.vcpus[0]?.registers.rip)
  t.equal(translate(guest, QEMU_CODE.vaddr)?.pfn, QEMU_CODE.pfn)
  const info = encodeNote({ owner: 'VMCOREINFO', type: 0, desc: Buffer.from(lines.join('\n')) })
  const vmcore = await open(qemuCore({ notes: Buffer.concat([notes, info]) }))
  t.same(vmcore.vcpus, guest.vcpus, 'and of an ELF core')
  t.equal(translate(vmcore, QEMU_CODE.vaddr)?.pfn, QEMU_CODE.pfn)
  await t.rejects(open(kdumpFile({ notes })), {
    code: 'unknown-format',
    message: /^the dump has no description of the guest: expected QEMU's registers, or vmcoreinfo .*, found CORE /,
  })
})

/** Returns the notes without those of QEMU. */
function statusNotes(file: Uint8Array): Uint8Array {
  const sub = KdumpSubHeader64.decode(file, PAGE_SIZE)
  const notes = Buffer.from(file.subarray(Number(sub.offset_note), Number(sub.offset_note + sub.size_note)))
  return new Uint8Array(notes.subarray(0, notes.indexOf('QEMU\0') - 12))
}

t.test('what cannot be read is refused by name', async (t) => {
  const changed = (at: number, bytes: readonly number[], options: KdumpOptions = {}): Uint8Array => {
    const file = kdumpFile(options)
    file.set(bytes, at)
    return file
  }
  const descsAt = (1 + 1 + 64) * PAGE_SIZE
  const header = (field: string): number => DiskDumpHeader64.offsetOf(field)
  const cases: Readonly<Record<string, readonly [Uint8Array, RegExp]>> = {
    'one part of several': [kdumpFile({ split: 1 }), /one part of a dump: expected the output of makedumpfile --reass/],
    'another machine': [kdumpFile({ machine: 'aarch64' }), /the machine is not x86: .* found 'aarch64'/],
    'large blocks': [changed(header('block_size'), [0, 0, 1, 0]), /the size of a block is not that of x86: .* 65536/],
    'short bitmaps': [changed(header('bitmap_blocks'), [2, 0, 0, 0]), /the bitmaps are too short/],
    'unknown compression': [changed(descsAt + PageDesc.offsetOf('flags'), [0x40]), /compression of a page is unknown/],
    'an empty page': [changed(descsAt + PageDesc.offsetOf('size'), [0, 0]), /the size of a page is invalid/],
    'a page twice': [
      changed(descsAt + PageDesc.size, [...kdumpFile().subarray(descsAt, descsAt + PageDesc.size)]),
      /the bytes of a page are those of another one: expected a page of zeros/,
    ],
    'a flattened file of another version': [
      changed(31, [2], { flattened: true }),
      /flattened kdump: the version is unknown: expected 1.1, found 1.2/,
    ],
  }
  for (const [name, [bytes, message]] of Object.entries(cases)) {
    await t.rejects(open(bytes), { code: 'bad-snapshot', message, offset: Number }, name)
  }
  const damaged = kdumpFile()
  damaged.fill(0xff, damaged.length - 20)
  const guest = await open(damaged)
  t.throws(() => guest.memory.read((guest.memory.endPfn - 1) * PAGE_SIZE, 1), { code: 'payload-damaged' })
})

t.test('a flattened file is no larger than its pieces', async (t) => {
  const file = Buffer.from(kdumpFile({ flattened: true }))
  const bad = (change: (bytes: Buffer) => unknown, message: RegExp) => {
    const bytes = Buffer.from(file)
    change(bytes)
    return t.rejects(open(bytes), { code: 'bad-snapshot', message, offset: Number })
  }
  const first = 4096
  await bad((b) => b.writeBigInt64BE(0n, first + 8), /the length of a piece is invalid: expected 1 to \d+, found 0 /)
  await bad(
    (b) => b.writeBigInt64BE(1n << 40n, first + 8),
    /the length of a piece is invalid: expected 1 to \d+, found 1099/,
  )
  await bad((b) => b.writeBigInt64BE(-5n, first), /the offset of a piece is invalid: expected at most \d+, found -5 /)
  await bad((b) => b.writeBigInt64BE(1n << 50n, first), /the offset of a piece is invalid: .*, found 1125899906842624 /)
  await bad(
    (b) => b.writeBigInt64BE(BigInt(file.length + 2 ** 20 + 4096), first),
    /the pieces are too few: expected \d+ bytes, found \d+ /,
  )
  const piece = Buffer.alloc(16 + 8)
  piece.writeBigInt64BE(0n, 0)
  piece.writeBigInt64BE(8n, 8)
  piece.write('NOKDUMP!', 16)
  await t.rejects(open(Buffer.concat([file.subarray(0, -16), piece, file.subarray(-16)])), {
    code: 'bad-snapshot',
    message: /^kdump: the magic is missing: expected "KDUMP {3}", found something else/,
  })
})

t.test('an older file, and one whose parts contradict one another', async (t) => {
  const at = (field: string): number => DiskDumpHeader64.offsetOf(field)
  const bitmapsAt = 2 * PAGE_SIZE
  const descsAt = (1 + 1 + 64) * PAGE_SIZE
  const bad = (change: (bytes: Buffer) => unknown, code: string, message: RegExp) => {
    const bytes = Buffer.from(kdumpFile())
    change(bytes)
    return t.rejects(open(bytes), { code, message, offset: Number })
  }
  await bad(
    (b) => b.writeInt32LE(0, at('header_version')),
    'unknown-format',
    /no description of the guest: .* found no note/,
  )
  await bad(
    (b) => b.fill(0, bitmapsAt, descsAt),
    'bad-snapshot',
    /the guest has no memory: expected a page, found none/,
  )
  await bad((b) => b.fill(0, bitmapsAt, bitmapsAt + 1), 'bad-snapshot', /pages with content lie outside the guest/)
  await bad((b) => b.writeInt32LE(2 ** 20, at('bitmap_blocks')), 'truncated', /the file is too short for its bitmaps/)
  await bad((b) => b.writeBigUInt64LE(2n ** 40n, descsAt), 'truncated', /the file is too short for a page/)
  await bad(
    (b) => b.writeUInt32LE(5, descsAt + PageDesc.size * 64 + 8),
    'bad-snapshot',
    /the size of a page is invalid: expected 4096, found 5/,
  )
  await bad(
    (b) => b.writeBigUInt64LE(b.readBigUInt64LE(descsAt + PageDesc.size * 64) + 1n, descsAt + PageDesc.size * 65),
    'bad-snapshot',
    /the bytes of a page are those of another one/,
  )
})

t.test('our file has the vmcoreinfo and the names of a guest that ran', async (t) => {
  const info = ['SYMBOL(init_uts_ns)=ffffffff80006000', 'OFFSET(uts_namespace.name)=0', 'NUMBER(phys_base)=0'].join(
    '\n',
  )
  const noteOf = (desc: Uint8Array) => encodeNote({ owner: 'VMCOREINFO', type: 0, desc })
  const paged = pagedGuest(64, new Map([[0x1000n, 1]]))
  const random = new Random(7)
  const noise = Uint8Array.from({ length: PAGE_SIZE }, () => random.below(256))
  const tooLong = noteOf(Buffer.from('x'))
  new DataView(tooLong.buffer).setUint32(4, PAGE_SIZE, true)
  paged.memory.write(0x2000, noteOf(new Uint8Array(0)))
  paged.memory.write(0x3000, tooLong)
  paged.memory.write(0x4000, noteOf(Buffer.from(info)))
  paged.memory.write(
    0x6000,
    NewUtsname.encode({ ...NewUtsname.zero, sysname: 'Linux', release: '6.1.0', machine: 'x86_64' }),
  )
  paged.memory.write(0x8000, noise)
  const file = bytesOf(writeKdump({ ...paged, saved: { records: [] } }))
  t.match(DiskDumpHeader64.decode(file).utsname, { sysname: 'Linux', release: '6.1.0' })
  const { offset_vmcoreinfo, size_vmcoreinfo } = KdumpSubHeader64.decode(file, PAGE_SIZE)
  const [start, length] = [Number(offset_vmcoreinfo), Number(size_vmcoreinfo)]
  t.equal(Buffer.from(file.subarray(start, start + length)).toString(), info)
  const back = await open(file)
  t.same(back.memory.read(0x8000, PAGE_SIZE), noise, 'a page that does not shrink')
  const core = Buffer.from(bytesOf(writeElfCore({ ...paged, saved: { records: [] } })))
  t.ok(core.indexOf(info) < core.indexOf(info, core.indexOf(info) + 1), 'a note, and the page')
})

t.test('our file', async (t) => {
  const kernel = await readKernel(pvKernelFile())
  const guest = buildDomain(kernel, { type: 'pv', memory: 64 * 2 ** 20, purpose: 'restore' })
  const file = bytesOf(writeKdump(guest))
  t.ok(Buffer.from(file).equals(Buffer.from(bytesOf(writeKdump(guest)))), 'is the same each time')
  t.ok(file.length < bytesOf(writeElfCore(guest)).length / 2, `${file.length} bytes`)
  const back = await open(file)
  t.same(dataRuns(back), dataRuns(guest), 'pages of zeros that are content stay it')
  const header = DiskDumpHeader64.decode(file)
  t.match(header, { header_version: 6, block_size: PAGE_SIZE, nr_cpus: 1, max_mapnr: guest.memory.endPfn })
  t.same(header.timestamp, [0n, 0n], 'no clock')
  const kept = await open(bytesOf(writeKdump(await open(kdumpFile()))))
  t.same(differs(kept, kdumpPages()), [])
  t.same(
    kept.saved?.records.map(({ name }) => name),
    ['QEMU', 'QEMU'],
  )
})
