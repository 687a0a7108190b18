/**
 * Tests of the requests to Xen, byte by byte, for each version of its interface, and of what follows a refusal.
 *
 * Source: fake-native.ts next to this file; the offsets are those of xen/include/public/domctl.h, written here once more.
 * Gotcha: test/peer/domctl.test.ts compares the layouts with a C compiler, and test/xen/open-xen.ts runs them.
 */
import t, { type Test } from 'tap'
import { domainMethods } from '../../lib/live/domains.js'
import { Hypercalls } from '../../lib/live/hypercalls.js'
import { memoryMethods } from '../../lib/live/memory.js'
import { stateMethods } from '../../lib/live/state.js'
import type { NewDomain } from '../../lib/toolstack/hypervisor.js'
import { type Call, ERRNO, FakeNative } from './fake-native.js'

const PAGE = 4096
const NEW: NewDomain = {
  ...{ type: 'pvh', uuid: '00112233-4455-6677-8899-aabbccddeeff', vcpus: 4, maxEventChannel: 1023 },
  ...{ maxGrantVersion: 2, nestedVirtualization: false, msrRelaxed: false, altp2m: 0 },
}

interface Opened {
  readonly native: FakeNative
  readonly xen: Hypercalls
  readonly methods: ReturnType<typeof domainMethods> &
    ReturnType<typeof memoryMethods> &
    ReturnType<typeof stateMethods>
}

/** Opens a fake Xen. Every buffer and mapping must be given back in the end. */
function open(t: Test, native = new FakeNative()): Opened {
  const xen = new Hypercalls(native)
  const methods = { ...domainMethods(xen), ...memoryMethods(xen), ...stateMethods(xen) }
  native.domctls.length = 0
  t.teardown(() => {
    if (native.memory.size > 0) throw new Error(`${native.memory.size} buffers or mappings are left`)
  })
  return { native, xen, methods }
}

/** Returns a fake Xen of that version. */
function xenOf(minor: number, domctl: number, sysctl: number): FakeNative {
  return Object.assign(new FakeNative(), { version: [4, minor], domctl, sysctl })
}

/** Answers one domctl, by its number; others succeed. */
const onDomctl =
  (cmd: number, answer: (u: Buffer, call: Call) => number) =>
  (call: Call): number => {
    if (call.number !== 36) return 0
    const request = call.at(call.args[0] ?? 0, 144)
    return request.readUInt32LE(0) === cmd ? answer(request.subarray(16), call) : 0
  }

/** Each release: the versions of its interfaces, and offsets in createdomain, of which older ones lack some. */
const RELEASES = [
  { minor: 14, domctl: 0x12, sysctl: 0x13, emulation: 44 },
  { minor: 15, domctl: 0x13, sysctl: 0x13, emulation: 48, misc: 52 },
  { minor: 16, domctl: 0x14, sysctl: 0x14, grant: 44, emulation: 52, misc: 56 },
  { minor: 17, domctl: 0x15, sysctl: 0x15, grant: 44, emulation: 56, misc: 60 },
  { minor: 18, domctl: 0x16, sysctl: 0x15, grant: 44, emulation: 56, misc: 60 },
  { minor: 19, domctl: 0x17, sysctl: 0x15, grant: 44, emulation: 60, misc: 64 },
  { minor: 20, domctl: 0x17, sysctl: 0x15, grant: 44, emulation: 60, misc: 64 },
  { minor: 21, domctl: 0x17, sysctl: 0x16, grant: 44, emulation: 60, misc: 64 },
  { minor: 22, domctl: 0x18, sysctl: 0x16, grant: 44, emulation: 60, misc: 64 },
] as const satisfies readonly {
  minor: number
  domctl: number
  sysctl: number
  emulation: number
  grant?: 44
  misc?: number
}[]

