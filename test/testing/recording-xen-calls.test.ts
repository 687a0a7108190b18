/**
 * RecordingXen: frames, calls and processes, without a guest in the domain.
 *
 * Source: lib/testing/recording-xen; xen/include/public/errno.h for the answers.
 * Gotcha: a frame's content shows that of the machine. A page that was not written has 0xc2 in every byte.
 */
import { test } from 'tap'
import { HVM_PARAM } from '../../lib/abi/hvm-params.js'
import { encodeHvmContext } from '../../lib/guest/hvm-context.js'
import { encodePvContext } from '../../lib/guest/pv-context.js'
import { waitingPvVcpu, waitingVcpu } from '../../lib/guest/vcpu.js'
import { type RecordedCall, RecordingXen } from '../../lib/testing/index.js'
import type { Hypervisor } from '../../lib/toolstack/hypervisor.js'
import { makeDomain, NEW_DOMAIN, pfnList, refused } from '../fixtures/recorded.js'

const MIB = 2 ** 20
const PAGE = 4096
const page = (byte: number): Uint8Array => new Uint8Array(PAGE).fill(byte)

test('machine frames are scattered, the same for each seed', async (t) => {
  const framesOf = (seed?: number) => [...makeDomain(new RecordingXen(seed === undefined ? {} : { seed }), 4096).frames]
  const frames = framesOf()
  t.equal(new Set(frames).size, 4096)
  const neighbours = frames.filter((mfn, pfn) => pfn > 0 && mfn === (frames[pfn - 1] as bigint) + 1n)
  t.ok(neighbours.length < 16, `${neighbours.length} pages follow one another`)
  t.equal(framesOf().join(), frames.join())
  t.not(framesOf(1).join(), frames.join())
})

test('frames lie on both sides of 4 GiB, and none where a PC has no memory', async (t) => {
  const xen = new RecordingXen()
  t.equal(xen.freePages, (4 * 2 ** 30) / PAGE - 2048)
  const { frames } = makeDomain(xen, 2 ** 16)
  t.same([frames.some((mfn) => mfn < 0x80000n), frames.some((mfn) => mfn >= 0x100000n)], [true, true])
  t.notOk(frames.some((mfn) => (mfn >= 0x80000n && mfn < 0x100000n) || mfn < 2048n))
})

test('an extent is aligned and whole, also after other domains have come and gone', async (t) => {
  const xen = new RecordingXen({ memory: 64 * MIB })
  const small = [makeDomain(xen, 300), makeDomain(xen, 300), makeDomain(xen, 300)]
  await xen.destroyDomain(small[1]?.domid ?? 0)
  const domid = xen.createDomain(NEW_DOMAIN)
  xen.setMaxMemory(domid, 64 * 1024)
  const extents = pfnList(0, 12)
  for (let i = 0; i < 12; i++) extents[i] = BigInt(512 * i)
  t.equal(xen.populate(domid, extents, 9, false), 12)
  for (const mfn of extents) t.equal(mfn % 512n, 0n)
  const all = [...extents].flatMap((mfn) => Array.from({ length: 512 }, (_, i) => Number(mfn) + i))
  t.equal(new Set([...all, ...(small[0]?.frames ?? []), ...(small[2]?.frames ?? [])].map(Number)).size, 12 * 512 + 600)
  t.equal(xen.populate(domid, BigUint64Array.of(0x10000n), 19, false), 0, 'no extent is that large')
})

test('a domain gets no more than its limit, and no more than the host has', async (t) => {
  const xen = new RecordingXen({ memory: 64 * MIB })
  const free = xen.freePages
  const domid = xen.createDomain(NEW_DOMAIN)
  t.equal(xen.populate(domid, pfnList(0, 4), 0, false), 0, 'before it has a limit')
  xen.setMaxMemory(domid, 100 * 4)
  t.equal(xen.populate(domid, pfnList(0, 99), 0, false), 99)
  t.equal(xen.populate(domid, pfnList(99, 5), 0, false), 1)
  t.same([xen.domainInfo(domid)?.pages, xen.domainInfo(domid)?.maxPages, free - xen.freePages], [100, 100, 100])
  const large = makeDomain(xen, free)
  t.equal(large.given, free - 100)
  await xen.destroyDomain(domid)
  t.equal(xen.freePages, 100)
  await xen.destroyDomain(large.domid)
  t.equal(xen.freePages, free)
  await refused(t, 'EINVAL', /pfn 0x0 of domain 3 is populated a second time/, () => {
    const again = makeDomain(xen, 1)
    xen.populate(again.domid, pfnList(0, 1), 0, false)
  })
  t.throws(() => new RecordingXen({ memory: MIB }), { code: 'bad-config' })
})

