/**
 * RecordingXen: right launches pass, and each mistake of a toolstack is refused with Xen's errno.
 *
 * Source: lib/testing/recording-xen; the order of the steps is that of Xen's own toolstack.
 * Gotcha: each launch is written by hand here, step by step, so that a test can leave one out or move it.
 */
import { test } from 'tap'
import { helloKernel } from '../../examples/hello-kernel.js'
import { pv32Kernel } from '../../examples/pv32-kernel.js'
import { SharedInfo32, SharedInfo64 } from '../../lib/abi/shared-info.js'
import { encodeHvmContext } from '../../lib/guest/hvm-context.js'
import { encodePvContext } from '../../lib/guest/pv-context.js'
import { waitingPvVcpu } from '../../lib/guest/vcpu.js'
import { buildDomain, type Domain, type Kernel, type PvBoot, readKernel } from '../../lib/index.js'
import { RecordingXen } from '../../lib/testing/index.js'
import { pvhKernelFile } from '../fixtures/kernels.js'
import { makeDomain, NEW_DOMAIN, pfnList, refused } from '../fixtures/recorded.js'

const MIB = 2 ** 20
const PAGE = 4096

// ---- launches by hand

/** A launch whose steps a test calls in any order. */
class Launch {
  readonly xen: RecordingXen
  readonly kernel: Kernel
  readonly vcpus: number
  domid = 0
  table: BigUint64Array = new BigUint64Array(0)
  ports = { store: 0, console: 0 }
  guest: Domain | undefined

  constructor(xen: RecordingXen, kernel: Kernel, vcpus = 2) {
    this.xen = xen
    this.kernel = kernel
    this.vcpus = vcpus
  }

  get pv(): Domain<PvBoot> {
    return this.guest as Domain<PvBoot>
  }

  frame(pfn: number): number {
    return this.guest?.type === 'pvh' ? pfn : Number(this.table[pfn])
  }

  create(type: 'pv' | 'pvh', bits: 32 | 64 = 64): void {
    this.domid = this.xen.createDomain({ ...NEW_DOMAIN, type, vcpus: this.vcpus })
    if (bits === 32) this.xen.setAddressSize(this.domid, 32)
    this.xen.setMaxVcpus(this.domid, this.vcpus)
    this.xen.setMaxMemory(this.domid, 33 * 1024)
    this.ports = { store: this.xen.allocUnbound(this.domid, 0), console: this.xen.allocUnbound(this.domid, 0) }
  }

  buildPv(): void {
    this.table = pfnList(0, (32 * MIB) / PAGE)
    this.xen.populate(this.domid, this.table, 0, false)
    const common = { type: 'pv', memory: 32 * MIB, vcpus: this.vcpus, purpose: 'create' } as const
    const { pageTables } = buildDomain(this.kernel, { ...common, lowMfn: 1 }).boot as PvBoot
    const top = this.frame(pageTables.top)
    if (this.kernel.elf?.class === 32 && top >= 2 ** 20) {
      this.table[pageTables.top] = BigInt(this.xen.exchangeBelow4GiB(this.domid, pageTables.top, top))
    }
    this.guest = buildDomain(this.kernel, {
      ...common,
      p2m: { table: this.table },
      sharedInfoMfn: this.xen.domainInfo(this.domid)?.sharedInfoFrame ?? 0,
      storeEvtchn: this.ports.store,
      consoleEvtchn: this.ports.console,
    })
  }

  buildPvh(): void {
    this.guest = buildDomain(this.kernel, { type: 'pvh', memory: 32 * MIB, vcpus: this.vcpus, purpose: 'create' })
    for (const { start, end } of this.guest.memory.ranges) {
      this.xen.populate(this.domid, pfnList(start, end - start), 0, false)
    }
  }

