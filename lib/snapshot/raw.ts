/**
 * The raw format: guest-physical memory in pfn order, sparse, and a sidecar JSON that says what it means.
 *
 * Source: our own format, described in ARCHITECTURE.md ("The raw format"); version 1.
 * Gotcha: a page that nothing was placed in is a hole in the file; `memory.data` lists the others, so that reading a
 * 64 GiB guest back does not mean reading 64 GiB.
 */
import type { FeatureName } from '../abi/features.js'
import { XENFEAT } from '../abi/features.js'
import { DomainBuilderError } from '../errors.js'
import type { Region } from '../guest/allocator.js'
import { type Domain, type PageTableFrames, type PvBoot, pageTypeOf } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import { makeP2m, type P2m } from '../guest/p2m.js'
import { registers32 } from '../guest/pv-context.js'
import { readStartInfo } from '../guest/start-info.js'
import {
  GENERAL_REGISTERS,
  type GeneralRegister,
  type Registers,
  SEGMENT_REGISTERS,
  type SegmentRegister,
  type SegmentState,
  type Vcpu,
} from '../guest/vcpu.js'
import { logSnapshot } from '../log.js'
import { FRAMES_MAX, hex, PADDR_MAX, PAGE_SIZE, paddrOf, type Range } from '../units.js'
import { JsonValue } from './json.js'
import type { ByteSource } from './source.js'

export const RAW_FORMAT = 'xen-domain-builder/raw'
const RAW_VERSION = 1

/** Bounds on lists in a sidecar: far above what any guest has, far below what hurts. */
const MAX_REGIONS = 4096
const MAX_RUNS = 1 << 20
const MAX_VCPUS = 4096

const CONTROL = ['cr0', 'cr3', 'cr4', 'efer', 'dr6', 'dr7'] as const
/** The 64-bit name of each register that a 32-bit guest's sidecar names. */
const NAMES_32: Readonly<Record<string, GeneralRegister | 'rip' | 'rflags'>> = {
  eax: 'rax',
  ebx: 'rbx',
  ecx: 'rcx',
  edx: 'rdx',
  esi: 'rsi',
  edi: 'rdi',
  ebp: 'rbp',
  esp: 'rsp',
  eip: 'rip',
  eflags: 'rflags',
}

/** The sidecar: what JSON.stringify gets. Addresses and u64 are hex strings, counts are numbers. */
export interface RawSidecar {
  readonly format: typeof RAW_FORMAT
  readonly version: typeof RAW_VERSION
  readonly [field: string]: unknown
}

/**
 * The sidecar of a guest.
 * @param file name of the image beside it.
 */
export function rawSidecar(domain: Domain, file: string): RawSidecar {
  const { memory, boot } = domain
  const { ranges } = memory
  const oneBlock = ranges.length === 1 && ranges[0]?.start === 0
  const startInfo = Object.entries(readStartInfo(domain)).map(([name, value]) => [
    name,
    typeof value === 'string' ? value : hex(value),
  ])
  return {
    format: RAW_FORMAT,
    version: RAW_VERSION,
    type: domain.type,
    abi: domain.abi,
    name: domain.name,
    memory: {
      bytes: memory.pageCount * PAGE_SIZE,
      pages: memory.pageCount,
      ...(domain.maxmem === memory.pageCount * PAGE_SIZE ? {} : { maxBytes: domain.maxmem }),
      file,
      ...(oneBlock ? {} : { ranges: ranges.map(({ start, end }) => [start, end]) }),
      data: [...memory.pages()].map(({ pfn, pages }) => [pfn, pages]),
    },
    kernel: domain.kernel,
    regions: domain.regions.map((region) => ({
      ...region,
      ...(region.vaddr === undefined ? {} : { vaddr: hex(region.vaddr) }),
    })),
    vcpus: domain.vcpus.map((vcpu) => vcpuJson(vcpu, domain.abi !== 'x86_64')),
    startInfo: { pfn: boot.startInfo.pfn, vaddr: hex(boot.startInfo.vaddr), ...Object.fromEntries(startInfo) },
    sharedInfo: Buffer.from(boot.sharedInfo).toString('base64'),
    sharedInfoMfn: hex(boot.sharedInfoMfn),
    ...(boot.xenstore ? { xenstore: boot.xenstore } : {}),
    ...(boot.console ? { console: boot.console } : {}),
    grants: boot.grants,
    pageTables: boot.pageTables,
    features: boot.features,
    p2m: /^(identity|offset:\d+)$/.test(domain.p2m.name) ? domain.p2m.name : 'list',
  }
}

