/**
 * Deltas: the pages and the state by which a guest differs from another one, its base.
 *
 * Source: our own format, docs/formats.md, "The delta format"; ../abi/delta.ts.
 * Gotcha: a delta names its base by the base's content, so the base may be in any format. All of the base is read, and
 * compared with that name, before the delta is applied.
 */
import { DELTA_KIND, DELTA_MAGIC, DELTA_VERSION, DELTA_ZERO, DeltaHeader, DeltaRun } from '../abi/delta.js'
import { decodeUtf8, encodeLatin1, encodeUtf8, equal, startsWith, toHex } from '../bytes.js'
import { encodeGzip } from '../codec/gzip.js'
import { defined } from '../defined.js'
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { GuestMemory } from '../guest/memory.js'
import { addRange, type Run, rangeEndingAfter, runOf } from '../guest/runs.js'
import { decode } from '../kernel/payload.js'
import { newSha256 } from '../sha256.js'
import { FRAMES_MAX, hex, PAGE_SIZE, type Pfn, paddrOf, type Range } from '../units.js'
import { breathe, doSlices, type WorkOptions } from '../work.js'
import type { ByteSource } from './byte-source.js'
import { decompressInto, packedPart } from './compressed.js'
import { comparePages, type PageCounts, zeroBudget } from './delta-pages.js'
import { startOf } from './format.js'
import { GUEST_JSON_VERSION, openGuest, openRanges } from './guest-json.js'
import { type Identity, identify, portableState, type State, stateOf } from './identity.js'
import { JsonValue } from './json-value.js'
import { readBytes } from './records.js'
import { memoryScratch, type Scratch } from './scratch.js'
import { flowing, SnapshotFile, solid } from './snapshot-file.js'

/** Bytes of a frame's number. */
const NUMBER_BYTES = 8
/** The bytes that are hashed at a time. */
const HASHED_BYTES = 1 << 20
/** The most that the state may decompress to: `ratio` times its size, or `bytes`, and never more than `most`. */
const STATE_MAX = { ratio: 256, bytes: 2 ** 20, most: 64 << 20 }
/** The offset of the file's own hash. */
const HASH_AT = DeltaHeader.offsetOf('sha256')

/** A delta that can be written. */
export interface Delta {
  /** The one file of it. */
  readonly file: SnapshotFile
  /** The identity of the base, hex: SHA-256 of its memory and state, the same in every format. */
  readonly base: string
  /** The identity of the guest, hex. */
  readonly guest: string
  /** The number of the guest's pages of each kind; untouched pages are in none. */
  readonly pages: PageCounts
}

/** The options for applying deltas; `signal` and `onProgress` are for reading the base. */
export interface ApplyOptions extends WorkOptions {
  /** Returns the store for the content of a compressed delta. Default: memory, at most 2 GiB of it. */
  readonly scratch?: () => Scratch
}

/**
 * Returns the difference between two guests, from snapshots of any formats. The pages of the base take no room, and
 * pages that the base has elsewhere take 8 bytes. The same guests always give the same bytes.
 *
 * All of both guests is read. Pages are read again as the file is written, so both snapshots must stay open.
 * @param base the guest that the delta will be applied to. It may have deltas applied: two deltas become one, and a
 *   delta gets another base.
 * @throws DomainBuilderError where a guest's file proves damaged; the signal's reason.
 * @example
 * ```ts
 * const { file, pages } = await writeDelta(base, guest)
 * await writeFile('guest.delta', file) // pages.own * 4096 bytes, and little more
 * const again = await applyDeltas(base, [bytesSource(await readFile('guest.delta'))])
 * ```
 */
