/**
 * A domain of the recording Xen: its state, and the checks that Xen makes before it changes.
 *
 * Source: xen/common/domctl.c, xen/arch/x86/domctl.c and domain.c (arch_set_info_guest), xen/arch/x86/hvm/{hvm,save}.c;
 * 4.17 for what an errno depends on.
 * Gotcha: where Xen lets a mistake pass that only the guest would notice, this domain refuses it: a 32-bit guest after
 * its vcpus, a grant of another domain's page, a high top table of a 32-bit guest that does not know of them.
 */
import { HVM_PARAM } from '../../abi/hvm-params.js'
import { HVM_SAVE_CODE, HvmHwCpu } from '../../abi/hvm-save.js'
import { PFINFO_SHIFT_HIGH, PFINFO_XTAB } from '../../abi/save-stream.js'
import { SharedInfo32, SharedInfo64 } from '../../abi/shared-info.js'
import { VMASST_PAE_EXTENDED_CR3 } from '../../abi/vcpu-context.js'
import { unfoldedCr3 } from '../../abi/x86.js'
import { PAE_L3_MFN_END } from '../../abi/xen-mmu.js'
import { decodeHvmContext, encodeHvmContext, hvmRecords } from '../../guest/hvm-context.js'
import { hypercallPage } from '../../guest/hypercall-page.js'
import type { GuestMemory } from '../../guest/memory.js'
import type { MapEntry } from '../../guest/memory-map.js'
import type { P2m } from '../../guest/p2m.js'
import { decodePvContext, encodePvContext, pvContextBytes } from '../../guest/pv-context.js'
import { type Registers, type Vcpu, waitingVcpu } from '../../guest/vcpu.js'
import type { CpuPolicy, DomainInfo, NewDomain, NewGrant, Piece } from '../../toolstack/hypervisor.js'
import { FRAMES_MAX, hex, type Mfn, PAGE_SIZE, type Pfn } from '../../units.js'
import { changedPolicy, cpuPolicyOf } from './cpu-policies.js'
import { DomainMemory } from './domain-memory.js'
import type { MachineFrames } from './machine-frames.js'
import { PageTypes } from './page-types.js'
import { demand, refused } from './refusal.js'

/** The most vcpus of a domain, the most event channels, and the entries in the first page of a grant table. */
const MAX_VCPUS = 128
const MAX_PORT = 131071
const GRANTS = 512
/** KiB of a page, and the most entries of a memory map (E820MAX). */
const KIB_PER_PAGE = 4
const E820_MAX = 1024
/** shared_info.wc_version after the time was set once: it is odd while the time changes. */
const WC_VERSION = 2

/** An event channel that a toolstack made. */
export interface RecordedPort {
  readonly port: number
  /** The domain that may bind the other end. */
  readonly remote: number
}

/** A domain of a RecordingXen, as a test sees it: the state of the moment. */
export interface RecordedDomain {
  readonly domid: number
  /** The properties that createDomain was given. */
  readonly created: NewDomain
  /** Its width. */
  readonly abi: 'x86_64' | 'x86_32p'
  /** Its memory by pfn, the pages that have frames. A page that was never written has 0xc2 in every byte. */
  readonly memory: GuestMemory
  /** The machine frame of each page. */
  readonly p2m: P2m
  /** The bytes of shared_info's page. */
  readonly sharedInfo: Uint8Array
  /** The state of each vcpu as it was set; undefined for one that was not. */
  readonly vcpus: readonly (Vcpu | undefined)[]
  readonly grants: readonly NewGrant[]
  readonly ports: readonly RecordedPort[]
  /** HVM_PARAM_*, by index. */
  readonly hvmParams: ReadonlyMap<number, bigint>
  /** The map that the guest reads with XENMEM_memory_map. */
  readonly memoryMap: readonly MapEntry[]
  readonly cpuPolicy: CpuPolicy
  /** TSC_MODE_* */
  readonly tscMode: number
  /** Bytes for the page tables of an HVM or PVH guest. */
  readonly pagingPool: number
  /** How often toolstacks have paused it; 1 at first. */
  readonly pauses: number
  /** SHUTDOWN_* once it has stopped. */
  readonly shutdown: number | undefined
  /** Whether it runs: it is not paused, it has not stopped, and its vcpu 0 was set and is online. */
  readonly running: boolean
}