for (const row of RELEASES) {
  t.test(`a new domain of Xen 4.${row.minor}`, async (t) => {
    const { native, xen, methods } = open(t, xenOf(row.minor, row.domctl, row.sysctl))
    t.equal(xen.release, `4.${row.minor}`)
    native.answer = ({ args: [request = 0], at }) => {
      at(request, 144).writeUInt16LE(7, 8)
      return 0
    }
    const expected = (fields: Readonly<Record<number, number>>): Buffer => {
      const u = Buffer.alloc(128)
      u.set(Buffer.from('00112233445566778899aabbccddeeff', 'hex'), 4)
      for (const [at, value] of Object.entries({ 28: 4, 32: 1023, ...fields })) u.writeInt32LE(value, Number(at))
      return u
    }
    const grants = 'grant' in row ? { [row.grant]: 2 } : {}
    t.equal(await methods.createDomain(NEW), 7)
    await methods.createDomain({ ...NEW, type: 'pv', maxGrantFrames: 10, maxMaptrackFrames: 20 })
    const [pvh, pv] = native.domctls.splice(0)
    t.same([pvh?.cmd, pvh?.domid], [1, 0])
    t.same(pvh?.u, expected({ 20: 3, 36: -1, 40: -1, [row.emulation]: 1, ...grants }), 'HVM and HAP, with a local APIC')
    t.same(pv?.u, expected({ 36: 10, 40: 20, ...grants }))

    const special = { ...NEW, nestedVirtualization: true, msrRelaxed: true }
    if ('misc' in row) {
      await methods.createDomain(special)
      const fields = { 20: 3 | (1 << 6), 36: -1, 40: -1, [row.emulation]: 1, [row.misc]: 1 }
      t.same(native.domctls[0]?.u, expected({ ...fields, ...grants }))
    } else {
      t.throws(() => methods.createDomain(special), {
        code: 'bad-config',
        message: /a new domain on Xen 4.14 cannot have nested virtualization: expected Xen 4.15 or newer/,
      })
      t.throws(() => methods.createDomain({ ...NEW, msrRelaxed: true }), { message: /cannot have msr_relaxed/ })
    }
    native.domctls.splice(0)
    if (row.minor >= 19) {
      await methods.createDomain({ ...NEW, altp2m: 2 })
      t.equal(native.domctls[0]?.u.readUInt32LE(48), 2)
    } else {
      t.throws(() => methods.createDomain({ ...NEW, altp2m: 2 }), {
        message: /cannot have altp2m: expected Xen 4.19 or newer/,
      })
    }
  })

  t.test(`requests whose layout or number depends on the release, of Xen 4.${row.minor}`, async (t) => {
    const { native, methods } = open(t, xenOf(row.minor, row.domctl, row.sysctl))
    await methods.setPagingPool(3, 5 * 2 ** 20)
    const u = Buffer.alloc(128)
    if (row.minor >= 17) u.writeBigUInt64LE(5n << 20n)
    else {
      u.writeUInt32LE(31, 0)
      u.writeUInt32LE(5, 8)
    }
    t.same(native.domctls, [{ cmd: row.minor >= 17 ? 86 : 10, domid: 3, u }])

    const bytes = row.minor >= 16 ? 112 : 104
    native.answer = ({ number, args: [request = 0], at }) => {
      if (number !== 35) return 0
      const list = at(request, 136).subarray(8)
      const [first, most] = [list.readUInt16LE(0), list.readUInt32LE(4)]
      const count = Math.min(most, 300 - first)
      const infos = at(list.readBigUInt64LE(8), most * bytes)
      for (let i = 0; i < count; i++) {
        infos.writeUInt16LE(first + i, i * bytes)
        infos.writeUInt32LE(2 | 4 | 8 | (3 << 16), i * bytes + 4)
        infos.writeBigUInt64LE(77n, i * bytes + 8)
        infos.writeBigUInt64LE(0x1234n, i * bytes + 48)
        infos.writeUInt32LE(0xffffffff, i * bytes + 68)
        infos[i * bytes + 76] = 0xab
      }
      list.writeUInt32LE(count, 16)
      return 0
    }
    const all = await methods.listDomains()
    t.same(
      all.map(({ domid }) => domid),
      Array.from({ length: 300 }, (_, i) => i),
    )
    t.match(all[299], {
      ...{ uuid: 'ab000000-0000-0000-0000-000000000000', hvm: true, dying: false, paused: true, shutdown: 3 },
      ...{ pages: 77, sharedInfoFrame: 0x1234, maxVcpuId: -1, running: false },
    })
  })
}

