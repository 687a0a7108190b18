/** Captures of domains of a RecordingXen: the copy is the guest, and the guest goes on in any case. */
import t, { type Test } from 'tap'
import { HVM_PARAM } from '../../lib/abi/hvm-params.js'
import { SHUTDOWN } from '../../lib/abi/hypercall.js'
import { SharedInfo32, SharedInfo64 } from '../../lib/abi/shared-info.js'
import { StartInfo32, StartInfo64 } from '../../lib/abi/start-info.js'
import { VcpuGuestContext64 } from '../../lib/abi/vcpu-context.js'
import {
  type Domain,
  DomainBuilderError,
  decodePvContext,
  encodePvContext,
  memoryScratch,
  PAGE_SIZE,
  readKernel,
  readStartInfo,
  requirePv,
  type Vcpu,
  writeXenCore,
  writeXl,
} from '../../lib/index.js'
import { type RecordedCall, type RecordedDomain, RecordingXen } from '../../lib/testing/index.js'
import { type CaptureOptions, capture } from '../../lib/toolstack/capture.js'
import { launch } from '../../lib/toolstack/launch.js'
import type { LiveDomain } from '../../lib/toolstack/live-domain.js'
import { unpauseLeft } from '../../lib/toolstack/paused.js'
import { pattern, pvhKernelFile, pvKernelFile } from '../fixtures/kernels.js'
import { bytesOf, openMain, sourceOf, THROUGH } from '../fixtures/snapshots.js'

const MIB = 2 ** 20
const TYPES = ['pv64', 'pv32', 'pvh'] as const
type Type = (typeof TYPES)[number]

const KERNELS: Readonly<Record<Type, Uint8Array>> = {
  pv64: pvKernelFile({ notes: { INIT_P2M: 0xffffff8000000000n, MOD_START_PFN: 1 } }),
  pv32: pvKernelFile({ class: 32 }),
  pvh: pvhKernelFile({ paddr: 0x200000 }),
}

interface Guest {
  readonly xen: RecordingXen
  readonly live: LiveDomain
  readonly recorded: RecordedDomain
  /** The machine frames of a PV guest's p2m list, in its order. */
  list: readonly number[]
  /** Called before each call. */
  onCall: (call: RecordedCall) => void
}

async function guestOf(type: Type, memory = 20 * MIB, ramdisk: Uint8Array[] = []): Promise<Guest> {
  const guest = { onCall: (_: RecordedCall) => {} }
  const xen = new RecordingXen({ onCall: (call) => guest.onCall(call) })
  const kernel = await readKernel(KERNELS[type])
  const common = { memory, vcpus: 2, name: 'web', ramdisk }
  const live = await launch(xen, kernel, type === 'pvh' ? { ...common, type: 'pvh' } : { ...common, type: 'pv' })
  const recorded = xen.domain(live.domid) as RecordedDomain
  const listed = live.domain.regions.find(({ name }) => name === 'p2m') ?? { pfn: 0, pages: 0 }
  const list = Array.from({ length: listed.pages }, (_, i) => recorded.p2m.mfn(listed.pfn + i) as number)
  return Object.assign(guest, { xen, live, recorded, list })
}

/** Writes bytes into a frame, whose other bytes stay. */
async function patch({ xen, live }: Guest, frame: number, offset: number, bytes: Uint8Array): Promise<void> {
  const frames = BigUint64Array.of(BigInt(frame))
  const page = new Uint8Array(PAGE_SIZE)
  xen.readFrames(live.domid, frames, page)
  page.set(bytes, offset)
  await xen.writeFrames(live.domid, frames, [{ offset: 0, bytes: page }])
}

/** The width of a word of the guest. */
const widthOf = ({ recorded }: Guest): 4 | 8 => (recorded.abi === 'x86_64' ? 8 : 4)

function words({ recorded }: Pick<Guest, 'recorded'>, values: readonly (number | bigint)[]): Uint8Array {
  return new Uint8Array(
    recorded.abi === 'x86_64' ? BigUint64Array.from(values, BigInt).buffer : Uint32Array.from(values, Number).buffer,
  )
}

