/**
 * The kexec format, without a kernel to load it: written files read back, follow kexec_load's rules, and are refused if
 * they do not.
 *
 * Source: docs/formats.md, "The kexec format"; kexec_load(2). test/qemu tests the purgatory on a processor.
 * Gotcha: memory outside the segments is not zero on a machine that ran before, so a region must be whole in a segment.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { XLF_CAN_BE_LOADED_ABOVE_4G, XLF_KERNEL_64 } from '../../lib/abi/boot-params.js'
import { Ehdr64, ET_DYN, Phdr64, PT_LOAD } from '../../lib/abi/elf.js'
import {
  buildDomain,
  bytesSource,
  type Domain,
  DomainBuilderError,
  type ErrorCode,
  GuestMemory,
  type LinuxConfig,
  openSnapshot,
  PAGE_SIZE,
  readBootParams,
  readKernel,
  sniffSnapshot,
  writeKexec,
} from '../../lib/index.js'
import { buildBzImage, buildElf, patternBytes } from '../../lib/testing/index.js'
import { linuxKernelFile, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf, openPair, sidecarOf } from '../fixtures/snapshots.js'
import { findCommand } from '../peer/command.js'
import { readelf } from '../peer/readelf.js'
import { requirePeer } from '../peer/require-peer.js'

const MiB = 2 ** 20
const GiB = 2 ** 30
const INIT_SIZE = 8 * MiB
const RESERVATION = { start: 0x4000000, end: 0x6000000 } as const

const image = (): Uint8Array =>
  buildBzImage({
    payload: patternBytes(3 * PAGE_SIZE),
    header: { init_size: INIT_SIZE, payload_length: 0, xloadflags: XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G },
  })

async function build(config: Partial<LinuxConfig> = {}, file = image()): Promise<Domain> {
  const common = { memory: 128 * MiB, cmdline: 'x', ramdisk: patternBytes(777, 4) }
  return buildDomain(await readKernel(file), { ...common, ...config, type: 'linux' })
}

/** Returns guests of every kind that kexec can enter. */
async function guests(): Promise<readonly { name: string; domain: Domain }[]> {
  const pvh = buildDomain(await readKernel(pvhKernelFile()), { type: 'pvh', platform: 'pc', memory: 64 * MiB })
  return [
    { name: 'bzImage, 64-bit', domain: await build() },
    { name: 'bzImage, 32-bit', domain: await build({ entry: 32 }) },
    { name: 'ELF64', domain: await build({}, linuxKernelFile()) },
    { name: 'ELF32', domain: await build({}, linuxKernelFile(32)) },
    { name: 'above 4 GiB', domain: await build({ memory: 6 * GiB, loadAddress: 5 * GiB }) },
    { name: 'crash kernel', domain: await build({ within: RESERVATION, elfcorehdr: patternBytes(5000, 9) }) },
    { name: 'PVH', domain: pvh },
  ]
}

const written = (domain: Domain): Uint8Array => bytesOf(writeKexec(domain))
const rawJson = (domain: Domain): string => sidecarOf(domain, 'raw')

/** Takes a guest through the raw format, whose image is read on demand. */
const throughRaw = (domain: Domain): Domain =>
  openPair(rawJson(domain), {
    size: domain.memory.endPfn * PAGE_SIZE,
    readInto: (offset, out) => domain.memory.readInto(offset, out),
  })

async function refused(t: Test, code: ErrorCode, pattern: RegExp, act: () => unknown) {
  try {
    await act()
    t.fail(`not refused: ${pattern}`)
  } catch (error) {
    if (!(error instanceof DomainBuilderError)) throw error
    t.equal(error.code, code, error.message)
    t.match(error.message, pattern)
  }
}

t.test('what is written is the guest again, through raw and gzip too, and the same bytes', async (t) => {
  for (const { name, domain } of await guests()) {
    const file = written(domain)
    t.equal(await sniffSnapshot(bytesSource(file)), 'kexec', name)
    const back = await openSnapshot(bytesSource(file))
    t.equal(rawJson(back), rawJson(domain))
    t.same(back.vcpus, domain.vcpus)
    t.same(back.memory.ranges, domain.memory.ranges)
    for (const { pfn, pages } of domain.memory.pages()) {
      const [at, length] = [pfn * PAGE_SIZE, pages * PAGE_SIZE]
      t.equal(Buffer.compare(back.memory.read(at, length), domain.memory.read(at, length)), 0)
    }
    t.ok(Buffer.from(written(domain)).equals(file), 'written again')
    t.ok(Buffer.from(written(back)).equals(file), 'what was read, written again')
    t.ok(Buffer.from(written(throughRaw(back))).equals(file), 'through raw')
    const zipped = gzipSync(bytesOf(writeKexec(domain)))
    t.equal(rawJson(await openSnapshot(bytesSource(zipped))), rawJson(domain), 'through gzip')
  }
  t.equal(await sniffSnapshot(bytesSource(linuxKernelFile())), undefined, 'an ELF alone is a kernel')
})