  async write(): Promise<void> {
    const { memory } = this.guest as Domain
    for (const { pfn, pages } of memory.pages()) {
      for (let at = pfn; at < pfn + pages; at += 1024) {
        const count = Math.min(1024, pfn + pages - at)
        const frames = BigUint64Array.from({ length: count }, (_, i) => BigInt(this.frame(at + i)))
        const bytes = memory.read(at * PAGE, count * PAGE)
        await this.xen.writeFrames(this.domid, frames, [{ offset: 0, bytes }])
      }
    }
  }

  get top(): number {
    return this.frame(this.pv.boot.pageTables.top)
  }

  pin(): void {
    this.xen.pinTable(this.domid, this.pv.abi === 'x86_64' ? 4 : 3, this.top)
  }

  async share(): Promise<void> {
    const { sharedInfo, sharedInfoMfn } = this.pv.boot
    const frames = BigUint64Array.of(BigInt(sharedInfoMfn))
    await this.xen.writeFrames(this.domid, frames, [{ offset: 0, bytes: sharedInfo }])
  }

  grant(): void {
    const page = (name: string) => this.guest?.regions.find((region) => region.name === name)?.pfn ?? 0
    const grant = (ref: number, name: string) => ({ ref, domid: 0, frame: this.frame(page(name)) })
    this.xen.setGrants(this.domid, [grant(0, 'console'), grant(1, 'xenstore')])
  }

  setVcpus(): void {
    const { vcpus, abi, type } = this.guest as Domain
    if (type === 'pvh') this.xen.setHvmContext(this.domid, encodeHvmContext(vcpus))
    else {
      const width = abi === 'x86_64' ? 'x86_64' : 'x86_32p'
      for (const vcpu of vcpus)
        if (vcpu.online) this.xen.setVcpuContext(this.domid, vcpu.id, encodePvContext(vcpu, width))
    }
  }

  introduce(): void {
    const { pfn } = this.guest?.regions.find(({ name }) => name === 'xenstore') ?? { pfn: 0 }
    this.xen.store.introduce(this.domid, this.frame(pfn), this.ports.store)
  }
}

test('a right launch of a PV guest passes, and its memory is the built one', async (t) => {
  for (const [image, bits] of [
    [helloKernel(), 64],
    [pv32Kernel(), 32],
  ] as const) {
    const xen = new RecordingXen()
    const launch = new Launch(xen, await readKernel(image))
    launch.create('pv', bits)
    launch.buildPv()
    await launch.write()
    launch.pin()
    await launch.share()
    launch.grant()
    launch.setVcpus()
    launch.introduce()
    const made = xen.domain(launch.domid)
    t.equal(made?.running, false)
    xen.unpauseDomain(launch.domid)
    t.equal(made?.running, true)
    t.equal(made?.vcpus[0]?.registers.rip, launch.pv.vcpus[0]?.registers.rip)
    t.equal(made?.vcpus[1], undefined)
    t.same(made?.ports, [
      { port: 1, remote: 0 },
      { port: 2, remote: 0 },
    ])
    const layout = launch.pv.abi === 'x86_64' ? SharedInfo64 : SharedInfo32
    const withTime = launch.pv.boot.sharedInfo.slice()
    withTime[layout.offsetOf('wc_version')] = 2
    t.same(made?.sharedInfo, withTime, 'Xen has told the guest the time')
    t.equal(made?.p2m.mfn(launch.pv.boot.pageTables.top), launch.top)
    for (const { pfn, pages } of launch.pv.memory.pages()) {
      const [start, length] = [pfn * PAGE, pages * PAGE]
      t.same(made?.memory.read(start, length), launch.pv.memory.read(start, length))
    }
    t.same(
      [...xen.frameTypes(launch.domid, BigUint64Array.of(BigInt(launch.top), 0n))],
      [(0x80000000 | ((bits === 64 ? 4 : 3) << 28)) >>> 0, 0xf0000000],
    )
    await xen.destroyDomain(launch.domid)
    t.same(xen.leftovers(), [])
  }
})

