/**
 * A guest's memory from a file: the bytes of the file seen at each guest-physical address.
 *
 * Source: our own rule, for every format alike.
 * Gotcha: a small file could show one block at a million addresses, and every reader of the guest would need time for
 * all of them. So no byte of a file is seen at two addresses: a guest's content never exceeds its file.
 */
import type { GuestMemory } from '../guest/memory.js'
import { hex, PAGE_SIZE, type Paddr, showRange } from '../units.js'
import { type ByteSource, requireBytes } from './byte-source.js'

/** Whole pages of a file, and their address in the guest. */
export interface FilePages {
  readonly paddr: Paddr
  /** In bytes, from the start of the file. */
  readonly offset: number
  /** In bytes. */
  readonly length: number
}

/** Reports which piece is wrong, for example by the file offset of its description. */
type RefusePiece = (index: number, expected: string, found: string) => never

/**
 * Lays pages of a file into memory; they are read on demand.
 * @param pieces in order of address, without overlaps.
 * @throws DomainBuilderError `truncated`, or the error that `refuse` throws.
 */
export function placeFile(
  memory: GuestMemory,
  source: ByteSource,
  pieces: readonly FilePages[],
  refuse: RefusePiece,
): GuestMemory {
  let end = 0
  pieces.forEach(({ paddr, offset, length }, i) => {
    const found = showRange({ start: paddr, end: paddr + length })
    if (paddr % PAGE_SIZE !== 0 || length % PAGE_SIZE !== 0 || length === 0) refuse(i, 'whole pages', found)
    if (paddr < end) refuse(i, `an address of at least ${hex(end)}, in order`, found)
    if (!memory.covers(paddr, length)) refuse(i, 'pages that the guest has', found)
    requireBytes(source.size, offset, length)
    end = paddr + length
  })
  requireSeenOnce(pieces, refuse)
  for (const { paddr, offset, length } of pieces) {
    memory.generate(paddr, length, (done, out) => source.readInto(offset + done, out))
  }
  return memory
}

/** Calls `refuse` for a piece that shares bytes of the file with another piece. */
function requireSeenOnce(pieces: readonly FilePages[], refuse: RefusePiece): void {
  const byOffset = pieces.map((piece, index) => ({ piece, index })).sort((a, b) => a.piece.offset - b.piece.offset)
  let last: FilePages | undefined
  for (const { piece, index } of byOffset) {
    if (last !== undefined && piece.offset < last.offset + last.length) {
      refuse(index, 'bytes that the guest has at one address only', `the bytes at ${hex(last.paddr)} again`)
    }
    last = piece
  }
}
