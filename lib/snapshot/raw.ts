/**
 * The raw format: guest-physical memory in pfn order, sparse, and a sidecar JSON that says what it means.
 *
 * Source: our own format, described in ARCHITECTURE.md ("The raw format"); version 1.
 * Gotcha: a page that nothing was placed in is a hole in the file; `memory.data` lists the others, so that reading a
 * 64 GiB guest back does not mean reading 64 GiB.
 */
import { DomainBuilderError } from '../errors.js'
import type { Region } from '../guest/allocator.js'
import { type Domain, pageTypes } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import { makeP2m, type P2m } from '../guest/p2m.js'
import { logSnapshot } from '../log.js'
import { FRAMES_MAX, hex, PADDR_MAX, PAGE_SIZE, paddrOf, type Range } from '../units.js'
import { bootJson, openBoot } from './boot-json.js'
import { JsonValue } from './json.js'
import type { ByteSource } from './source.js'
import { openVcpu, vcpuJson } from './vcpu-json.js'

export const RAW_FORMAT = 'xen-domain-builder/raw'
const RAW_VERSION = 1

/** Bounds on lists in a sidecar: far above what any guest has, far below what hurts. */
const MAX_REGIONS = 4096
const MAX_RUNS = 1 << 20
const MAX_VCPUS = 4096

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
  const { memory } = domain
  const { ranges } = memory
  const oneBlock = ranges.length === 1 && ranges[0]?.start === 0
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
    ...bootJson(domain),
    p2m: /^(identity|offset:\d+)$/.test(domain.p2m.name) ? domain.p2m.name : 'list',
  }
}

/**
 * A guest out of its sidecar and image; pages are read when somebody looks at them.
 * @throws DomainBuilderError `bad-snapshot` for a sidecar that contradicts itself, `truncated` for a short image.
 */
export function openRaw(sidecar: string, image: ByteSource): Domain {
  const json = JsonValue.parse(sidecar, 'sidecar')
  json.at('format').oneOf(RAW_FORMAT)
  return openDomainJson(json, openMemory(json.at('memory'), image))
}

/**
 * What a sidecar says of a guest beside where its memory is, whichever format it is of.
 * @throws DomainBuilderError `bad-snapshot`.
 */
export function openDomainJson(json: JsonValue, memory: GuestMemory): Domain {
  json.at('version').oneOf(RAW_VERSION)
  const type = json.at('type').oneOf('pv', 'pvh', 'linux')
  const abi = json.at('abi').oneOf('x86_64', 'x86_32p', 'x86_32')
  const regions = json.at('regions').list(MAX_REGIONS).map(openRegion)
  const boot = openBoot(json, type, memory)
  const maxBytes = json.at('memory').at('maxBytes')
  const kernel = json.at('kernel')
  const codec = kernel.at('codec')
  logSnapshot('%s %s, %d pages, %d regions', type, abi, memory.pageCount, regions.length)
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
      .map((vcpu, id) => openVcpu(vcpu, id, abi !== 'x86_64')),
    p2m: openP2m(json.at('p2m'), memory, regions, abi === 'x86_64' ? 8 : 4),
    boot,
    kernel: {
      container: kernel.at('container').string(),
      sha256: kernel.at('sha256').string(),
      ...(codec.present ? { codec: codec.string() } : {}),
    },
    pageType: pageTypes(boot),
  }
}

function openMemory(json: JsonValue, image: ByteSource): GuestMemory {
  const memory = new GuestMemory(openRanges(json))
  if (image.size !== memory.endPfn * PAGE_SIZE) {
    throw new DomainBuilderError('truncated', 'the image has not the size that the sidecar says', {
      expected: `${memory.endPfn * PAGE_SIZE} bytes`,
      found: `${image.size}`,
    })
  }
  for (const run of json.at('data').list(MAX_RUNS)) {
    const [pfn, count] = openPair(run)
    memory.generate(paddrOf(pfn), count * PAGE_SIZE, (offset, out) => image.readInto(paddrOf(pfn) + offset, out))
  }
  return memory
}

function openPair(at: JsonValue): [number, number] {
  const [first, second] = at.list(2).map((value) => value.integer(0, FRAMES_MAX))
  return first === undefined || second === undefined ? at.refuse('two numbers') : [first, second]
}

/** The frames that a guest has, out of its sidecar's `memory`. @throws DomainBuilderError `bad-snapshot`. */
export function openRanges(json: JsonValue): Range<number>[] {
  const pages = json.at('pages').integer(1, FRAMES_MAX)
  json.at('bytes').oneOf(pages * PAGE_SIZE)
  const ranges: Range<number>[] = json.at('ranges').present
    ? json
        .at('ranges')
        .list(MAX_REGIONS)
        .map(openPair)
        .map(([start, end]) => ({ start, end }))
    : [{ start: 0, end: pages }]
  let last = 0
  let sum = 0
  for (const { start, end } of ranges) {
    if (start < last || end <= start) json.at('ranges').refuse('sorted, disjoint ranges of pfn')
    last = end
    sum += end - start
  }
  if (sum !== pages) json.at('pages').refuse(`${sum}, the sum of the ranges`)
  return ranges
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