export async function writeDelta(base: Domain, guest: Domain, options: WorkOptions = {}): Promise<Delta> {
  const found = await comparePages(base, guest, options)
  const { memory } = guest
  const text = encodeUtf8(JSON.stringify(stateDifference(stateOf(base), stateOf(guest))))
  const state = await doSlices(encodeGzip(text), defined({ signal: options.signal }))
  const header = {
    magic: encodeLatin1(DELTA_MAGIC),
    version: DELTA_VERSION,
    state_bytes: state.length,
    runs: BigInt(found.runCount),
    moved: BigInt(found.moved.length),
    own: BigInt(found.counts.own),
    base: found.base.sha256,
    guest: found.guest.sha256,
    sha256: new Uint8Array(32),
  }
  const moved = new Uint8Array(found.moved.buffer)
  const pages = function* () {
    for (const { pfn, pages } of found.own) yield* memory.parts(paddrOf(pfn), pages * PAGE_SIZE)
  }
  const hash = newSha256()
  hash.update(DeltaHeader.encode(header).subarray(0, HASH_AT))
  for (const bytes of [state, found.runs, moved]) hash.update(bytes)
  for (const { pfn, pages } of found.own) {
    for (const bytes of memory.contents(paddrOf(pfn), pages * PAGE_SIZE)) {
      hash.update(bytes)
      options.signal?.throwIfAborted()
      await breathe()
    }
  }
  const parts = [
    solid(DeltaHeader.encode({ ...header, sha256: hash.digest() })),
    solid(state),
    solid(found.runs),
    solid(moved),
    flowing(found.counts.own * PAGE_SIZE, pages),
  ]
  return {
    file: new SnapshotFile('', parts, defined({ signal: options.signal })),
    base: toHex(found.base.sha256),
    guest: toHex(found.guest.sha256),
    pages: found.counts,
  }
}

/** Returns a guest's state, without those portable members that the base has as well; null for a member it lacks. */
function stateDifference(base: State, guest: State): State {
  const known = portableState(base)
  const isKnown = (name: string, value: unknown): boolean =>
    Object.hasOwn(known, name) && JSON.stringify(known[name]) === JSON.stringify(value)
  const missing = Object.keys(known).filter((name) => !Object.hasOwn(guest, name))
  return {
    ...Object.fromEntries(Object.entries(guest).filter(([name, value]) => !isKnown(name, value))),
    ...Object.fromEntries(missing.map((name) => [name, null])),
  }
}

/** Returns whether a file begins as a delta. */
const isDelta = (start: Uint8Array): boolean => startsWith(start, encodeLatin1(DELTA_MAGIC))

/**
 * Returns the guest that deltas make of a base, one after another. Pages are read on demand, from the base and from the
 * deltas. All of the base and of the deltas is read first, to see that they belong together and are undamaged.
 * @param deltas each compressed by gzip, by zstd or not at all.
 * @throws DomainBuilderError `bad-snapshot` for another base and a damaged delta, `truncated`, `unknown-format`; the
 *   errors of decompressing; the signal's reason.
 */
export async function applyDeltas(
  base: Domain,
  deltas: readonly ByteSource[],
  options: ApplyOptions = {},
): Promise<Domain> {
  let domain = base
  let identity: Identity | undefined
  for (const source of deltas) {
    const delta = await openDelta(source, options)
    identity ??= await identify(base, options)
    const applied = await apply(domain, identity, delta, options)
    domain = applied.domain
    identity = applied.identity
  }
  return domain
}

/** A delta that is undamaged. */
interface OpenedDelta {
  readonly source: ByteSource
  readonly base: Uint8Array
  readonly guest: Uint8Array
  readonly stateBytes: number
  readonly runs: number
  readonly moved: number
  readonly own: number
}

const refuse = (what: string, detail: { expected?: string; found?: string; offset?: number } = {}): never => {
  throw new DomainBuilderError('bad-snapshot', `the delta ${what}`, detail)
}

