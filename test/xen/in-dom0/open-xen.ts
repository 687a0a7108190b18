/**
 * Opens the Xen below, makes an empty PV and an empty PVH domain with every method that does not start them, and
 * destroys both. Prints one line for each thing that a toolstack relies on.
 *
 * Source: our own.
 * Gotcha: a fresh page of a DEBUG Xen is full of 0xc2, and of a release build full of zeros.
 */
import { type Hypervisor, type LiveXen, openXen } from 'xen-domain-builder/live'

const PAGE = 4096
const MIB = 2 ** 20
const PAGES = (16 * MIB) / PAGE
const UUID = '12345678-9abc-def0-1122-334455667788'
const STORE = '/xdb-test'

const say = (name: string, value: unknown): void => console.log(`${name}: ${JSON.stringify(value)}`)
/** Returns the error of a call that must be refused. */
const refusal = async (call: () => unknown): Promise<string> => {
  try {
    await call()
  } catch (error) {
    return String(error)
  }
  return 'not refused'
}
const range = (first: number, count: number): BigUint64Array =>
  BigUint64Array.from({ length: count }, (_, i) => BigInt(first + i))

/** Writes two pieces into three frames, and says whether they and zeros are there afterwards. */
async function checkFrames(xen: Hypervisor, domid: number, frames: BigUint64Array): Promise<void> {
  const [a, b] = [new Uint8Array(5000).fill(0xaa), new Uint8Array(100).fill(0xbb)]
  const pieces = [
    { offset: 10, bytes: a },
    { offset: 3 * PAGE - 100, bytes: b },
  ]
  await xen.writeFrames(domid, frames, pieces)
  const expected = new Uint8Array(3 * PAGE)
  for (const { offset, bytes } of pieces) expected.set(bytes, offset)
  const out = new Uint8Array(3 * PAGE).fill(0xff)
  await xen.readFrames(domid, frames, out)
  say('frames', Buffer.compare(out, expected))
  say('absent frame', await refusal(() => xen.readFrames(domid, BigUint64Array.of(0xfffffffn), new Uint8Array(PAGE))))
}