function vcpuJson(vcpu: Vcpu, is32: boolean): Record<string, unknown> {
  const general = is32 ? registers32(vcpu.registers) : vcpu.registers
  const all: [string, number | bigint][] = [
    ...Object.entries(general),
    ...SEGMENT_REGISTERS.map((name): [string, number] => [name, vcpu.segments[name].selector]),
    ...CONTROL.map((name): [string, bigint] => [name, vcpu[name]]),
  ]
  return {
    online: vcpu.online,
    registers: Object.fromEntries(all.map(([name, value]) => [name, hex(value)])),
    ...(vcpu.pv
      ? {
          pv: {
            flags: hex(vcpu.pv.flags),
            kernel_ss: hex(vcpu.pv.kernelSs),
            kernel_sp: hex(vcpu.pv.kernelSp),
            vm_assist: hex(vcpu.pv.vmAssist),
          },
        }
      : {}),
  }
}

/**
 * A guest out of its sidecar and image; pages are read when somebody looks at them.
 * @throws DomainBuilderError `bad-snapshot` for a sidecar that contradicts itself, `truncated` for a short image.
 */
export function openRaw(sidecar: string, image: ByteSource): Domain {
  const json = JsonValue.parse(sidecar, 'sidecar')
  json.at('format').oneOf(RAW_FORMAT)
  json.at('version').oneOf(RAW_VERSION)
  const type = json.at('type').oneOf('pv')
  const abi = json.at('abi').oneOf('x86_64', 'x86_32p')
  const memory = openMemory(json.at('memory'), image)
  const regions = json.at('regions').list(MAX_REGIONS).map(openRegion)
  const frame = (at: JsonValue) => at.integer(0, memory.endPfn - 1)
  const pageTables: PageTableFrames = {
    top: frame(json.at('pageTables').at('top')),
    pages: json.at('pageTables').at('pages').integer(1, FRAMES_MAX),
    runs: json
      .at('pageTables')
      .at('runs')
      .list(MAX_REGIONS)
      .map((run) => ({
        level: run.at('level').integer(1, 4),
        pfn: frame(run.at('pfn')),
        pages: run.at('pages').integer(1, FRAMES_MAX),
      })),
  }
  const shared = (at: JsonValue) => ({ pfn: frame(at.at('pfn')), evtchn: at.at('evtchn').integer(0, 0xffffffff) })
  const boot: PvBoot = {
    kind: 'start_info',
    startInfo: { pfn: frame(json.at('startInfo').at('pfn')), vaddr: json.at('startInfo').at('vaddr').hex() },
    sharedInfo: json.at('sharedInfo').base64(PAGE_SIZE),
    sharedInfoMfn: Number(json.at('sharedInfoMfn').hex(40)),
    ...(json.at('xenstore').present ? { xenstore: shared(json.at('xenstore')) } : {}),
    ...(json.at('console').present ? { console: shared(json.at('console')) } : {}),
    grants: json
      .at('grants')
      .list(MAX_REGIONS)
      .map((grant) => ({
        ref: grant.at('ref').integer(0, 0xffffffff),
        domid: grant.at('domid').integer(0, 0xffff),
        pfn: frame(grant.at('pfn')),
        mfn: grant.at('mfn').integer(0, FRAMES_MAX - 1),
      })),
    pageTables,
    features: json
      .at('features')
      .list(32)
      .map((name) => name.oneOf(...(Object.keys(XENFEAT) as FeatureName[]))),
  }
  const maxBytes = json.at('memory').at('maxBytes')
  const kernel = json.at('kernel')
  const codec = kernel.at('codec')
  logSnapshot('raw: %s %s, %d pages, %d regions', type, abi, memory.pageCount, regions.length)
  return {
    type,
    abi,
    name: json.at('name').string(),
    memory,
    maxmem: maxBytes.present ? maxBytes.integer(PAGE_SIZE, PADDR_MAX) : memory.pageCount * PAGE_SIZE,
    regions,
    vcpus: json
      .at('vcpus')
      .list(MAX_VCPUS)
      .map((vcpu, id) => openVcpu(vcpu, id, abi === 'x86_32p')),
    p2m: openP2m(json.at('p2m'), memory, regions, abi === 'x86_64' ? 8 : 4),
    boot,
    kernel: {
      container: kernel.at('container').string(),
      sha256: kernel.at('sha256').string(),
      ...(codec.present ? { codec: codec.string() } : {}),
    },
    pageType: (pfn) => pageTypeOf(pageTables, pfn),
  }
}