t.test('Xens that are unknown', async (t) => {
  t.throws(() => new Hypercalls(xenOf(23, 0x19, 0x16)), {
    code: 'no-hypervisor',
    message: 'the domctl interface of Xen 4.23 is unknown: expected 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18',
  })
  t.throws(() => new Hypercalls(xenOf(22, 0x18, 0x99)), {
    code: 'no-hypervisor',
    message: /sysctl interface of Xen 4.22/,
  })
  t.throws(() => new Hypercalls(xenOf(13, 0x11, 0x12)), {
    code: 'no-hypervisor',
    message: 'Xen 4.13 is too old: expected 4.14 or newer',
  })
  t.equal(new Hypercalls(xenOf(30, 0x18, 0x16)).release, '4.22', 'a newer one with known interfaces is as the newest')
  t.equal(new Hypercalls(xenOf(18, 0x15, 0x13)).domctls.version, 0x15, 'a distribution may keep an interface')
  const refuses = Object.assign(new FakeNative(), { answer: ({ number }: Call) => (number === 17 ? 0 : -ERRNO.EPERM) })
  t.throws(() => new Hypercalls(refuses), {
    code: 'hypercall-failed',
    message: 'getdomaininfo of domain 0 is refused: EPERM (words for 1)',
  })
})

t.test('a host without HAP', async (t) => {
  const { native, methods } = open(t, Object.assign(new FakeNative(), { capabilities: 0 }))
  await methods.createDomain(NEW)
  t.equal(native.domctls[0]?.u.readUInt32LE(20), 1)
})

t.test('an invalid uuid', async (t) => {
  const { native, methods } = open(t)
  t.throws(() => methods.createDomain({ ...NEW, uuid: 'web' }), {
    code: 'bad-config',
    message: "the uuid is invalid: expected 8-4-4-4-12 hexadecimal digits, found 'web'",
  })
  t.same(native.domctls, [])
})

t.test('requests without an answer', async (t) => {
  const { native, methods } = open(t)
  await methods.setAddressSize(1, 32)
  await methods.setMaxVcpus(1, 128)
  await methods.setMaxMemory(1, 2 ** 33)
  await methods.setTscMode(1, 2)
  await methods.pauseDomain(1)
  await methods.unpauseDomain(1)
  await methods.resumeDomain(1)
  await methods.initHypercallPage(1, 0x123456789)
  t.same(
    native.domctls.map(({ cmd, u }) => [cmd, u.readBigUInt64LE(0)]),
    [
      ...[
        [35, 32n],
        [15, 128n],
        [11, 2n ** 33n],
        [60, 2n],
      ],
      ...[
        [3, 0n],
        [4, 0n],
        [27, 0n],
        [22, 0x123456789n],
      ],
    ],
  )
})

t.test('a domain, and another one in its place', async (t) => {
  const { native, methods } = open(t)
  const answer = (domid: number) =>
    onDomctl(5, (u) => {
      u.writeUInt16LE(domid, 0)
      return 0
    })
  native.answer = answer(5)
  t.match(await methods.domainInfo(5), { domid: 5, hvm: false, paused: false, shutdown: undefined })
  native.answer = answer(6)
  t.equal(await methods.domainInfo(5), undefined)
  native.answer = onDomctl(5, () => -ERRNO.ESRCH)
  t.equal(await methods.domainInfo(5), undefined)
  native.answer = onDomctl(5, () => -ERRNO.EPERM)
  t.throws(() => methods.domainInfo(5), { code: 'hypercall-failed' })
})