t.test('readelf sees what kexec_load takes', async (t) => {
  if (!(await requirePeer(t, () => findCommand('readelf', 'binutils')))) return
  const folder = mkdtempSync(join(tmpdir(), 'xdb-kexec-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const { name, domain } of await guests()) {
    const file = written(domain)
    writeFileSync(join(folder, 'guest.kexec'), file)
    const { type, machine, entry, segments, notes } = await readelf(join(folder, 'guest.kexec'))
    t.equal(type, 'EXEC', name)
    t.match(machine, /X86-64/)
    t.same(
      notes.map(({ owner }) => owner),
      ['xen-domain-builder'],
    )
    const loads = segments.filter((segment) => segment.type === 'LOAD')
    t.ok(loads.length <= 16, `${loads.length} segments`)
    let end = 0n
    for (const { paddr, filesz, memsz, offset } of loads) {
      t.ok(paddr >= end, 'in order, and disjoint')
      end = paddr + memsz
      t.equal(paddr % 4096n, 0n)
      t.equal(memsz % 4096n, 0n)
      t.ok(BigInt(filesz) <= memsz)
      if (paddr === entry) continue
      const bytes = domain.memory.read(Number(paddr), Number(memsz))
      t.equal(Buffer.compare(bytes.subarray(0, filesz), file.subarray(offset, offset + filesz)), 0)
      t.notOk(bytes.subarray(filesz).some(Boolean), 'what the file leaves out is zero')
    }
    const own = loads.find(({ paddr }) => paddr === entry)
    t.same([own?.memsz, own?.filesz], [4096n, 4096], 'the purgatory is entered at its first byte')
    for (const { name: region, pfn, pages } of domain.regions) {
      const [from, to] = [BigInt(pfn * PAGE_SIZE), BigInt((pfn + pages) * PAGE_SIZE)]
      const inside = (page: bigint) => loads.some((s) => s !== own && page >= s.paddr && page < s.paddr + s.memsz)
      t.ok(inside(from) && inside(to - 4096n), `${region} is in a segment`)
      t.notOk(entry >= from && entry < to, 'and the purgatory is not in it')
    }
    t.ok(file.length < 4 * MiB, 'a file without the zeros of init_size')
  }
})

t.test('a crash kernel has its reservation, and is told of nothing else', async (t) => {
  const elfcorehdr = patternBytes(5000, 9)
  const domain = await build({ within: RESERVATION, elfcorehdr })
  t.same(
    domain.memory.ranges.map(({ start, end }) => [start, end]),
    [
      [0, 0x9f],
      [RESERVATION.start / PAGE_SIZE, RESERVATION.end / PAGE_SIZE],
    ],
  )
  for (const { name, pfn, pages } of domain.regions) {
    const inside = pfn * PAGE_SIZE >= RESERVATION.start && (pfn + pages) * PAGE_SIZE <= RESERVATION.end
    t.ok(inside, `${name} is inside`)
  }
  const { segments } = (await readKernel(written(domain))).elf ?? { segments: [] }
  for (const { paddr, memsz } of segments.filter(({ type }) => type === PT_LOAD)) {
    t.ok(paddr >= BigInt(RESERVATION.start) && paddr + memsz <= BigInt(RESERVATION.end), 'and so is every segment')
  }
  const header = domain.regions.find(({ name }) => name === 'elfcorehdr')
  const at = (header?.pfn ?? 0) * PAGE_SIZE
  t.same(domain.memory.read(at, elfcorehdr.length), elfcorehdr)
  const params = readBootParams(domain)
  const text = Buffer.from(domain.memory.read(params.hdr.cmd_line_ptr, 40)).toString().replace(/\0.*/s, '')
  t.equal(text, `x elfcorehdr=0x${at.toString(16)}`)
  const told = params.e820_table.slice(0, params.e820_entries)
  t.same(
    told.map(({ addr, size, type }) => [Number(addr), Number(addr + size), type]),
    [
      [0, 0x9f000, 1],
      [RESERVATION.start, at, 1],
      [at, at + 2 * PAGE_SIZE, 2],
      [at + 2 * PAGE_SIZE, RESERVATION.end, 1],
    ],
  )
})

t.test('a memmap is all the memory there is', async (t) => {
  const memmap = [
    { start: 0x100000, end: 0x3000000 },
    { start: 0, end: 0x9f000 },
  ]
  const domain = await build({ memmap })
  t.same(domain.memory.ranges, [
    { start: 0, end: 0x9f },
    { start: 0x100, end: 0x3000 },
  ])
  const { hdr } = readBootParams(domain)
  t.ok(hdr.ramdisk_image + hdr.ramdisk_size <= 0x3000000)
  await refused(
    t,
    'does-not-fit',
    /memmap range lies outside the memory of the machine: expected within .*0x8000000\), found \[0x100000, 0x9/,
    () => build({ memmap: [{ start: 0x100000, end: 0x9000000 }] }),
  )
  await refused(t, 'overlap', /two memmap ranges share an address: expected none of .*, found \[0x1000, 0x3000\)/, () =>
    build({
      memmap: [
        { start: 0, end: 0x2000 },
        { start: 0x1000, end: 0x3000 },
      ],
    }),
  )
  await refused(t, 'bad-config', /not page-aligned/, () => build({ memmap: [{ start: 0, end: 0x2001 }] }))
  await refused(t, 'bad-config', /memmap is empty/, () => build({ memmap: [] }))
})

t.test('what kexec cannot enter, or a reservation cannot hold, is refused with both figures', async (t) => {
  const pv = buildDomain(await readKernel(pvKernelFile()), { type: 'pv', memory: 32 * MiB })
  await refused(t, 'does-not-fit', /needs Xen: kexec .*expected pvh or linux, found pv/, () => written(pv))
  const pvh = buildDomain(await readKernel(pvhKernelFile()), { type: 'pvh', platform: 'xen', memory: 64 * MiB })
  await refused(t, 'does-not-fit', /special pages.*expected .*pc, found .*xen/, () => written(pvh))

  const small = { start: 0x4000000, end: 0x4400000 }
  await refused(
    t,
    'does-not-fit',
    /its kernel: expected 0x800000 bytes within \[0x4000000, 0x4400000\), found 0x400000 in/,
    () => build({ within: small }),
  )
  await refused(t, 'does-not-fit', /its ramdisk: expected 0x1000000 bytes within .*, found 0x[0-9a-f]+ in a row/, () =>
    build({ within: { start: 0x4000000, end: 0x5000000 }, ramdisk: new Uint8Array(16 * MiB) }),
  )
  await refused(t, 'does-not-fit', /is outside the range of within: expected within .*, found \[0x1000000/, () =>
    build({ within: RESERVATION }, linuxKernelFile()),
  )
  await refused(t, 'does-not-fit', /is outside the range of within/, () =>
    build({ within: RESERVATION, loadAddress: 0x2000000, memmap: [{ start: 0x100000, end: 0x8000000 }] }),
  )
  await refused(t, 'does-not-fit', /memmap range lies outside the memory of the machine/, () =>
    build({ within: { start: 0x9000000, end: 0xa000000 } }),
  )
  await refused(t, 'overlap', /the ramdisk overlaps the kernel: expected none of .*, found/, () =>
    build({ ramdiskAddress: 0x1100000 }),
  )
  await refused(
    t,
    'does-not-fit',
    /within reaches above 4 GiB: expected an end of within at 0x100000000 .*, found 0x130000000/,
    () => build({ memory: 8 * GiB, within: { start: 0x120000000, end: 0x130000000 } }),
  )
  await refused(t, 'bad-config', /within cannot be used: expected START-END/, () =>
    build({ within: { start: 0x2000, end: 0x1000 } }),
  )
  await refused(t, 'bad-config', /elfcorehdr is empty/, () => build({ elfcorehdr: new Uint8Array(0) }))

  const scattered = await build()
  for (let i = 0; i < 20; i++) scattered.memory.write(0x5000000 + i * 2 * PAGE_SIZE, Uint8Array.of(1))
  await refused(
    t,
    'does-not-fit',
    /too many segments for kexec_load: expected at most 16, the purgatory included, found 2\d/,
    () => written(scattered),
  )
  const full: Domain = {
    ...scattered,
    memory: new GuestMemory(16),
    regions: [{ name: 'all', pfn: 0, pages: 16 }],
    boot: { kind: 'hvm_start_info', hvmParams: [] },
  }
  await refused(t, 'does-not-fit', /page for the code that enters the guest is missing/, () => written(full))
})

t.test('a kernel that may be anywhere goes into a reservation that just holds it', async (t) => {
  const kernel = buildElf({
    class: 64,
    type: ET_DYN,
    entry: 0x1000000,
    segments: [{ paddr: 0x1000000, data: patternBytes(5000), memsz: 9000, align: 0x200000 }],
  })
  // The kernel, boot_params, command line, GDT, three page tables, and the purgatory.
  const pages = 3 + 3 + 3 + 1
  const within = { start: 0x4000000, end: 0x4000000 + pages * PAGE_SIZE }
  const domain = buildDomain(await readKernel(kernel), { type: 'linux', memory: 128 * MiB, within })
  t.equal(domain.vcpus[0]?.registers.rip, 0x4000000n)
  t.equal(rawJson(await openSnapshot(bytesSource(written(domain)))), rawJson(domain))
  await refused(t, 'does-not-fit', /page_tables: expected 0x3000 bytes within .*, found 0x2000 in a row/, async () =>
    buildDomain(await readKernel(kernel), {
      type: 'linux',
      memory: 128 * MiB,
      within: { ...within, end: within.end - 2 * PAGE_SIZE },
    }),
  )
})

t.test('zeros between bytes are cut out of the file while there are segments left', async (t) => {
  const domain = await build({}, linuxKernelFile())
  const region = { name: 'heap', pfn: 0x2000, pages: 0x3000 }
  const wide = { ...domain, regions: [...domain.regions, region] }
  for (let i = 0; i < 20; i++) wide.memory.write(0x2000000 + i * 2 * MiB, patternBytes(PAGE_SIZE, i))
  const file = written(wide)
  const { segments } = (await readKernel(file)).elf ?? { segments: [] }
  t.equal(segments.filter(({ type }) => type === PT_LOAD).length, 16)
  t.ok(file.length < 30 * MiB, `${file.length} bytes`)
  const back = await openSnapshot(bytesSource(file))
  t.equal(Buffer.compare(back.memory.read(0x2000000, 48 * MiB), wide.memory.read(0x2000000, 48 * MiB)), 0)
  t.equal(rawJson(back), rawJson(wide))
})

t.test('a file that breaks the rules is refused, with the place', async (t) => {
  const good = written(await build())
  const headers = Ehdr64.decode(good).e_phnum
  const phdr = (i: number) => Ehdr64.size + i * Phdr64.size
  type Fields = ReturnType<typeof Phdr64.decode>
  const edit = (i: number, change: (fields: Fields) => Partial<Fields>): Uint8Array => {
    const file = good.slice()
    const fields = Phdr64.decode(file, phdr(i))
    file.set(Phdr64.encode({ ...fields, ...change(fields) }), phdr(i))
    return file
  }
  const opens = (file: Uint8Array) => () => openSnapshot(bytesSource(file))
  const first = Phdr64.decode(good, phdr(0))
  await refused(
    t,
    'bad-snapshot',
    /two segments overlap.*expected one from .*, found \[.*file offset 0x78/,
    opens(edit(1, () => ({ p_paddr: first.p_paddr }))),
  )
  await refused(
    t,
    'bad-snapshot',
    /more bytes than memory: expected at most 4096, found \d+/,
    opens(edit(0, () => ({ p_memsz: 4096n }))),
  )
  await refused(t, 'bad-snapshot', /not whole pages/, opens(edit(0, ({ p_paddr }) => ({ p_paddr: p_paddr + 1n }))))
  await refused(t, 'bad-snapshot', /not whole pages/, opens(edit(headers - 2, () => ({ p_paddr: 2n ** 52n }))))
  await refused(t, 'truncated', /too short for segment 0:/, opens(edit(0, () => ({ p_offset: 2n ** 63n }))))
  await refused(t, 'truncated', /too short for segment 0:/, opens(edit(0, () => ({ p_filesz: 2n ** 40n }))))
  await refused(
    t,
    'bad-snapshot',
    /the description of the segments is missing/,
    opens(edit(headers - 1, () => ({ p_type: 0 }))),
  )
  await refused(
    t,
    'bad-snapshot',
    /data\[\d\] cannot be used: expected pages that a segment has/,
    opens(edit(0, () => ({ p_type: 0 }))),
  )
  await refused(t, 'bad-snapshot', /the segment count is invalid: expected 1 to 16, found 0/, () => {
    const none = good.slice()
    for (let i = 0; i < headers - 1; i++) none.fill(0, phdr(i), phdr(i) + 4)
    return openSnapshot(bytesSource(none))
  })
  const text = Buffer.from(good)
  const lie = (from: string, to: string) => {
    const file = Buffer.from(good)
    file.write(to, text.indexOf(from), 'latin1')
    return opens(file)
  }
  await refused(t, 'bad-snapshot', /not JSON/, lie('{"version"', '["version"'))
  await refused(t, 'bad-snapshot', /version cannot be used/, lie('"version":1', '"version":2'))
  await refused(t, 'bad-snapshot', /data cannot be used: expected a list/, lie('"data":[', '"dato":['))
})
