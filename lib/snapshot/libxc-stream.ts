/**
 * The libxc stream: a guest as records, in the order in which restoring needs them.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc, "x86 PV Guest" and "x86 HVM Guest".
 * Gotcha: only vcpus that run have a context record; Xen starts every vcpu that has one.
 */
import {
  DOMAIN_TYPE_X86_HVM,
  DOMAIN_TYPE_X86_PV,
  DomainHeader,
  LIBXC_HEADER_BYTES,
  LIBXC_ID,
  LIBXC_MARKER,
  LIBXC_RECORD,
  type LibxcRecordName,
  RECORD_ALIGN,
  RecordHeader,
  X86PvInfo,
  X86PvP2mFrames,
  X86PvVcpu,
} from '../abi/save-stream.js'
import { SharedInfo32, SharedInfo64 } from '../abi/shared-info.js'
import { releaseNumbers, type XenRelease } from '../abi/xen-release.js'
import { concat } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { type Domain, type HvmBoot, isPolicy, type PvBoot, type PvhBoot, type SavedRecord } from '../guest/domain.js'
import { P2M_REGION } from '../guest/pfn-view.js'
import { encodePvContext } from '../guest/pv-context.js'
import { readStartInfo } from '../guest/start-info.js'
import type { Vcpu } from '../guest/vcpu.js'
import { alignUp, PAGE_SHIFT, PAGE_SIZE, type Pfn, paddrOf } from '../units.js'
import { dataRuns } from './data-pages.js'
import { pageDataRecords } from './page-data.js'
import { type Part, solid } from './snapshot-file.js'
import { encodeHvmParams, hvmContextOf } from './xen-save-hvm.js'

/** 16 TiB, as much as Xen supports in a host (SUPPORT.md). A page takes 8 bytes of a stream, even without content. */
const MAX_PAGES = 2 ** 32

/** Records of a saved guest that we copy unchanged, and their places. */
const VCPU_RECORDS: readonly string[] = ['X86_PV_VCPU_EXTENDED', 'X86_PV_VCPU_XSAVE', 'X86_PV_VCPU_MSRS']

/** Returns a record with its padding. */
export function record(type: number, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(RecordHeader.size + alignUp(body.length, RECORD_ALIGN))
  out.set(RecordHeader.encode({ type, body_length: body.length }))
  out.set(body, RecordHeader.size)
  return out
}

const libxc = (name: LibxcRecordName, body: Uint8Array = new Uint8Array(0)): Uint8Array =>
  record(LIBXC_RECORD[name], body)

/** Returns the saved records that are wanted, unchanged. */
function saved(domain: Domain, isWanted: (record: SavedRecord) => boolean): Uint8Array[] {
  const records: readonly SavedRecord[] = domain.saved?.records ?? []
  return records.filter(isWanted).map(({ name, body }) => libxc(name as LibxcRecordName, body))
}

const isTscInfo = ({ name }: SavedRecord): boolean => name === 'X86_TSC_INFO'

/** The properties of a stream that do not come from its guest. */
interface StreamOptions {
  readonly version: 2 | 3
  /** The release that it names as its origin. */
  readonly xen: XenRelease
}

function headers(type: number, { version, xen }: StreamOptions): Uint8Array {
  const image = new DataView(new ArrayBuffer(LIBXC_HEADER_BYTES))
  image.setBigUint64(0, LIBXC_MARKER)
  image.setUint32(8, LIBXC_ID)
  image.setUint32(12, version)
  const [xen_major, xen_minor] = releaseNumbers(xen)
  const domain = DomainHeader.encode({ type, page_shift: PAGE_SHIFT, reserved: 0, xen_major, xen_minor })
  return concat([new Uint8Array(image.buffer), domain])
}

/** The frames of the p2m list, in its order, and the pfn after its last entry. */
interface P2mList {
  readonly frames: readonly Pfn[]
  readonly end: Pfn
}

/**
 * Returns the p2m list. It is longer than the memory where the guest has given back its last frames: it has the length
 * that start_info or shared_info claims, as far as its frames are known.
 * @throws DomainBuilderError `bad-snapshot` for too few frames.
 */
function p2mList(domain: Domain<PvBoot>): P2mList {
  const is64 = domain.abi === 'x86_64'
  const perFrame = is64 ? 512 : 1024
  const { memory } = domain
  const runs = domain.regions.filter(
    ({ name, pfn, pages }) => name === P2M_REGION && memory.covers(paddrOf(pfn), pages * PAGE_SIZE),
  )
  const known = runs.reduce((sum, { pages }) => sum + pages, 0)
  const { max_pfn } = (is64 ? SharedInfo64 : SharedInfo32).decode(domain.boot.sharedInfo)
  const claimed = [Number(max_pfn), Number(readStartInfo(domain).nr_pages)]
  const end = Math.max(memory.endPfn, ...claimed.filter((pages) => pages <= Math.min(known * perFrame, MAX_PAGES)))
  const needed = Math.ceil(end / perFrame)
  if (known < needed) {
    throw new DomainBuilderError('bad-snapshot', "the guest's p2m list is not known, and restoring writes to it", {
      expected: `${needed} frames`,
      found: `${known}`,
    })
  }
  const frames: Pfn[] = []
  for (const { pfn, pages } of runs) {
    for (let i = 0; i < pages && frames.length < needed; i++) frames.push(pfn + i)
  }
  return { frames, end }
}