t.test('refusals', async (t) => {
  const { native, methods } = open(t)
  native.answer = () => -ERRNO.ENOMEM
  t.throws(() => methods.setMaxVcpus(5, 2), {
    code: 'hypercall-failed',
    message: 'max_vcpus of domain 5 is refused: ENOMEM (Xen has too little free memory, which xl info shows)',
  })
  native.answer = () => -ERRNO.ESRCH
  t.throws(() => methods.pauseDomain(5), {
    code: 'no-domain',
    message: 'domain 5 does not exist (pausedomain: ESRCH)',
  })
  native.answer = () => -9999
  t.throws(() => methods.pauseDomain(5), { message: 'pausedomain of domain 5 is refused: errno 9999 (words for 9999)' })
})

t.test('Xen asks for the same request again', async (t) => {
  const { native, methods } = open(t)
  const again = [-ERRNO.EINTR, -ERRNO.ERESTART, -ERRNO.EINTR]
  native.answer = () => again.pop() ?? 0
  await methods.pauseDomain(5)
  t.equal(native.domctls.length, 4)
})

t.test('a large domain is destroyed in parts, while the event loop runs', async (t) => {
  const { native, methods } = open(t)
  let left = 6
  native.answer = onDomctl(2, () => {
    // Each part takes longer than the event loop may wait.
    for (const end = performance.now() + 10; performance.now() < end; );
    return left-- > 0 ? -ERRNO.EAGAIN : 0
  })
  let turns = 0
  const timer = setInterval(() => turns++, 0)
  t.teardown(() => clearInterval(timer))
  await methods.destroyDomain(5)
  t.equal(left, -1)
  t.ok(turns > 0)
  native.answer = onDomctl(2, () => -ERRNO.ESRCH)
  await t.rejects(async () => methods.destroyDomain(5), { code: 'no-domain' })
})

t.test('memory is given in parts, and too little is no error', async (t) => {
  const { native, methods } = open(t)
  const calls: { extents: number; order: number; flags: number; domid: number }[] = []
  let free = Number.POSITIVE_INFINITY
  native.answer = ({ number, args: [command, address = 0], at }) => {
    if (number !== 12) return 0
    t.equal(command, 6)
    const request = at(address, 32)
    const [extents, order] = [Number(request.readBigUInt64LE(8)), request.readUInt32LE(16)]
    calls.push({ extents, order, flags: request.readUInt32LE(20), domid: request.readUInt16LE(24) })
    const given = Math.min(extents, free)
    free -= given
    const list = at(request.readBigUInt64LE(0), extents * 8)
    for (let i = 0; i < given; i++) list.writeBigUInt64LE(list.readBigUInt64LE(i * 8) + 0x100000n, i * 8)
    return given
  }
  const frames = BigUint64Array.from({ length: 40_000 }, (_, i) => BigInt(i))
  t.equal(await methods.populate(5, frames, 0, false), 40_000)
  t.same(
    calls.map(({ extents }) => extents),
    [16384, 16384, 7232],
  )
  t.ok(
    frames.every((frame, i) => frame === BigInt(i + 0x100000)),
    'the frames are in their places',
  )
  calls.length = 0
  t.equal(await methods.populate(5, new BigUint64Array(40), 9, true), 40)
  t.same(calls, [
    { extents: 32, order: 9, flags: 1 << 16, domid: 5 },
    { extents: 8, order: 9, flags: 1 << 16, domid: 5 },
  ])
  t.equal(await methods.populate(5, new BigUint64Array(2), 18, false), 2)
  free = 17_000
  t.equal(await methods.populate(5, frames, 0, false), 17_000)
  t.equal(await methods.populate(5, new BigUint64Array(0), 0, false), 0)
})