async function check(xen: LiveXen, type: 'pv' | 'pvh'): Promise<void> {
  const domid = await xen.createDomain({
    ...{ type, uuid: UUID, vcpus: 2, maxEventChannel: 1023, maxGrantVersion: 2 },
    ...{ nestedVirtualization: false, msrRelaxed: false, altp2m: 0 },
  })
  try {
    await xen.setMaxVcpus(domid, 2)
    await xen.setMaxMemory(domid, 17 * 1024)
    await xen.setTscMode(domid, 0)
    if (type === 'pvh') await xen.setPagingPool(domid, 2 * MIB)
    const channels = [await xen.allocUnbound(domid, 0), await xen.allocUnbound(domid, 0)]
    say('channels', channels)
    const frames =
      type === 'pv' ? range(0, PAGES) : BigUint64Array.from({ length: PAGES / 512 }, (_, i) => BigInt(i * 512))
    say('populated', await xen.populate(domid, frames, type === 'pv' ? 0 : 9, false))
    const some = type === 'pv' ? frames.slice(100, 103) : range(100, 3)
    await checkFrames(xen, domid, some)
    say('types', [...(await xen.frameTypes(domid, some))])
    await xen.setGrants(domid, [{ ref: 1, domid: 0, frame: Number(some[0]) }])
    await xen.setMemoryMap(domid, [{ start: 0, end: 16 * MIB, type: 1 }])
    const ready = await xen.defaultCpuPolicy(type)
    say('policy', [ready.leaves.length / 24 > 10, ready.msrs.length / 16 > 0])
    await xen.setCpuPolicy(domid, ready)
    const policy = await xen.cpuPolicy(domid)
    say('policy of the domain', [policy.leaves.length > 0, policy.msrs.length > 0])
    // Leaf 0 with a highest leaf that no processor has.
    const wrong = { leaves: ready.leaves.slice(0, 24), msrs: new Uint8Array(0) }
    wrong.leaves[9] = 0xff
    say('wrong policy', await refusal(() => xen.setCpuPolicy(domid, wrong)))
    say('tsc', (await xen.tscInfo(domid)).mode)
    say('online', [await xen.isOnline(domid, 0), await xen.isOnline(domid, 1)])
    if (type === 'pv') {
      await xen.initHypercallPage(domid, Number(frames[200]))
      const page = new Uint8Array(PAGE)
      await xen.readFrames(domid, frames.slice(200, 201), page)
      say('hypercall page', page[0] !== 0)
      const moved = await xen.exchangeBelow4GiB(domid, 300, Number(frames[300]))
      say('moved', moved > 0 && moved < 2 ** 20)
      say('context', (await xen.vcpuContext(domid, 0)) === undefined)
    } else {
      say('highest', await xen.maximumGpfn(domid))
      await xen.setHvmParam(domid, 2, 7n)
      say('param', [Number(await xen.hvmParam(domid, 2)), (await xen.hvmParam(domid, 999)) === undefined])
      const context = await xen.hvmContext(domid)
      await xen.setHvmContext(domid, context)
      say('hvm context', Buffer.compare(context, await xen.hvmContext(domid)))
    }
    await xen.pauseDomain(domid)
    await xen.unpauseDomain(domid)
    const info = await xen.domainInfo(domid)
    say('info', [info?.uuid, info?.hvm, info?.paused, info?.maxVcpuId, info?.pages, info?.shutdown ?? null])
    say('listed', (await xen.listDomains()).map(({ domid }) => domid).includes(domid))
    await xen.setUserdata(domid, UUID, 'libxl-json', '{}')
  } finally {
    await xen.setUserdata(domid, UUID, 'libxl-json', undefined)
    await xen.destroyDomain(domid)
  }
  say('gone', (await xen.domainInfo(domid)) === undefined)
  say('destroyed again', await Promise.resolve(xen.destroyDomain(domid)).then(() => 'destroyed', String))
}

async function checkStore({ store }: LiveXen): Promise<void> {
  const events: string[] = []
  const end = await store.watch(STORE, (path) => events.push(path))
  await store.transaction(async (nodes) => {
    await nodes.write(`${STORE}/a/b`, 'text')
    await nodes.mkdir(`${STORE}/c`)
    await nodes.setPermissions(`${STORE}/a/b`, ['n0', 'r1'])
  })
  say('store', [await store.read(`${STORE}/a/b`), await store.list(STORE), (await store.read(`${STORE}/none`)) ?? null])
  let tries = 0
  await store.transaction(async (nodes) => {
    await nodes.read(`${STORE}/a/b`)
    if (tries++ === 0) await store.write(`${STORE}/a/b`, 'other')
    await nodes.write(`${STORE}/a/b`, `${tries}`)
  })
  say('tries', [tries, await store.read(`${STORE}/a/b`)])
  for (let i = 0; i < 300; i++) await store.mkdir(`${STORE}/many/a-long-name-of-a-node-${i}`)
  say('many', (await store.list(`${STORE}/many`)).length)
  await end()
  await store.remove(STORE)
  await store.remove(STORE)
  say('removed', [await store.list(STORE), events.includes(STORE), events.includes(`${STORE}/a/b`)])
}

const xen = await openXen()
say('Xen', [xen.release, xen.isRunning(xen.process), xen.isRunning('1:0')])
say(
  'domains',
  await Promise.all((await xen.listDomains()).map(({ domid }) => xen.store.read(`/local/domain/${domid}/name`))),
)
await checkStore(xen)
await check(xen, 'pv')
await check(xen, 'pvh')
await xen.close()
await xen.close()
say('closed', await refusal(() => xen.listDomains()))
