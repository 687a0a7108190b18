/**
 * hexdump: a guest's memory as text for people, with the parts that it does not have or map.
 *
 * Source: hexdump(1) of util-linux, -C.
 * Gotcha: a line that repeats the one before it is shown as `*`, so gigabytes of zeros are three lines.
 */
import { concat, equal, toHex } from '../bytes.js'
import type { Domain } from '../guest/domain.js'
import { translate } from '../guest/translate.js'
import { alignDown, PAGE_SIZE, type Paddr, paddrOf, pagesFor, pfnOf } from '../units.js'
import type { Place } from './place.js'

/** Bytes of a line, and of half of one. */
const LINE = 16
const HALF = 8
/** Bytes that are read at a time. */
const PART = 2 ** 16

/** Memory, or a stretch that is missing. */
type Part = { readonly address: bigint; readonly length: number; readonly bytes?: Uint8Array }

/** Yields the lines for `length` bytes from a place on, some at a time, and how many of those bytes exist. */
export function* hexdump(
  domain: Domain,
  place: Place,
  length: number,
): Generator<{ readonly lines: readonly string[]; readonly bytes: number }> {
  const isVirtual = place.space === 'virtual'
  const start = isVirtual ? place.vaddr : BigInt(place.paddr)
  const page = new HexPage(start + BigInt(length))
  const parts = isVirtual ? virtualParts(domain, start, length) : physicalParts(domain, place.paddr, length)
  for (const { address, length, bytes } of merged(parts)) {
    const lines = bytes
      ? page.add(address, bytes)
      : page.gap(address, `${isVirtual ? 'not mapped' : 'no memory'}: ${length} bytes`)
    yield { lines, bytes: bytes?.length ?? 0 }
  }
  yield { lines: page.end(), bytes: 0 }
}

/** The lines of a dump as they are made. */
class HexPage {
  readonly #end: bigint
  readonly #digits: number
  /** Bytes that do not fill a line yet, and the address of the first one. */
  #rest: Uint8Array = new Uint8Array(0)
  #address = 0n
  #before: Uint8Array | undefined
  #isRepeated = false

  constructor(end: bigint) {
    this.#end = end
    this.#digits = Math.max(8, end.toString(16).length)
  }

  /** Adds bytes that follow those before, if there are any. */
  add(address: bigint, bytes: Uint8Array): string[] {
    if (this.#rest.length === 0) this.#address = address
    const all = concat([this.#rest, bytes])
    const whole = alignDown(all.length, LINE)
    const lines: string[] = []
    for (let at = 0; at < whole; at += LINE) this.#line(all.subarray(at, at + LINE), lines)
    this.#rest = all.subarray(whole)
    return lines
  }

  gap(address: bigint, text: string): string[] {
    const lines = this.#flush()
    this.#before = undefined
    return [...lines, `${this.#shown(address)}  ${text}`]
  }

  end(): string[] {
    return [...this.#flush(), this.#shown(this.#end)]
  }

  #flush(): string[] {
    const lines: string[] = []
    if (this.#rest.length > 0) this.#line(this.#rest, lines)
    this.#rest = new Uint8Array(0)
    return lines
  }

  #line(bytes: Uint8Array, lines: string[]): void {
    if (this.#before !== undefined && equal(this.#before, bytes)) {
      if (!this.#isRepeated) lines.push('*')
      this.#isRepeated = true
    } else {
      lines.push(`${this.#shown(this.#address)}  ${hexColumns(bytes)}  |${textOf(bytes)}|`)
      this.#before = bytes
      this.#isRepeated = false
    }
    this.#address += BigInt(bytes.length)
  }

  #shown(address: bigint): string {
    return address.toString(16).padStart(this.#digits, '0')
  }
}

function hexColumns(bytes: Uint8Array): string {
  const pairs = toHex(bytes).match(/../g) ?? []
  const half = (from: number): string => pairs.slice(from, from + HALF).join(' ')
  return `${half(0).padEnd(3 * HALF - 1)}  ${half(HALF).padEnd(3 * HALF - 1)}`
}

const textOf = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('')

/** Joins stretches that are missing. */
function* merged(parts: Iterable<Part>): Generator<Part> {
  let missing: { address: bigint; length: number } | undefined
  for (const part of parts) {
    if (part.bytes === undefined) {
      missing = { address: missing?.address ?? part.address, length: (missing?.length ?? 0) + part.length }
      continue
    }
    if (missing) yield missing
    missing = undefined
    yield part
  }
  if (missing) yield missing
}

function* physicalParts({ memory }: Domain, paddr: Paddr, length: number): Generator<Part> {
  const end = paddr + length
  let at = paddr
  for (const range of memory.within(pfnOf(paddr), pagesFor(length) + 1)) {
    const [from, to] = [Math.max(at, paddrOf(range.start)), Math.min(end, paddrOf(range.end))]
    if (from >= to) break
    if (from > at) yield { address: BigInt(at), length: from - at }
    for (at = from; at < to; ) {
      const bytes = memory.read(at, Math.min(PART, to - at))
      yield { address: BigInt(at), length: bytes.length, bytes }
      at += bytes.length
    }
  }
  if (at < end) yield { address: BigInt(at), length: end - at }
}

function* virtualParts(domain: Domain, vaddr: bigint, length: number): Generator<Part> {
  for (let done = 0; done < length; ) {
    const address = vaddr + BigInt(done)
    const found = translate(domain, address)
    const count = Math.min(PAGE_SIZE - Number(BigInt.asUintN(12, address)), length - done)
    yield { address, length: count, ...(found && { bytes: domain.memory.read(found.paddr, count) }) }
    done += count
  }
}
