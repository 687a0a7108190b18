/**
 * The content of a libxc stream: read through once, pages indexed and left in place, everything else kept.
 *
 * Source: Xen docs/specs/libxc-migration-stream.pandoc; "Layout" says which record must come before which.
 * Gotcha: independent records may come in any order, and tools differ; only the specified order is required.
 */
import {
  DOMAIN_TYPE_X86_HVM,
  DOMAIN_TYPE_X86_PV,
  DomainHeader,
  LIBXC_HEADER_BYTES,
  LIBXC_ID,
  LIBXC_MARKER,
  LIBXC_OPTION_BIG_ENDIAN,
  LIBXC_RECORD,
  LIBXC_VERSIONS,
  type LibxcRecordName,
  PageData,
  PFINFO_SHIFT_HIGH,
  RECORD_OPTIONAL,
  X86PvInfo,
  X86PvP2mFrames,
} from '../abi/save-stream.js'
import { DomainBuilderError } from '../errors.js'
import { CountingList } from '../guest/counting.js'
import type { SavedRecord } from '../guest/domain.js'
import { FRAMES_MAX, hex, PAGE_SHIFT, PAGE_SIZE, type Pfn } from '../units.js'
import type { ByteSource } from './byte-source.js'
import { hasData, isKnownType, PageIndex } from './page-index.js'
import { bodyOf, readBytes, recordAt, refuse, requireLength, type StreamRecord } from './records.js'

/** A record that was kept, and its place. */
export interface KeptRecord extends SavedRecord {
  readonly offset: number
}

export interface LibxcStream {
  readonly pv: boolean
  readonly version: number
  readonly pages: PageIndex
  /** For a PV guest. */
  readonly width: 4 | 8
  readonly p2mEnd: Pfn
  readonly p2mFrames: readonly Pfn[]
  /** All records except pages and those above, in order. */
  readonly records: readonly KeptRecord[]
  /** The END record. */
  readonly last: StreamRecord
}

type Rule = {
  readonly only?: 'pv' | 'hvm'
  readonly after?: LibxcRecordName
  readonly once?: true
  readonly keep?: true
}

/** The allowed records, the guests they belong to, and the records that must come first. */
const RULES: Readonly<Partial<Record<LibxcRecordName, Rule>>> = {
  END: {},
  PAGE_DATA: {},
  X86_PV_INFO: { only: 'pv', once: true },
  X86_PV_P2M_FRAMES: { only: 'pv', after: 'X86_PV_INFO' },
  X86_PV_VCPU_BASIC: { only: 'pv', after: 'PAGE_DATA', keep: true },
  X86_PV_VCPU_EXTENDED: { only: 'pv', after: 'PAGE_DATA', keep: true },
  X86_PV_VCPU_XSAVE: { only: 'pv', after: 'PAGE_DATA', keep: true },
  X86_PV_VCPU_MSRS: { only: 'pv', after: 'PAGE_DATA', keep: true },
  SHARED_INFO: { only: 'pv', once: true, keep: true },
  X86_TSC_INFO: { once: true, keep: true },
  HVM_PARAMS: { only: 'hvm', keep: true },
  // libxc writes it before HVM_PARAMS, and takes both orders.
  HVM_CONTEXT: { only: 'hvm', after: 'PAGE_DATA', once: true, keep: true },
  // Transitional, and without meaning today.
  TOOLSTACK: {},
  VERIFY: {},
  STATIC_DATA_END: { once: true },
  X86_CPUID_POLICY: { once: true, keep: true },
  X86_MSR_POLICY: { once: true, keep: true },
}
/** Records that may come before STATIC_DATA_END. */
const STATIC: readonly string[] = ['X86_PV_INFO', 'X86_CPUID_POLICY', 'X86_MSR_POLICY', 'STATIC_DATA_END']

/** Returns the libxc stream that begins at an offset. */
export function readLibxcStream(source: ByteSource, start: number): LibxcStream {
  return new Reader(source, start).read()
}

class Reader {
  readonly #source: ByteSource
  readonly #seen = new Set<string>()
  readonly #pages = new PageIndex()
  /** The entries of one record. */
  readonly #entries = new CountingList()
  readonly #records: KeptRecord[] = []
  #at: number
  #pv = false
  #version = 0
  #width: 4 | 8 = 8
  #p2mEnd: Pfn = FRAMES_MAX - 1
  #p2mFrames: Pfn[] = []

  constructor(source: ByteSource, start: number) {
    this.#source = source
    this.#at = start
  }