/** Sets fields of shared_info, as a guest does that runs. */
async function setShared(guest: Guest, fields: Readonly<Record<string, number | bigint>>): Promise<void> {
  const { xen, live, recorded } = guest
  const { sharedInfoFrame = 0 } = xen.domainInfo(live.domid) ?? {}
  const layout = recorded.abi === 'x86_64' ? SharedInfo64 : SharedInfo32
  for (const [name, value] of Object.entries(fields)) {
    await patch(guest, sharedInfoFrame, layout.offsetOf(name), words(guest, [value]))
  }
}

/** Changes registers of vcpu 0 of a PV guest. */
function setRegisters({ xen, live, recorded }: Guest, registers: Partial<Vcpu['registers']>): void {
  const vcpu = decodePvContext(xen.vcpuContext(live.domid, 0) as Uint8Array, recorded.abi, 0)
  const changed = { ...vcpu, registers: { ...vcpu.registers, ...registers } }
  xen.setVcpuContext(live.domid, 0, encodePvContext(changed, recorded.abi))
}

/** Lets a PV guest run as far as its own p2m list, mapped or as a tree. @param times that the tree has the list. */
async function run(guest: Guest, how: 'linear' | 'tree', times = 1): Promise<void> {
  const { live, recorded } = guest
  const max_pfn = recorded.memory.endPfn
  setRegisters(guest, { rsi: 0x1234n })
  if (how === 'linear') {
    const p2m_cr3 = decodePvContext(guest.xen.vcpuContext(live.domid, 0) as Uint8Array, recorded.abi, 0).cr3
    return setShared(guest, { max_pfn, p2m_cr3, p2m_vaddr: readStartInfo(live.domain).mfn_list })
  }
  // In its last pages, the other way round.
  const free = (i: number): number => recorded.p2m.mfn(max_pfn - 1 - i) as number
  const [middle, top] = [free(0), free(1)]
  const frames = guest.list.map((_, i) => free(2 + i))
  for (const [i, frame] of frames.entries()) {
    const page = new Uint8Array(PAGE_SIZE)
    guest.xen.readFrames(live.domid, BigUint64Array.of(BigInt(guest.list[i] as number)), page)
    await patch(guest, frame, 0, page)
  }
  guest.list = frames
  await patch(guest, middle, 0, words(guest, Array.from({ length: times }, () => frames).flat()))
  await patch(guest, top, 0, words(guest, [middle]))
  await setShared(guest, { max_pfn: max_pfn * times, pfn_to_mfn_frame_list_list: top })
}

/** Sets entries of the p2m list. */
async function setListed(guest: Guest, entries: Readonly<Record<number, bigint>>): Promise<void> {
  const perPage = PAGE_SIZE / widthOf(guest)
  for (const [pfn, entry] of Object.entries(entries)) {
    const frame = guest.list[Math.floor(Number(pfn) / perPage)] as number
    const value = BigInt.asUintN(8 * widthOf(guest), entry)
    await patch(guest, frame, (Number(pfn) % perPage) * widthOf(guest), words(guest, [value]))
  }
}

/** A guest that suspends itself when it is asked, as Linux does. */
async function suspends(guest: Guest, delay = 0): Promise<void> {
  const { xen, live, recorded } = guest
  const node = `/local/domain/${live.domid}/control/shutdown`
  const inside = xen.asProcess('guest')
  await inside.store.watch(node, async () => {
    if (inside.store.nodes[node] !== 'suspend') return
    inside.store.write(node, '')
    await new Promise((resolve) => setTimeout(resolve, delay))
    if (live.domain.type === 'pv') {
      const { startInfo, xenstore, console } = requirePv(live.domain)
      const mfn = recorded.p2m.mfn(startInfo.pfn) as number
      const layout = recorded.abi === 'x86_64' ? StartInfo64 : StartInfo32
      setRegisters(guest, { rax: 0n, rdx: BigInt(mfn), rsi: 0x1234n })
      await patch(guest, mfn, layout.offsetOf('store_mfn'), words(guest, [xenstore?.pfn ?? 0]))
      await patch(guest, mfn, layout.offsetOf('console_mfn'), words(guest, [console?.pfn ?? 0]))
    }
    xen.shutDown(live.domid, SHUTDOWN.suspend)
  })
}

