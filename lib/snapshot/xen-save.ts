/**
 * The xl format: a file that `xl restore` takes, of a guest that never ran on a hypervisor; and any file of `xl save`,
 * or the streams in it alone, or a suspended VM of XCP-ng.
 *
 * Source: Xen docs/specs/libxl-migration-stream.pandoc and libxc-migration-stream.pandoc; ../abi/save-stream.ts.
 * Gotcha: frames in the file are pfns, so a guest always reads back with the identity p2m. Restoring zeroes
 * start_info.flags, so a guest would lose a ramdisk that it finds by SIF_MOD_START_PFN.
 */

import {
  LIBXC_ID,
  LIBXC_MARKER,
  LIBXL_HEADER_BYTES,
  LIBXL_IDENT,
  LIBXL_OPTION_BIG_ENDIAN,
  LIBXL_RECORD,
  LIBXL_VERSION,
  X86PvVcpu,
  XL_BYTEORDER,
  XL_MAGIC,
  XL_MANDATORY_JSON,
  XL_MANDATORY_STREAM_V2,
  XlHeader,
} from '../abi/save-stream.js'
import { SIF_MOD_START_PFN } from '../abi/start-info.js'
import { NEWEST_XEN, XEN_RELEASES, type XenRelease } from '../abi/xen-release.js'
import { concat, decodeLatin1, decodeUtf8, encodeLatin1, encodeUtf8 } from '../bytes.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain, HvmBoot, PvBoot, PvhBoot, SavedRecord } from '../guest/domain.js'
import { hypercallPage } from '../guest/hypercall-page.js'
import { asPfns, identityWhere } from '../guest/pfn-view.js'
import { decodePvContext, pvContextBytes } from '../guest/pv-context.js'
import { discoverPv, hasRun, isFirstInstant, isSuspended } from '../guest/pv-discover.js'
import { readStartInfo } from '../guest/start-info.js'
import { MAX_VCPUS, type Vcpu, waitingPvVcpu } from '../guest/vcpu.js'
import { largest } from '../lists.js'
import { logSnapshot } from '../log.js'
import { hex, PAGE_SIZE, paddrOf } from '../units.js'
import { type ByteSource, readAhead } from './byte-source.js'
import { dataRuns } from './data-pages.js'
import { domainConfig, type ReadConfig, readConfig } from './domain-config.js'
import { refuseGuest } from './foreign.js'
import { type SnapshotFormat, startOf, type WriteOptions } from './format.js'
import { type KeptRecord, type LibxcStream, readLibxcStream } from './libxc-reader.js'
import { libxcHvmStream, libxcPvStream, record } from './libxc-stream.js'
import { pagesToMemory } from './page-memory.js'
import { bodyOf, readBytes, recordAt, refuse, requireLength, type StreamRecord, within } from './records.js'
import { SnapshotFile, solid } from './snapshot-file.js'
import { isSuspendImage, readSuspendImage } from './suspend-image.js'
import { hasPic, isHvmOrPvh, openHvmOrPvh, requireRestorable } from './xen-save-hvm.js'

/** The options for writing a save file of xl. */
export interface XlOptions extends WriteOptions {
  /** The release of Xen that is to restore the guest. Default the newest. */
  readonly xen?: XenRelease
  /** The version of the libxc stream: 3, or 2 for Xen before 4.14, which `xen` does not name. Default 3. */
  readonly version?: 2 | 3
  /** Default: that of the saved configuration, or one made from the guest's content. */
  readonly uuid?: string
}

/** The file to give instead of one of stream version 1. */
const LEGACY_INSTEAD =
  "the output of Xen's convert-legacy-stream --xl --format libxl --width 64 --guest-type pv --in OLD --out NEW (or 32, hvm)"
/** The longest configuration that is read: real ones have a few KB. */
const CONFIG_MAX = 4 << 20
/** The names of libxl's own records in SavedState. */
const LIBXL_RECORDS = ['EMULATOR_XENSTORE_DATA', 'EMULATOR_CONTEXT'] as const

/** Returns whether the file begins as one of xl's. */
function isXl(start: Uint8Array): boolean {
  return decodeLatin1(start.subarray(0, XL_MAGIC.length)) === XL_MAGIC
}