t.test('a frame below 4 GiB', async (t) => {
  const { native, methods } = open(t)
  const seen: unknown[] = []
  let given = 1
  native.answer = ({ number, args: [command, address = 0], at }) => {
    if (number !== 12) return 0
    const request = at(address, 32)
    const list = at(request.readBigUInt64LE(0), 8)
    seen.push([command, list.readBigUInt64LE(0), request.readUInt32LE(20)])
    if (command === 6) list.writeBigUInt64LE(0x1234n)
    return command === 6 ? given : 1
  }
  t.equal(await methods.exchangeBelow4GiB(5, 0x77, 0x223456), 0x1234)
  t.same(seen, [
    [1, 0x223456n, 0],
    [6, 0x77n, 32],
  ])
  given = 0
  t.throws(() => methods.exchangeBelow4GiB(5, 0x77, 0x223456), {
    message: 'domain 5 gets no frame below 4 GiB for 0x223456',
  })
})

t.test('frames are written, and all other bytes are zero', async (t) => {
  const { native, methods } = open(t)
  for (const frame of [5n, 9n, 7n]) native.frames.set(frame, Buffer.alloc(PAGE, 0xc2))
  const frames = BigUint64Array.of(5n, 9n, 7n)
  const pieces = [
    { offset: 10, bytes: Buffer.alloc(5000, 1) },
    { offset: 5010, bytes: Buffer.alloc(1, 2) },
    { offset: 3 * PAGE - 3, bytes: Buffer.alloc(3, 3) },
  ]
  const expected = Buffer.alloc(3 * PAGE)
  for (const { offset, bytes } of pieces) expected.set(bytes, offset)
  await methods.writeFrames(1, frames, pieces)
  t.same(Buffer.concat(Array.from(frames, (frame) => native.frames.get(frame) ?? Buffer.alloc(0))), expected)
  const out = new Uint8Array(3 * PAGE)
  await methods.readFrames(1, frames, out)
  t.same(Buffer.from(out), expected)
  await methods.writeFrames(1, frames, [])
  t.ok(native.frames.get(9n)?.every((byte) => byte === 0))
  await methods.writeFrames(1, new BigUint64Array(0), [])
})

t.test('no byte outside the frames is ever touched', async (t) => {
  const { native, methods } = open(t)
  native.frames.set(5n, Buffer.alloc(PAGE, 0xc2))
  const one = BigUint64Array.of(5n)
  const piece = (offset: number, length: number) => ({ offset, bytes: new Uint8Array(length) })
  for (const pieces of [
    [piece(-1, 1)],
    [piece(PAGE, 1)],
    [piece(0, PAGE + 1)],
    [piece(0.5, 1)],
    [piece(Number.NaN, 1)],
    [piece(10, 10), piece(15, 1)],
    [piece(10, 1), piece(5, 1)],
  ]) {
    t.throws(() => methods.writeFrames(1, one, pieces), { name: 'DomainBuilderError' })
  }
  t.throws(() => methods.readFrames(1, one, new Uint8Array(PAGE - 1)), { code: 'bad-range' })
  t.throws(() => methods.readFrames(1, one, new Uint8Array(2 * PAGE)), { code: 'bad-range' })
  t.throws(() => methods.writeFrames(1, new BigUint64Array(1025), []), { message: /the number of frames/ })
  t.throws(() => methods.frameTypes(1, new BigUint64Array(1025)), { message: /the number of frames/ })
  t.ok(native.frames.get(5n)?.every((byte) => byte === 0xc2))
  t.throws(() => methods.writeFrames(1, BigUint64Array.of(5n, 6n), []), {
    message: 'the map of frame 0x6 of domain 1 is refused: EINVAL (words for 22)',
  })
  t.ok(
    native.frames.get(5n)?.every((byte) => byte === 0xc2),
    'nor a frame next to one that is not there',
  )
})

