/**
 * stats: the pages of a guest by kind and by region, their entropy, and how well they compress.
 *
 * Source: entropy by C. E. Shannon, A Mathematical Theory of Communication, 1948, section 6; RFC 1951 for deflate.
 * Gotcha: equal pages are found by 48 bits of their SHA-256. Of a billion pages, a few may only seem to be equal.
 */
import { concat, isZero } from '../bytes.js'
import { encodeGzip } from '../codec/gzip.js'
import { defined } from '../defined.js'
import type { Domain } from '../guest/domain.js'
import { BLOCK_BYTES } from '../guest/memory.js'
import { printableLines } from '../printable.js'
import { sha256Key } from '../sha256.js'
import { PAGE_SIZE, paddrOf, showSize } from '../units.js'
import { breathe, doSlices, Work, type WorkOptions } from '../work.js'
import { physicalRanges } from './frames.js'
import { fold, shownName, table } from './table.js'

/** The number of pages of each kind. */
export interface PageKinds {
  /** Never written: they take no room in most formats. */
  hole: number
  /** Written with zeros. */
  zero: number
  /** Equal to a page at a lower address. */
  repeated: number
  /** All others. */
  unique: number
}

/** The pages of all regions of one name. */
export interface RegionStats {
  /** `free` or `unnamed` for pages outside all regions. */
  readonly name: string
  /** The number of pages of 4096 bytes. */
  readonly pages: number
  readonly kinds: Readonly<PageKinds>
  /** Bits for each byte of the pages that are not zero, from 0 to 8, in hundredths; 0 without such pages. */
  readonly entropy: number
}

/** The memory of a guest in numbers. */
export interface GuestStats {
  /** The number of pages of 4096 bytes. */
  readonly pages: number
  readonly kinds: Readonly<PageKinds>
  /** Bits for each byte of the pages that are not zero, from 0 to 8, in hundredths; 0 without such pages. */
  readonly entropy: number
  /** A sample of the pages that are not zero, and its size under deflate, in bytes. */
  readonly deflate: { readonly pages: number; readonly bytes: number; readonly compressed: number }
  /** In order of their first page; the first of a great many. */
  readonly regions: readonly RegionStats[]
  /** The number of names, listed or not. */
  readonly regionsFound: number
}

/** The most pages that are compressed; half as many are enough to stop earlier. */
const SAMPLES = 512
/** The most regions that are listed and counted one by one. */
const MAX_REGIONS = 256
/** The pages that are read at a time. */
const PAGES_AT_ONCE = BLOCK_BYTES / PAGE_SIZE

/** Hashes that were seen: 16 bytes for each at most, where a Set would take several times as much. */
class Seen {
  #slots = new Float64Array(1024)
  #count = 0

  /** Adds a hash. Returns whether it was there before. */
  add(hash: number): boolean {
    // Zero is a free slot.
    if (this.#put(hash + 1)) return true
    if (++this.#count * 2 > this.#slots.length) {
      const old = this.#slots
      this.#slots = new Float64Array(2 * old.length)
      for (const value of old) if (value !== 0) this.#put(value)
    }
    return false
  }

  #put(value: number): boolean {
    const mask = this.#slots.length - 1
    let at = value & mask
    for (; this.#slots[at] !== 0; at = (at + 1) & mask) if (this.#slots[at] === value) return true
    this.#slots[at] = value
    return false
  }
}

/** Pages at equal distances among all that are added: at most SAMPLES of them. */
class Sample {
  pages: Uint8Array[] = []
  #distance = 1
  #next = 0
  #added = 0

  add(page: Uint8Array): void {
    if (this.#added++ !== this.#next) return
    this.#next += this.#distance
    this.pages.push(page.slice())
    if (this.pages.length < SAMPLES) return
    this.pages = this.pages.filter((_, i) => i % 2 === 0)
    this.#distance *= 2
    this.#next = this.pages.length * this.#distance
  }
}

/** The pages of one name, as they are counted. */
class Counted {
  pages = 0
  readonly kinds: PageKinds = { hole: 0, zero: 0, repeated: 0, unique: 0 }
  readonly bytes = new Float64Array(256)

  add(page: Uint8Array, isRepeated: boolean): void {
    this.kinds[isRepeated ? 'repeated' : 'unique']++
    for (let i = 0; i < page.length; i++) (this.bytes[page[i] as number] as number)++
  }