test('fresh pages have 0xc2 in every byte, again after another domain had them', async (t) => {
  const xen = new RecordingXen({ memory: 16 * MIB })
  const out = new Uint8Array(2 * PAGE)
  for (let round = 0; round < 2; round++) {
    const { domid, frames } = makeDomain(xen, xen.freePages)
    xen.readFrames(domid, frames.subarray(0, 2), out)
    t.same(out, new Uint8Array(2 * PAGE).fill(0xc2))
    for (let at = 0; at < frames.length; at += 1024) {
      await xen.writeFrames(domid, frames.subarray(at, at + 1024), [{ offset: 7, bytes: page(round) }])
    }
    xen.readFrames(domid, frames.subarray(0, 2), out)
    t.same([out[6], out[7], out[PAGE + 6], out[PAGE + 7]], [0, round, round, 0], 'the other bytes are zero')
    t.same(xen.domain(domid)?.memory.read(0, 2 * PAGE), out)
    await xen.destroyDomain(domid)
  }
})

test('a write belongs to one domain, and its bytes to the caller', async (t) => {
  const xen = new RecordingXen()
  const { domid, frames } = makeDomain(xen, 2)
  const other = makeDomain(xen, 1)
  const write = (to: BigUint64Array, offset: number, bytes: Uint8Array) =>
    xen.writeFrames(domid, to, [{ offset, bytes }])
  await refused(t, 'EINVAL', /mfn 0x[0-9a-f]+ is not in the memory of domain 1/, () => write(other.frames, 0, page(1)))
  await refused(t, 'EFAULT', /after the pages of the write/, () => write(frames, PAGE + 1, page(1)))
  await refused(t, 'EINVAL', /begins before the end of another one/, () =>
    xen.writeFrames(
      domid,
      frames,
      [1, 0].map((offset) => ({ offset, bytes: page(offset) })),
    ),
  )
  await refused(t, 'E2BIG', /1025 frames/, () => write(new BigUint64Array(1025).fill(frames[0] ?? 0n), 0, page(1)))

  const bytes = page(1)
  const early = write(frames, 0, bytes)
  bytes.fill(2)
  await refused(t, 'EFAULT', /has changed the bytes of a write before its answer/, () => early)
  await write(frames, 0, bytes)
  bytes.fill(3)
  t.same(xen.domain(domid)?.memory.read(0, PAGE), page(2), 'the bytes are the caller’s again')
  await refused(t, 'EFAULT', /the buffer for 2 pages/, () => xen.readFrames(domid, frames, page(0)))
})

test('a domain is gone once no frame of it is mapped', async (t) => {
  const xen = new RecordingXen()
  const { domid, frames } = makeDomain(xen, 4)
  const writing = xen.writeFrames(domid, frames, [{ offset: 0, bytes: page(1) }])
  const destroying = xen.destroyDomain(domid)
  const again = xen.destroyDomain(domid)
  t.equal(xen.domainInfo(domid)?.dying, true)
  t.same(xen.leftovers(), ['domain 1', 'mappings of domain 1', '4 pages'])
  await writing
  await destroying
  await again
  t.same(xen.leftovers(), [])
  t.equal(xen.domainInfo(domid), undefined)
})

