/**
 * kallsymsIn: the symbols that a Linux kernel carries for its own messages, found in its bytes.
 *
 * The table of tokens is found by its shape, since the tokens of digits and letters are themselves. The other parts are
 * then found by their distance from it, and each is checked against the others.
 *
 * Source: Linux scripts/kallsyms.c; ../abi/kallsyms.ts.
 * Gotcha: a name may expand to hundreds of bytes for each byte, so the sum of all names is bounded.
 */
import {
  KALLSYMS_INDEX_BYTES,
  KALLSYMS_LONG_NAME,
  KALLSYMS_MARKER_STEP,
  KALLSYMS_SEQ_BYTES,
  KALLSYMS_TOKENS,
  KSYM_NAME_LEN,
} from '../abi/kallsyms.js'
import { KERNEL_HALF_32 } from '../abi/linux-memory.js'
import { decodeLatin1 } from '../bytes.js'
import { alignUp, type Vaddr } from '../units.js'
import type { Slices } from '../work.js'
import type { KernelSymbol } from './symbol-table.js'

/** A part of a kernel's address space that may hold the table. */
interface KernelBytes {
  readonly bytes: Uint8Array
  /** The address of the first byte, a multiple of the word. */
  readonly vaddr: Vaddr
  /** Bytes of the kernel's word. */
  readonly word: 4 | 8
}

/** An image, and the alignment of the table's parts: a word, or 4 bytes in a 64-bit kernel since Linux 7.0. */
interface Image extends KernelBytes {
  readonly align: 4 | 8
}

/** The most symbols of a table; a kernel with all drivers has fewer than a million. */
const MAX_SYMBOLS = 1 << 21
/** The most characters for each byte of the names. A real table has three. */
const MAX_EXPANSION = 16
/** The most places of the names that are read to the end; a real table needs one. */
const MAX_TRIES = 8
/** Names, or entries, in one slice. */
const IN_SLICE = 1 << 13
/** Bytes that are searched in one slice. */
const SEARCHED_IN_SLICE = 1 << 20

/** Returns the symbols of the first sound table in the image; undefined without one. */
export function* kallsymsIn(image: KernelBytes): Slices<KernelSymbol[] | undefined> {
  for (let from = 0; ; ) {
    const digits = yield* digitTokens(image.bytes, from)
    if (digits === undefined) return undefined
    for (const align of image.word === 8 ? ([8, 4] as const) : ([4] as const)) {
      const symbols = yield* symbolsAt({ ...image, align }, digits)
      if (symbols) return symbols
    }
    from = digits + 1
  }
}

/** Returns the symbols of the table whose tokens of digits these are. */
function* symbolsAt(image: Image, digits: number): Slices<KernelSymbol[] | undefined> {
  const table = tokenTable(image, digits)
  const names = table && (yield* namesOf(image, table))
  return names && (yield* withAddresses(image, names))
}

/** The tokens of `0` to `9`, except the last NUL. */
const DIGITS = Array.from('0123456789', (digit) => digit.charCodeAt(0))
  .flatMap((code) => [0, code])
  .slice(1)
const [FIRST_DIGIT, LAST_DIGIT] = [DIGITS[0] as number, DIGITS.at(-1) as number]
/** For each byte, the distance from its last place in DIGITS to the end: so far may a search go on (Horspool). */
const STRIDES = Uint8Array.from({ length: 256 }, (_, byte) => {
  const last = DIGITS.lastIndexOf(byte, DIGITS.length - 2)
  return last < 0 ? DIGITS.length : DIGITS.length - 1 - last
})