test('a right launch of a PVH guest passes', async (t) => {
  const xen = new RecordingXen()
  const launch = new Launch(xen, await readKernel(pvhKernelFile()))
  launch.create('pvh')
  xen.setPagingPool(launch.domid, 2 * MIB)
  launch.buildPvh()
  await launch.write()
  xen.setHvmParam(launch.domid, 2, BigInt(launch.ports.store))
  xen.setMemoryMap(launch.domid, [{ start: 0, end: 32 * MIB, type: 1 }])
  launch.grant()
  launch.setVcpus()
  launch.introduce()
  xen.unpauseDomain(launch.domid)
  const made = xen.domain(launch.domid)
  t.equal(made?.running, true)
  t.same([xen.isOnline(launch.domid, 0), xen.isOnline(launch.domid, 1)], [true, false])
  t.same(made?.hvmParams, new Map([[2, 1n]]))
  t.same(made?.memoryMap, [{ start: 0, end: 32 * MIB, type: 1 }])
  t.equal(made?.pagingPool, 2 * MIB)
  t.equal(xen.maximumGpfn(launch.domid), (launch.guest?.memory.endPfn ?? 0) - 1)
  t.same(xen.hvmContext(launch.domid), encodeHvmContext(launch.guest?.vcpus ?? []))
  const at = launch.guest?.vcpus[0]?.registers.rbx ?? 0n
  t.same(made?.memory.read(Number(at), 64), launch.guest?.memory.read(Number(at), 64))
  await xen.destroyDomain(launch.domid)
  t.same(xen.leftovers(), [])
})

test('each step of a PV launch in the wrong place is refused', async (t) => {
  for (const [image, bits] of [
    [helloKernel(), 64],
    [pv32Kernel(), 32],
  ] as const) {
    const kernel = await readKernel(image)
    const begun = async () => {
      const launch = new Launch(new RecordingXen(), kernel)
      launch.create('pv', bits)
      launch.buildPv()
      return launch
    }
    const early = await begun()
    await early.write()
    const top = BigUint64Array.of(BigInt(early.top))
    const content = early.pv.memory.read(early.pv.boot.pageTables.top * PAGE, PAGE)
    const writing = early.xen.writeFrames(early.domid, top, [{ offset: 0, bytes: content }])
    await refused(t, 'EINVAL', /still mapped by a toolstack/, () => early.pin())
    await writing
    early.pin()
    await refused(t, 'EINVAL', /is pinned already/, () => early.pin())
    await refused(t, 'EBUSY', /an L[1-4] table of the guest, is written/, () => early.write())
    await refused(t, 'EBUSY', /table of the guest, is written/, () =>
      early.xen.exchangeBelow4GiB(early.domid, early.pv.boot.pageTables.top, early.top),
    )
    await refused(t, 'EINVAL', /the grant of the xenstore page/, () => early.introduce())
    early.grant()
    early.ports.store = 3
    await refused(t, 'EINVAL', /the event channel 3 of domain 1 is missing/, () => early.introduce())
    await refused(t, 'EACCES', /has memory before its address size/, () => early.xen.setAddressSize(early.domid, 32))

    // Xen makes a top table of the page that cr3 names. A page that was never written has no entry that is present.
    const unwritten = await begun()
    if (bits === 32) await refused(t, 'EINVAL', /slot 3 is not present/, () => unwritten.setVcpus())
    else {
      unwritten.setVcpus()
      await refused(t, 'EBUSY', /table of the guest, is written/, () => unwritten.write())
    }
  }
})

// ---- rules of page tables, with tables of a few entries

const [PRESENT, WRITABLE, USER, PWT, LARGE] = [1n, 2n, 4n, 8n, 0x80n]
const TABLE = PRESENT | WRITABLE | USER
const L3_TABLE = PRESENT

type Entries = Readonly<Record<number, bigint>>
/** The pages of a guest that are tables: pfn -> index -> entry. */
type Tables = Readonly<Record<number, Entries>>