export class XenDomain implements RecordedDomain {
  readonly domid: number
  readonly created: NewDomain
  readonly #memory: DomainMemory
  readonly #types: PageTypes
  readonly #machine: MachineFrames
  readonly #contexts: (Uint8Array | undefined)[] = []
  readonly #grants = new Map<number, NewGrant>()
  #hvmContext: Uint8Array | undefined
  #hasVcpus = false
  #hasRun = false
  #end: Promise<void> | undefined
  /** VMASST_TYPE_* bits. Until vcpu 0 is set, Xen lets a toolstack pin a high L3. */
  #vmAssist: number = VMASST_PAE_EXTENDED_CR3
  abi: 'x86_64' | 'x86_32p' = 'x86_64'
  readonly ports: RecordedPort[] = []
  readonly hvmParams = new Map<number, bigint>()
  memoryMap: readonly MapEntry[] = []
  cpuPolicy: CpuPolicy
  tscMode = 0
  pagingPool = 0
  pauses = 1
  shutdown: number | undefined

  constructor(domid: number, created: NewDomain, machine: MachineFrames) {
    const { vcpus, maxEventChannel, type, maxGrantVersion, nestedVirtualization } = created
    const isCount = (value: number, most: number): boolean => Number.isInteger(value) && value >= 1 && value <= most
    demand(isCount(vcpus, MAX_VCPUS), 'EINVAL', `the number of vcpus is ${vcpus}`)
    demand(isCount(maxEventChannel, MAX_PORT), 'EINVAL', `the highest event channel is ${maxEventChannel}`)
    demand(isCount(maxGrantVersion, 2), 'EINVAL', `the version of the grant table is ${maxGrantVersion}`)
    demand(type !== 'pv' || !nestedVirtualization, 'EINVAL', 'a PV guest cannot have nested virtualization')
    this.domid = domid
    this.created = { ...created }
    this.cpuPolicy = cpuPolicyOf(type)
    this.#machine = machine
    this.#memory = new DomainMemory(machine, domid, type !== 'pv')
    this.#types = new PageTypes(this.#memory)
  }

  get isPv(): boolean {
    return this.created.type === 'pv'
  }

  get memory(): GuestMemory {
    return this.#memory.view()
  }

  get p2m(): P2m {
    return this.#memory.p2m
  }

  get sharedInfo(): Uint8Array {
    const page = new Uint8Array(PAGE_SIZE)
    this.#machine.read(this.#memory.sharedInfo, page)
    return page
  }

  get grants(): readonly NewGrant[] {
    return [...this.#grants.values()].sort((a, b) => a.ref - b.ref)
  }

  get vcpus(): readonly (Vcpu | undefined)[] {
    const hvm = this.#hvmContext === undefined ? undefined : decodeHvmContext(this.#hvmContext)
    return Array.from({ length: this.#hasVcpus ? this.created.vcpus : 0 }, (_, id) => {
      const context = this.#contexts[id]
      return context === undefined ? hvm?.get(id) : decodePvContext(context, this.abi, id)
    })
  }

  get running(): boolean {
    return this.pauses === 0 && this.shutdown === undefined && this.#end === undefined && this.vcpus[0]?.online === true
  }

  /** The number of its frames that a toolstack has mapped. */
  get mappings(): number {
    return this.#memory.mappings
  }

  get info(): DomainInfo {
    const { domid, created, pauses, shutdown, running } = this
    return {
      domid,
      uuid: created.uuid,
      hvm: !this.isPv,
      dying: this.#end !== undefined,
      paused: pauses > 0,
      ...(shutdown === undefined ? {} : { shutdown }),
      pages: this.#memory.pages,
      maxPages: this.#memory.limit,
      // Xen's frame has no gfn until the guest maps it.
      sharedInfoFrame: this.isPv ? this.#memory.sharedInfo : FRAMES_MAX - 1,
      maxVcpuId: this.#hasVcpus ? created.vcpus - 1 : 0,
      onlineVcpus: this.vcpus.filter((vcpu) => vcpu?.online).length,
      running,
      blocked: false,
      cpuTime: 0n,
    }
  }

  #requireType(type: 'pv' | 'pvh', call: string): void {
    const is = this.isPv ? 'PV' : 'PVH'
    demand((type === 'pv') === this.isPv, 'EINVAL', `${call} is not for domain ${this.domid}, which is a ${is} guest`)
  }

