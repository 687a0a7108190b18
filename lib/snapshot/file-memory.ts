/**
 * A guest's memory out of a file: which bytes of the file are seen at which guest-physical address.
 *
 * Source: our own rule, for every format alike.
 * Gotcha: a small file could show one block at a million addresses, and all that reads the guest would take as long as the
 * claim is large. So no byte of a file is seen at two addresses: a guest's content never exceeds its file.
 */
import type { GuestMemory } from '../guest/memory.js'
import { hex, PAGE_SIZE, type Paddr, showRange } from '../units.js'
import { type ByteSource, requireBytes } from './source.js'

/** Whole pages of a file, and where the guest has them. */
export interface FilePages {
  readonly paddr: Paddr
  /** Bytes, from the start of the file. */
  readonly offset: number
  /** Bytes. */
  readonly length: number
}

/** Says which piece is wrong, such as where in the file it is described. */
type RefusePiece = (index: number, expected: string, found: string) => never

/**
 * Lays pages of a file into memory, to be read when somebody looks at them.
 * @param pieces in order of address, none in another.
 * @throws DomainBuilderError `truncated`, or what `refuse` throws.
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

/** Calls `refuse` for a piece whose bytes of the file another piece shows as well. */
function requireSeenOnce(pieces: readonly FilePages[], refuse: RefusePiece): void {
  const byOffset = pieces.map((piece, index) => ({ piece, index })).sort((a, b) => a.piece.offset - b.piece.offset)
  let last: FilePages | undefined
  for (const { piece, index } of byOffset) {
    if (last !== undefined && piece.offset < last.offset + last.length) {
      refuse(index, 'bytes of the file that the guest has once', `those at ${hex(last.paddr)} again`)
    }
    last = piece
  }
}