async function writeTables(
  xen: RecordingXen,
  domid: number,
  mfn: (pfn: number) => number,
  tables: Tables,
): Promise<void> {
  for (const [pfn, entries] of Object.entries(tables)) {
    const page = new BigUint64Array(PAGE / 8)
    for (const [index, entry] of Object.entries(entries)) page[Number(index)] = entry
    const bytes = new Uint8Array(page.buffer)
    await xen.writeFrames(domid, BigUint64Array.of(BigInt(mfn(Number(pfn)))), [{ offset: 0, bytes }])
  }
}

test("each rule of a 64-bit guest's tables", async (t) => {
  // pfn 0 is the L4, 1 the L3, 2 the L2 and 3 the L1; 4 to 7 are data.
  type At = (pfn: number, flags: bigint) => bigint
  const right = (at: At): Record<number, Record<number, bigint>> => ({
    0: { 272: at(1, TABLE) },
    1: { 0: at(2, TABLE) },
    2: { 0: at(3, TABLE) },
    3: { 0: at(4, PRESENT | WRITABLE), 1: at(3, PRESENT), 2: 0xc2c2c2c2c2c2c2c2n },
  })
  const wrong: readonly (readonly [RegExp, (at: At, foreign: bigint) => Tables])[] = [
    [/an L4 table, is mapped writable.*L1\[5\]/, (at) => ({ 3: { 5: at(0, PRESENT | WRITABLE) } })],
    [/an L1 table, is mapped writable.*L1\[5\]/, (at) => ({ 3: { 5: at(3, PRESENT | WRITABLE) } })],
    [/is outside the guest.*L4\[272\] -> L3\[0\]/, (_, foreign) => ({ 1: { 0: foreign | TABLE } })],
    [/is outside the guest/, (_, foreign) => ({ 3: { 0: foreign | PRESENT } })],
    [/belongs to Xen and is mapped.*L4\[256\]/, (at) => ({ 0: { 256: at(1, TABLE) } })],
    [/maps a large page/, (at) => ({ 2: { 1: at(4, TABLE | LARGE) } })],
    [/flags 0x8 are not allowed in L1/, (at) => ({ 3: { 0: at(4, PRESENT | PWT) } })],
    [/a writable L2 entry names an L2/, (at) => ({ 2: { 1: at(2, TABLE) } })],
    [/is used as L1 and as L3|is used as L3 and as L1/, (at) => ({ 2: { 1: at(1, TABLE) } })],
  ]
  const guest = () => {
    const xen = new RecordingXen()
    const other = makeDomain(xen, 1)
    const { domid, mfn } = makeDomain(xen, 8)
    const at: At = (pfn, flags) => (BigInt(mfn(pfn)) << 12n) | flags
    return { xen, domid, mfn, at, foreign: BigInt(other.mfn(0)) << 12n }
  }
  const good = guest()
  await writeTables(good.xen, good.domid, good.mfn, right(good.at))
  good.xen.pinTable(good.domid, 4, good.mfn(0))
  await refused(t, 'EINVAL', /used as L3 and|used as L3 but|as L3/, () => good.xen.pinTable(good.domid, 3, good.mfn(3)))

  // A second tree may use the tables of the first one, and must not map them writable.
  const second = (slot: number, entry: bigint): Tables => ({ 5: { [slot]: good.at(6, TABLE) }, 6: { 0: entry } })
  await writeTables(good.xen, good.domid, good.mfn, second(273, good.at(4, TABLE)))
  await refused(t, 'EINVAL', /mfn .* an L2 table, is mapped writable by the guest/, () =>
    good.xen.pinTable(good.domid, 4, good.mfn(5)),
  )
  await writeTables(good.xen, good.domid, good.mfn, second(272, good.at(2, TABLE)))
  good.xen.pinTable(good.domid, 4, good.mfn(5))
  const frames = BigUint64Array.from([0, 1, 4, 5], (pfn) => BigInt(good.mfn(pfn)))
  t.same([...good.xen.frameTypes(good.domid, frames)], [0xc0000000, 0x30000000, 0, 0xc0000000])

  for (const [message, change] of wrong) {
    const { xen, domid, mfn, at, foreign } = guest()
    const tables = right(at)
    for (const [pfn, entries] of Object.entries(change(at, foreign))) Object.assign(tables[Number(pfn)] ?? {}, entries)
    await writeTables(xen, domid, mfn, tables)
    await refused(t, 'EINVAL', message, () => xen.pinTable(domid, 4, mfn(0)))
    // A refused table has no type, so a toolstack can correct it.
    await writeTables(xen, domid, mfn, right(at))
    xen.pinTable(domid, 4, mfn(0))
  }
})

