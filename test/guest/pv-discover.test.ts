/**
 * PV guests read from files: the parts that their start_info names, and memory without a description.
 *
 * Source: xen/include/public/xen.h (start_info); docs/specs/libxc-migration-stream.pandoc.
 * Gotcha: start_info is written by the guest, so each frame and address in it may lead nowhere.
 */
import t from 'tap'
import { START_INFO_MAGIC, StartInfo32, StartInfo64 } from '../../lib/abi/start-info.js'
import { PTE_PRESENT } from '../../lib/abi/x86.js'
import { type PvBoot, requirePv } from '../../lib/guest/domain.js'
import { HOLE64, makeP2m } from '../../lib/guest/p2m.js'
import { discoverPv, findStartInfo, hasRun, isFirstInstant, isSuspended } from '../../lib/guest/pv-discover.js'
import { findPvGuest } from '../../lib/guest/pv-image.js'
import { topTable } from '../../lib/guest/translate.js'
import {
  buildDomain,
  type Domain,
  GuestMemory,
  PAGE_SIZE,
  type PvConfig,
  type Registers,
  readKernel,
  translate,
} from '../../lib/index.js'
import { pattern, pvKernelFile } from '../fixtures/kernels.js'

type PvDomain = Domain<PvBoot>

const MEMORY = 8 * 2 ** 20
const PAGES = MEMORY / PAGE_SIZE
const kernels = { 64: await readKernel(pvKernelFile()), 32: await readKernel(pvKernelFile({ class: 32 })) } as const
const build = (elfClass: 32 | 64 = 64, config: Partial<PvConfig> = {}): PvDomain =>
  buildDomain(kernels[elfClass], { ...config, type: 'pv', memory: MEMORY }) as PvDomain

const word64 = (value: bigint) => new Uint8Array(BigUint64Array.of(value).buffer)
const startInfoPfn = (domain: Domain) => requirePv(domain).startInfo.pfn

/** The guest with other bytes at an address. */
function written(domain: PvDomain, paddr: number, bytes: Uint8Array): PvDomain {
  const memory = domain.memory.copy()
  memory.write(paddr, bytes)
  return { ...domain, memory }
}

/** The guest with another word in its 64-bit start_info. */
const withField = (domain: PvDomain, field: string, value: bigint): PvDomain =>
  written(domain, startInfoPfn(domain) * PAGE_SIZE + StartInfo64.offsetOf(field), word64(value))

/** The guest with other registers of vcpu 0. */
const withRegisters = (domain: PvDomain, registers: Partial<Registers>): PvDomain => ({
  ...domain,
  vcpus: domain.vcpus.map((vcpu) => ({ ...vcpu, registers: { ...vcpu.registers, ...registers } })),
})

const discover = (domain: PvDomain, more: Partial<Parameters<typeof discoverPv>[0]> = {}): PvDomain =>
  discoverPv({ domain, startInfo: startInfoPfn(domain), sharedInfo: new Uint8Array(PAGE_SIZE), ...more })
const named = (domain: Domain, name: string) => domain.regions.filter((region) => region.name === name)

t.test('a frame of start_info that is missing is no page of it', async (t) => {
  const guest = build(64, { p2m: { offset: 1000 } })
  const { xenstore, console } = discover(guest).boot
  t.same(xenstore, guest.boot.xenstore)
  t.same(console, guest.boot.console)
  for (const frame of [0n, 1n << 40n, 5n, 1000n + BigInt(PAGES)]) {
    const { boot } = discover(withField(guest, 'store_mfn', frame))
    t.equal(boot.xenstore, undefined, `${frame}`)
    t.same(
      boot.grants.map(({ ref }) => ref),
      [0],
      'the console alone is granted',
    )
  }
})

t.test('a suspended guest has its own numbers in start_info, also of a page without a frame', async (t) => {
  const guest = build()
  const pfn = guest.boot.xenstore?.pfn ?? 0
  const table = BigUint64Array.from({ length: PAGES }, (_, i) => (i === pfn ? HOLE64 : BigInt(i)))
  const suspended = withRegisters(
    { ...guest, p2m: makeP2m({ table }, PAGES) },
    { rsi: 1n, rdx: BigInt(startInfoPfn(guest)) },
  )
  t.ok(isSuspended(suspended))
  t.notOk(isSuspended(guest))
  const { boot } = discover(suspended)
  t.equal(boot.xenstore?.pfn, pfn)
  t.same(boot.grants.at(-1), { ref: 1, domid: 0, pfn, mfn: 0 })
})