/** Returns the next place of the tokens of digits. */
function* digitTokens(bytes: Uint8Array, from: number): Slices<number | undefined> {
  const length = DIGITS.length
  let pause = from + SEARCHED_IN_SLICE
  for (let at = from; at + length <= bytes.length; ) {
    if (at >= pause) {
      pause = at + SEARCHED_IN_SLICE
      yield
    }
    const [before, last] = [bytes[at + length - 2] as number, bytes[at + length - 1] as number]
    // A NUL follows a digit. Any other NUL, as in an empty page, is in no place of the tokens.
    if (last === 0 && (before < FIRST_DIGIT || before > LAST_DIGIT)) {
      at += length
      continue
    }
    let i = length - 1
    while (i >= 0 && bytes[at + i] === DIGITS[i]) i--
    if (i < 0) return at
    at += STRIDES[last] as number
  }
  return undefined
}

interface TokenTable {
  /** The offset of kallsyms_token_table. */
  readonly start: number
  /** The end of kallsyms_token_index, aligned. */
  readonly end: number
  readonly tokens: readonly string[]
}

/** Returns the table whose tokens of digits these are, if kallsyms_token_index follows it and agrees with it. */
function tokenTable({ bytes, align }: Image, digits: number): TokenTable | undefined {
  // Tokens are short: a call of indexOf() would take longer than this loop.
  const afterToken = (at: number): number => {
    const most = Math.min(bytes.length, at + KSYM_NAME_LEN)
    let end = at
    while (end < most && bytes[end] !== 0) end++
    return end < most ? end + 1 : Number.POSITIVE_INFINITY
  }
  let tableEnd = digits
  for (let token = FIRST_DIGIT; token < KALLSYMS_TOKENS; token++) tableEnd = afterToken(tableEnd)
  const index = alignUp(tableEnd, align)
  if (!(index + KALLSYMS_INDEX_BYTES <= bytes.length)) return undefined
  const view = viewOf(bytes)
  const start = digits - view.getUint16(index + 2 * FIRST_DIGIT, true)
  if (start < 0) return undefined
  const tokens: string[] = []
  let at = start
  for (let token = 0; token < KALLSYMS_TOKENS; token++) {
    if (view.getUint16(index + 2 * token, true) !== at - start) return undefined
    const next = afterToken(at)
    if (!(next <= tableEnd)) return undefined
    tokens.push(decodeLatin1(bytes.subarray(at, next - 1)))
    at = next
  }
  return at === tableEnd ? { start, end: alignUp(index + KALLSYMS_INDEX_BYTES, align), tokens } : undefined
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

interface Names {
  /** The offset of kallsyms_num_syms. */
  readonly start: number
  /** The end of kallsyms_token_index, aligned. */
  readonly end: number
  /** Each with its type as the first character. */
  readonly names: readonly string[]
}

/** Returns the names that lie before a table of tokens. */
function* namesOf(image: Image, table: TokenTable): Slices<Names | undefined> {
  const { bytes, align } = image
  const view = viewOf(bytes)
  let tries = 0
  for (const markers of markersBefore(image, table.start)) {
    const last = markers.values.at(-1) as number
    const before = KALLSYMS_MARKER_STEP * (markers.values.length - 1)
    const lowest = Math.max(align, markers.start - last - KALLSYMS_MARKER_STEP * (KSYM_NAME_LEN + 2))
    const highest = markers.start - last - 2
    for (let start = highest - (highest % align); start >= lowest; start -= align) {
      const count = view.getUint32(start - align, true)
      if (count <= before || count > before + KALLSYMS_MARKER_STEP) continue
      if (align === 8 && view.getUint32(start - 4, true) !== 0) continue
      if (alignUp(afterNames(bytes, start + last, count - before), align) !== markers.start) continue
      if (++tries > MAX_TRIES) return undefined
      const names = yield* readNames(bytes, start, count, markers, table.tokens)
      if (names) return { start: start - align, end: table.end, names }
    }
    yield
  }
  return undefined
}

/** The number of tokens of the name at an offset, and the offset of the first one. A missing byte is a long name. */
function nameAt(bytes: Uint8Array, at: number): { tokens: number; from: number } {
  const low = bytes[at] ?? 0xff
  if (low < KALLSYMS_LONG_NAME) return { tokens: low, from: at + 1 }
  return { tokens: (low - KALLSYMS_LONG_NAME) | ((bytes[at + 1] ?? 0xff) << 7), from: at + 2 }
}

/** Returns the offset after that many names; infinity if one of them is empty or too long. */
function afterNames(bytes: Uint8Array, at: number, count: number): number {
  let end = at
  for (let i = 0; i < count; i++) {
    const { tokens, from } = nameAt(bytes, end)
    if (tokens === 0 || tokens > KSYM_NAME_LEN) return Number.POSITIVE_INFINITY
    end = from + tokens
  }
  return end
}

/** Returns all names, if the markers agree with their places. */
function* readNames(
  bytes: Uint8Array,
  start: number,
  count: number,
  markers: Markers,
  tokens: readonly string[],
): Slices<string[] | undefined> {
  const names: string[] = []
  let room = MAX_EXPANSION * (markers.start - start)
  let at = start
  for (let i = 0; i < count; i++) {
    if (i % KALLSYMS_MARKER_STEP === 0 && markers.values[i / KALLSYMS_MARKER_STEP] !== at - start) return undefined
    if (i % IN_SLICE === 0) yield
    const { tokens: length, from } = nameAt(bytes, at)
    if (length === 0 || length > KSYM_NAME_LEN) return undefined
    at = from + length
    let name = ''
    for (let j = from; j < at; j++) name += tokens[bytes[j] ?? 0]
    room -= name.length
    if (name.length < 2 || name.length > KSYM_NAME_LEN || room < 0) return undefined
    names.push(name)
  }
  return names
}

/** kallsyms_markers. */
interface Markers {
  readonly start: number
  readonly values: readonly number[]
}

/**
 * Yields the places where the markers before a table of tokens can be: directly before it, as u32 or (before Linux
 * 4.20) as words; or before kallsyms_seqs_of_names, whose length tells their number (Linux 6.2 and 6.3).
 */
function* markersBefore({ bytes, align }: Image, end: number): Iterable<Markers> {
  const view = viewOf(bytes)
  for (let pad = 0; pad < align; pad += 4) {
    const start = ascendingFrom(view, end - pad, 4)
    if (start !== undefined) yield markersAt(view, start, end - pad, 4)
  }
  if (align === 8) {
    const start = ascendingFrom(view, end, 8)
    if (start !== undefined) yield markersAt(view, start, end, 8)
  }
  const lowest = Math.max(0, end - KALLSYMS_SEQ_BYTES * MAX_SYMBOLS)
  for (let seqs = end - align; seqs >= lowest; seqs -= align) {
    // The last bytes before the tokens may be padding, so a length stands for a few counts of names.
    const most = Math.ceil(Math.floor((end - seqs) / KALLSYMS_SEQ_BYTES) / KALLSYMS_MARKER_STEP)
    const least = Math.ceil((end - seqs - align + 1) / KALLSYMS_SEQ_BYTES / KALLSYMS_MARKER_STEP)
    for (let count = Math.max(2, least); count <= most; count++) {
      for (let pad = 0; pad < align; pad += 4) {
        const start = seqs - pad - 4 * count
        if (start < 0 || view.getUint32(start, true) !== 0) continue
        if (ascendingFrom(view, seqs - pad, 4) === start) yield markersAt(view, start, seqs - pad, 4)
      }
    }
  }
}

/** Returns the offset of the zero from which words ascend up to `end`; undefined without two of them. */
function ascendingFrom(view: DataView, end: number, bytes: 4 | 8): number | undefined {
  let above = Number.POSITIVE_INFINITY
  for (let at = end - bytes; at >= 0; at -= bytes) {
    const value = wordAt(view, at, bytes)
    if (value >= above) return undefined
    if (value === 0) return at + bytes < end ? at : undefined
    above = value
  }
  return undefined
}

/** A word that is a number: a larger one is infinity. */
function wordAt(view: DataView, at: number, bytes: 4 | 8): number {
  const low = view.getUint32(at, true)
  return bytes === 4 || view.getUint32(at + 4, true) === 0 ? low : Number.POSITIVE_INFINITY
}

function markersAt(view: DataView, start: number, end: number, bytes: 4 | 8): Markers {
  const values = Array.from({ length: (end - start) / bytes }, (_, i) => wordAt(view, start + i * bytes, bytes))
  return { start, values }
}

/** The address of each name, by its index. */
type AddressOf = (index: number) => Vaddr

/** Returns the symbols with their addresses, in whichever encoding the addresses ascend. */
function* withAddresses(image: Image, { start, end, names }: Names): Slices<KernelSymbol[] | undefined> {
  const { word } = image
  const count = names.length
  const offsets = alignUp(4 * count, image.align)
  const address =
    relative(image, start - word - offsets, start - word, count) ??
    relative(image, end, end + offsets, count) ??
    absolute(image, start - word * count, count) ??
    absolute(image, end, count) ??
    placeRelative(image, end, count)
  if (address === undefined) return undefined
  const symbols: KernelSymbol[] = []
  for (const [i, name] of names.entries()) {
    if (i % IN_SLICE === 0) yield
    symbols.push({ name: name.slice(1), address: address(i), type: name.charAt(0) })
  }
  return symbols
}

const isKernel = (address: Vaddr, word: 4 | 8): boolean =>
  word === 8 ? address >> 63n === 1n : address >= KERNEL_HALF_32

const addressAt = (view: DataView, at: number, word: 4 | 8): Vaddr =>
  word === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true))

