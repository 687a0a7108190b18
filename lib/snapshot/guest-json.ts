/**
 * A guest without its memory to and from JSON: the content of a sidecar, and of a note in a core file.
 *
 * Source: our own format, docs/formats.md, "The raw format"; version 1.
 * Gotcha: addresses and u64 are hex strings, counts are numbers; every value is checked before it is used.
 */
import { toBase64 } from '../bytes.js'
import { defined } from '../defined.js'
import { type Domain, pageTypes, type SavedState } from '../guest/domain.js'
import type { GuestMemory } from '../guest/memory.js'
import { makeP2m, P2M_MARKED32, type P2m } from '../guest/p2m.js'
import { identityWhere, P2M_REGION, presentFrames } from '../guest/pfn-view.js'
import type { Region } from '../guest/region.js'
import { firstAbove, type Run } from '../guest/runs.js'
import { MAX_VCPUS } from '../guest/vcpu.js'
import { logSnapshot } from '../log.js'
import { FRAMES_MAX, hex, type Mfn, PADDR_MAX, PAGE_SIZE, type Pfn, paddrOf, type Range } from '../units.js'
import { bootJson, openBoot } from './boot-json.js'
import type { JsonValue } from './json-value.js'
import { openVcpu, vcpuJson } from './vcpu-json.js'

/** Far above the count of any guest, far below a harmful one. */
const MAX_RECORDS = 1 << 16

/** The version of all of the JSON, in every format that contains it. */
export const GUEST_JSON_VERSION = 1

/** @param memory what the format says of memory in addition to its size. */
export function guestJson(domain: Domain, memory: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const pages = domain.memory.pageCount
  const { saved } = domain
  return {
    type: domain.type,
    abi: domain.abi,
    name: domain.name,
    memory: {
      bytes: pages * PAGE_SIZE,
      pages,
      ...defined({
        maxBytes: domain.maxmem === pages * PAGE_SIZE ? undefined : domain.maxmem,
        targetBytes: domain.target,
      }),
      ...memory,
    },
    ...defined({ kernel: domain.kernel }),
    regions: domain.regions.map(regionJson),
    vcpus: domain.vcpus.map((vcpu) => vcpuJson(vcpu, domain.abi !== 'x86_64')),
    ...bootJson(domain),
    p2m: /^(identity|offset:\d+)$/.test(domain.p2m.name) ? domain.p2m.name : 'list',
    ...defined({
      saved: saved && { ...saved, records: saved.records.map(({ name, body }) => ({ name, body: toBase64(body) })) },
    }),
  }
}

/**
 * Reads what guestJson() wrote, around memory that the caller has.
 * @throws DomainBuilderError `bad-snapshot`.
 */
export function openGuest(json: JsonValue, memory: GuestMemory): Domain {
  json.at('version').oneOf(GUEST_JSON_VERSION)
  const type = json.at('type').oneOf('pv', 'pvh', 'hvm', 'linux')
  const abi = json.at('abi').oneOf('x86_64', 'x86_32p', 'x86_32')
  const regions = json.at('regions').list().map(openRegion)
  const boot = openBoot(json, type, memory)
  logSnapshot('%s %s, %d pages, %d regions', type, abi, memory.pageCount, regions.length)
  return {
    type,
    abi,
    name: json.at('name').string(),
    memory,
    maxmem:
      json.at('memory').optional('maxBytes', (at) => at.integer(PAGE_SIZE, PADDR_MAX)) ?? memory.pageCount * PAGE_SIZE,
    regions,
    vcpus: json
      .at('vcpus')
      .list(MAX_VCPUS)
      .map((vcpu, id) => openVcpu(vcpu, id, abi !== 'x86_64')),
    p2m: openP2m(json.at('p2m'), memory, regions, abi === 'x86_64' ? 8 : 4),
    boot,
    ...defined({
      target: json.at('memory').optional('targetBytes', (at) => at.integer(PAGE_SIZE, PADDR_MAX)),
      kernel: json.optional('kernel', openKernel),
      saved: json.optional('saved', openSaved),
    }),
    pageType: pageTypes(boot),
  }
}

const openKernel = (json: JsonValue): NonNullable<Domain['kernel']> =>
  defined({
    container: json.at('container').string(),
    sha256: json.at('sha256').string(),
    codec: json.optional('codec', (at) => at.string()),
  })