/**
 * Returns a guest as a save file that `xl restore` starts.
 * A hole of the p2m is a hole in the file.
 * @throws DomainBuilderError `bad-config` for a guest that restoring would break, or invalid options; `bad-snapshot`
 *   for a page with content in a hole of the p2m.
 * @example
 * ```ts
 * await writeFile('guest.xl', writeXl(guest))
 * ```
 */
export function writeXl(domain: Domain, options: XlOptions = {}): SnapshotFile {
  const guest = restorable(domain)
  const config = domainConfig(guest, options.uuid)
  const { version = 3, xen = NEWEST_XEN } = options
  if (!XEN_RELEASES.includes(xen)) {
    throw new DomainBuilderError('bad-config', 'the release of Xen is unknown', {
      expected: XEN_RELEASES.join(', '),
      found: String(xen),
    })
  }
  if (version === 2 && options.xen !== undefined) {
    throw new DomainBuilderError('bad-config', `the version of the libxc stream is wrong for Xen ${xen}`, {
      expected: 'version 3',
      found: 'version 2, which is for Xen before 4.14',
    })
  }
  if (version !== 2 && version !== 3) {
    throw new DomainBuilderError('bad-config', 'the version of the libxc stream is unknown', {
      expected: 'version 2 or 3',
      found: String(version),
    })
  }
  logSnapshot('xl: libxc stream version %d of %s, %d pages', version, guest.name, guest.memory.pageCount)
  const emulators = (guest.saved?.records ?? []).flatMap(({ name, body }) =>
    LIBXL_RECORDS.filter((known) => known === name).map((known) => record(LIBXL_RECORD[known], body)),
  )
  return new SnapshotFile(
    '',
    [
      solid(introduction(config)),
      ...(isHvmOrPvh(guest)
        ? libxcHvmStream(guest, { version, xen })
        : libxcPvStream(guest as Domain<PvBoot>, { version, xen })),
      solid(concat([...emulators, record(LIBXL_RECORD.END, new Uint8Array(0))])),
    ],
    options,
  )
}

/** Returns the guest with pfns for frames. */
function restorable(domain: Domain): Domain<PvBoot | PvhBoot | HvmBoot> {
  if (isHvmOrPvh(domain)) {
    requireRestorable(domain)
    return domain
  }
  const wrong = (what: string, expected: string, found: string): never => {
    throw new DomainBuilderError('bad-config', what, { expected, found })
  }
  const { boot } = domain
  if (boot.kind !== 'start_info') {
    return wrong('the type of the guest is not supported by the xl format', 'a pv, pvh or hvm guest', domain.type)
  }
  if (!boot.xenstore || !boot.console) {
    return wrong('a page that xl needs is missing: the xenstore page or the console page', 'both pages', 'a dom0')
  }
  const ran = hasRun({ ...domain, boot })
  if (!ran && readStartInfo(domain).flags & SIF_MOD_START_PFN) {
    return wrong(
      'the ramdisk is not mapped, and restoring clears the flag that leads the guest to it: build the guest with purpose restore',
      "purpose: 'restore' (--purpose restore), which maps it",
      'SIF_MOD_START_PFN',
    )
  }
  if (ran && !isSuspended({ ...domain, boot })) {
    return wrong(
      'the guest was stopped while it ran, and restoring ends its connections to xenstore and to its devices',
      'a guest that has suspended itself, as xl save asks, or that has not run',
      'a running guest',
    )
  }
  const guest = withHypercalls({ ...domain, boot })
  const pfns = asPfns(guest)
  requireFrames(guest, pfns)
  return pfns
}

/** @throws DomainBuilderError `bad-snapshot` for a page with content in a hole of the p2m: it would be lost. */
function requireFrames(guest: Domain, pfns: Domain): void {
  if (pfns.memory.pageCount === guest.memory.pageCount) return
  for (const { pfn, pages } of dataRuns(guest)) {
    for (const { start, end } of guest.memory.within(pfn, pages)) {
      const found = pfns.memory.pagesFrom(start)
      if (found >= end - start) continue
      throw new DomainBuilderError('bad-snapshot', 'a page with content has no machine frame', {
        expected: `a machine frame for pfn ${hex(start + found)}`,
        found: 'a hole in the p2m',
      })
    }
  }
}