t.test("start_info's address is that of the page tables, or 0 if they do not map it", async (t) => {
  for (const elfClass of [64, 32] as const) {
    const guest = build(elfClass, { p2m: { offset: 1000 } })
    const running = withRegisters(guest, { rsi: 1n })
    t.notOk(isFirstInstant(running))
    const { vaddr } = guest.boot.startInfo
    t.equal(discover(running).boot.startInfo.vaddr, vaddr)
    const last = translate(guest, vaddr)?.path.at(-1)
    const lost = written(running, (last?.pfn ?? 0) * PAGE_SIZE + 8 * (last?.index ?? 0), word64(0n))
    const found = discover(lost)
    t.equal(found.boot.startInfo.vaddr, 0n)
    t.same(named(found, 'start_info'), [{ name: 'start_info', pfn: startInfoPfn(guest), pages: 1 }])
  }
})

t.test('a table that is used at several levels counts once, at the highest', async (t) => {
  const guest = build()
  const top = topTable(guest)
  const { pages, runs } = discover(guest).boot.pageTables
  t.equal(pages, guest.boot.pageTables.pages)
  const itself = written(guest, top * PAGE_SIZE + 8 * 5, word64(BigInt(top * PAGE_SIZE) | BigInt(PTE_PRESENT)))
  const found = discover(itself).boot.pageTables
  t.equal(found.pages, pages)
  t.same(found.runs, runs)
  t.equal(found.runs.find(({ pfn }) => pfn === top)?.level, 4)
})

t.test('the p2m list is where start_info says, as far as it is mapped', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const guest = build(elfClass)
    const [list] = named(guest, 'p2m')
    t.match(named(discover(guest), 'p2m'), [{ pfn: list?.pfn, pages: list?.pages }])
  }
  const guest = build()
  t.same(named(discover(withField(guest, 'mfn_list', 0x7000n)), 'p2m'), [])
  t.same(named(discover(guest, { p2mFrames: [] }), 'p2m'), [])
  t.match(discover(guest, { p2mFrames: [PAGES - 1] }).regions.at(-1), { name: 'p2m', pfn: PAGES - 1, pages: 1 })
})

t.test('a ramdisk is a region of the first instant, with its bytes unless it ends with a page', async (t) => {
  const ramdisk = (bytes: number) => build(64, { ramdisk: pattern(bytes), purpose: 'restore' })
  const guest = ramdisk(5000)
  t.match(named(discover(guest), 'ramdisk'), [{ pages: 2, bytes: 5000 }])
  const [whole] = named(discover(ramdisk(2 * PAGE_SIZE)), 'ramdisk')
  t.match(whole, { pages: 2 })
  t.equal(whole?.bytes, undefined)
  t.same(named(discover(withField(guest, 'mod_len', BigInt(MEMORY))), 'ramdisk'), [], 'beyond the memory')
  t.same(named(discover(withRegisters(guest, { rsi: 1n })), 'ramdisk'), [])
})

t.test('start_info is found by a register, by its magic, or not at all', async (t) => {
  for (const elfClass of [64, 32] as const) {
    const guest = build(elfClass)
    const pfn = startInfoPfn(guest)
    const running = withRegisters(guest, { rsi: 1n, rdx: BigInt(PAGES) })
    t.equal(findStartInfo(guest), pfn)
    t.equal(findStartInfo(withRegisters(running, { rdx: BigInt(pfn) })), pfn)
    t.equal(findStartInfo(running), pfn)
    t.equal(findStartInfo(written(running, pfn * PAGE_SIZE, Buffer.from('xen-9'))), undefined)
  }
})

t.test('a guest without a vcpu has registers of 0', async (t) => {
  const guest: PvDomain = { ...build(), vcpus: [] }
  t.equal(findStartInfo(guest), startInfoPfn(guest))
  t.notOk(isFirstInstant(guest))
  t.notOk(isSuspended(guest))
  t.notOk(hasRun(guest))
})

