/**
 * CRC-32 and CRC-64 as xz, gzip and lzop use them, eight bytes at a time.
 *
 * Source: the .xz file format, section 6, https://tukaani.org/xz/xz-file-format.txt (both reflected, inverted in and
 * out); "slicing-by-8" is Kounavis and Berry, "A Systematic Approach to Building High Performance Software-based CRC
 * Generators".
 * Gotcha: CRC-32 and CRC-64 share the code: a CRC-32 in a 64-bit register has a zero upper half; only the tables
 * differ.
 */
import { type Code, Func, type I32, type I64, i32, i64 } from './wasm.js'

export type CrcName = 'CRC32' | 'CRC64'
/** The polynomials, lowest power in the highest bit. */
const POLYNOMIAL: Readonly<Record<CrcName, bigint>> = { CRC32: 0xedb88320n, CRC64: 0xc96c5795d7870f42n }
export const CRC_MASK: Readonly<Record<CrcName, bigint>> = { CRC32: 0xffffffffn, CRC64: 0xffffffffffffffffn }

const SLICES = 8
const ENTRIES = 256
/** Bytes of the table that the WebAssembly function reads. */
export const CRC_TABLE_BYTES = SLICES * ENTRIES * 8

/** Table k holds the CRC of each byte followed by k zero bytes. */
export function crcTable(name: CrcName): BigUint64Array {
  const table = new BigUint64Array(SLICES * ENTRIES)
  for (let byte = 0; byte < ENTRIES; byte++) {
    let crc = BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = (crc >> 1n) ^ (crc & 1n ? POLYNOMIAL[name] : 0n)
    table[byte] = crc
  }
  for (let i = ENTRIES; i < table.length; i++) {
    const before = table[i - ENTRIES] as bigint
    table[i] = (before >> 8n) ^ (table[Number(before & 0xffn)] as bigint)
  }
  return table
}

let table32: Uint32Array | undefined

/** CRC-32 of a header or a slice. @param before the CRC-32 of the bytes before them. */
export function crc32(bytes: Uint8Array, before = 0): number {
  table32 ??= Uint32Array.from(crcTable('CRC32').subarray(0, ENTRIES), Number)
  let crc = ~before
  for (const byte of bytes) crc = (crc >>> 8) ^ (table32[(crc ^ byte) & 0xff] as number)
  return ~crc >>> 0
}

/** The function crc(from, to, register): the register after those bytes of memory. crcTable() is at `tableAt`. */
export function crcFunction(tableAt: number): { func: Func; body: Code } {
  const f = new Func('crc', ['i32', 'i32', 'i64'], 'i64')
  const at = f.param(0, 'i32')
  const end = f.param(1, 'i32')
  const crc = f.param(2, 'i64')
  /** The entry for byte `index` of the register in table `slice`. */
  const entry = (index: number, slice: number): I64 => {
    // Times 8, the size of an entry: the byte moves to bit 3, not to bit 0.
    const shifted = index === 0 ? i64.shl(crc, i64.const(3)) : i64.shrU(crc, i64.const(8 * index - 3))
    const byte: I32 = i32.and(i32.wrap(shifted), i32.const(0xff << 3))
    return i64.load(byte, tableAt + slice * ENTRIES * 8)
  }
  const slices = Array.from({ length: SLICES }, (_, index) => entry(index, SLICES - 1 - index))
  const body: Code = [
    f.block((done) =>
      f.loop((again) => [
        done.jumpIf(i32.ltU(i32.sub(end, at), i32.const(8))),
        crc.set(i64.xor(crc, i64.load(at))),
        crc.set(slices.reduce((sum, slice) => i64.xor(sum, slice))),
        at.set(i32.add(at, i32.const(8))),
        again.jump(),
      ]),
    ),
    f.block((done) =>
      f.loop((again) => [
        done.jumpIf(i32.geU(at, end)),
        crc.set(i64.xor(crc, i64.load8(at))),
        crc.set(i64.xor(i64.shrU(crc, i64.const(8)), entry(0, 0))),
        at.set(i32.add(at, i32.const(1))),
        again.jump(),
      ]),
    ),
    crc,
  ]
  return { func: f, body }
}