t.test('types of frames, the memory map, and the highest frame', async (t) => {
  const { native, methods } = open(t)
  native.answer = onDomctl(61, (u, { at }) => {
    const list = at(u.readBigUInt64LE(8), Number(u.readBigUInt64LE(0)) * 8)
    for (let i = 0; i < list.length; i += 8) {
      list.writeBigUInt64LE(list.readBigUInt64LE(i) === 7n ? 0xf0000000n : 0xb0000000n, i)
    }
    return 0
  })
  const frames = BigUint64Array.of(7n, 8n)
  t.same([...(await methods.frameTypes(1, frames))], [0xf0000000, 0xb0000000])
  t.same([...frames], [7n, 8n], "which stay the caller's")
  let map: Buffer | undefined
  native.answer = ({ number, args: [command, address = 0], at }) => {
    if (number !== 12) return 0
    if (command === 14) return at(address, 2).readUInt16LE() + 1000
    if (command === 16)
      return Number(at(address, 40).readBigUInt64LE(0)) + at(address, 40).readUInt16LE(32) === 99 + 5 ? 0 : -22
    const request = at(address, 24)
    map = Buffer.from(at(request.readBigUInt64LE(16), request.readUInt32LE(8) * 20))
    return request.readUInt16LE(0) === 5 && command === 13 ? 0 : -ERRNO.EINVAL
  }
  await methods.setMemoryMap(5, [
    { start: 0, end: 0x9f000, type: 1 },
    { start: 2 ** 32, end: 2 ** 33, type: 2 },
  ])
  t.equal(map?.toString('hex'), '000000000000000000f009000000000001000000' + '0000000001000000000000000100000002000000')
  t.equal(await methods.maximumGpfn(5), 1005)
  await methods.setPodTarget(5, 99)
})

t.test('pins, grants, channels and parameters', async (t) => {
  const { native, methods } = open(t)
  const calls: string[] = []
  native.answer = ({ number, args, at }) => {
    if (number === 26) calls.push(`${at(args[0] ?? 0, 24).toString('hex')} ${args.slice(1).join(' ')}`)
    if (number === 32) {
      const request = at(args[1] ?? 0, 8)
      calls.push(`${args[0]} ${request.toString('hex')}`)
      request.writeUInt32LE(17, 4)
    }
    if (number === 34) {
      const request = at(args[1] ?? 0, 16)
      calls.push(`${args[0]} ${request.toString('hex')}`)
      if (request.readUInt32LE(4) === 99) return -ERRNO.EINVAL
      if (args[0] === 1) request.writeBigUInt64LE(0xfeffcn, 8)
    }
    return 0
  }
  await methods.pinTable(5, 4, 0x1234)
  await methods.pinTable(5, 1, 0x1234)
  t.equal(await methods.allocUnbound(5, 3), 17)
  await methods.setHvmParam(5, 2, 7n)
  t.equal(await methods.hvmParam(5, 1), 0xfeffcn)
  t.equal(await methods.hvmParam(5, 99), undefined)
  t.same(calls, [
    '030000000000000034120000000000000000000000000000 1 0 5',
    '000000000000000034120000000000000000000000000000 1 0 5',
    '6 0500030000000000',
    '0 05000000020000000700000000000000',
    '1 05000000010000000000000000000000',
    '1 05000000630000000000000000000000',
  ])
  await methods.setGrants(5, [
    { ref: 1, domid: 0, frame: 0x12345 },
    { ref: 511, domid: 3, frame: 0xffffffff },
  ])
  t.equal(native.grants?.subarray(0, 16).toString('hex'), '00000000000000000100000045230100')
  t.equal(native.grants?.subarray(-8).toString('hex'), '01000300ffffffff')
  t.throws(() => methods.setGrants(5, [{ ref: 512, domid: 0, frame: 1 }]), { message: /the reference of a grant/ })
  native.grants = undefined
  t.throws(() => methods.setGrants(5, [{ ref: 1, domid: 0, frame: 1 }]), {
    message: /^the map of the grant table of domain 5 is refused: ENOMEM/,
  })
})