test('every call for a domain that does not exist is refused', async (t) => {
  const xen = new RecordingXen()
  const bytes = new Uint8Array(0)
  const frames = new BigUint64Array(0)
  const policy = { leaves: bytes, msrs: bytes }
  const calls: Readonly<Record<string, (domid: number) => unknown>> = {
    setAddressSize: (domid) => xen.setAddressSize(domid, 32),
    setMaxVcpus: (domid) => xen.setMaxVcpus(domid, 1),
    setMaxMemory: (domid) => xen.setMaxMemory(domid, 4),
    setPagingPool: (domid) => xen.setPagingPool(domid, MIB),
    setTscMode: (domid) => xen.setTscMode(domid, 0),
    destroyDomain: (domid) => xen.destroyDomain(domid),
    pauseDomain: (domid) => xen.pauseDomain(domid),
    unpauseDomain: (domid) => xen.unpauseDomain(domid),
    resumeDomain: (domid) => xen.resumeDomain(domid),
    populate: (domid) => xen.populate(domid, frames, 0, false),
    setPodTarget: (domid) => xen.setPodTarget(domid, 0),
    exchangeBelow4GiB: (domid) => xen.exchangeBelow4GiB(domid, 0, 0),
    setMemoryMap: (domid) => xen.setMemoryMap(domid, []),
    maximumGpfn: (domid) => xen.maximumGpfn(domid),
    frameTypes: (domid) => xen.frameTypes(domid, frames),
    readFrames: (domid) => xen.readFrames(domid, frames, bytes),
    writeFrames: (domid) => xen.writeFrames(domid, frames, []),
    initHypercallPage: (domid) => xen.initHypercallPage(domid, 0),
    pinTable: (domid) => xen.pinTable(domid, 4, 0),
    allocUnbound: (domid) => xen.allocUnbound(domid, 0),
    setGrants: (domid) => xen.setGrants(domid, []),
    setHvmParam: (domid) => xen.setHvmParam(domid, 1, 0n),
    hvmParam: (domid) => xen.hvmParam(domid, 1),
    setVcpuContext: (domid) => xen.setVcpuContext(domid, 0, bytes),
    vcpuContext: (domid) => xen.vcpuContext(domid, 0),
    isOnline: (domid) => xen.isOnline(domid, 0),
    vcpuState: (domid) => xen.vcpuState(domid, 0, 'xsave'),
    setHvmContext: (domid) => xen.setHvmContext(domid, bytes),
    hvmContext: (domid) => xen.hvmContext(domid),
    cpuPolicy: (domid) => xen.cpuPolicy(domid),
    setCpuPolicy: (domid) => xen.setCpuPolicy(domid, policy),
    tscInfo: (domid) => xen.tscInfo(domid),
    'store.introduce': (domid) => xen.store.introduce(domid, 0, 1),
  }
  for (const [name, call] of Object.entries(calls)) {
    await refused(t, 'ESRCH', /domain 7 does not exist/, () => call(7))
    await refused(t, 'EINVAL', /domain 0/, () => call(0))
    t.equal(xen.calls.at(-1)?.name, name)
  }
  t.equal(xen.domainInfo(7), undefined)
  t.same(
    xen.listDomains().map(({ domid }) => domid),
    [0],
  )
})

test('a new domain has limits', async (t) => {
  const xen = new RecordingXen()
  for (const change of [
    { vcpus: 0 },
    { vcpus: 129 },
    { maxEventChannel: 0 },
    { maxGrantVersion: 3 },
    { nestedVirtualization: true },
  ]) {
    await refused(t, 'EINVAL', /./, () => xen.createDomain({ ...NEW_DOMAIN, ...change }))
  }
  t.same(xen.leftovers(), [])
  const domid = xen.createDomain({ ...NEW_DOMAIN, vcpus: 128, maxEventChannel: 2 })
  t.equal(domid, 6, 'a domain that is refused takes a number, as in Xen')
  await refused(t, 'EINVAL', /must have 128 vcpus, as it was created, not 127/, () => xen.setMaxVcpus(domid, 127))
  await refused(t, 'EINVAL', /has no vcpu 0/, () => xen.vcpuContext(domid, 0))
  xen.setMaxVcpus(domid, 128)
  await refused(t, 'EACCES', /has vcpus before its address size/, () => xen.setAddressSize(domid, 32))
  t.equal(xen.vcpuContext(domid, 127), undefined)
  t.equal(xen.isOnline(domid, 127), false)
  t.same(xen.vcpuState(domid, 127, 'extended'), new Uint8Array(0))
  await refused(t, 'EINVAL', /has no vcpu 128/, () => xen.isOnline(domid, 128))
  t.same([xen.allocUnbound(domid, 0), xen.allocUnbound(domid, 5)], [1, 2])
  await refused(t, 'ENOSPC', /has its 2 event channels already/, () => xen.allocUnbound(domid, 0))
  const map = Array.from({ length: 1025 }, (_, i) => ({ start: i, end: i + 1, type: 1 }))
  await refused(t, 'EINVAL', /1025 entries/, () => xen.setMemoryMap(domid, map))
  t.equal(xen.domainInfo(domid)?.maxVcpuId, 127)
  t.same([xen.createDomain(NEW_DOMAIN), xen.createDomain(NEW_DOMAIN)], [7, 8])
  await xen.destroyDomain(7)
  t.equal(xen.createDomain(NEW_DOMAIN), 9, 'a number is not used again at once')
})