function openMemory(json: JsonValue, image: ByteSource): GuestMemory {
  const pages = json.at('pages').integer(1, FRAMES_MAX)
  json.at('bytes').oneOf(pages * PAGE_SIZE)
  const pair = (at: JsonValue): [number, number] => {
    const [first, second] = at.list(2).map((value) => value.integer(0, FRAMES_MAX))
    return first === undefined || second === undefined ? at.refuse('two numbers') : [first, second]
  }
  const ranges: Range<number>[] = json.at('ranges').present
    ? json
        .at('ranges')
        .list(MAX_REGIONS)
        .map(pair)
        .map(([start, end]) => ({ start, end }))
    : [{ start: 0, end: pages }]
  let last = 0
  for (const { start, end } of ranges) {
    if (start < last || end <= start) json.at('ranges').refuse('sorted, disjoint ranges of pfn')
    last = end
  }
  const memory = new GuestMemory(ranges)
  if (memory.pageCount !== pages) json.at('pages').refuse(`${memory.pageCount}, the sum of the ranges`)
  if (image.size !== memory.endPfn * PAGE_SIZE) {
    throw new DomainBuilderError('truncated', 'the image has not the size that the sidecar says', {
      expected: `${memory.endPfn * PAGE_SIZE} bytes`,
      found: `${image.size}`,
    })
  }
  for (const run of json.at('data').list(MAX_RUNS)) {
    const [pfn, count] = pair(run)
    memory.generate(paddrOf(pfn), count * PAGE_SIZE, (offset, out) => image.readInto(paddrOf(pfn) + offset, out))
  }
  return memory
}

function openRegion(json: JsonValue): Region {
  const vaddr = json.at('vaddr')
  const bytes = json.at('bytes')
  return {
    name: json.at('name').string(),
    pfn: json.at('pfn').integer(0, FRAMES_MAX),
    pages: json.at('pages').integer(0, FRAMES_MAX),
    ...(vaddr.present ? { vaddr: vaddr.hex() } : {}),
    ...(bytes.present ? { bytes: bytes.integer(0, FRAMES_MAX * PAGE_SIZE) } : {}),
  }
}

function openVcpu(json: JsonValue, id: number, is32: boolean): Vcpu {
  const from = json.at('registers')
  const bits = is32 ? 32 : 64
  const names = is32 ? Object.entries(NAMES_32) : [...GENERAL_REGISTERS, 'rip', 'rflags'].map((n) => [n, n])
  const zero = Object.fromEntries(GENERAL_REGISTERS.map((name) => [name, 0n]))
  const values = Object.fromEntries(names.map(([file = '', ours = '']) => [ours, from.at(file).hex(bits)]))
  const selector = (name: string): SegmentState => ({ selector: Number(from.at(name).hex(16)) })
  const pv = json.at('pv')
  return {
    id,
    online: json.at('online').boolean(),
    registers: { ...zero, ...values } as unknown as Registers,
    segments: Object.fromEntries(SEGMENT_REGISTERS.map((name) => [name, selector(name)])) as Record<
      SegmentRegister,
      SegmentState
    >,
    cr0: from.at('cr0').hex(),
    cr3: from.at('cr3').hex(),
    cr4: from.at('cr4').hex(),
    efer: from.at('efer').hex(),
    dr6: from.at('dr6').hex(),
    dr7: from.at('dr7').hex(),
    ...(pv.present
      ? {
          pv: {
            flags: Number(pv.at('flags').hex(32)),
            kernelSs: Number(pv.at('kernel_ss').hex(32)),
            kernelSp: pv.at('kernel_sp').hex(),
            vmAssist: Number(pv.at('vm_assist').hex(32)),
          },
        }
      : {}),
  }
}

/** A p2m that is neither identity nor an offset is read where the guest itself finds it: in its list. */
function openP2m(json: JsonValue, memory: GuestMemory, regions: readonly Region[], entryBytes: 4 | 8): P2m {
  const name = json.string()
  const pages = memory.endPfn
  if (name === 'identity') return makeP2m('identity', pages)
  const offset = /^offset:(\d{1,13})$/.exec(name)
  if (offset) return makeP2m({ offset: Number(offset[1]) }, pages)
  if (name !== 'list') json.refuse('identity, offset:N or list')
  const list = regions.find((region) => region.name === 'p2m')
  if (!list || list.pages * PAGE_SIZE < pages * entryBytes) json.refuse('a region p2m that holds the list')
  const at = paddrOf(list.pfn)
  const mfn = (pfn: number): number | undefined => {
    if (pfn < 0 || pfn >= pages) return undefined
    const bytes = memory.read(at + pfn * entryBytes, entryBytes)
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    const value = entryBytes === 4 ? view.getUint32(0, true) : Number(view.getBigUint64(0, true))
    return value >= (entryBytes === 4 ? 0xffffffff : FRAMES_MAX) ? undefined : value
  }
  return makeP2m({ function: mfn, name: 'list' }, pages)
}