/** Checks that a captured guest has all pages of the domain, and their frames. */
function sameAsDomain(t: Test, domain: Domain, { recorded }: Guest, holes: readonly number[] = []): void {
  const { memory, p2m } = recorded
  const found = new Uint8Array(PAGE_SIZE)
  const wanted = new Uint8Array(PAGE_SIZE)
  const differing: number[] = []
  let pages = 0
  for (const { start, end } of memory.ranges) {
    for (let pfn = start; pfn < end; pfn++) {
      if (holes.includes(pfn)) continue
      pages++
      if (!domain.memory.has(pfn)) differing.push(pfn)
      else {
        domain.memory.readInto(pfn * PAGE_SIZE, found)
        memory.readInto(pfn * PAGE_SIZE, wanted)
        if (Buffer.compare(found, wanted) !== 0) differing.push(pfn)
        if (domain.type === 'pv' && domain.p2m.mfn(pfn) !== p2m.mfn(pfn)) differing.push(pfn)
      }
    }
  }
  t.same(differing, [], 'every page, and its frame')
  t.equal(domain.memory.pageCount, pages, 'and no other page')
  for (const pfn of holes) {
    t.notOk(domain.memory.has(pfn), `a hole at ${pfn}`)
    t.equal(domain.p2m.mfn(pfn), undefined)
  }
}

/** Checks what a built guest and its capture have in common. */
function sameAsBuilt(t: Test, domain: Domain, { domain: built }: LiveDomain): void {
  t.equal(domain.type, built.type)
  t.equal(domain.name, built.name)
  t.equal(domain.maxmem, built.maxmem)
  t.same(
    domain.vcpus.map(({ id, online }) => ({ id, online })),
    built.vcpus.map(({ id, online }) => ({ id, online })),
  )
  const { rip, rsp } = built.vcpus[0]?.registers ?? {}
  t.match(domain.vcpus[0]?.registers, { rip, rsp })
  if (domain.boot.kind !== 'start_info' || built.boot.kind !== 'start_info') return
  t.equal(domain.abi, built.abi)
  t.same(domain.boot.startInfo.pfn, built.boot.startInfo.pfn)
  t.same(domain.boot.xenstore, built.boot.xenstore)
  t.same(domain.boot.console, built.boot.console)
  t.equal(domain.boot.pageTables.top, built.boot.pageTables.top)
  for (const { pfn, pages, level } of built.boot.pageTables.runs) {
    for (let i = 0; i < pages; i++) {
      const type = { level, pinned: pfn + i === built.boot.pageTables.top }
      t.same(domain.pageType(pfn + i), type, `the type of pfn ${pfn + i}`)
    }
  }
}

/** Checks that a domain runs as before. */
function goesOn(t: Test, { xen, recorded }: Guest, nodes: Readonly<Record<string, string>>, what: string): void {
  t.equal(recorded.pauses, 0, `${what}: it is not paused`)
  t.equal(recorded.running, true, `${what}: it runs`)
  t.same(xen.store.nodes, nodes, `${what}: xenstore is as before`)
}