  setAddressSize(bits: number): void {
    this.#requireType('pv', 'the address size')
    demand(bits === 32, 'EINVAL', `the address size is ${bits}`)
    demand(this.#memory.pages === 0, 'EACCES', `domain ${this.domid} has memory before its address size is set`)
    demand(!this.#hasVcpus, 'EACCES', `domain ${this.domid} has vcpus before its address size is set`)
    this.abi = 'x86_32p'
  }

  setMaxVcpus(vcpus: number): void {
    const { vcpus: most } = this.created
    demand(vcpus === most, 'EINVAL', `domain ${this.domid} must have ${most} vcpus, as it was created, not ${vcpus}`)
    this.#hasVcpus = true
  }

  setMaxMemory(kib: number): void {
    this.#memory.limit = Math.floor(kib / KIB_PER_PAGE)
  }

  setPagingPool(bytes: number): void {
    this.#requireType('pvh', 'the paging pool')
    demand(bytes % PAGE_SIZE === 0, 'EINVAL', `the paging pool of ${bytes} bytes is not whole pages`)
    this.pagingPool = bytes
  }

  pause(): void {
    this.pauses++
  }

  unpause(): void {
    demand(this.pauses > 0, 'EINVAL', `domain ${this.domid} is not paused`)
    this.pauses--
    this.#hasRun ||= this.pauses === 0
  }

  resume(): void {
    this.shutdown = undefined
  }

  /** Frees everything, once no frame is mapped. */
  destroy(): Promise<void> {
    this.#end ??= this.#memory.free()
    return this.#end
  }

  populate(frames: BigUint64Array, order: number, onDemand: boolean): number {
    return this.#memory.populate(frames, order, onDemand)
  }

  setPodTarget(pages: number): void {
    this.#memory.setTarget(pages)
  }

  exchangeBelow4GiB(pfn: Pfn, mfn: Mfn): Mfn {
    this.#requireType('pv', 'an exchange of frames')
    this.#types.checkWritable(mfn)
    const held = this.p2m.mfn(pfn) === mfn
    demand(held, 'EINVAL', `mfn ${hex(mfn)} is not in the memory of domain ${this.domid} at pfn ${hex(pfn)}`)
    return this.#memory.exchangeBelow(mfn, PAE_L3_MFN_END)
  }

  setMemoryMap(entries: readonly MapEntry[]): void {
    demand(entries.length <= E820_MAX, 'EINVAL', `the memory map has ${entries.length} entries, more than ${E820_MAX}`)
    this.memoryMap = entries.map((entry) => ({ ...entry }))
  }

  maximumGpfn(): number {
    this.#requireType('pvh', 'the highest frame')
    return this.#memory.lastPfn
  }

  frameTypes(frames: BigUint64Array): Uint32Array {
    return Uint32Array.from(this.#memory.checked(frames), (frame) => {
      const mfn = this.#memory.find(frame)
      return (mfn === undefined ? PFINFO_XTAB : this.#types.type(mfn)) << PFINFO_SHIFT_HIGH
    })
  }

  readFrames(frames: BigUint64Array, out: Uint8Array): void {
    this.#memory.read(frames, out)
  }

  writeFrames(frames: BigUint64Array, pieces: readonly Piece[]): Promise<void> {
    return this.#memory.write(frames, pieces, (mfn) => this.#types.checkWritable(mfn))
  }

  initHypercallPage(mfn: Mfn): void {
    this.#requireType('pv', 'a hypercall page')
    this.#types.checkWritable(this.#memory.require(mfn))
    this.#machine.write(mfn, 0, hypercallPage(this.abi))
  }

  pinTable(level: 1 | 2 | 3 | 4, mfn: Mfn): void {
    this.#requireType('pv', 'a pinned table')
    demand(level <= this.#topLevel, 'EINVAL', `a 32-bit guest has no L${level} table`)
    this.#types.pin(mfn, level, this.abi, this.#vmAssist)
  }

  get #topLevel(): 3 | 4 {
    return this.abi === 'x86_64' ? 4 : 3
  }

  allocUnbound(remote: number): number {
    const port = this.ports.length + 1
    const most = this.created.maxEventChannel
    demand(port <= most, 'ENOSPC', `domain ${this.domid} has its ${most} event channels already`)
    this.ports.push({ port, remote })
    return port
  }

  setGrants(grants: readonly NewGrant[]): void {
    for (const { ref, frame } of grants) {
      demand(Number.isInteger(ref) && ref >= 0 && ref < GRANTS, 'EINVAL', `the grant reference ${ref} is too large`)
      this.#memory.require(frame)
    }
    for (const grant of grants) this.#grants.set(grant.ref, { ...grant })
  }

  setHvmParam(index: number, value: bigint): void {
    this.#requireType('pvh', 'HVM_PARAM')
    demand(HVM_PARAMS.has(index), 'EINVAL', `HVM_PARAM ${index} is unknown`)
    demand(index !== HVM_PARAM.ALTP2M, 'EEXIST', `HVM_PARAM ${index} is set when the domain is created`)
    this.hvmParams.set(index, value)
  }

  hvmParam(index: number): bigint | undefined {
    this.#requireType('pvh', 'HVM_PARAM')
    return HVM_PARAMS.has(index) ? (this.hvmParams.get(index) ?? 0n) : undefined
  }

  #requireVcpu(vcpu: number): void {
    const exists = this.#hasVcpus && vcpu >= 0 && vcpu < this.created.vcpus
    demand(exists, 'EINVAL', `domain ${this.domid} has no vcpu ${vcpu}`)
  }

  setVcpuContext(vcpu: number, context: Uint8Array): void {
    this.#requireVcpu(vcpu)
    const bytes = pvContextBytes(this.abi)
    demand(context.length === bytes, 'EFAULT', `vcpu_guest_context is ${context.length} bytes instead of ${bytes}`)
    if (!this.isPv) {
      this.#setRegisters(vcpu, decodePvContext(context, this.abi, vcpu).registers)
      return
    }
    const { cr3, pv } = decodePvContext(context, this.abi, vcpu)
    const mfn = this.abi === 'x86_64' ? Number(cr3 >> 12n) : unfoldedCr3(Number(cr3))
    const vmAssist = vcpu === 0 ? (pv?.vmAssist ?? 0) : this.#vmAssist
    const fits = this.abi === 'x86_64' || (vmAssist & VMASST_PAE_EXTENDED_CR3) !== 0 || mfn < PAE_L3_MFN_END
    demand(fits, 'ERANGE', `the L3 in mfn ${hex(mfn)} is not below 4 GiB, and the guest has no extended cr3`)
    this.#types.use(mfn, this.#topLevel, this.abi, vmAssist)
    this.#vmAssist = vmAssist
    this.#contexts[vcpu] = new Uint8Array(context)
    if (vcpu === 0) this.#setWallclock()
  }

  /** Tells the guest when the machine started: here at the epoch. */
  #setWallclock(): void {
    const at = (this.abi === 'x86_64' ? SharedInfo64 : SharedInfo32).offsetOf('wc_version')
    this.#machine.write(this.#memory.sharedInfo, at, Uint8Array.of(WC_VERSION, 0, 0, 0))
  }