/** Whether numbers ascend, and are not all the same. */
function ascends(count: number, value: (index: number) => number): boolean {
  for (let i = 1; i < count; i++) if (value(i) < value(i - 1)) return false
  return value(0) < value(count - 1)
}

/**
 * kallsyms_offsets and kallsyms_relative_base. Without CONFIG_KALLSYMS_ABSOLUTE_PERCPU all offsets are from the base.
 * With it, those are below 0, counted down from -1, and offsets from 0 on are the addresses themselves.
 */
function relative({ bytes, word }: KernelBytes, at: number, baseAt: number, count: number): AddressOf | undefined {
  if (at < 0 || baseAt + word > bytes.length) return undefined
  const view = viewOf(bytes)
  const base = addressAt(view, baseAt, word)
  if (!isKernel(base, word)) return undefined
  const offset = (i: number): number => view.getInt32(at + 4 * i, true)
  let isAbsolute = false
  for (let i = 0; i < count && !isAbsolute; i++) isAbsolute = offset(i) < 0
  const distance = isAbsolute ? (i: number) => (offset(i) < 0 ? -1 - offset(i) : offset(i) - 2 ** 31) : offset
  if (!ascends(count, distance)) return undefined
  return (i) => (isAbsolute && offset(i) >= 0 ? BigInt(offset(i)) : base + BigInt(distance(i)))
}

/** kallsyms_addresses: a word for each address. */
function absolute({ bytes, word }: KernelBytes, at: number, count: number): AddressOf | undefined {
  if (at < 0 || at + word * count > bytes.length) return undefined
  const view = viewOf(bytes)
  const address: AddressOf = (i) => addressAt(view, at + word * i, word)
  if (!isKernel(address(count - 1), word)) return undefined
  for (let i = 1; i < count; i++) if (address(i) < address(i - 1)) return undefined
  return address
}

/** kallsyms_offsets since Linux 7.0: each is the distance of an address from the offset itself. */
function placeRelative({ bytes, vaddr }: KernelBytes, at: number, count: number): AddressOf | undefined {
  if (at + 4 * count > bytes.length) return undefined
  const view = viewOf(bytes)
  const distance = (i: number): number => view.getInt32(at + 4 * i, true) + 4 * i
  if (!ascends(count, distance)) return undefined
  return (i) => vaddr + BigInt(at + distance(i))
}