  read(): LibxcStream {
    this.#readHeaders()
    for (;;) {
      const record = recordAt(this.#source, this.#at, LIBXC_RECORD)
      this.#at = record.end
      const rule = RULES[record.name as LibxcRecordName]
      if (!rule) {
        if (record.type >= RECORD_OPTIONAL) continue
        refuse(record, 'the type is not supported')
      }
      this.#checkOrder(record, rule)
      this.#seen.add(record.name)
      if (record.type === LIBXC_RECORD.END) return this.#finish(record)
      this.#take(record, rule)
    }
  }

  #readHeaders(): void {
    const at = this.#at
    const bytes = readBytes(this.#source, at, LIBXC_HEADER_BYTES + DomainHeader.size, 'libxc headers')
    const view = new DataView(bytes.buffer)
    const wrong = (what: string, offset: number, expected: string, found: number | bigint): never => {
      throw new DomainBuilderError('bad-snapshot', `libxc ${what}`, {
        expected,
        found: hex(found),
        offset: at + offset,
      })
    }
    if (view.getBigUint64(0) !== LIBXC_MARKER)
      wrong('image header: the marker is missing', 0, hex(LIBXC_MARKER), view.getBigUint64(0))
    if (view.getUint32(8) !== LIBXC_ID) wrong('image header: the id is wrong', 8, hex(LIBXC_ID), view.getUint32(8))
    this.#version = view.getUint32(12)
    if (!LIBXC_VERSIONS.some((version) => version === this.#version)) {
      wrong('image header: the version is unknown', 12, LIBXC_VERSIONS.join(' or '), this.#version)
    }
    if (view.getUint16(16) & LIBXC_OPTION_BIG_ENDIAN) {
      wrong('image header: the stream is big-endian', 16, 'a little-endian stream', view.getUint16(16))
    }
    const { type, page_shift } = DomainHeader.decode(bytes, LIBXC_HEADER_BYTES)
    if (type !== DOMAIN_TYPE_X86_PV && type !== DOMAIN_TYPE_X86_HVM) {
      wrong('domain header: the type is unknown', LIBXC_HEADER_BYTES, '1 (PV) or 2 (HVM)', type)
    }
    if (page_shift !== PAGE_SHIFT)
      wrong('domain header: the page shift is wrong', LIBXC_HEADER_BYTES + 4, `${PAGE_SHIFT}`, page_shift)
    this.#pv = type === DOMAIN_TYPE_X86_PV
    this.#at += bytes.length
  }

  #checkOrder(record: StreamRecord, rule: Rule): void {
    const kind = this.#pv ? 'pv' : 'hvm'
    if (rule.only && rule.only !== kind) {
      refuse(record, 'the record is not allowed in this type of guest', { expected: `a record of ${kind} guests` })
    }
    if (rule.once && this.#seen.has(record.name)) refuse(record, 'the record is repeated')
    if (rule.after && !this.#seen.has(rule.after))
      refuse(record, 'the record is too early', { expected: `${rule.after} before it` })
    if (this.#version >= 3 && !STATIC.includes(record.name) && !this.#seen.has('STATIC_DATA_END')) {
      refuse(record, 'the record is too early', { expected: 'STATIC_DATA_END before it' })
    }
    if (record.name === 'PAGE_DATA' && this.#pv && !this.#seen.has('X86_PV_P2M_FRAMES')) {
      refuse(record, 'the record is too early', { expected: 'X86_PV_P2M_FRAMES before it' })
    }
  }

  #take(record: StreamRecord, rule: Rule): void {
    switch (record.type) {
      case LIBXC_RECORD.PAGE_DATA:
        this.#takePages(record)
        break
      case LIBXC_RECORD.X86_PV_INFO:
        this.#takeInfo(record)
        break
      case LIBXC_RECORD.X86_PV_P2M_FRAMES:
        this.#takeP2m(record)
        break
      case LIBXC_RECORD.SHARED_INFO:
        requireLength(record, PAGE_SIZE)
        break
      case LIBXC_RECORD.STATIC_DATA_END:
      case LIBXC_RECORD.VERIFY:
        requireLength(record, 0)
        break
    }
    if (rule.keep) {
      this.#records.push({ name: record.name, body: bodyOf(this.#source, record), offset: record.offset })
    }
  }

  #takeInfo(record: StreamRecord): void {
    requireLength(record, X86PvInfo.size)
    const { guest_width, pt_levels } = X86PvInfo.decode(bodyOf(this.#source, record))
    if (!((guest_width === 8 && pt_levels === 4) || (guest_width === 4 && pt_levels === 3))) {
      refuse(record, 'the mode of the guest is unknown', {
        expected: 'width 8 and 4 levels, or 4 and 3',
        found: `width ${guest_width} and ${pt_levels} levels`,
      })
    }
    this.#width = guest_width as 4 | 8
  }

  #takeP2m(record: StreamRecord): void {
    requireLength(record, X86PvP2mFrames.size, true)
    const body = bodyOf(this.#source, record)
    const { p2m_start_pfn, p2m_end_pfn } = X86PvP2mFrames.decode(body)
    if (p2m_start_pfn > p2m_end_pfn) {
      refuse(record, 'the range ends before it starts', {
        expected: `at least ${hex(p2m_start_pfn)}`,
        found: hex(p2m_end_pfn),
      })
    }
    const perFrame = PAGE_SIZE / this.#width
    const first = Math.floor(p2m_start_pfn / perFrame)
    const count = Math.floor(p2m_end_pfn / perFrame) - first + 1
    requireLength(record, X86PvP2mFrames.size + 8 * count)
    const frames = new BigUint64Array(body.slice(X86PvP2mFrames.size).buffer)
    // A later record replaces the frames from its start on: the list may have grown while the guest was saved.
    if (first > this.#p2mFrames.length) {
      refuse(record, 'frames of the p2m are missing', {
        expected: `at most frame ${this.#p2mFrames.length}`,
        found: `${first}`,
      })
    }
    this.#p2mFrames.length = first
    for (const frame of frames) {
      if (frame > BigInt(p2m_end_pfn)) {
        refuse(record, 'a frame of the p2m lies outside the guest', {
          expected: `at most ${hex(p2m_end_pfn)}`,
          found: hex(frame),
        })
      }
      this.#p2mFrames.push(Number(frame))
    }
    this.#p2mEnd = p2m_end_pfn
  }

  #takePages(record: StreamRecord): void {
    requireLength(record, PageData.size + 8, true)
    const head = readBytes(this.#source, record.body, PageData.size, 'PAGE_DATA record')
    const { count } = PageData.decode(head)
    if (count === 0) refuse(record, 'the record has no pages')
    const entriesAt = record.body + PageData.size
    requireLength(record, PageData.size + 8 * count, true)
    this.#source.readInto(entriesAt, this.#entries.room(count))
    let dataAt = entriesAt + 8 * count
    for (let i = 0; i < count; ) {
      const low = this.#entries.low(i)
      const high = this.#entries.high(i)
      const next = this.#entries.endOfRun(i, count)
      const type = high >>> PFINFO_SHIFT_HIGH
      const pfnHigh = high & ((1 << PFINFO_SHIFT_HIGH) - 1)
      if (!isKnownType(type))
        refuse(record, `page ${i} has an unknown type`, { expected: 'a PFINFO type', found: hex(type) })
      const pfn = pfnHigh * 2 ** 32 + low
      const pages = next - i
      if (pfn + pages - 1 > this.#p2mEnd) {
        refuse(record, `page ${next - 1} lies outside the guest`, {
          expected: `a pfn up to ${hex(this.#p2mEnd)}`,
          found: hex(pfn + pages - 1),
        })
      }
      this.#pages.add(pfn, pages, type, dataAt)
      if (hasData(type)) dataAt += pages * PAGE_SIZE
      i = next
    }
    const length = dataAt - record.body
    if (length !== record.length) {
      refuse(record, 'the length does not match the pages', { expected: `${length} bytes`, found: `${record.length}` })
    }
  }

  #finish(record: StreamRecord): LibxcStream {
    requireLength(record, 0)
    const needed = this.#pv
      ? ['X86_PV_INFO', 'PAGE_DATA', 'SHARED_INFO', 'X86_PV_VCPU_BASIC']
      : ['PAGE_DATA', 'HVM_PARAMS', 'HVM_CONTEXT']
    const missing = needed.filter((name) => !this.#seen.has(name))
    if (missing.length > 0) refuse(record, 'the stream is incomplete', { expected: missing.join(', ') })
    this.#pages.finish()
    return {
      pv: this.#pv,
      version: this.#version,
      pages: this.#pages,
      width: this.#width,
      p2mEnd: this.#p2mEnd,
      p2mFrames: this.#p2mFrames,
      records: this.#records,
      last: record,
    }
  }
}
