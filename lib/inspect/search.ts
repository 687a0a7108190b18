/**
 * searchMemory: the places of a pattern in a guest's memory, physical or virtual.
 *
 * Source: ../search/scan.ts; mapped-runs.ts.
 * Gotcha: page tables of a few pages can map the same memory millions of times. Memory without a match is searched once,
 * at whichever of its addresses comes first.
 */
import { DomainBuilderError } from '../errors.js'
import type { Domain } from '../guest/domain.js'
import { type Run, runEndingAfter } from '../guest/runs.js'
import type { BytePattern } from '../search/pattern.js'
import { type Piece, SEARCHED_BYTES, scan } from '../search/scan.js'
import {
  alignUp,
  PADDR_MAX,
  PAGE_SIZE,
  type Paddr,
  paddrOf,
  pfnOf,
  type Range,
  showRange,
  type Vaddr,
} from '../units.js'
import { breathe, Work, type WorkOptions } from '../work.js'
import { type MappedRun, mappedRuns } from './mapped-runs.js'

/** A place where a pattern matches. */
export interface MemoryMatch {
  /** The guest-physical address of the first byte. */
  readonly paddr: Paddr
  /** The virtual address of the first byte, in a search of virtual memory. */
  readonly vaddr?: Vaddr
  /** The bytes of the match. */
  readonly bytes: Uint8Array
}

/** A search of a guest's memory. */
export interface SearchOptions extends WorkOptions {
  /**
   * Searches virtual memory, as vcpu 0 has it mapped, in order of virtual address. A match may then lie in pages that are
   * not next to each other in physical memory. A page that is mapped twice gives each match twice.
   */
  readonly virtual?: boolean
  /** The addresses to search: physical ones, or virtual ones with `virtual`. All of them by default. */
  readonly range?: Range<bigint>
}

/** All addresses. */
const EVERYWHERE: Range<bigint> = { start: 0n, end: 2n ** 64n }

/**
 * Yields the places where a pattern matches, in order of address; no two of them overlap. Holes are not read and cost
 * nothing: a match may begin or end in a hole, which is zeros, but one that lies in a hole from end to end is omitted.
 * @throws DomainBuilderError `bad-config` for a range whose end is not after its start; `not-mapped` where the page
 * tables cannot be read; the signal's reason.
 *
 * @example
 * ```ts
 * for await (const { paddr } of searchMemory(guest, hexPattern('48 8b ?? 05'))) console.log(paddr.toString(16))
 * ```
 */
export async function* searchMemory(
  domain: Domain,
  pattern: BytePattern,
  options: SearchOptions = {},
): AsyncGenerator<MemoryMatch> {
  const { virtual = false, range = EVERYWHERE } = options
  if (range.start >= range.end) {
    throw new DomainBuilderError('bad-config', 'the range to search is empty', {
      expected: 'an end after the start',
      found: showRange(range),
    })
  }
  const pages = [...domain.memory.pages()]
  const work = new Work(domain.memory.placedBytes, options)
  const space = virtual ? new VirtualSpace(domain, pages, pattern.longest) : new PhysicalSpace(domain, pages)
  for (const found of scan(pattern, space.pieces(range))) {
    if (found === undefined) {
      await breathe()
      work.reach(space.searched)
    } else {
      yield { ...space.placeOf(found.address), bytes: found.bytes }
    }
  }
  work.reach(domain.memory.placedBytes)
}

/** The physical memory of a guest. */
class PhysicalSpace {
  readonly #domain: Domain
  readonly #pages: readonly Run[]
  /** Bytes with content that were handed out so far. */
  searched = 0

  constructor(domain: Domain, pages: readonly Run[]) {
    this.#domain = domain
    this.#pages = pages
  }