for (const type of TYPES) {
  t.test(`${type}: a guest at its first instant is captured whole`, async (t) => {
    const guest = await guestOf(type)
    const nodes = guest.xen.store.nodes
    const parts: number[] = []
    const before = guest.xen.calls.length
    const { domain, pausedMs } = await capture(guest.xen, guest.live.domid, {
      onProgress: ({ done, total }) => parts.push(done / total),
    })
    sameAsDomain(t, domain, guest)
    sameAsBuilt(t, domain, guest.live)
    goesOn(t, guest, nodes, 'afterwards')
    t.equal(parts.at(-1), 1, 'all bytes are reported')
    t.ok(pausedMs > 0)
    const calls = guest.xen.calls.slice(before).map(({ name }) => name)
    t.equal(calls.filter((name) => name === 'pauseDomain').length, 1)
    t.ok(calls.indexOf('store.commit') < calls.indexOf('pauseDomain'), 'the record comes first')
    t.equal(JSON.parse(domain.saved?.config ?? '').c_info.uuid, guest.live.uuid, "libxl's file")
    t.same(
      domain.saved?.records.map(({ name }) => name).filter((name) => name !== 'HVM_CONTEXT'),
      ['X86_CPUID_POLICY', 'X86_MSR_POLICY', 'X86_TSC_INFO'],
    )
    const read = openMain(sourceOf(writeXl(domain)))
    t.equal(read.name, 'web', 'a guest that has not run can be restored')
    t.equal(read.memory.pageCount, domain.memory.pageCount)
    sameAsDomain(t, openMain(sourceOf(writeXenCore(domain))), guest)
    await guest.live.destroy()
    sameAsBuilt(t, domain, guest.live)
  })

  t.test(`${type}: a refused call, or a signal, at any moment leaves the guest running`, async (t) => {
    const guest = await guestOf(type, 8 * MIB)
    const { xen, live } = guest
    const nodes = xen.store.nodes
    const before = xen.calls.length
    await capture(xen, live.domid)
    const calls = xen.calls.slice(before).map(({ name }) => name)
    const isCleanup = (i: number): boolean => i > calls.lastIndexOf('unpauseDomain')
    for (const [i, name] of calls.entries()) {
      let at = 0
      guest.onCall = () => {
        if (at++ === i) throw new Error(`call ${i} is refused`)
      }
      // The pause itself is undone with a second try.
      if (name === 'unpauseDomain') await capture(xen, live.domid)
      else await t.rejects(capture(xen, live.domid), { message: `call ${i} is refused` }, `${i}: ${name}`)
      guest.onCall = () => {}
      if (!isCleanup(i)) goesOn(t, guest, nodes, `${name} refused`)
      else {
        t.equal(guest.recorded.running, true)
        xen.endProcess('first')
        await unpauseLeft(xen.asProcess(`other ${i}`))
        xen.asProcess('first')
        goesOn(t, guest, nodes, `${name} refused, and the next run`)
      }
      const abort = new AbortController()
      at = 0
      guest.onCall = () => {
        if (at++ === i) abort.abort(new Error('stopped'))
      }
      await capture(xen, live.domid, { signal: abort.signal }).catch((error) => t.equal(error.message, 'stopped'))
      guest.onCall = () => {}
      goesOn(t, guest, nodes, `aborted at ${name}`)
    }
  })

  t.test(`${type}: the next process lets a guest go on that a killed one has stopped`, async (t) => {
    const guest = await guestOf(type, 8 * MIB)
    const { xen, live } = guest
    const nodes = xen.store.nodes
    const before = xen.calls.length
    await capture(xen, live.domid)
    const { length } = xen.calls.slice(before)
    let stopped = 0
    for (let i = 0; i < length; i++) {
      const [killed, next] = [xen.asProcess(`killed ${i}`), xen.asProcess(`next ${i}`)]
      let at = 0
      guest.onCall = ({ process }) => {
        if (process === killed.process && at++ >= i) throw new Error('killed')
      }
      await t.rejects(capture(killed, live.domid), { message: 'killed' })
      t.same(await unpauseLeft(next), [], 'as long as the process runs, nothing is left')
      xen.endProcess(killed.process)
      stopped += guest.recorded.pauses
      await unpauseLeft(next)
      goesOn(t, guest, nodes, `killed at call ${i}`)
    }
    t.ok(stopped > 5, `${stopped} of ${length} moments leave it paused`)
  })
}