  /** A PVH guest's vcpu has its registers in the HVM context, which must be set first. */
  #setRegisters(vcpu: number, registers: Registers): void {
    const records = this.#hvmContext === undefined ? [] : [...hvmRecords(this.#hvmContext)]
    const cpu = records.find(({ typecode, instance }) => typecode === HVM_SAVE_CODE.CPU && instance === vcpu)
    if (cpu === undefined) throw refused('EINVAL', `vcpu ${vcpu} of domain ${this.domid} has no state yet`)
    cpu.body.set(HvmHwCpu.encode({ ...HvmHwCpu.decode(cpu.body), ...registers }))
  }

  vcpuContext(vcpu: number): Uint8Array | undefined {
    this.#requireVcpu(vcpu)
    const state = this.isPv ? undefined : this.vcpus[vcpu]
    if (state !== undefined) return encodePvContext(state, this.abi)
    const context = this.#contexts[vcpu]
    return context && new Uint8Array(context)
  }

  isOnline(vcpu: number): boolean {
    this.#requireVcpu(vcpu)
    return this.vcpus[vcpu]?.online === true
  }

  vcpuState(vcpu: number): Uint8Array {
    this.#requireType('pv', "a PV vcpu's state")
    this.#requireVcpu(vcpu)
    return new Uint8Array(0)
  }

  setHvmContext(context: Uint8Array): void {
    this.#requireType('pvh', 'an HVM context')
    demand(this.#hasVcpus, 'EINVAL', `domain ${this.domid} has an HVM context before it has vcpus`)
    try {
      for (const { typecode, instance } of hvmRecords(context)) {
        if (typecode === HVM_SAVE_CODE.CPU) this.#requireVcpu(instance)
      }
    } catch (error) {
      throw refused('EINVAL', `the HVM context is invalid: ${error instanceof Error ? error.message : error}`, error)
    }
    this.#hvmContext = new Uint8Array(context)
  }

  hvmContext(): Uint8Array {
    this.#requireType('pvh', 'an HVM context')
    if (this.#hvmContext !== undefined) return new Uint8Array(this.#hvmContext)
    return encodeHvmContext(this.vcpus.map((_, id) => waitingVcpu(id)))
  }

  setCpuPolicy(policy: CpuPolicy): void {
    demand(!this.#hasRun, 'EEXIST', `domain ${this.domid} has run with its processor`)
    this.cpuPolicy = changedPolicy(this.cpuPolicy, policy)
  }
}

const HVM_PARAMS: ReadonlySet<number> = new Set(Object.values(HVM_PARAM))