  *pieces(range: Range<bigint>): Generator<Piece> {
    const limits = { start: clamp(range.start), end: clamp(range.end) }
    for (const { start, end } of this.#domain.memory.ranges) {
      const from = Math.max(paddrOf(start), limits.start)
      const to = Math.min(paddrOf(end), limits.end)
      for (const piece of alternating(this.#domain, this.#pages, from, to, BigInt(from))) {
        if (piece.readInto) this.searched += piece.length
        yield piece
      }
    }
  }

  placeOf(address: bigint): Pick<MemoryMatch, 'paddr'> {
    return { paddr: Number(address) }
  }
}

const clamp = (address: bigint): Paddr => (address > BigInt(PADDR_MAX) ? PADDR_MAX : Number(address))

/** A piece and its place in physical memory. */
type PlacedPiece = Piece & { readonly paddr: Paddr }

/** Yields physical memory as pieces with content and holes between them. @param address that of the first byte. */
function* alternating(
  { memory }: Domain,
  pages: readonly Run[],
  from: Paddr,
  to: Paddr,
  address: bigint,
): Generator<PlacedPiece> {
  let at = from
  const piece = (end: Paddr): PlacedPiece => {
    const made = { address: address + BigInt(at - from), length: end - at, paddr: at }
    at = end
    return made
  }
  for (let i = runEndingAfter(pages, pfnOf(from)); at < to; i++) {
    const run = pages[i]
    const start = run === undefined ? to : Math.min(to, paddrOf(run.pfn))
    if (start > at) yield piece(start)
    if (run === undefined || at >= to) continue
    const first = at
    const readInto = (offset: number, out: Uint8Array) => memory.readInto(first + offset, out)
    yield { ...piece(Math.min(to, paddrOf(run.pfn + run.pages))), readInto }
  }
}

/** The memory of a guest as its page tables map it. */
class VirtualSpace {
  readonly #domain: Domain
  readonly #pages: readonly Run[]
  readonly #runs: readonly MappedRun[]
  readonly #blocks: Blocks
  searched = 0

  constructor(domain: Domain, pages: readonly Run[], longest: number) {
    this.#domain = domain
    this.#pages = pages
    // A table's large pages come before the tables that it names.
    this.#runs = mappedRuns(domain).sort((a, b) => (a.vaddr < b.vaddr ? -1 : a.vaddr > b.vaddr ? 1 : 0))
    this.#blocks = new Blocks(longest)
  }

  *pieces({ start, end }: Range<bigint>): Generator<Piece> {
    for (const run of this.#runs) {
      const last = run.vaddr + BigInt(run.pages) * BigInt(PAGE_SIZE)
      const from = run.vaddr > start ? run.vaddr : start
      const to = last < end ? last : end
      if (from >= to) continue
      const paddr = paddrOf(run.pfn) + Number(from - run.vaddr)
      for (const piece of alternating(this.#domain, this.#pages, paddr, paddr + Number(to - from), from)) {
        if (piece.readInto === undefined) yield piece
        else {
          yield* this.#blocks.pieces(piece)
          this.searched += piece.length
        }
      }
    }
  }

  placeOf(vaddr: bigint): Pick<MemoryMatch, 'paddr' | 'vaddr'> {
    let [low, high] = [0, this.#runs.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#runs[middle] as MappedRun).vaddr > vaddr) high = middle
      else low = middle + 1
    }
    const run = this.#runs[low - 1] as MappedRun
    const paddr = paddrOf(run.pfn) + Number(vaddr - run.vaddr)
    this.#blocks.markFound(paddr)
    return { paddr, vaddr }
  }
}

/** Bytes of physical memory that are searched once if no match begins in them. */
const BLOCK = 2 ** 18

/** The blocks of physical memory that were searched before, at another virtual address. */
class Blocks {
  readonly #longest: number
  readonly #searched = new Set<number>()
  readonly #found = new Set<number>()
  /** Blocks that may still be in the window of the search. */
  readonly #recent: number[] = []

  constructor(longest: number) {
    this.#longest = longest
  }

  markFound(paddr: Paddr): void {
    this.#found.add(Math.floor(paddr / BLOCK))
  }

  /** Yields a piece in blocks. Of a block without a match, only the parts that a match can reach into. */
  *pieces(piece: PlacedPiece): Generator<Piece> {
    const end = piece.paddr + piece.length
    for (let at = piece.paddr; at < end; ) {
      const to = Math.min(end, alignUp(at + 1, BLOCK))
      const block = Math.floor(at / BLOCK)
      const isWhole = to - at === BLOCK
      if (isWhole && this.#searched.has(block) && !this.#found.has(block)) {
        yield partOf(piece, at, at + 2 * this.#longest)
        yield partOf(piece, to - this.#longest, to)
      } else {
        yield partOf(piece, at, to)
        if (isWhole) this.#remember(block)
      }
      at = to
    }
  }

  #remember(block: number): void {
    this.#recent.push(block)
    // The search comes at most one window later.
    if (this.#recent.length * BLOCK <= 2 * BLOCK + SEARCHED_BYTES) return
    this.#searched.add(this.#recent.shift() as number)
  }
}

function partOf({ address, paddr, readInto }: PlacedPiece, from: Paddr, to: Paddr): Piece {
  const skipped = from - paddr
  return {
    address: address + BigInt(skipped),
    length: to - from,
    readInto: (offset, out) => readInto?.(skipped + offset, out),
  }
}