/** Returns the guest with its hypercall page filled: nothing fills it when the guest is restored. */
function withHypercalls(domain: Domain<PvBoot>): Domain<PvBoot> {
  const { hypercallPage: pfn } = domain.boot
  if (pfn === undefined) return domain
  const memory = domain.memory.copy()
  memory.place(paddrOf(pfn), hypercallPage(domain.abi === 'x86_64' ? 'x86_64' : 'x86_32p'))
  return { ...domain, memory }
}

/** Returns everything before the libxc stream. */
function introduction(config: string): Uint8Array {
  const json = encodeUtf8(`${config}\0`)
  const length = new Uint8Array(Uint32Array.BYTES_PER_ELEMENT)
  new DataView(length.buffer).setUint32(0, json.length, true)
  const header = XlHeader.encode({
    byteorder: XL_BYTEORDER,
    mandatory_flags: XL_MANDATORY_JSON | XL_MANDATORY_STREAM_V2,
    optional_flags: 0,
    optional_data_len: length.length + json.length,
  })
  const libxl = new DataView(new ArrayBuffer(LIBXL_HEADER_BYTES - LIBXL_IDENT.length))
  libxl.setUint32(0, LIBXL_VERSION)
  return concat([
    encodeLatin1(XL_MAGIC),
    header,
    length,
    json,
    encodeLatin1(LIBXL_IDENT),
    new Uint8Array(libxl.buffer),
    record(LIBXL_RECORD.LIBXC_CONTEXT, new Uint8Array(0)),
  ])
}

/** A saved guest, in any file around its stream. */
interface Saved {
  readonly stream: LibxcStream
  /** State of device models, and other records of a toolstack. */
  readonly records: readonly SavedRecord[]
  /** The configuration as it was saved. */
  readonly config?: string
  readonly settings?: ReadConfig
}

/** The ways in which Xen's stream is kept, by the first bytes of a file. */
const KEPT: readonly { readonly is: (start: Uint8Array) => boolean; readonly read: (source: ByteSource) => Saved }[] = [
  { is: isXl, read: readXl },
  { is: isLibxl, read: (source) => readLibxl(source, 0) },
  { is: isLibxc, read: readLibxc },
  { is: isSuspendImage, read: readSuspendImage },
]

/** The bytes that a saved guest is recognised by. */
const SNIFFED = XL_MAGIC.length

function isLibxl(start: Uint8Array): boolean {
  return decodeLatin1(start.subarray(0, LIBXL_IDENT.length)) === LIBXL_IDENT
}

function isLibxc(start: Uint8Array): boolean {
  const view = new DataView(start.buffer, start.byteOffset, start.length)
  return start.length >= SNIFFED && view.getBigUint64(0) === LIBXC_MARKER && view.getUint32(8) === LIBXC_ID
}

/**
 * Returns the guest in a save file. The file is read through once; pages are read on demand.
 * @throws DomainBuilderError `bad-snapshot` or `truncated`, naming the record and its offset.
 */
export function openXl(source: ByteSource): Domain<PvBoot | PvhBoot | HvmBoot> {
  const start = startOf(source, SNIFFED)
  const { read } = KEPT.find(({ is }) => is(start)) ?? { read: readXl }
  const { stream, records, config, settings } = read(readAhead(source))
  if (stream.pv) return openPv(source, stream, records, config, settings)
  const type = (settings === undefined ? hasPic(stream) : settings.type === 'hvm') ? 'hvm' : 'pvh'
  return openHvmOrPvh(source, stream, keptState(stream, records), config, settings, type)
}

function readXl(ahead: ByteSource): Saved {
  const { config, offset } = readXlHeader(ahead)
  const settings = within({ name: 'domain configuration', offset: XL_MAGIC.length + XlHeader.size }, () =>
    config === undefined ? undefined : readConfig(config),
  )
  return { ...readLibxl(ahead, offset), ...defined({ config, settings }) }
}

function readLibxc(source: ByteSource): Saved {
  const stream = readLibxcStream(source, 0)
  atEnd(source, stream.last)
  return { stream, records: [] }
}