for (const type of ['pv64', 'pv32'] as const) {
  for (const how of ['linear', 'tree'] as const) {
    t.test(`${type}: a running guest with a ${how} p2m list`, async (t) => {
      const guest = await guestOf(type)
      await run(guest, how)
      const holes = [0x800, 0x801, 0x802]
      await setListed(guest, { 2048: -1n, 2049: 1n << (type === 'pv64' ? 63n : 31n), 2050: 0x3ffffffn })
      const { domain } = await capture(guest.xen, guest.live.domid)
      sameAsDomain(t, domain, guest, holes)
      sameAsBuilt(t, domain, guest.live)
      t.throws(() => writeXl(domain), { code: 'bad-config', found: 'a running guest' })
      for (const format of ['raw', 'elf-core', 'xen-core'] as const) {
        const read = THROUGH[format](domain)
        sameAsDomain(t, read, guest, holes)
        t.same(read.regions, domain.regions, format)
      }
    })
  }

  t.test(`${type}: lists that are wrong`, async (t) => {
    const guest = await guestOf(type)
    const nodes = guest.xen.store.nodes
    const refused = async (expected: RegExp, what: string): Promise<void> => {
      await t.rejects(capture(guest.xen, guest.live.domid), { code: 'bad-snapshot', message: expected }, what)
      goesOn(t, guest, nodes, what)
    }
    await run(guest, 'linear')
    const { p2m } = guest.recorded
    await setListed(guest, Object.fromEntries([0x900, 0x901].map((pfn) => [pfn, BigInt(p2m.mfn(1) ?? 0)])))
    await capture(guest.xen, guest.live.domid).then(({ domain }) =>
      t.ok(domain.memory.has(0x900), 'a page given twice'),
    )
    await setShared(guest, { max_pfn: 2 ** 31 })
    await refused(/the p2m list of the guest has the wrong length/, 'too long')
    await setShared(guest, { max_pfn: 0x1400, p2m_vaddr: 0x1000 })
    await refused(/the p2m list of the guest is not mapped/, 'not mapped')
    await setShared(guest, { p2m_cr3: 0 })
    await refused(/the p2m list of the guest is not known/, 'nowhere')
  })

  t.test(`${type}: a list that names each page twice`, async (t) => {
    const guest = await guestOf(type)
    const nodes = guest.xen.store.nodes
    await run(guest, 'tree', 2)
    const message = /the p2m list of the guest names frames more than once: expected at most 5120 frames/
    await t.rejects(capture(guest.xen, guest.live.domid), { code: 'bad-snapshot', message })
    goesOn(t, guest, nodes, 'afterwards')
  })
}