/** Reads the header, and compares the file with its hash. */
async function openDelta(given: ByteSource, options: ApplyOptions): Promise<OpenedDelta> {
  const packed = packedPart(given)
  const how = defined({ signal: options.signal })
  const scratch = options.scratch ?? memoryScratch
  const source = packed === undefined ? given : await decompressInto(given, packed, scratch(), how)
  const start = startOf(source, DeltaHeader.size)
  if (!isDelta(start)) {
    throw new DomainBuilderError('unknown-format', 'the file is not a delta', {
      expected: 'a file that diff --save writes',
      offset: 0,
    })
  }
  const header = DeltaHeader.decode(readBytes(source, 0, DeltaHeader.size, 'the header of the delta'))
  if (header.version !== DELTA_VERSION) {
    refuse('has an unknown version', { expected: `${DELTA_VERSION}`, found: `${header.version}`, offset: 8 })
  }
  const { state_bytes, runs, moved, own } = header
  const expected =
    BigInt(DeltaHeader.size + state_bytes) +
    runs * BigInt(DeltaRun.size) +
    moved * BigInt(NUMBER_BYTES) +
    own * BigInt(PAGE_SIZE)
  if (expected !== BigInt(source.size)) {
    throw new DomainBuilderError('truncated', 'the size of the delta differs from the sizes in its header', {
      expected: `${expected} bytes`,
      found: `${source.size}`,
    })
  }
  const hash = newSha256()
  hash.update(start.subarray(0, HASH_AT))
  const block = new Uint8Array(Math.min(HASHED_BYTES, source.size))
  for (let at = DeltaHeader.size; at < source.size; at += block.length) {
    const bytes = block.subarray(0, source.size - at)
    source.readInto(at, bytes)
    hash.update(bytes)
    options.signal?.throwIfAborted()
    await breathe()
  }
  const found = hash.digest()
  if (!equal(found, header.sha256)) {
    refuse('is damaged: its SHA-256 differs', { expected: toHex(header.sha256), found: toHex(found), offset: HASH_AT })
  }
  const counts = { runs: Number(runs), moved: Number(moved), own: Number(own) }
  return { source, base: header.base, guest: header.guest, stateBytes: state_bytes, ...counts }
}

/** Applies a delta to its base. */
async function apply(
  base: Domain,
  { sha256, occupied }: Identity,
  delta: OpenedDelta,
  options: ApplyOptions,
): Promise<{ domain: Domain; identity: Identity }> {
  if (!equal(sha256, delta.base)) {
    refuse('is for another base', { expected: `one with SHA-256 ${toHex(delta.base)}`, found: toHex(sha256) })
  }
  const json = await openState(base, delta, options)
  const memory = new GuestMemory(openRanges(json.at('memory')))
  const found = await placePages(memory, base.memory, occupied, delta)
  return { domain: openGuest(json, memory), identity: { sha256: delta.guest, occupied: found } }
}

async function openState(base: Domain, { source, stateBytes }: OpenedDelta, { signal }: ApplyOptions) {
  const packed = readBytes(source, DeltaHeader.size, stateBytes, 'the state of the delta')
  const limit = Math.min(STATE_MAX.most, Math.max(STATE_MAX.bytes, STATE_MAX.ratio * stateBytes))
  const { bytes } = await decode('gzip', packed, { limit, offset: DeltaHeader.size }, defined({ signal }))
  const state = JsonValue.parse(decodeUtf8(bytes), 'the state of the delta')
  return state.over({ version: GUEST_JSON_VERSION, ...portableState(stateOf(base)) })
}