  stats(name: string): RegionStats {
    return { name, pages: this.pages, kinds: this.kinds, entropy: entropyOf(this.bytes) }
  }
}

/** Returns the entropy of bytes by their counts, in bits for each byte. */
function entropyOf(counts: Float64Array): number {
  const all = counts.reduce((sum, count) => sum + count, 0)
  const bits = counts.reduce((sum, count) => (count === 0 ? sum : sum - (count / all) * Math.log2(count / all)), 0)
  return Math.round(100 * bits) / 100
}

/**
 * Returns the statistics of a guest's memory. All of its content is read; holes cost nothing.
 * @throws DomainBuilderError where the guest's file proves damaged; the signal's reason.
 * @example
 * ```ts
 * const { kinds, deflate } = await guestStats(guest)
 * console.log(kinds.unique, deflate.compressed / deflate.bytes)
 * ```
 */
export async function guestStats(domain: Domain, options: WorkOptions = {}): Promise<GuestStats> {
  const { memory } = domain
  const work = new Work(memory.placedBytes, options)
  const byName = new Map<string, Counted>()
  const others = new Counted()
  const all = new Counted()
  const [seen, sample] = [new Seen(), new Sample()]
  const names = new Set<string>()
  const block = new Uint8Array(PAGES_AT_ONCE * PAGE_SIZE)
  const content = [...memory.pages()]
  let run = 0
  for (const { name, pfn, pages, data } of physicalRanges(domain)) {
    names.add(name)
    if (!byName.has(name) && byName.size < MAX_REGIONS) byName.set(name, new Counted())
    const counted = byName.get(name) ?? others
    const end = pfn + pages
    for (const one of [counted, all]) {
      one.pages += pages
      one.kinds.hole += pages - data
    }
    for (; run < content.length; run++) {
      const { pfn: first, pages: count } = content[run] as (typeof content)[number]
      if (first >= end) break
      const last = Math.min(end, first + count)
      for (let at = Math.max(pfn, first); at < last; at += PAGES_AT_ONCE) {
        const bytes = block.subarray(0, Math.min(PAGES_AT_ONCE, last - at) * PAGE_SIZE)
        memory.readInto(paddrOf(at), bytes)
        for (let from = 0; from < bytes.length; from += PAGE_SIZE) {
          const page = bytes.subarray(from, from + PAGE_SIZE)
          if (isZero(page)) {
            counted.kinds.zero++
            all.kinds.zero++
            continue
          }
          counted.add(page, seen.add(sha256Key(page)))
          sample.add(page)
        }
        work.step(bytes.length)
        await breathe()
      }
      if (first + count > end) break
    }
  }
  for (const { kinds, bytes } of [...byName.values(), others]) {
    all.kinds.repeated += kinds.repeated
    all.kinds.unique += kinds.unique
    bytes.forEach((count, byte) => {
      all.bytes[byte] = (all.bytes[byte] as number) + count
    })
  }
  const sampled = concat(sample.pages)
  const compressed = await doSlices(encodeGzip(sampled), defined({ signal: options.signal }))
  return {
    pages: memory.pageCount,
    kinds: all.kinds,
    entropy: entropyOf(all.bytes),
    deflate: { pages: sample.pages.length, bytes: sampled.length, compressed: compressed.length },
    regions: [...byName].map(([name, counted]) => counted.stats(name)),
    regionsFound: names.size,
  }
}

/** Returns the statistics for people. */
export function statsText(domain: Domain, stats: GuestStats): string[] {
  const { kinds, deflate, regions, regionsFound } = stats
  const rows = Object.entries(kinds).map(([kind, pages]) => [kind, `${pages}`, showSize(pages * PAGE_SIZE)])
  const percent = Math.round((100 * deflate.compressed) / Math.max(1, deflate.bytes))
  const more = regionsFound - regions.length
  return printableLines([
    ...fold(
      `guest ${shownName(domain.name)}: ${domain.type} ${domain.abi}, ${showSize(stats.pages * PAGE_SIZE)}, ${stats.pages} pages`,
      80,
    ),
    ...table(['kind', '>pages', '>size'], rows),
    '',
    `entropy  ${stats.entropy.toFixed(2)} bits for each byte that is not in a page of zeros`,
    `deflate  ${deflate.pages === 0 ? 'nothing to compress' : `to ${percent} %, by a sample of ${deflate.pages} pages that are not zero`}`,
    '',
    ...table(
      ['region', '>pages', '>hole', '>zero', '>repeated', '>unique', '>entropy'],
      regions.map(({ name, pages, kinds: { hole, zero, repeated, unique }, entropy }) => [
        name.length > NAME_WIDTH ? `${name.slice(0, NAME_WIDTH - 3)}...` : name,
        ...[pages, hole, zero, repeated, unique].map(String),
        entropy.toFixed(2),
      ]),
    ),
    ...(more > 0 ? [`  and ${more} more regions`] : []),
  ])
}

/** The characters of a region's name that a line has room for. */
const NAME_WIDTH = 20
