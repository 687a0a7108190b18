/**
 * launch on the recording Xen: the guest that it makes, and nothing left of it after a failure at any step.
 *
 * Source: lib/testing/recording-xen refuses what a DEBUG Xen refuses.
 * Gotcha: the number of calls is not fixed here: each failure test goes on until a launch has no call of that number.
 */
import t, { type Test } from 'tap'
import { helloKernel } from '../../examples/hello-kernel.js'
import { HVM_PARAM } from '../../lib/abi/hvm-params.js'
import { SHUTDOWN } from '../../lib/abi/hypercall.js'
import { SharedInfo64 } from '../../lib/abi/shared-info.js'
import { buildDomain, type Kernel, PAGE_SIZE, readKernel, requirePv } from '../../lib/index.js'
import { type LaunchConfig, type LiveDomain, launch, removeHalfMade } from '../../lib/live/index.js'
import { buildElf, type RecordedCall, RecordingXen } from '../../lib/testing/index.js'
import { probeKernel } from '../fixtures/probe-kernel.js'

const MIB = 2 ** 20
const kernels = {
  pv64: await readKernel(helloKernel()),
  pv32: await readKernel(probeKernel('pv32')),
  pvh: await readKernel(probeKernel('pvh')),
} as const
type Guest = keyof typeof kernels
const GUESTS = Object.keys(kernels) as Guest[]

const configOf = (guest: Guest, more: object = {}): LaunchConfig =>
  ({
    type: guest === 'pvh' ? 'pvh' : 'pv',
    memory: 24 * MIB,
    vcpus: 2,
    name: 'web',
    cmdline: 'a b',
    ...more,
  }) as LaunchConfig

/** Launches a guest on a new recording Xen. */
async function launched(guest: Guest, more: object = {}, xen = new RecordingXen()) {
  const live = await launch(xen, kernels[guest], configOf(guest, more))
  const domain = xen.domain(live.domid)
  if (domain === undefined) throw new Error('no domain')
  return { xen, live, domain }
}

/** Fails for each page that the guest of the hypervisor has and that differs from the builder's. */
function samePages(
  t: Test,
  { live, domain }: { live: LiveDomain; domain: NonNullable<ReturnType<RecordingXen['domain']>> },
) {
  const wrong: string[] = []
  const hypercalls = live.domain.boot.kind === 'start_info' ? live.domain.boot.hypercallPage : undefined
  let compared = 0
  for (const { start, end } of live.domain.memory.ranges) {
    for (let pfn = start; pfn < end; pfn++) {
      const ours = live.domain.memory.read(pfn * PAGE_SIZE, PAGE_SIZE)
      const theirs = domain.memory.read(pfn * PAGE_SIZE, PAGE_SIZE)
      const isPart = live.domain.regions.some(
        (region) => region.name !== 'pad' && pfn >= region.pfn && pfn < region.pfn + region.pages,
      )
      if (pfn === hypercalls) continue
      compared++
      const expected = isPart ? ours : new Uint8Array(PAGE_SIZE).fill(0xc2)
      if (Buffer.compare(theirs, expected) !== 0) wrong.push(`pfn ${pfn.toString(16)}`)
    }
  }
  t.same(wrong.slice(0, 10), [], `${compared} pages`)
}

