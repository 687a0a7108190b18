/**
 * RecordingXen: a hypervisor in memory, for tests of a toolstack. It refuses what a DEBUG Xen refuses, and keeps a list
 * of all calls.
 *
 * Source: xen/include/public/{domctl,memory,event_channel}.h for the calls; each file next to this one names the part
 * of Xen that it follows.
 * Gotcha: no guest runs. A test ends one with `shutDown`, and sees with `domain` what a toolstack made.
 */
import { GNTTAB_RESERVED } from '../../abi/grant-table.js'
import { SHUTDOWN } from '../../abi/hypercall.js'
import { NEWEST_XEN, type XenRelease } from '../../abi/xen-release.js'
import type { MapEntry } from '../../guest/memory-map.js'
import type { Domid } from '../../toolstack/answer.js'
import type {
  CpuPolicy,
  DomainInfo,
  Hypervisor,
  NewDomain,
  NewGrant,
  Piece,
  TscInfo,
  VcpuState,
} from '../../toolstack/hypervisor.js'
import { hex, type Mfn, type Pfn } from '../../units.js'
import { cpuPolicyOf } from './cpu-policies.js'
import { MachineFrames } from './machine-frames.js'
import { RecordedStore, StoreState } from './recorded-store.js'
import { demand, refused } from './refusal.js'
import { type RecordedDomain, XenDomain } from './xen-domain.js'

/** A call of a RecordingXen's method. */
export interface RecordedCall {
  /** The method's name; `store.write` and so on for those of its xenstore. */
  readonly name: string
  /** The arguments. An array of bytes or of frames is only described: `4096 bytes`, `1024 frames`. */
  readonly args: readonly unknown[]
  /** The process that makes the call. */
  readonly process: string
}

/** The options of a RecordingXen. */
export interface RecordingXenOptions {
  /** The memory of the host for guests, in bytes; default 4 GiB. It costs nothing until it is written. */
  readonly memory?: number
  /** Another number scatters frames in another order; default 0. */
  readonly seed?: number
  /** The release of Xen; default the newest. */
  readonly release?: XenRelease
  /** The name of the process that makes the calls; default `first`. */
  readonly processName?: string
  /**
   * Called before each call does anything. An error that it throws is the answer of the call. It can also abort a signal,
   * or call another process's RecordingXen: a node written before `store.commit` makes a transaction run again.
   */
  readonly onCall?: (call: RecordedCall) => void
}

/** The frequency of the processor, in kHz. */
const TSC_KHZ = 2_400_000
/** The first domid that is no domain's (DOMID_FIRST_RESERVED). */
const DOMID_END = 0x7ff0

/** The state of a host, which all its processes share. */
class Host {
  readonly options: RecordingXenOptions
  readonly frames: MachineFrames
  readonly store = new StoreState()
  readonly domains = new Map<Domid, XenDomain>()
  readonly userdata = new Map<string, string>()
  readonly running = new Set<string>()
  readonly calls: RecordedCall[] = []
  readonly freeAtFirst: number
  readonly nodesAtFirst: Readonly<Record<string, string>>
  #lastDomid = 0

  constructor(options: RecordingXenOptions) {
    this.options = options
    this.frames = new MachineFrames(options.memory ?? 4 * 2 ** 30, options.seed ?? 0)
    this.freeAtFirst = this.frames.free
    this.nodesAtFirst = this.store.tree.values
  }