test('a PV vcpu has the length of its guest, and a top table', async (t) => {
  const xen = new RecordingXen()
  const { domid, mfn } = makeDomain(xen, 4)
  const context = (cr3: bigint) => encodePvContext({ ...waitingPvVcpu(0), cr3 }, 'x86_64')
  await refused(t, 'EFAULT', /is 2800 bytes instead of 5168/, () => xen.setVcpuContext(domid, 0, new Uint8Array(2800)))
  await refused(t, 'EINVAL', /is not in the memory of the guest/, () => xen.setVcpuContext(domid, 0, context(0x1000n)))
  const bytes = context(BigInt(mfn(3)) << 12n)
  xen.setVcpuContext(domid, 1, bytes)
  bytes.fill(0)
  t.same(xen.vcpuContext(domid, 1), context(BigInt(mfn(3)) << 12n), 'the bytes are copied at once')
  xen.unpauseDomain(domid)
  t.equal(xen.domain(domid)?.running, false, 'vcpu 0 was never set')
})

test('a PVH guest has parameters and a context, which a PV guest does not have', async (t) => {
  const xen = new RecordingXen()
  const pv = makeDomain(xen, 1).domid
  const { domid } = makeDomain(xen, 1, { type: 'pvh' })
  const context = encodeHvmContext([{ ...waitingVcpu(0), online: true }, waitingVcpu(1)])
  for (const call of [
    () => xen.setHvmParam(pv, 1, 0n),
    () => xen.hvmParam(pv, 1),
    () => xen.setHvmContext(pv, context),
    () => xen.hvmContext(pv),
    () => xen.setPagingPool(pv, MIB),
    () => xen.maximumGpfn(pv),
    () => xen.setPodTarget(pv, 1),
    () => xen.populate(pv, pfnList(1, 1), 0, true),
    () => xen.pinTable(domid, 4, 0),
    () => xen.setAddressSize(domid, 32),
    () => xen.exchangeBelow4GiB(domid, 0, 0),
    () => xen.initHypercallPage(domid, 0),
  ]) {
    await refused(t, 'EINVAL', /is a (?:PV|PVH) guest/, call)
  }
  t.equal(xen.hvmParam(domid, 1), 0n)
  xen.setHvmParam(domid, 1, 0xfeffcn)
  t.equal(xen.hvmParam(domid, 1), 0xfeffcn)
  t.equal(xen.hvmParam(domid, 7), undefined)
  await refused(t, 'EINVAL', /HVM_PARAM 7 is unknown/, () => xen.setHvmParam(domid, 7, 1n))
  const late = /HVM_PARAM 35 is set when the domain is created/
  await refused(t, 'EEXIST', late, () => xen.setHvmParam(domid, HVM_PARAM.ALTP2M, 0n))
  await refused(t, 'EINVAL', /not whole pages/, () => xen.setPagingPool(domid, 100))

  await refused(t, 'EINVAL', /the HVM context is invalid: .*truncated|ends within/, () =>
    xen.setHvmContext(domid, context.subarray(0, 100)),
  )
  const third = encodeHvmContext([0, 1, 2].map((id) => ({ ...waitingVcpu(id), online: true })))
  await refused(t, 'EINVAL', /has no vcpu 2/, () => xen.setHvmContext(domid, third))
  t.same(xen.hvmContext(domid), encodeHvmContext([waitingVcpu(0), waitingVcpu(1)]))
  xen.setHvmContext(domid, context)
  t.same(xen.hvmContext(domid), context)
  const registers = encodePvContext(
    { ...waitingVcpu(0), registers: { ...waitingVcpu(0).registers, rip: 7n } },
    'x86_64',
  )
  xen.setVcpuContext(domid, 0, registers)
  t.equal(xen.domain(domid)?.vcpus[0]?.registers.rip, 7n)
  t.same([xen.vcpuContext(domid, 0)?.length, xen.vcpuContext(domid, 1)], [5168, undefined])
  await refused(t, 'EINVAL', /vcpu 1 of domain 2 has no state yet/, () => xen.setVcpuContext(domid, 1, registers))
  const young = xen.createDomain({ ...NEW_DOMAIN, type: 'pvh' })
  await refused(t, 'EINVAL', /before it has vcpus/, () => xen.setHvmContext(young, context))
})

