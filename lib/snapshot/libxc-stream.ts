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
import { concat } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain, HvmBoot, PvBoot, PvhBoot, SavedRecord } from '../guest/domain.js'
import { P2M_REGION } from '../guest/pfn-view.js'
import { encodePvContext } from '../guest/pv-context.js'
import type { Vcpu } from '../guest/vcpu.js'
import { alignUp, PAGE_SHIFT, type Pfn } from '../units.js'
import { dataRuns } from './data-pages.js'
import { pageDataRecords } from './page-data.js'
import { type Part, solid } from './snapshot-file.js'
import { encodeHvmParams, hvmContextOf } from './xen-save-hvm.js'

/** The release of Xen that our files name. */
export const XEN_RELEASE = { xen_major: 4, xen_minor: 17 }

/** Records of a saved guest that we copy unchanged, and their places. */
const STATIC_RECORDS: readonly string[] = ['X86_CPUID_POLICY', 'X86_MSR_POLICY']
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

/** Returns the saved records of these names, unchanged. */
function saved(domain: Domain, names: readonly string[]): Uint8Array[] {
  const records: readonly SavedRecord[] = domain.saved?.records ?? []
  return records
    .filter(({ name }) => names.includes(name))
    .map(({ name, body }) => libxc(name as LibxcRecordName, body))
}

function headers(type: number, version: 2 | 3): Uint8Array {
  const image = new DataView(new ArrayBuffer(LIBXC_HEADER_BYTES))
  image.setBigUint64(0, LIBXC_MARKER)
  image.setUint32(8, LIBXC_ID)
  image.setUint32(12, version)
  const domain = DomainHeader.encode({ type, page_shift: PAGE_SHIFT, reserved: 0, ...XEN_RELEASE })
  return concat([new Uint8Array(image.buffer), domain])
}

/** Returns the frames of the p2m list, in its order. @throws DomainBuilderError `bad-snapshot` for too few of them. */
function p2mFrames(domain: Domain): Pfn[] {
  const perFrame = domain.abi === 'x86_64' ? 512 : 1024
  const needed = Math.ceil(domain.memory.endPfn / perFrame)
  const frames: Pfn[] = []
  for (const { name, pfn, pages } of domain.regions) {
    for (let i = 0; name === P2M_REGION && i < pages && frames.length < needed; i++) frames.push(pfn + i)
  }
  if (frames.length < needed) {
    throw new DomainBuilderError('bad-snapshot', "the guest's p2m list is not known, and restoring writes to it", {
      expected: `${needed} frames`,
      found: `${frames.length}`,
    })
  }
  return frames
}

/**
 * Returns the end of the static part: the policies, for readers of version 3.
 * @throws DomainBuilderError `bad-config` for a guest that has policies, in version 2: they would be lost.
 */
function policies(domain: Domain, version: 2 | 3): Uint8Array[] {
  if (version === 3) return [...saved(domain, STATIC_RECORDS), libxc('STATIC_DATA_END')]
  const lost = domain.saved?.records.find(({ name }) => STATIC_RECORDS.includes(name))
  if (lost) {
    throw new DomainBuilderError('bad-config', 'a saved record is not supported by Xen before 4.14', {
      expected: 'version 3',
      found: lost.name,
    })
  }
  return []
}

/** Returns the static part and everything before the pages, of a PV guest. */
function pvIntroduction(domain: Domain, version: 2 | 3): Uint8Array {
  const is64 = domain.abi === 'x86_64'
  const info = { guest_width: is64 ? 8 : 4, pt_levels: is64 ? 4 : 3, reserved0: 0, reserved1: 0 }
  const range = X86PvP2mFrames.encode({ p2m_start_pfn: 0, p2m_end_pfn: domain.memory.endPfn - 1 })
  const frames = BigUint64Array.from(p2mFrames(domain), BigInt)
  return concat([
    headers(DOMAIN_TYPE_X86_PV, version),
    libxc('X86_PV_INFO', X86PvInfo.encode(info)),
    ...policies(domain, version),
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

/** 16 TiB, as much as Xen supports in a host (SUPPORT.md). A page takes 8 bytes of a stream, even without content. */
const MAX_PAGES = 2 ** 32

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
export function libxcPvStream(domain: Domain<PvBoot>, version: 2 | 3): Part[] {
  const after = concat([
    ...saved(domain, ['X86_TSC_INFO']),
    libxc('SHARED_INFO', domain.boot.sharedInfo),
    ...domain.vcpus.filter(({ online }) => online).map((vcpu) => vcpuRecord(domain, vcpu)),
    ...saved(domain, VCPU_RECORDS),
    libxc('END'),
  ])
  return stream(domain, pvIntroduction(domain, version), after)
}

/**
 * Returns the stream of an HVM or PVH guest. @throws DomainBuilderError `does-not-fit`. HVM_PARAMS comes after the
 * pages it names: restoring clears them when it reads it.
 */
export function libxcHvmStream(domain: Domain<PvhBoot | HvmBoot>, version: 2 | 3): Part[] {
  const after = concat([
    ...saved(domain, ['X86_TSC_INFO']),
    libxc('HVM_PARAMS', encodeHvmParams(domain.boot.hvmParams)),
    libxc('HVM_CONTEXT', hvmContextOf(domain)),
    libxc('END'),
  ])
  return stream(domain, concat([headers(DOMAIN_TYPE_X86_HVM, version), ...policies(domain, version)]), after)
}