for (const guest of GUESTS) {
  t.test(`${guest}: the guest is the one that a builder makes for these frames`, async (t) => {
    const made = await launched(guest, { ramdisk: new Uint8Array(5000).fill(7) })
    const { xen, live, domain } = made
    samePages(t, made)
    t.ok(domain.running, 'it runs')
    t.equal(domain.pauses, 0)
    t.match(live.uuid, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    t.equal(domain.created.uuid, live.uuid)
    t.equal(domain.created.vcpus, 2)
    t.equal(domain.created.maxEventChannel, 1023)
    t.equal(domain.grants.length, 2)
    t.equal(xen.files[`userdata-d.${live.domid}.${live.uuid}.libxl-json`] !== undefined, true, 'the file for xl')
    t.same(
      Object.keys(xen.store.nodes).filter((path) => path.startsWith('/tool/xen-domain-builder')),
      [],
      'no note',
    )
    await live.destroy()
    t.same(xen.leftovers(), [])
    await live.destroy()
  })
}

t.test('pv64: it equals a build for the same values', async (t) => {
  const { live, domain } = await launched('pv64')
  const table = BigUint64Array.from({ length: 24 * 256 }, (_, pfn) => BigInt(domain.p2m.mfn(pfn) ?? 0))
  const { sharedInfoMfn, pageTables } = requirePv(live.domain)
  const [store, console] = domain.ports
  const built = buildDomain(kernels.pv64, {
    ...(configOf('pv64') as { type: 'pv'; memory: number }),
    p2m: { table },
    sharedInfoMfn,
    storeEvtchn: store?.port ?? 0,
    consoleEvtchn: console?.port ?? 0,
  })
  const differing = [...built.memory.chunks()].filter(
    ({ paddr, bytes }) => Buffer.compare(bytes, domain.memory.read(paddr, bytes.length)) !== 0,
  )
  t.same(
    differing.map(({ paddr }) => paddr),
    [],
  )
  const { wc_version, ...shared } = SharedInfo64.decode(domain.sharedInfo)
  t.ok(wc_version > 0, 'Xen tells the time')
  t.same({ ...shared, wc_version: 0 }, SharedInfo64.decode(requirePv(built).sharedInfo))
  t.equal(pageTables.top, requirePv(built).pageTables.top)
  t.same(domain.vcpus[0]?.registers, built.vcpus[0]?.registers)
  t.equal(domain.vcpus[1], undefined, 'the second vcpu waits')
  t.not(table[1], (table[0] ?? 0n) + 2n, 'frames of a superpage are consecutive')
})

t.test('pvh: parameters, memory map, pool', async (t) => {
  const { live, domain } = await launched('pvh')
  const at = (index: number) => Number(domain.hvmParams.get(index))
  t.same(
    [at(HVM_PARAM.STORE_EVTCHN), at(HVM_PARAM.CONSOLE_EVTCHN)],
    domain.ports.map(({ port }) => port),
  )
  t.equal(at(HVM_PARAM.TIMER_MODE), 1)
  t.equal(domain.pagingPool, (2 * 1024 + 24 * 4) * 1024)
  t.same(
    domain.memoryMap.map(({ type }) => type),
    [1, 3, 2],
  )
  t.same(
    domain.grants.map(({ ref, frame }) => [ref, frame]),
    [
      [0, at(HVM_PARAM.CONSOLE_PFN)],
      [1, at(HVM_PARAM.STORE_PFN)],
    ],
  )
  t.equal(domain.vcpus[0]?.registers.rip, live.domain.vcpus[0]?.registers.rip)
})

t.test('pvh: memory on demand', async (t) => {
  const { xen, live, domain } = await launched('pvh', { maxmem: 64 * MIB })
  t.equal(live.domain.target, 24 * MIB)
  t.equal(xen.calls.find(({ name }) => name === 'setPodTarget')?.args[1], 24 * 256)
  const onDemand = xen.calls.filter(({ name }) => name === 'populate').map(({ args }) => args[3])
  t.same([onDemand[0], onDemand.at(-1)], [true, false], 'special pages have memory at once')
  t.same(domain.memoryMap[0], { start: 0, end: 64 * MIB, type: 1 })
  t.match(JSON.parse(Object.values(xen.files)[0] ?? '{}'), {
    b_info: { max_memkb: 64 * 1024, target_memkb: 24 * 1024 },
  })
})

t.test('a host with more than 4 GiB: the top table of a 32-bit guest lies below', async (t) => {
  const xen = new RecordingXen({ memory: 64 * 2 ** 30 })
  for (let i = 0; i < 8; i++) {
    const { live, domain } = await launched('pv32', { name: `web${i}` }, xen)
    t.ok((domain.p2m.mfn(requirePv(live.domain).pageTables.top) ?? 0) < 2 ** 20)
  }
})

t.test('superpages: a guest of 3 GiB takes few calls', async (t) => {
  const xen = new RecordingXen()
  await launched('pvh', { memory: 3 * 2 ** 30 }, xen)
  const orders = xen.calls.filter(({ name }) => name === 'populate').map(({ args }) => args[2])
  t.ok(orders.includes(18), '1 GiB extents')
  t.ok(orders.length < 12, `${orders.length} calls`)
})

t.test('1 to 128 vcpus', async (t) => {
  for (const guest of GUESTS) {
    for (const vcpus of [1, 128]) {
      const { xen, domain } = await launched(guest, { vcpus, memory: 32 * MIB })
      t.ok(domain.running, `${guest} with ${vcpus}`)
      t.equal(Object.keys(xen.store.nodes).filter((path) => path.endsWith('/availability')).length, vcpus)
    }
  }
})

t.test('progress: each step from 0 to its total', async (t) => {
  for (const guest of GUESTS) {
    const seen = new Map<string, { done: number; total: number }>()
    await launch(new RecordingXen(), kernels[guest], configOf(guest), {
      onProgress({ step, done, total }) {
        const last = seen.get(step)
        if (last !== undefined && (last.done > done || last.total !== total))
          t.fail(`${step} went from ${last.done} to ${done}`)
        seen.set(step, { done, total })
      },
    })
    t.same([...seen.keys()], ['populate', 'write'])
    for (const [step, { done, total }] of seen) t.equal(done, total, `${guest}: ${step}`)
  }
})

t.test('a paused launch, and the processor of a host', async (t) => {
  const xen = new RecordingXen()
  const { domid } = await launch(xen, kernels.pvh, configOf('pvh'), { paused: true })
  t.equal(xen.domain(domid)?.pauses, 1)
  xen.unpauseDomain(domid)
  t.equal(xen.domain(domid)?.running, true)
})

t.test('the type that suits the kernel', async (t) => {
  const xen = new RecordingXen()
  const { domain } = await launch(xen, kernels.pvh, { memory: 24 * MIB })
  t.equal(domain.type, 'pvh')
  const linux = buildElf({ class: 32, entry: 0x100000, segments: [{ paddr: 0x100000, memsz: 4096 }] })
  await t.rejects(launch(xen, await readKernel(linux), { memory: 24 * MIB }), { code: 'not-xen-pv' })
})

t.test('a configuration that launch refuses before it calls anything', async (t) => {
  const xen = new RecordingXen()
  const refused = (config: object, message: RegExp) =>
    t.rejects(launch(xen, kernels.pv64, config as LaunchConfig), { code: 'bad-config', message })
  const base = { type: 'pv', memory: 24 * MIB }
  for (const key of ['p2m', 'sharedInfoMfn', 'storeEvtchn', 'purpose', 'xen', 'dom0', 'lowMfn'])
    await refused({ ...base, [key]: 1 }, new RegExp(`^${key} is decided by the hypervisor`))
  await refused({ ...base, type: 'linux' }, /type linux is not supported on Xen/)
  await refused({ ...base, settings: { disks: [{ vdev: 'xvda' }] } }, /settings\.disks/)
  await refused({ ...base, memory: 1 }, /memory/)
  t.same(
    xen.calls.filter(({ name }) => !name.startsWith('store.')),
    [],
  )
})

t.test('a name in use, and a host with too little memory', async (t) => {
  const xen = new RecordingXen({ memory: 64 * MIB })
  await launch(xen, kernels.pv64, configOf('pv64'))
  await t.rejects(launch(xen, kernels.pv64, configOf('pv64')), {
    code: 'bad-config',
    message: /name of the guest is in use/,
  })
  const before = xen.leftovers()
  for (const guest of GUESTS)
    await t.rejects(launch(xen, kernels[guest], configOf(guest, { name: 'b', memory: 256 * MIB })), {
      code: 'hypercall-failed',
      message: /too little free memory/,
    })
  t.same(xen.leftovers(), before)
})

/** Calls `test` for each call of a launch, until there is no such call. */
async function atEachCall(test: (n: number) => Promise<boolean>): Promise<number> {
  for (let n = 1; ; n++) if (!(await test(n))) return n - 1
}

for (const guest of GUESTS) {
  t.test(`${guest}: a failure of any call leaves nothing`, async (t) => {
    const calls = await atEachCall(async (n) => {
      let count = 0
      const onCall = ({ name }: RecordedCall) => {
        if (++count === n) throw new Error(`injected into ${name}`)
      }
      const xen = new RecordingXen({ onCall })
      const failed = await launch(xen, kernels[guest], configOf(guest)).then(
        () => undefined,
        (error: Error) => error,
      )
      if (count < n) return false
      const name = xen.calls[n - 1]?.name
      if (failed === undefined) t.fail(`call ${n}, ${name}, failed unnoticed`)
      else if (!failed.message.startsWith('injected')) t.fail(`call ${n}, ${name}: ${failed.message}`)
      if (xen.leftovers().length > 0) t.same(xen.leftovers(), [], `call ${n}, ${name}`)
      return true
    })
    t.ok(calls > 60, `${calls} calls`)
  })

  t.test(`${guest}: an abort at any call leaves nothing, or comes too late`, async (t) => {
    let late = 0
    await atEachCall(async (n) => {
      let count = 0
      const abort = new AbortController()
      const stop = new Error('stop')
      const xen = new RecordingXen({
        onCall: () => {
          if (++count === n) abort.abort(stop)
        },
      })
      const made = await launch(xen, kernels[guest], configOf(guest), { signal: abort.signal }).catch((error) => error)
      if (count < n) return false
      if (made === stop) {
        if (xen.leftovers().length > 0) t.same(xen.leftovers(), [], `call ${n}, ${xen.calls[n - 1]?.name}`)
      } else {
        late++
        t.ok(xen.domain(made.domid)?.running, `the guest runs after call ${n}, ${xen.calls[n - 1]?.name}`)
      }
      return true
    })
    t.ok(late < 12, `${late} calls come after the last look at the signal`)
  })

  t.test(`${guest}: a process that is killed at any call leaves only what the next launch removes`, async (t) => {
    class Killed extends Error {}
    let kept = 0
    await atEachCall(async (n) => {
      let count = 0
      let killed = false
      const onCall = ({ process }: RecordedCall) => {
        if (process !== 'first') return
        // A killed process makes no further call.
        if (killed || ++count === n) {
          killed = true
          throw new Killed('killed')
        }
      }
      const xen = new RecordingXen({ onCall })
      await launch(xen, kernels[guest], configOf(guest)).catch(() => undefined)
      if (!killed) return false
      xen.endProcess('first')
      const next = xen.asProcess('second')
      await removeHalfMade(next)
      const left = xen.leftovers()
      const running = [...Array(4).keys()].some((domid) => xen.domain(domid)?.running)
      if (running) kept++
      else if (left.length > 0) t.same(left, [], `call ${n}, ${xen.calls[n - 1]?.name}`)
      return true
    })
    t.ok(kept <= 8, `a guest that had started is kept: ${kept} times`)
  })
}

t.test('a domain that cannot be removed keeps its note, and the next launch removes it', async (t) => {
  let refuses = true
  const onCall = ({ name }: RecordedCall) => {
    if (refuses && (name === 'setGrants' || name === 'destroyDomain')) throw new Error(`injected into ${name}`)
  }
  const xen = new RecordingXen({ onCall })
  await t.rejects(launch(xen, kernels.pv64, configOf('pv64')), { message: 'injected into setGrants' })
  t.ok(xen.leftovers().length > 0)
  refuses = false
  xen.endProcess('first')
  t.equal((await removeHalfMade(xen.asProcess('second'))).length, 1)
  t.same(xen.leftovers(), [])
})

t.test('what another process makes is left alone', async (t) => {
  const xen = new RecordingXen({
    onCall: ({ name }) => {
      if (name === 'store.introduce') throw new Error('stop')
    },
  })
  const other = xen.asProcess('other')
  await other.store.write('/tool/xen-domain-builder/creating/00000000-0000-4000-8000-000000000000', 'other')
  t.same(await removeHalfMade(xen), [])
  t.equal(xen.store.nodes['/tool/xen-domain-builder/creating/00000000-0000-4000-8000-000000000000'], 'other')
})

t.test('the end of a guest', async (t) => {
  const ends: readonly (readonly [reason: number, settings: object, reasonIs: string, action: string])[] = [
    [SHUTDOWN.poweroff, {}, 'poweroff', 'destroy'],
    [SHUTDOWN.reboot, {}, 'reboot', 'restart'],
    [SHUTDOWN.crash, {}, 'crash', 'destroy'],
    [SHUTDOWN.watchdog, {}, 'watchdog', 'destroy'],
    [SHUTDOWN.crash, { on_crash: 'preserve' }, 'crash', 'preserve'],
    [SHUTDOWN.reboot, { on_reboot: 'destroy' }, 'reboot', 'destroy'],
    [255, {}, 'crash', 'destroy'],
  ]
  for (const [reason, settings, reasonIs, action] of ends) {
    const { xen, live } = await launched('pvh', { settings })
    const ended = live.ended()
    setTimeout(() => xen.shutDown(live.domid, reason), 1)
    t.same(await ended, { reason: reasonIs, action })
    if (action === 'preserve') t.ok(xen.domain(live.domid), 'it is left')
    else t.same(xen.leftovers(), [])
  }
})

t.test('a guest that suspends has not ended; one that another program destroys has', async (t) => {
  const { xen, live } = await launched('pvh')
  const ended = live.ended()
  xen.shutDown(live.domid, SHUTDOWN.suspend)
  await new Promise((resolve) => setTimeout(resolve, 5))
  xen.resumeDomain(live.domid)
  await new Promise((resolve) => setTimeout(resolve, 5))
  await xen.destroyDomain(live.domid)
  t.same(await ended, { reason: 'gone', action: 'destroy' })
})

t.test('a wait that is stopped leaves the guest', async (t) => {
  const { xen, live } = await launched('pvh')
  const abort = new AbortController()
  const ended = live.ended({ signal: abort.signal })
  setTimeout(() => abort.abort(new Error('enough')), 1)
  await t.rejects(ended, { message: 'enough' })
  t.equal(xen.domain(live.domid)?.running, true)
  await live.destroy()
  t.same(xen.leftovers(), [], 'the watch is gone too')
})

t.test('xl saves and lists it by these nodes', async (t) => {
  const { xen, live } = await launched('pv64')
  const home = `/local/domain/${live.domid}`
  t.match(xen.store.nodes, {
    [`${home}/name`]: 'web',
    [`${home}/vm`]: `/vm/${live.uuid}`,
    [`${home}/memory/target`]: String(24 * 1024),
    [`${home}/console/type`]: 'xenconsoled',
    [`/vm/${live.uuid}/image/cmdline`]: 'a b',
    [`/libxl/${live.domid}/type`]: 'pv',
    [`/local/domain/0/backend/console/${live.domid}/0/frontend`]: `${home}/console`,
  })
})

const _typeOnly: (kernel: Kernel) => unknown = (kernel) => [
  // @ts-expect-error the hypervisor decides it
  launch(new RecordingXen(), kernel, { type: 'pv', memory: MIB, p2m: 'identity' }),
  // @ts-expect-error a key of another type
  launch(new RecordingXen(), kernel, { type: 'pvh', memory: MIB, features: '' }),
]
void _typeOnly