/** An image of the guest's memory with a p2m list that the kernel's addresses do not reach. */
async function listedElsewhere(change: (image: Buffer, guest: PvDomain) => void = () => {}) {
  const kernel = await readKernel(pvKernelFile({ notes: { INIT_P2M: 0x8000000000n } }))
  const guest = buildDomain(kernel, { type: 'pv', memory: MEMORY }) as PvDomain
  const image = Buffer.from(guest.memory.read(0, MEMORY))
  change(image, guest)
  return findPvGuest(memoryOf(image))
}

function memoryOf(image: Uint8Array): GuestMemory {
  const memory = new GuestMemory(PAGES)
  memory.write(0, image)
  return memory
}

t.test('memory is searched for a few start_infos, and for a few lists of each', async (t) => {
  const guest = build()
  const falseOnes = (count: number): Uint8Array => {
    const image = Buffer.from(guest.memory.read(0, MEMORY))
    for (let i = 0; i < count; i++) image.write(`${START_INFO_MAGIC.x86_64}\0`, i * PAGE_SIZE, 'latin1')
    return image
  }
  t.equal(findPvGuest(memoryOf(falseOnes(3)))?.boot.startInfo.pfn, startInfoPfn(guest))
  t.equal(findPvGuest(memoryOf(falseOnes(4))), undefined)
  t.equal(findPvGuest(memoryOf(new Uint8Array(MEMORY))), undefined)

  /** Writes the entry by which a list is found to pages before the real one. */
  const falseLists = (count: number) => (image: Buffer, guest: PvDomain) => {
    const next = topTable(guest) + 1
    for (let i = 0; i < count; i++) image.writeUInt32LE(next, i * PAGE_SIZE + (next % 512) * 8)
  }
  t.ok(await listedElsewhere())
  t.ok(await listedElsewhere(falseLists(40)))
  t.equal(await listedElsewhere(falseLists(70)), undefined)
  t.equal(
    await listedElsewhere((image, guest) => {
      image.fill(0, topTable(guest) * PAGE_SIZE, (topTable(guest) + 1) * PAGE_SIZE)
    }),
    undefined,
    'an empty top table leads to no list',
  )
})

t.test('a list needs room up to the end of memory, and may have a hole', async (t) => {
  const image = (guest: PvDomain, change: (image: Buffer) => void): GuestMemory => {
    const bytes = Buffer.from(guest.memory.read(0, MEMORY))
    change(bytes)
    return memoryOf(bytes)
  }
  const guest = build()
  const startInfo = startInfoPfn(guest) * PAGE_SIZE
  const base = guest.boot.startInfo.vaddr - BigInt(startInfo)
  const atEnd = image(guest, (bytes) => {
    bytes.writeBigUInt64LE(base + BigInt(MEMORY - PAGE_SIZE), startInfo + StartInfo64.offsetOf('mfn_list'))
  })
  t.equal(findPvGuest(atEnd), undefined)
  const tooLarge = image(guest, (bytes) => {
    bytes.writeBigUInt64LE(1n << 41n, (named(guest, 'p2m')[0]?.pfn ?? 0) * PAGE_SIZE)
  })
  t.equal(findPvGuest(tooLarge), undefined, 'a frame that no machine has')
  const pae = build(32)
  const hole = image(pae, (bytes) => {
    bytes.writeUInt32LE(0xffffffff, (named(pae, 'p2m')[0]?.pfn ?? 0) * PAGE_SIZE + 4 * (PAGES - 1))
  })
  const found = findPvGuest(hole)
  t.equal(found?.boot.startInfo.pfn, startInfoPfn(pae))
  t.equal(found?.p2m.mfn(PAGES - 1), undefined)
  t.equal(found?.p2m.mfn(PAGES - 2), PAGES - 2)
  const otherSize = image(pae, (bytes) => {
    bytes.writeUInt32LE(PAGES - 1, startInfoPfn(pae) * PAGE_SIZE + StartInfo32.offsetOf('nr_pages'))
  })
  t.equal(findPvGuest(otherSize), undefined, 'start_info tells the number of pages')
})