function readXlHeader(source: ByteSource): { config: string | undefined; offset: number } {
  const at = XL_MAGIC.length
  const head = readBytes(source, 0, at + XlHeader.size, 'xl header')
  const wrong = (what: string, expected: string, found: string, offset: number): never => {
    throw new DomainBuilderError('bad-snapshot', `xl header: ${what}`, { expected, found, offset })
  }
  if (!isXl(head)) wrong('the magic is missing', JSON.stringify(XL_MAGIC), 'something else', 0)
  const { byteorder, mandatory_flags, optional_data_len: length } = XlHeader.decode(head, at)
  const known = XL_MANDATORY_JSON | XL_MANDATORY_STREAM_V2
  if (byteorder !== XL_BYTEORDER) wrong('the byte order is wrong', hex(XL_BYTEORDER, 8), hex(byteorder, 8), at)
  const flagsAt = at + XlHeader.offsetOf('mandatory_flags')
  if (mandatory_flags & ~known) {
    wrong('the mandatory flags are not supported', 'stream v2, with or without JSON', `${mandatory_flags}`, flagsAt)
  }
  if (!(mandatory_flags & XL_MANDATORY_STREAM_V2)) {
    refuseGuest('a legacy save file of xl, of Xen before 4.6', LEGACY_INSTEAD, flagsAt)
  }
  if (length > CONFIG_MAX) {
    wrong(
      'the optional data are too long',
      `at most ${CONFIG_MAX} bytes`,
      `${length}`,
      at + XlHeader.offsetOf('optional_data_len'),
    )
  }
  const optional = readBytes(source, head.length, length, 'xl header: optional data')
  const offset = head.length + length
  if (!(mandatory_flags & XL_MANDATORY_JSON) || length < 4) return { config: undefined, offset }
  const bytes = new DataView(optional.buffer).getUint32(0, true)
  if (bytes > length - 4) wrong('the configuration is too long', `at most ${length - 4} bytes`, `${bytes}`, head.length)
  return {
    config: decodeUtf8(optional.subarray(4, 4 + bytes)).replace(/\0+$/, ''),
    offset,
  }
}

function readLibxl(source: ByteSource, start: number): Saved {
  const head = readBytes(source, start, LIBXL_HEADER_BYTES, 'libxl header')
  const view = new DataView(head.buffer)
  const version = view.getUint32(LIBXL_IDENT.length)
  const options = view.getUint32(LIBXL_IDENT.length + 4)
  if (decodeLatin1(head.subarray(0, LIBXL_IDENT.length)) !== LIBXL_IDENT || version !== LIBXL_VERSION) {
    throw new DomainBuilderError('bad-snapshot', "libxl header: the libxl stream after xl's header is missing", {
      expected: `${LIBXL_IDENT}, version ${LIBXL_VERSION}`,
      found: `version ${version}`,
      offset: start,
    })
  }
  // A stream that convert-legacy-stream wrote says so, and is like any other.
  if (options & LIBXL_OPTION_BIG_ENDIAN) {
    throw new DomainBuilderError('bad-snapshot', 'libxl header: the stream is big-endian', {
      expected: 'a little-endian stream',
      found: `options ${hex(options)}`,
      offset: start + LIBXL_IDENT.length + 4,
    })
  }
  let stream: LibxcStream | undefined
  const emulators: SavedRecord[] = []
  for (let at = start + LIBXL_HEADER_BYTES; ; ) {
    const found = recordAt(source, at, LIBXL_RECORD)
    at = found.end
    if (found.type === LIBXL_RECORD.LIBXC_CONTEXT) {
      requireLength(found, 0)
      if (stream) refuse(found, 'the record is repeated')
      stream = readLibxcStream(source, at)
      at = stream.last.end
    } else if (found.type === LIBXL_RECORD.END) {
      requireLength(found, 0)
      atEnd(source, found)
      return {
        stream: stream ?? refuse(found, 'the stream has no guest', { expected: 'LIBXC_CONTEXT' }),
        records: emulators,
      }
    } else if (LIBXL_RECORDS.some((name) => name === found.name)) {
      emulators.push({ name: found.name, body: bodyOf(source, found) })
    } else refuse(found, 'the type is not supported')
  }
}

/** @throws DomainBuilderError `bad-snapshot` for a file that goes on after this record. */
function atEnd(source: ByteSource, end: StreamRecord): void {
  if (source.size === end.end) return
  refuse(end, 'the file has data after it', { expected: `${end.end} bytes`, found: `${source.size}` })
}