/** Lays the pages of a delta into a guest's memory. Returns those that are not zero. */
async function placePages(
  memory: GuestMemory,
  base: GuestMemory,
  occupied: readonly Run[],
  { source, stateBytes, runs, moved, own }: OpenedDelta,
): Promise<readonly Run[]> {
  const runsAt = DeltaHeader.size + stateBytes
  const movedAt = runsAt + runs * DeltaRun.size
  const ownAt = movedAt + moved * NUMBER_BYTES
  const ranges = occupied.map(({ pfn, pages }) => ({ start: pfn, end: pfn + pages }))
  const numbers = await movedFrames(source, movedAt, moved, ranges)
  const found: Range<Pfn>[] = []
  const used = { end: 0, zeros: 0, moved: 0, own: 0 }
  const zeros = zeroBudget(occupied)
  for (let i = 0; i < runs; i++) {
    const offset = runsAt + i * DeltaRun.size
    const run = DeltaRun.decode(readBytes(source, offset, DeltaRun.size, 'a run of the delta'))
    const bad = (expected: string): never =>
      refuse('has an invalid run', {
        expected,
        found: `${run.pages} pages at pfn ${hex(run.pfn)}, kind ${run.kind}`,
        offset,
      })
    if (run.pfn >= BigInt(FRAMES_MAX) || run.pages === 0) bad('pages that the guest has')
    const pfn = Number(run.pfn)
    const length = run.pages * PAGE_SIZE
    const paddr = paddrOf(pfn)
    if (pfn < used.end) bad(`a pfn of at least ${hex(used.end)}, in order`)
    if (!memory.covers(paddr, length)) bad('pages that the guest has')
    used.end = pfn + run.pages
    if (run.kind !== DELTA_KIND.ZERO) addRange(found, pfn, used.end)
    switch (run.kind) {
      case DELTA_KIND.SAME: {
        if (!isWithin(ranges, pfn, used.end)) bad('pages that the base has')
        memory.generate(paddr, length, (at, out) => base.readInto(paddr + at, out))
        break
      }
      case DELTA_KIND.ZERO:
        used.zeros += run.pages
        if (used.zeros > zeros) bad(`at most ${zeros} pages of zeros`)
        memory.generate(paddr, length, (_, out) => out.fill(0))
        break
      case DELTA_KIND.MOVED: {
        const first = used.moved
        used.moved += run.pages
        if (used.moved > moved) bad(`at most ${moved} moved pages`)
        memory.generate(paddr, length, (at, out) => readMoved(base, numbers, first + at / PAGE_SIZE, out))
        break
      }
      case DELTA_KIND.OWN: {
        const start = ownAt + used.own * PAGE_SIZE
        used.own += run.pages
        if (used.own > own) bad(`at most ${own} own pages`)
        memory.generate(paddr, length, (at, out) => source.readInto(start + at, out))
        break
      }
      default:
        bad(`a kind from 0 to ${DELTA_KIND.OWN}`)
    }
    await breathe()
  }
  if (used.moved !== moved || used.own !== own) {
    refuse('has pages in no run', {
      expected: `${moved} moved and ${own} own`,
      found: `${used.moved} and ${used.own}`,
    })
  }
  return found.map(runOf)
}

/** Returns whether one of the ranges has all of those frames. */
function isWithin(ranges: readonly Range<Pfn>[], start: Pfn, end: Pfn): boolean {
  const range = ranges[rangeEndingAfter(ranges, start)]
  return range !== undefined && range.start <= start && range.end >= end
}

/** Returns the frames of moved pages. @throws DomainBuilderError for a page that is not one of the base. */
async function movedFrames(source: ByteSource, from: number, count: number, ranges: readonly Range<Pfn>[]) {
  const numbers = new Float64Array(count)
  const block = new Uint8Array(Math.min(HASHED_BYTES, count * NUMBER_BYTES))
  for (let i = 0; i < count; ) {
    const bytes = block.subarray(0, (count - i) * NUMBER_BYTES)
    source.readInto(from + i * NUMBER_BYTES, bytes)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    for (let at = 0; at < bytes.length; at += NUMBER_BYTES, i++) {
      const number = Number(view.getBigUint64(at, true))
      if (number !== DELTA_ZERO && !isWithin(ranges, number, number + 1)) {
        refuse('has an invalid page number', {
          expected: 'a page of the base that is not zero',
          found: hex(view.getBigUint64(at, true)),
          offset: from + i * NUMBER_BYTES,
        })
      }
      numbers[i] = number
    }
    await breathe()
  }
  return numbers
}

function readMoved(base: GuestMemory, numbers: Float64Array, first: number, out: Uint8Array): void {
  for (let i = 0; i < out.length / PAGE_SIZE; i++) {
    const page = out.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE)
    const number = numbers[first + i] as number
    if (number === DELTA_ZERO) page.fill(0)
    else base.readInto(paddrOf(number), page)
  }
}