for (const type of TYPES) {
  t.test(`${type}: a guest that suspends itself can be restored, and goes on`, async (t) => {
    const guest = await guestOf(type, 20 * MIB, [pattern(3 * PAGE_SIZE)])
    const { xen, live, recorded } = guest
    if (type === 'pvh') xen.setHvmParam(live.domid, HVM_PARAM.CALLBACK_IRQ, 1n)
    else await run(guest, 'linear')
    const nodes = xen.store.nodes
    const running = await capture(xen, live.domid)
    t.throws(() => writeXl(running.domain), { code: 'bad-config' }, 'it was only paused')
    // Its user mode has separate page tables: here the same ones.
    const context = type === 'pv64' ? (xen.vcpuContext(live.domid, 0) as Uint8Array) : undefined
    const ctrlreg = VcpuGuestContext64.offsetOf('ctrlreg')
    if (context) {
      context.copyWithin(ctrlreg + 8, ctrlreg + 24, ctrlreg + 32)
      xen.setVcpuContext(live.domid, 0, context)
    }
    await suspends(guest, 20)
    const { domain } = await capture(xen, live.domid, { suspend: true })
    goesOn(t, guest, nodes, 'afterwards')
    const rax = (vcpu: Vcpu | undefined) => vcpu?.registers.rax
    t.equal(rax(recorded.vcpus[0]), 1n, 'its call tells it that it goes on')
    t.equal(rax(domain.vcpus[0]), 0n, 'the captured one learns that it was restored')
    t.ok(xen.calls.some(({ name }) => name === 'store.resume'))
    sameAsBuilt(t, domain, live)
    const read = openMain(sourceOf(writeXl(domain)))
    t.equal(read.memory.pageCount, domain.memory.pageCount)
    t.equal(rax(read.vcpus[0]), 0n)
    if (context) {
      const kept = VcpuGuestContext64.decode(read.vcpus[0]?.pv?.context ?? new Uint8Array(0))
      t.equal(kept.ctrlreg[1], BigInt(requirePv(read).pageTables.top * PAGE_SIZE) | 1n, 'as xl save marks it')
    }
    if (read.boot.kind === 'start_info') {
      t.same(read.boot.xenstore, requirePv(live.domain).xenstore)
      t.same(read.boot.console, requirePv(live.domain).console)
    }
  })

  t.test(`${type}: a guest that does not suspend itself`, async (t) => {
    const guest = await guestOf(type, 8 * MIB)
    const { xen, live } = guest
    const nodes = xen.store.nodes
    const shutdown = `/local/domain/${live.domid}/control/shutdown`
    if (type === 'pvh') {
      await capture(xen, live.domid, { suspend: true })
      goesOn(t, guest, nodes, 'a guest without drivers is not asked')
      xen.setHvmParam(live.domid, HVM_PARAM.CALLBACK_IRQ, 1n)
    }
    await t.rejects(capture(xen, live.domid, { suspend: { limit: 30 } }), {
      code: 'hypercall-failed',
      message: /has not suspended itself: expected a guest that answers to control\/shutdown within 0.03 s/,
    })
    goesOn(t, guest, nodes, 'the request is withdrawn')
    const abort = new AbortController()
    setTimeout(() => abort.abort(new Error('stopped')), 30)
    await t.rejects(capture(xen, live.domid, { suspend: true, signal: abort.signal }), { message: 'stopped' })
    goesOn(t, guest, nodes, 'aborted')
    await suspends(guest, 60)
    await t.rejects(capture(xen, live.domid, { suspend: { limit: 30 } }), { code: 'hypercall-failed' })
    goesOn(t, guest, nodes, 'it had taken the request, and goes on all the same')
    xen.pauseDomain(live.domid)
    await t.rejects(capture(xen, live.domid, { suspend: true }), { code: 'bad-config', message: /is paused/ })
    t.equal(guest.recorded.pauses, 1)
    t.equal(xen.store.nodes[shutdown], '')
  })

  t.test(`${type}: a killed process leaves no guest suspended`, async (t) => {
    const guest = await guestOf(type, 8 * MIB)
    const { xen, live } = guest
    if (type === 'pvh') xen.setHvmParam(live.domid, HVM_PARAM.CALLBACK_IRQ, 1n)
    else await run(guest, 'linear')
    await suspends(guest)
    const nodes = xen.store.nodes
    const before = xen.calls.length
    await capture(xen, live.domid, { suspend: true })
    const calls = xen.calls.slice(before).filter(({ process }) => process === 'first')
    const asked = calls.findIndex(({ args }) => args[1] === 'suspend' && String(args[0]).endsWith('shutdown'))
    t.ok(asked > 0)
    for (let i = asked + 1; i < calls.length; i++) {
      if (calls[i]?.name === calls[i - 1]?.name) continue
      const [killed, next] = [xen.asProcess(`killed ${i}`), xen.asProcess(`next ${i}`)]
      let at = 0
      guest.onCall = ({ process }) => {
        if (process === killed.process && at++ >= i) throw new Error('killed')
      }
      await capture(killed, live.domid, { suspend: true }).catch(() => {})
      xen.endProcess(killed.process)
      await unpauseLeft(next)
      goesOn(t, guest, nodes, `killed at call ${i}`)
    }
  })
}