test("each rule of a 32-bit guest's tables", async (t) => {
  // pfn 0 is the L3, 1 to 4 are its L2 and 5 an L1.
  const guest = (seed = 0) => {
    const xen = new RecordingXen({ seed })
    const { domid, mfn } = makeDomain(xen, 8, {}, 32)
    return { xen, domid, mfn, at: (pfn: number, flags: bigint) => (BigInt(mfn(pfn)) << 12n) | flags }
  }
  type At = ReturnType<typeof guest>['at']
  const right = (at: At): Record<number, Record<number, bigint>> => ({
    0: { 0: at(1, L3_TABLE), 1: at(2, L3_TABLE), 2: at(3, L3_TABLE), 3: at(4, L3_TABLE) },
    1: { 0: at(5, TABLE) },
    2: {},
    3: {},
    4: { 0: at(5, TABLE) },
    5: { 0: at(6, PRESENT | WRITABLE), 1: at(0, PRESENT) },
  })
  const wrong: readonly (readonly [RegExp, (at: At) => Tables])[] = [
    [/slot 3 is not present/, () => ({ 0: { 3: 0n } })],
    [/slot 0 has the L2 of slot 3/, (at) => ({ 0: { 0: at(4, L3_TABLE) } })],
    [/belongs to Xen and is mapped.*L3\[3\] -> L2\[511\]/, (at) => ({ 4: { 511: at(5, TABLE) } })],
    [/an L3 table, is mapped writable/, (at) => ({ 5: { 1: at(0, PRESENT | WRITABLE) } })],
    [/not allowed in L3/, (at) => ({ 0: { 0: at(1, L3_TABLE) | (1n << 63n) } })],
  ]
  for (const [message, change] of wrong) {
    const { xen, domid, mfn, at } = guest()
    const tables = right(at)
    for (const [pfn, entries] of Object.entries(change(at))) Object.assign(tables[Number(pfn)] ?? {}, entries)
    await writeTables(xen, domid, mfn, tables)
    await refused(t, 'EINVAL', message, () => xen.pinTable(domid, 3, mfn(0)))
  }
  const { xen, domid, mfn } = guest()
  await refused(t, 'EINVAL', /a 32-bit guest has no L4 table/, () => xen.pinTable(domid, 4, mfn(0)))

  // Half of the host's memory lies above 4 GiB, so a seed gives the L3 such a frame.
  const seed = Array.from({ length: 100 }, (_, i) => i).find((one) => guest(one).mfn(0) >= 2 ** 20)
  const high = guest(seed)
  await writeTables(high.xen, high.domid, high.mfn, right(high.at))
  high.xen.pinTable(high.domid, 3, high.mfn(0))
  const cr3 = BigInt(((high.mfn(0) << 12) | (high.mfn(0) >>> 20)) >>> 0)
  const context = (vmAssist: number): Uint8Array =>
    encodePvContext({ ...waitingPvVcpu(0), cr3, pv: { flags: 4, kernelSs: 0, kernelSp: 0n, vmAssist } }, 'x86_32p')
  await refused(t, 'ERANGE', /is not below 4 GiB/, () => high.xen.setVcpuContext(high.domid, 0, context(0)))
  high.xen.setVcpuContext(high.domid, 0, context(1 << 3))
  t.same(high.xen.vcpuContext(high.domid, 0), context(1 << 3))
})
