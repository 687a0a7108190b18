/**
 * The relocation table that Linux's build appends to its vmlinux: the places to patch when the kernel moves.
 *
 * Source: Linux arch/x86/tools/relocs.c (the writer) and arch/x86/boot/compressed/misc.c, handle_relocations (the
 * reader); confirmed by booting kernels that it relocated.
 * Gotcha: the kernel reads it backwards from the end of the payload, each list down to a 0. So the file has the 32-bit
 * list last. Only the number of zeros gives the number of lists: old and new Linux lack the inverse list.
 */
import { DomainBuilderError } from '../errors.js'
import { hex } from '../units.js'

/**
 * Link addresses to patch, as the table's low 32 bits: sign-extend them on x86-64.
 * In the order of the file, which is the order of the addresses.
 */
export interface Relocs {
  /** 32-bit words to which the distance is added. */
  readonly add32: Int32Array
  /** 32-bit words from which it is subtracted: offsets from zero-based per-cpu data, only on x86-64. */
  readonly subtract32: Int32Array
  /** 64-bit words to which it is added, x86-64. */
  readonly add64: Int32Array
}

/** The possible numbers of lists in a table, by class; each list begins with a 0. */
const LISTS = { 32: [1], 64: [2, 3] } as const

/**
 * Reads the relocation table after the ELF in a Linux payload.
 * @throws DomainBuilderError `bad-bzimage` for other data.
 */
export function parseRelocs(bytes: Uint8Array, elfClass: 32 | 64): Relocs {
  const notATable = (expected: string, found: string, offset: number) =>
    new DomainBuilderError('bad-bzimage', 'the relocation table after the ELF is invalid', { expected, found, offset })
  if (bytes.length === 0 || bytes.length % 4 !== 0) {
    throw notATable('a multiple of 4 bytes', `${bytes.length}`, 0)
  }
  const words = new Int32Array(bytes.length / 4)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const stops: number[] = []
  const most = Math.max(...LISTS[elfClass])
  for (let i = 0; i < words.length; i++) {
    words[i] = view.getInt32(i * 4, true)
    if (words[i] !== 0) continue
    if (stops.length === most) throw notATable(`at most ${most} lists, each after a 0`, 'another 0', i * 4)
    stops.push(i)
  }
  if (words[0] !== 0) throw notATable('a 0 at its start', hex(view.getUint32(0, true)), 0)
  if (!LISTS[elfClass].some((count) => count === stops.length)) {
    throw notATable(`${LISTS[elfClass].join(' or ')} lists`, `${stops.length}`, 0)
  }
  const list = (i: number): Int32Array => words.subarray((stops[i] as number) + 1, stops[i + 1])
  const none = new Int32Array(0)
  return {
    add32: list(stops.length - 1),
    subtract32: stops.length === 3 ? list(1) : none,
    add64: elfClass === 64 ? list(0) : none,
  }
}

/** The link address of an entry: the table keeps its low 32 bits. */
export const linkAddress = (entry: number, elfClass: 32 | 64): bigint => BigInt.asUintN(elfClass, BigInt(entry))