const openSaved = (json: JsonValue): SavedState =>
  defined({
    config: json.optional('config', (at) => at.string()),
    records: json
      .at('records')
      .list(MAX_RECORDS)
      .map((record) => ({ name: record.at('name').string(), body: record.at('body').bytes() })),
  })

export function openPair(at: JsonValue): [number, number] {
  const [first, second] = at.list(2).map((value) => value.integer(0, FRAMES_MAX))
  return first === undefined || second === undefined ? at.refuse('two numbers') : [first, second]
}

/** Returns the frames that a guest has, from the member `memory`. @throws DomainBuilderError `bad-snapshot`. */
export function openRanges(json: JsonValue): Range<number>[] {
  const pages = json.at('pages').integer(1, FRAMES_MAX)
  json.at('bytes').oneOf(pages * PAGE_SIZE)
  const listed = json.optional('ranges', (at) => at.list().map(openPair))
  const ranges = (listed ?? [[0, pages]]).map(([start, end]) => ({ start, end }))
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

const regionJson = (region: Region) =>
  defined({ ...region, vaddr: region.vaddr === undefined ? undefined : hex(region.vaddr) })

const openRegion = (json: JsonValue): Region =>
  defined({
    name: json.at('name').string(),
    pfn: json.at('pfn').integer(0, FRAMES_MAX),
    pages: json.at('pages').integer(0, FRAMES_MAX),
    vaddr: json.optional('vaddr', (at) => at.hex()),
    bytes: json.optional('bytes', (at) => at.integer(0, FRAMES_MAX * PAGE_SIZE)),
  })

/** A p2m that is neither identity nor an offset is read from the guest's own list, which lies in one region or more. */
function openP2m(json: JsonValue, memory: GuestMemory, regions: readonly Region[], entryBytes: 4 | 8): P2m {
  const name = json.string()
  const pages = memory.endPfn
  if (name === 'identity') return identityWhere(memory)
  const offset = /^offset:(\d{1,13})$/.exec(name)
  if (offset) return makeP2m({ offset: Number(offset[1]) }, pages)
  if (name !== 'list') json.refuse('identity, offset:N or list')
  const frames = listFrames(json, memory, regions, Math.ceil((pages * entryBytes) / PAGE_SIZE))
  const perFrame = PAGE_SIZE / entryBytes
  const mfn = (pfn: Pfn): Mfn | undefined => {
    const frame = frames[Math.floor(pfn / perFrame)]
    if (frame === undefined || pfn >= pages) return undefined
    const bytes = memory.read(paddrOf(frame) + (pfn % perFrame) * entryBytes, entryBytes)
    return listedFrame(new DataView(bytes.buffer, bytes.byteOffset), entryBytes)
  }
  return presentFrames(makeP2m({ function: mfn, name: 'list' }, pages), memory)
}

/** Returns the frames of the list, in its order. A reader keeps an entry for every page, so all must be in the file. */
function listFrames(json: JsonValue, memory: GuestMemory, regions: readonly Region[], count: number): Pfn[] {
  const runs = [...memory.pages()]
  const startOf = (list: readonly Run[], i: number): Pfn => (list[i] as Run).pfn
  const missing = (): never => json.refuse('a list that is in the file')
  if (count > runs.reduce((sum, { pages }) => sum + pages, 0)) missing()
  const frames: Pfn[] = []
  for (const { name, pfn, pages } of regions) {
    if (name !== P2M_REGION) continue
    const end = pfn + Math.min(pages, count - frames.length)
    const run = runs[firstAbove(runs, runs.length, startOf, pfn) - 1]
    if (end > pfn && (run === undefined || end > run.pfn + run.pages)) missing()
    for (let frame = pfn; frame < end; frame++) frames.push(frame)
  }
  if (frames.length < count) json.refuse('regions p2m that hold the list')
  return frames
}

/** Returns the frame of an entry; undefined for a hole: all ones, or marked by a guest that runs. */
function listedFrame(entry: DataView, entryBytes: 4 | 8): Mfn | undefined {
  if (entryBytes === 4) {
    const mfn = entry.getUint32(0, true)
    return mfn < P2M_MARKED32 ? mfn : undefined
  }
  const mfn = Number(entry.getBigUint64(0, true))
  return mfn < FRAMES_MAX ? mfn : undefined
}