t.test('vcpus of a PV guest', async (t) => {
  const { native, methods } = open(t)
  for (const [bits, length] of [
    [64, 5168],
    [32, 2800],
  ] as const) {
    const context = Buffer.alloc(length, bits)
    let set: Buffer | undefined
    native.answer = ({ number, args: [address = 0], at }) => {
      if (number !== 36) return 0
      const request = at(address, 144)
      const [cmd, u] = [request.readUInt32LE(0), request.subarray(16)]
      if (cmd === 36) u.writeUInt32LE(bits)
      if (cmd === 12 || cmd === 13) {
        const buffer = at(u.readBigUInt64LE(8), length)
        if (u.readUInt32LE(0) === 9) return -ERRNO.ENODATA
        if (cmd === 12) set = Buffer.from(buffer)
        else buffer.set(context)
      }
      if (cmd === 14) u[4] = u.readUInt32LE(0)
      return 0
    }
    t.same(await methods.vcpuContext(5, 3), new Uint8Array(context))
    t.equal(await methods.vcpuContext(5, 9), undefined)
    await methods.setVcpuContext(5, 3, context)
    t.same(set, context)
    t.throws(() => methods.setVcpuContext(5, 3, new Uint8Array(1)), {
      message: `vcpu_guest_context has the wrong length: expected ${length} bytes, found 1 bytes`,
    })
    t.same([await methods.isOnline(5, 0), await methods.isOnline(5, 1)], [false, true])
  }
})

t.test('state whose length Xen tells', async (t) => {
  const { native, methods } = open(t)
  native.answer = onDomctl(33, (u, { at }) => {
    const buffer = u.readBigUInt64LE(8)
    if (buffer !== 0n) at(buffer, u.readUInt32LE(0)).fill(7, 0, 52)
    u.writeUInt32LE(buffer === 0n ? 100 : 52)
    return 0
  })
  t.same(await methods.hvmContext(5), new Uint8Array(52).fill(7))
  native.answer = onDomctl(34, (u, { at }) =>
    at(u.readBigUInt64LE(8), u.readUInt32LE(0)).equals(Buffer.alloc(52, 7)) ? 0 : -22,
  )
  await methods.setHvmContext(5, new Uint8Array(52).fill(7))

  native.answer = onDomctl(43, (u) => {
    u.fill(0xee, 8, 64)
    u.writeUInt32LE(64, 4)
    return u.readUInt32LE(0) === 3 ? 0 : -22
  })
  const extended = await methods.vcpuState(5, 3, 'extended')
  t.equal(Buffer.from(extended).toString('hex'), `0300000040000000${'ee'.repeat(56)}`)

  let room = 40n
  native.answer = onDomctl(63, (u, { at }) => {
    const buffer = u.readBigUInt64LE(24)
    if (buffer === 0n) u.writeBigUInt64LE(room === 0n ? 0n : 7n, 8)
    else if (u.readBigUInt64LE(8) !== 7n || u.readBigUInt64LE(16) !== room) return -22
    else at(buffer, Number(room)).fill(5, 0, 30)
    u.writeBigUInt64LE(buffer === 0n ? room : 30n, 16)
    return 0
  })
  t.same(await methods.vcpuState(5, 3, 'xsave'), new Uint8Array(30).fill(5))
  room = 0n
  t.same(await methods.vcpuState(5, 3, 'xsave'), new Uint8Array(0))

  let most = 4
  native.answer = onDomctl(72, (u, { at }) => {
    const msrs = u.readBigUInt64LE(8)
    if (msrs !== 0n) at(msrs, u.readUInt32LE(4) * 16).fill(6, 0, 32)
    u.writeUInt32LE(msrs === 0n ? most : 2, 4)
    return 0
  })
  t.same(await methods.vcpuState(5, 3, 'msrs'), new Uint8Array(32).fill(6))
  most = 0
  t.same(await methods.vcpuState(5, 3, 'msrs'), new Uint8Array(0))

  native.answer = onDomctl(59, (u) => {
    for (const [at, value] of Object.entries({ 0: 1, 4: 2_000_000, 8: 3, 16: 4 })) u.writeUInt32LE(value, Number(at))
    return 0
  })
  t.same(await methods.tscInfo(5), { mode: 1, khz: 2_000_000, nsec: 4n, incarnation: 3 })
})