  /** Returns a number that no domain has; the lowest ones come again only after all others. */
  nextDomid(): Domid {
    do this.#lastDomid = (this.#lastDomid % (DOMID_END - 1)) + 1
    while (this.domains.has(this.#lastDomid))
    return this.#lastDomid
  }
}

const described = (arg: unknown): unknown => {
  if (arg instanceof Uint8Array) return `${arg.length} bytes`
  if (arg instanceof BigUint64Array) return `${arg.length} frames`
  if (Array.isArray(arg)) return arg.map(described)
  if (typeof arg !== 'object' || arg === null) return arg
  return Object.fromEntries(Object.entries(arg).map(([name, value]) => [name, described(value)]))
}

/** Domain 0, in which toolstacks run. */
const DOM0: DomainInfo = {
  domid: 0,
  uuid: '00000000-0000-0000-0000-000000000000',
  hvm: false,
  dying: false,
  paused: false,
  pages: 0x40000,
  maxPages: 0x40000,
  sharedInfoFrame: 0,
  maxVcpuId: 0,
  onlineVcpus: 1,
  running: true,
  blocked: false,
  cpuTime: 0n,
}

/**
 * A hypervisor in memory. It behaves like a DEBUG Xen:
 *
 * - Machine frames are scattered, and limited. A fresh page has 0xc2 in every byte.
 * - `writeFrames` takes a turn of the event loop, in which its frames are mapped. A page table that is mapped is not
 *   pinned, and a pinned one is not written. The bytes are copied at once. A caller that changes them before the answer
 *   is refused.
 * - A pinned table, and each table that it leads to, must follow the rules that `validate` applies.
 * - xenstore connects to a domain only after the entry of the grant table for it exists, and its event channel.
 * - A domain that does not exist, and each wrong number or length, is refused with the errno that Xen answers.
 *
 * Every refusal is a DomainBuilderError `hypercall-failed`; `found` is the errno.
 *
 * @example
 * ```ts
 * import { test } from 'node:test'
 * import assert from 'node:assert/strict'
 * import { readKernel } from 'xen-domain-builder'
 * import { launch } from 'xen-domain-builder/live'
 * import { buildElf, RecordingXen, xenNotes } from 'xen-domain-builder/testing'
 *
 * const kernel = await readKernel(buildElf({
 *   class: 32,
 *   entry: 0x100000,
 *   segments: [{ paddr: 0x100000, memsz: 4096 }],
 *   notes: xenNotes({ PHYS32_ENTRY: 0x100000 }),
 * }))
 *
 * test('our guest has two event channels, and runs', async () => {
 *   const xen = new RecordingXen()
 *   const { domid } = await launch(xen, kernel, { type: 'pvh', memory: 64 * 2 ** 20, name: 'web' })
 *   assert.equal(xen.calls.filter(({ name }) => name === 'allocUnbound').length, 2)
 *   assert.equal(xen.domain(domid)?.running, true)
 * })
 *
 * test('nothing is left of it if xenstore refuses', async () => {
 *   const onCall = ({ name }: { name: string }) => {
 *     if (name === 'store.introduce') throw new Error('refused')
 *   }
 *   const xen = new RecordingXen({ onCall })
 *   await assert.rejects(async () => launch(xen, kernel, { type: 'pvh', memory: 64 * 2 ** 20, name: 'web' }))
 *   assert.deepEqual(xen.leftovers(), [])
 * })
 * ```
 */
export class RecordingXen implements Hypervisor {
  readonly #host: Host
  readonly release: XenRelease
  readonly store: RecordedStore
  readonly process: string

  /** @param other another process's, to see the same host: see asProcess. */
  constructor(options: RecordingXenOptions = {}, other?: RecordingXen) {
    this.#host = other === undefined ? new Host(options) : other.#host
    this.release = options.release ?? NEWEST_XEN
    this.process = options.processName ?? 'first'
    this.#host.running.add(this.process)
    this.store = new RecordedStore(
      this.#host.store,
      (name, ...args) => this.#note(name, ...args),
      this.process,
      (domid, frame, port) => this.#checkIntroduction(domid, frame, port),
    )
  }

  /** All calls of all processes, in order. A call that `onCall` refuses is in it too. */
  get calls(): readonly RecordedCall[] {
    return this.#host.calls
  }

  /** The number of free pages of the host. */
  get freePages(): number {
    return this.#host.frames.free
  }

  /** The files that setUserdata keeps, as libxl names them: `userdata-d.DOMID.UUID.NAME` -> text. */
  get files(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.#host.userdata)
  }

  /** Returns the same host as another process sees it. */
  asProcess(process: string): RecordingXen {
    return new RecordingXen({ ...this.#host.options, processName: process }, this)
  }

  /** Ends a process as a kill signal does: its watches are gone, and what it made stays. */
  endProcess(process: string): void {
    this.#host.running.delete(process)
    this.#host.store.endProcess(process)
  }

  /** Returns a domain that exists. */
  domain(domid: Domid): RecordedDomain | undefined {
    return this.#host.domains.get(domid)
  }

  /** Stops a guest as it would stop itself, and tells the watches of `@releaseDomain`. @param reason SHUTDOWN_* */
  shutDown(domid: Domid, reason: number = SHUTDOWN.poweroff): void {
    this.#require(domid).shutdown = reason
    this.#host.store.stopped(domid)
  }

  /** Returns all that is not as it was on the new host: domains, pages, nodes, watches, files and mappings. */
  leftovers(): readonly string[] {
    const { domains, frames, freeAtFirst, nodesAtFirst, store, userdata } = this.#host
    const nodes = store.tree.values
    const missing = Object.keys(nodesAtFirst).filter((path) => nodes[path] !== nodesAtFirst[path])
    return [
      ...[...domains.keys()].map((domid) => `domain ${domid}`),
      ...[...domains.values()].filter(({ mappings }) => mappings > 0).map(({ domid }) => `mappings of domain ${domid}`),
      ...(frames.free === freeAtFirst ? [] : [`${freeAtFirst - frames.free} pages`]),
      ...Object.keys(nodes)
        .filter((path) => !(path in nodesAtFirst))
        .map((path) => `node ${path}`),
      ...missing.map((path) => `changed node ${path}`),
      ...[...store.watches].map(({ path }) => `watch ${path}`),
      ...[...store.connected].map((domid) => `connection of domain ${domid}`),
      ...[...userdata.keys()].map((name) => `file ${name}`),
    ]
  }

  #note(name: string, ...args: readonly unknown[]): void {
    const call = { name, args: args.map(described), process: this.process }
    this.#host.calls.push(call)
    this.#host.options.onCall?.(call)
  }

  #require(domid: Domid): XenDomain {
    demand(domid !== 0, 'EINVAL', 'domain 0 is that of the caller')
    const domain = this.#host.domains.get(domid)
    if (domain === undefined) throw refused('ESRCH', `domain ${domid} does not exist`)
    return domain
  }

  #checkIntroduction(domid: Domid, frame: number, port: number): void {
    const domain = this.#require(domid)
    const server = Number(this.#host.store.tree.read('/tool/xenstored/domid') ?? 0)
    const grant = domain.grants.find(({ ref }) => ref === GNTTAB_RESERVED.XENSTORE)
    const granted = grant?.frame === frame && grant.domid === server
    demand(granted, 'EINVAL', `the grant of the xenstore page ${hex(frame)} of domain ${domid} is missing`)
    const channel = domain.ports.find((one) => one.port === port)
    demand(channel?.remote === server, 'EINVAL', `the event channel ${port} of domain ${domid} is missing`)
  }

  createDomain(created: NewDomain): Domid {
    this.#note('createDomain', created)
    const domid = this.#host.nextDomid()
    this.#host.domains.set(domid, new XenDomain(domid, created, this.#host.frames))
    return domid
  }

  setAddressSize(domid: Domid, bits: 32): void {
    this.#note('setAddressSize', domid, bits)
    this.#require(domid).setAddressSize(bits)
  }

  setMaxVcpus(domid: Domid, vcpus: number): void {
    this.#note('setMaxVcpus', domid, vcpus)
    this.#require(domid).setMaxVcpus(vcpus)
  }

  setMaxMemory(domid: Domid, kib: number): void {
    this.#note('setMaxMemory', domid, kib)
    this.#require(domid).setMaxMemory(kib)
  }

  setPagingPool(domid: Domid, bytes: number): void {
    this.#note('setPagingPool', domid, bytes)
    this.#require(domid).setPagingPool(bytes)
  }

  setTscMode(domid: Domid, mode: number): void {
    this.#note('setTscMode', domid, mode)
    this.#require(domid).tscMode = mode
  }

  async destroyDomain(domid: Domid): Promise<void> {
    this.#note('destroyDomain', domid)
    await this.#require(domid).destroy()
    this.#host.domains.delete(domid)
    this.#host.store.disconnect(domid)
  }

  listDomains(): readonly DomainInfo[] {
    this.#note('listDomains')
    const infos = [...this.#host.domains.values()].map(({ info }) => info)
    return [DOM0, ...infos.sort((a, b) => a.domid - b.domid)]
  }

  domainInfo(domid: Domid): DomainInfo | undefined {
    this.#note('domainInfo', domid)
    return domid === 0 ? DOM0 : this.#host.domains.get(domid)?.info
  }

  pauseDomain(domid: Domid): void {
    this.#note('pauseDomain', domid)
    this.#require(domid).pause()
  }

  unpauseDomain(domid: Domid): void {
    this.#note('unpauseDomain', domid)
    this.#require(domid).unpause()
  }

  resumeDomain(domid: Domid): void {
    this.#note('resumeDomain', domid)
    this.#require(domid).resume()
  }

  populate(domid: Domid, frames: BigUint64Array, order: number, onDemand: boolean): number {
    this.#note('populate', domid, frames, order, onDemand)
    return this.#require(domid).populate(frames, order, onDemand)
  }

  setPodTarget(domid: Domid, pages: number): void {
    this.#note('setPodTarget', domid, pages)
    this.#require(domid).setPodTarget(pages)
  }

  exchangeBelow4GiB(domid: Domid, pfn: Pfn, mfn: Mfn): Mfn {
    this.#note('exchangeBelow4GiB', domid, pfn, mfn)
    return this.#require(domid).exchangeBelow4GiB(pfn, mfn)
  }

  setMemoryMap(domid: Domid, entries: readonly MapEntry[]): void {
    this.#note('setMemoryMap', domid, entries)
    this.#require(domid).setMemoryMap(entries)
  }

  maximumGpfn(domid: Domid): Pfn {
    this.#note('maximumGpfn', domid)
    return this.#require(domid).maximumGpfn()
  }

  frameTypes(domid: Domid, frames: BigUint64Array): Uint32Array {
    this.#note('frameTypes', domid, frames)
    return this.#require(domid).frameTypes(frames)
  }

  readFrames(domid: Domid, frames: BigUint64Array, out: Uint8Array): void {
    this.#note('readFrames', domid, frames, out)
    this.#require(domid).readFrames(frames, out)
  }

  async writeFrames(domid: Domid, frames: BigUint64Array, pieces: readonly Piece[]): Promise<void> {
    this.#note('writeFrames', domid, frames, pieces)
    await this.#require(domid).writeFrames(frames, pieces)
  }

  initHypercallPage(domid: Domid, mfn: Mfn): void {
    this.#note('initHypercallPage', domid, mfn)
    this.#require(domid).initHypercallPage(mfn)
  }

  pinTable(domid: Domid, level: 1 | 2 | 3 | 4, mfn: Mfn): void {
    this.#note('pinTable', domid, level, mfn)
    this.#require(domid).pinTable(level, mfn)
  }

  allocUnbound(domid: Domid, remote: Domid): number {
    this.#note('allocUnbound', domid, remote)
    return this.#require(domid).allocUnbound(remote)
  }

  setGrants(domid: Domid, grants: readonly NewGrant[]): void {
    this.#note('setGrants', domid, grants)
    this.#require(domid).setGrants(grants)
  }

  setHvmParam(domid: Domid, index: number, value: bigint): void {
    this.#note('setHvmParam', domid, index, value)
    this.#require(domid).setHvmParam(index, value)
  }

  hvmParam(domid: Domid, index: number): bigint | undefined {
    this.#note('hvmParam', domid, index)
    return this.#require(domid).hvmParam(index)
  }

  setVcpuContext(domid: Domid, vcpu: number, context: Uint8Array): void {
    this.#note('setVcpuContext', domid, vcpu, context)
    this.#require(domid).setVcpuContext(vcpu, context)
  }

  vcpuContext(domid: Domid, vcpu: number): Uint8Array | undefined {
    this.#note('vcpuContext', domid, vcpu)
    return this.#require(domid).vcpuContext(vcpu)
  }

  isOnline(domid: Domid, vcpu: number): boolean {
    this.#note('isOnline', domid, vcpu)
    return this.#require(domid).isOnline(vcpu)
  }

  vcpuState(domid: Domid, vcpu: number, state: VcpuState): Uint8Array {
    this.#note('vcpuState', domid, vcpu, state)
    return this.#require(domid).vcpuState(vcpu)
  }

  setHvmContext(domid: Domid, context: Uint8Array): void {
    this.#note('setHvmContext', domid, context)
    this.#require(domid).setHvmContext(context)
  }

  hvmContext(domid: Domid): Uint8Array {
    this.#note('hvmContext', domid)
    return this.#require(domid).hvmContext()
  }

  defaultCpuPolicy(type: 'pv' | 'pvh' | 'host'): CpuPolicy {
    this.#note('defaultCpuPolicy', type)
    return cpuPolicyOf(type)
  }

  cpuPolicy(domid: Domid): CpuPolicy {
    this.#note('cpuPolicy', domid)
    return this.#require(domid).cpuPolicy
  }

  setCpuPolicy(domid: Domid, policy: CpuPolicy): void {
    this.#note('setCpuPolicy', domid, policy)
    this.#require(domid).setCpuPolicy(policy)
  }

  tscInfo(domid: Domid): TscInfo {
    this.#note('tscInfo', domid)
    return { mode: this.#require(domid).tscMode, khz: TSC_KHZ, nsec: 0n, incarnation: 0 }
  }

  setUserdata(domid: Domid, uuid: string, name: string, text: string | undefined): void {
    this.#note('setUserdata', domid, uuid, name, text)
    const file = `userdata-d.${domid}.${uuid}.${name}`
    if (text === undefined) this.#host.userdata.delete(file)
    else this.#host.userdata.set(file, text)
  }

  userdata(domid: Domid, uuid: string, name: string): string | undefined {
    this.#note('userdata', domid, uuid, name)
    return this.#host.userdata.get(`userdata-d.${domid}.${uuid}.${name}`)
  }

  isRunning(process: string): boolean {
    this.#note('isRunning', process)
    return this.#host.running.has(process)
  }
}