/**
 * Returns the end of the static part: the policies, for readers of version 3.
 * @throws DomainBuilderError `bad-config` for a guest that has policies, in version 2: they would be lost.
 */
function policies(domain: Domain, version: 2 | 3): Uint8Array[] {
  if (version === 3) return [...saved(domain, isPolicy), libxc('STATIC_DATA_END')]
  const lost = domain.saved?.records.find(isPolicy)
  if (lost) {
    throw new DomainBuilderError('bad-config', 'a saved record is not supported by Xen before 4.14', {
      expected: 'version 3',
      found: lost.name,
    })
  }
  return []
}

/** Returns the static part and everything before the pages, of a PV guest. */
function pvIntroduction(domain: Domain<PvBoot>, options: StreamOptions): Uint8Array {
  const is64 = domain.abi === 'x86_64'
  const info = { guest_width: is64 ? 8 : 4, pt_levels: is64 ? 4 : 3, reserved0: 0, reserved1: 0 }
  const list = p2mList(domain)
  const range = X86PvP2mFrames.encode({ p2m_start_pfn: 0, p2m_end_pfn: list.end - 1 })
  const frames = BigUint64Array.from(list.frames, BigInt)
  return concat([
    headers(DOMAIN_TYPE_X86_PV, options),
    libxc('X86_PV_INFO', X86PvInfo.encode(info)),
    ...policies(domain, options.version),
    libxc('X86_PV_P2M_FRAMES', concat([range, new Uint8Array(frames.buffer)])),
  ])
}

/** Returns a vcpu's context as restoring takes it: %edx holds start_info's pfn, and its old value is lost. */
function vcpuRecord(domain: Domain<PvBoot>, vcpu: Vcpu): Uint8Array {
  const abi = domain.abi === 'x86_64' ? 'x86_64' : 'x86_32p'
  const { boot } = domain
  const named = vcpu.id === 0 ? { rdx: BigInt(boot.startInfo.pfn) } : {}
  const context = encodePvContext({ ...vcpu, registers: { ...vcpu.registers, ...named } }, abi)
  return libxc('X86_PV_VCPU_BASIC', concat([X86PvVcpu.encode({ vcpu_id: vcpu.id, reserved: 0 }), context]))
}

/**
 * Returns the parts of a stream: the records before the pages, the pages, and the records after them.
 * @throws DomainBuilderError `does-not-fit` for a guest larger than any host: a few bytes of JSON may claim one.
 */
function stream(domain: Domain, before: Uint8Array, after: Uint8Array): Part[] {
  const { pageCount } = domain.memory
  if (pageCount > MAX_PAGES) {
    throw new DomainBuilderError('does-not-fit', 'the guest is too large for a save file', {
      expected: `at most ${MAX_PAGES} pages`,
      found: `${pageCount}`,
    })
  }
  return [solid(before), pageDataRecords(domain, dataRuns(domain)), solid(after)]
}

/**
 * Returns the stream of a PV guest whose frames are pfns (asPfns).
 * @throws DomainBuilderError `bad-range` for a guest that ends beyond the stream's 32-bit pfns; `does-not-fit`.
 */
export function libxcPvStream(domain: Domain<PvBoot>, options: StreamOptions): Part[] {
  const after = concat([
    ...saved(domain, isTscInfo),
    libxc('SHARED_INFO', domain.boot.sharedInfo),
    ...domain.vcpus.filter(({ online }) => online).map((vcpu) => vcpuRecord(domain, vcpu)),
    ...saved(domain, ({ name }) => VCPU_RECORDS.includes(name)),
    libxc('END'),
  ])
  return stream(domain, pvIntroduction(domain, options), after)
}

/**
 * Returns the stream of an HVM or PVH guest. @throws DomainBuilderError `does-not-fit`. HVM_PARAMS comes after the
 * pages it names: restoring clears them when it reads it.
 */
export function libxcHvmStream(domain: Domain<PvhBoot | HvmBoot>, options: StreamOptions): Part[] {
  const after = concat([
    ...saved(domain, isTscInfo),
    libxc('HVM_PARAMS', encodeHvmParams(domain.boot.hvmParams)),
    libxc('HVM_CONTEXT', hvmContextOf(domain)),
    libxc('END'),
  ])
  return stream(domain, concat([headers(DOMAIN_TYPE_X86_HVM, options), ...policies(domain, options.version)]), after)
}