t.test('processors', async (t) => {
  const { native, methods } = open(t)
  let set: readonly Buffer[] = []
  /** Answers with the room for 10 leaves and 3 MSRs, or with 2 leaves and 1 MSR. */
  const fill = (u: Buffer, countsAt: number, addressesAt: number, at: Call['at']): number => {
    const [leaves, msrs] = [u.readBigUInt64LE(addressesAt), u.readBigUInt64LE(addressesAt + 8)]
    if (leaves !== 0n) {
      at(leaves, 240).fill(1, 0, 48)
      at(msrs, 48).fill(2, 0, 16)
    }
    u.writeUInt32LE(leaves === 0n ? 10 : 2, countsAt)
    u.writeUInt32LE(leaves === 0n ? 3 : 1, countsAt + 4)
    return 0
  }
  const indices: number[] = []
  native.answer = ({ number, args: [address = 0], at }) => {
    if (number === 35) {
      const u = at(address, 136).subarray(8)
      indices.push(u.readUInt32LE(0))
      return fill(u, 4, 16, at)
    }
    const request = at(address, 144)
    const u = request.subarray(16)
    if (request.readUInt32LE(0) === 82) return fill(u, 0, 8, at)
    set = [
      Buffer.from(at(u.readBigUInt64LE(8), u.readUInt32LE(0) * 24)),
      Buffer.from(at(u.readBigUInt64LE(16), u.readUInt32LE(4) * 16)),
    ]
    if (set[0]?.[0] !== 9) return 0
    u.writeUInt32LE(7, 24)
    u.writeUInt32LE(1, 28)
    return -ERRNO.EINVAL
  }
  const policy = { leaves: new Uint8Array(48).fill(1), msrs: new Uint8Array(16).fill(2) }
  for (const type of ['host', 'pv', 'pvh'] as const) t.same(await methods.defaultCpuPolicy(type), policy)
  t.same(indices, [1, 1, 1, 4, 1, 5])
  t.same(await methods.cpuPolicy(5), policy)
  await methods.setCpuPolicy(5, policy)
  t.same(set, [Buffer.alloc(48, 1), Buffer.alloc(16, 2)])
  t.throws(() => methods.setCpuPolicy(5, { ...policy, leaves: new Uint8Array(48).fill(9) }), {
    code: 'hypercall-failed',
    message: 'set_cpu_policy of domain 5 is refused: EINVAL (words for 22): leaf 0x7, subleaf 0x1',
  })
})

t.test('after close() every request is refused', async (t) => {
  const { native, xen, methods } = open(t)
  await xen.close()
  await xen.close()
  t.ok(native.isClosed)
  const closed = { code: 'hypercall-failed', message: 'the connection to Xen is closed' }
  t.throws(() => methods.listDomains(), closed)
  t.throws(() => methods.pauseDomain(1), closed)
  t.throws(() => methods.writeFrames(1, BigUint64Array.of(1n), []), closed)
  t.throws(() => methods.setGrants(1, [{ ref: 1, domid: 0, frame: 1 }]), closed)
  await t.rejects(async () => methods.destroyDomain(1), closed)
  await t.rejects(async () => methods.populate(1, BigUint64Array.of(1n), 0, false), closed)
})