/** Returns the only kept record of this name, which must exist. */
function only(stream: LibxcStream, name: string): KeptRecord {
  return (
    stream.records.find((kept) => kept.name === name) ??
    refuse(stream.last, 'the stream ends too early', { expected: name })
  )
}

function openPv(
  source: ByteSource,
  stream: LibxcStream,
  emulators: readonly SavedRecord[],
  config: string | undefined,
  settings: ReadConfig | undefined,
): Domain<PvBoot> {
  const abi = stream.width === 8 ? 'x86_64' : 'x86_32p'
  const memory = pagesToMemory(source, stream.pages)
  const contexts = new Map<number, { vcpu: Vcpu; record: KeptRecord }>()
  for (const kept of stream.records.filter(({ name }) => name === 'X86_PV_VCPU_BASIC')) {
    const expected = X86PvVcpu.size + pvContextBytes(abi)
    if (kept.body.length !== expected) {
      refuse(kept, 'the body has the wrong length', { expected: `${expected} bytes`, found: `${kept.body.length}` })
    }
    const { vcpu_id } = X86PvVcpu.decode(kept.body)
    if (vcpu_id >= MAX_VCPUS) {
      refuse(kept, 'the vcpu id is too large', { expected: `below ${MAX_VCPUS}`, found: `${vcpu_id}` })
    }
    const vcpu = decodePvContext(kept.body.subarray(X86PvVcpu.size), abi, vcpu_id)
    contexts.set(vcpu_id, { vcpu: { ...vcpu, online: true }, record: kept })
  }
  const first = contexts.get(0) ?? refuse(stream.last, 'vcpu 0 has no context')
  const count = largest(
    [...contexts.keys()].map((id) => id + 1),
    settings?.vcpus ?? 1,
  )
  const vcpus = Array.from({ length: count }, (_, id) => contexts.get(id)?.vcpu ?? waitingPvVcpu(id))
  const bytes = memory.pageCount * PAGE_SIZE
  const records = keptState(stream, emulators)
  const sharedInfo = only(stream, 'SHARED_INFO').body
  return within(first.record, () => {
    const startInfo = Number(BigInt.asUintN(40, first.vcpu.registers.rdx))
    const found = discoverPv({
      domain: {
        type: 'pv',
        abi,
        name: settings?.name ?? '',
        memory,
        maxmem: Math.max(settings?.maxmem ?? 0, bytes),
        vcpus,
        p2m: identityWhere(memory),
      },
      pageType: (pfn) => stream.pages.pageType(pfn),
      startInfo,
      sharedInfo,
      tables: { runs: stream.pages.tableRuns() },
      p2mFrames: stream.p2mFrames,
    })
    logSnapshot('xl: %s %s, %d pages, %d vcpus', found.name, abi, memory.pageCount, count)
    const saved = defined({ config, records })
    if (!isFirstInstant(found)) return { ...found, saved }
    // %edx holds start_info's frame for the stream, not for the guest, which finds only its address, in %rsi.
    const boot: Vcpu = { ...first.vcpu, registers: { ...first.vcpu.registers, rdx: 0n } }
    return { ...found, vcpus: [boot, ...vcpus.slice(1)], saved }
  })
}

const CARRIED = [
  'X86_CPUID_POLICY',
  'X86_MSR_POLICY',
  'X86_TSC_INFO',
  'X86_PV_VCPU_EXTENDED',
  'X86_PV_VCPU_XSAVE',
  'X86_PV_VCPU_MSRS',
]

/** Returns the state that a Domain carries without interpreting it. */
function keptState(stream: LibxcStream, emulators: readonly SavedRecord[]): SavedRecord[] {
  const kept = stream.records.filter(({ name, body }) => CARRIED.includes(name) && body.length > 0)
  return [...kept.map(({ name, body }) => ({ name, body })), ...emulators]
}

/** The format that `xl restore` starts, and `xl save` writes. */
export const xlFormat: SnapshotFormat<XlOptions> = {
  name: 'xl',
  summary: 'a save file that xl restore starts',
  extensions: ['xl', 'save'],
  files: [''],
  purpose: 'restore',
  sniff: ({ main }) => {
    const start = startOf(main, SNIFFED)
    return KEPT.some(({ is }) => is(start))
  },
  open: ({ main }) => openXl(main),
  write: (domain, options) => [writeXl(domain, options)],
}