test('pages on demand come at their first use, up to the target', async (t) => {
  const xen = new RecordingXen()
  const free = xen.freePages
  const domid = xen.createDomain({ ...NEW_DOMAIN, type: 'pvh' })
  xen.setMaxMemory(domid, 1024 * 4)
  xen.setPodTarget(domid, 2)
  t.equal(xen.populate(domid, BigUint64Array.of(0n), 9, true), 1)
  t.equal(xen.populate(domid, pfnList(512, 1), 0, false), 1)
  t.same([xen.domainInfo(domid)?.pages, free - xen.freePages, xen.maximumGpfn(domid)], [3, 3, 512])
  t.equal(xen.domain(domid)?.memory.pageCount, 1)
  await xen.writeFrames(domid, BigUint64Array.of(7n, 300n), [{ offset: 0, bytes: page(1) }])
  t.same(xen.domain(domid)?.memory.ranges, [
    { start: 7, end: 8 },
    { start: 300, end: 301 },
    { start: 512, end: 513 },
  ])
  await refused(t, 'ENOMEM', /the pages on demand of domain 1 are used up/, () =>
    xen.writeFrames(domid, BigUint64Array.of(8n), []),
  )
  xen.setPodTarget(domid, 4)
  t.equal(xen.frameTypes(domid, BigUint64Array.of(8n))[0], 0)
  t.equal(xen.frameTypes(domid, BigUint64Array.of(513n))[0], 0xf0000000)
  await refused(t, 'ENOMEM', /for 5000 pages on demand is missing/, () => xen.setPodTarget(domid, 5000))
  await xen.destroyDomain(domid)
  t.same(xen.leftovers(), [])
})

test('a frame is exchanged for one below 4 GiB', async (t) => {
  const xen = new RecordingXen({ seed: 3 })
  const { domid, frames } = makeDomain(xen, 8192)
  const high = frames.findIndex((mfn) => mfn >= 0x100000n)
  t.ok(high >= 0)
  const free = xen.freePages
  const mfn = xen.exchangeBelow4GiB(domid, high, Number(frames[high]))
  t.ok(mfn < 0x100000)
  t.equal(xen.freePages, free)
  t.equal(xen.domain(domid)?.p2m.mfn(high), mfn)
  await refused(t, 'EINVAL', /is not in the memory/, () => xen.exchangeBelow4GiB(domid, high, Number(frames[high])))
  const writing = xen.writeFrames(domid, BigUint64Array.of(BigInt(mfn)), [])
  await refused(t, 'EINVAL', /is still mapped/, () => xen.exchangeBelow4GiB(domid, high, mfn))
  await writing
})

test('a domain may grant its pages only, and its first grants', async (t) => {
  const xen = new RecordingXen()
  const { domid, mfn } = makeDomain(xen, 2)
  const other = makeDomain(xen, 1)
  const grant = (ref: number, frame: number) => ({ ref, domid: 0, frame })
  await refused(t, 'EINVAL', /is not in the memory of domain 1/, () => xen.setGrants(domid, [grant(1, other.mfn(0))]))
  await refused(t, 'EINVAL', /the grant reference 512/, () => xen.setGrants(domid, [grant(512, mfn(0))]))
  xen.setGrants(domid, [grant(1, mfn(0)), grant(0, mfn(1))])
  t.same(xen.domain(domid)?.grants, [grant(0, mfn(1)), grant(1, mfn(0))])
})

test('a processor is changed until the domain has run', async (t) => {
  const xen = new RecordingXen()
  const { domid } = makeDomain(xen, 1, { type: 'pvh' })
  const policy = xen.cpuPolicy(domid)
  t.same(policy, xen.defaultCpuPolicy('pvh'))
  t.notSame(policy, xen.defaultCpuPolicy('host'))
  t.notSame(policy, xen.defaultCpuPolicy('pv'))
  const leaf = policy.leaves.slice(24, 48).fill(0x55, 8)
  xen.setCpuPolicy(domid, { leaves: leaf, msrs: new Uint8Array(0) })
  const changed = xen.cpuPolicy(domid)
  t.same(changed.leaves.subarray(24, 48), leaf)
  t.same(changed.leaves.subarray(48), policy.leaves.subarray(48))
  t.same(changed.msrs, policy.msrs)
  await refused(t, 'EINVAL', /23 bytes is not whole entries of 24/, () =>
    xen.setCpuPolicy(domid, { leaves: new Uint8Array(23), msrs: new Uint8Array(0) }),
  )
  xen.unpauseDomain(domid)
  await refused(t, 'EEXIST', /has run with its processor/, () => xen.setCpuPolicy(domid, policy))
  xen.setTscMode(domid, 2)
  t.equal(xen.tscInfo(domid).mode, 2)
})