t.test('pvh: the hole below 4 GiB costs nothing', async (t) => {
  const { xen, live } = await guestOf('pvh', 64 * MIB)
  const before = xen.calls.length
  const { domain } = await capture(xen, live.domid)
  const names = xen.calls.slice(before).map(({ name }) => name)
  const paused = names.slice(names.indexOf('pauseDomain'), names.indexOf('unpauseDomain'))
  const windows = Math.ceil(domain.memory.pageCount / 1024) + 2
  t.ok(paused.filter((name) => name === 'frameTypes').length <= windows)
  t.ok(names.filter((name) => name === 'frameTypes').length <= 2 * windows + 24, 'nor before')
  t.equal(domain.boot.kind, 'hvm_start_info')
  t.ok(bytesOf(writeXl(domain)).length > 0)
})

t.test('a pause of another program stays', async (t) => {
  const { xen, live, recorded } = await guestOf('pv64', 8 * MIB)
  xen.pauseDomain(live.domid)
  await capture(xen, live.domid)
  t.equal(recorded.pauses, 1)
  xen.unpauseDomain(live.domid)
})

t.test('two captures at once', async (t) => {
  const guest = await guestOf('pv64', 8 * MIB)
  const nodes = guest.xen.store.nodes
  const [a, b] = await Promise.all([1, 2].map(() => capture(guest.xen, guest.live.domid)))
  for (const one of [a, b]) sameAsDomain(t, one?.domain as Domain, guest)
  goesOn(t, guest, nodes, 'afterwards')
})

t.test('the memory can lie in a scratch of the caller', async (t) => {
  const guest = await guestOf('pv64')
  const written = new Set<number>()
  const inner = memoryScratch()
  const scratch: CaptureOptions['scratch'] = {
    writeAt(bytes, offset) {
      written.add(offset)
      inner.writeAt(bytes, offset)
    },
    readInto: (offset, out) => inner.readInto(offset, out),
  }
  const { domain } = await capture(guest.xen, guest.live.domid, { scratch })
  sameAsDomain(t, domain, guest)
  t.ok(written.size > 0)
  await t.rejects(capture(guest.xen, guest.live.domid, { scratch: memoryScratch(MIB) }), { code: 'payload-too-large' })
  t.equal(guest.recorded.running, true)
})

t.test('domains that cannot be captured', async (t) => {
  const { xen, live } = await guestOf('pv64', 8 * MIB)
  await t.rejects(capture(xen, 0), { code: 'bad-config', message: /dom0 cannot be captured/ })
  await t.rejects(capture(xen, 99), { code: 'no-domain', message: 'domain 99 does not exist' })
  await t.rejects(capture(xen, live.domid, { signal: AbortSignal.abort(new Error('stopped')) }), { message: 'stopped' })
  for (const limit of [-1, 1.5, Number.NaN]) {
    await t.rejects(capture(xen, live.domid, { suspend: { limit } }), DomainBuilderError)
  }
  xen.shutDown(live.domid, SHUTDOWN.crash)
  await t.rejects(capture(xen, live.domid, { suspend: true }), { code: 'bad-config', message: /has stopped/ })
  const { domain } = await capture(xen, live.domid)
  t.equal(domain.type, 'pv', 'a crashed guest can be looked at')
  await live.destroy()
  await t.rejects(capture(xen, live.domid), { code: 'no-domain' })
})

t.test('a record of another domain of the same number is removed', async (t) => {
  const guest = await guestOf('pv64', 8 * MIB)
  const { xen, live, recorded } = guest
  const nodes = xen.store.nodes
  const node = `/tool/xen-domain-builder/paused/${live.domid}/0`
  xen.store.write(`${node}/process`, 'gone')
  xen.store.write(`${node}/uuid`, '00000000-0000-0000-0000-000000000001')
  xen.store.write(`${node}/how`, 'pause')
  xen.pauseDomain(live.domid)
  t.same(await unpauseLeft(xen), [])
  t.equal(recorded.pauses, 1)
  xen.unpauseDomain(live.domid)
  goesOn(t, guest, nodes, 'afterwards')
})