test('pauses are counted, and a guest can stop and go on', async (t) => {
  const xen = new RecordingXen()
  const { domid } = makeDomain(xen, 1, { type: 'pvh' })
  xen.setHvmContext(domid, encodeHvmContext([{ ...waitingVcpu(0), online: true }]))
  const states = (): unknown[] => [
    xen.domain(domid)?.pauses,
    xen.domain(domid)?.running,
    xen.domainInfo(domid)?.shutdown,
  ]
  xen.pauseDomain(domid)
  t.same(states(), [2, false, undefined])
  xen.unpauseDomain(domid)
  xen.unpauseDomain(domid)
  t.same(states(), [0, true, undefined])
  await refused(t, 'EINVAL', /is not paused/, () => xen.unpauseDomain(domid))
  xen.shutDown(domid, 2)
  t.same(states(), [0, false, 2])
  xen.resumeDomain(domid)
  t.same(states(), [0, true, undefined])
})

test('calls are recorded, and a hook can do anything before one', async (t) => {
  const seen: string[] = []
  const controller = new AbortController()
  const onCall = ({ name, process }: RecordedCall) => {
    seen.push(name)
    if (name === 'setMaxVcpus') throw new Error('no vcpus today')
    if (name === 'allocUnbound') controller.abort()
    if (process === 'second') throw new Error('not you')
  }
  const xen = new RecordingXen({ onCall, processName: 'toolstack' })
  const hypervisor: Hypervisor = xen
  const domid = await hypervisor.createDomain(NEW_DOMAIN)
  await t.rejects(async () => hypervisor.setMaxVcpus(domid, 2), { message: 'no vcpus today' })
  t.equal(xen.domainInfo(domid)?.onlineVcpus, 0)
  xen.allocUnbound(domid, 0)
  t.ok(controller.signal.aborted)
  const pieces = [{ offset: 1, bytes: page(0) }]
  await refused(t, 'EINVAL', /is not in the memory/, () => xen.writeFrames(domid, pfnList(0, 2), pieces))
  t.throws(() => xen.asProcess('second').listDomains(), { message: 'not you' })
  t.same(seen, ['createDomain', 'setMaxVcpus', 'domainInfo', 'allocUnbound', 'writeFrames', 'listDomains'])
  t.same(
    xen.calls.map(({ name }) => name),
    seen,
  )
  t.same(xen.calls[0], { name: 'createDomain', args: [NEW_DOMAIN], process: 'toolstack' })
  t.same(xen.calls[4]?.args, [domid, '2 frames', [{ offset: 1, bytes: '4096 bytes' }]])
  t.equal(xen.calls[5]?.process, 'second')
})

test('processes share a host, and one may end', async (t) => {
  const xen = new RecordingXen()
  const other = xen.asProcess('other')
  t.same(
    [xen.process, other.process, xen.isRunning('other'), xen.isRunning('unknown')],
    ['first', 'other', true, false],
  )
  const domid = other.createDomain(NEW_DOMAIN)
  const events: string[] = []
  other.store.watch('/tool', (path) => events.push(path))
  other.setUserdata(domid, NEW_DOMAIN.uuid, 'libxl-json', '{}')
  await Promise.resolve()
  xen.endProcess('other')
  xen.store.write('/tool/x', '')
  await Promise.resolve()
  t.same(events, ['/tool'])
  t.equal(xen.isRunning('other'), false)
  t.same(xen.files, { [`userdata-d.${domid}.${NEW_DOMAIN.uuid}.libxl-json`]: '{}' })
  t.same(xen.leftovers(), ['domain 1', 'node /tool/x', `file userdata-d.${domid}.${NEW_DOMAIN.uuid}.libxl-json`])
  xen.setUserdata(domid, NEW_DOMAIN.uuid, 'libxl-json', undefined)
  xen.store.remove('/tool')
  t.same(xen.leftovers(), ['domain 1', 'changed node /tool', 'changed node /tool/xenstored'])
})
