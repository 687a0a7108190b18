/**
 * A guest's memory out of a file: which bytes of the file are seen at which guest-physical address.
 *
 * Source: our own rule, for every format alike.
 * Gotcha: a small file could show one block at a million addresses, and all that reads the guest would take as long as the
 * claim is large. So no byte of a file is seen at two addresses: a guest's content never exceeds its file.
 */
import { DomainBuilderError } from '../errors.js'
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

/**
 * Lays pages of a file into memory, to be read when somebody looks at them.
 * @param pieces in order of address, none in another.
 * @param refuse says what is wrong with one, such as where in the file it is described.
 * @throws DomainBuilderError `truncated`, or what `refuse` throws.
 */
export function placeFile(
  memory: GuestMemory,
  source: ByteSource,
  pieces: readonly FilePages[],
  refuse: (index: number, expected: string, found: string) => never,
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
  requireSeenOnce(pieces)
  for (const { paddr, offset, length } of pieces) {
    memory.generate(paddr, length, (done, out) => source.readInto(offset + done, out))
  }
  return memory
}

/** @throws DomainBuilderError `bad-snapshot` for bytes of the file that are seen at two addresses. */
function requireSeenOnce(pieces: readonly FilePages[]): void {
  const byOffset = pieces.toSorted((a, b) => a.offset - b.offset)
  let last: FilePages | undefined
  for (const piece of byOffset) {
    if (last !== undefined && piece.offset < last.offset + last.length) {
      throw new DomainBuilderError('bad-snapshot', 'the same bytes of the file are seen at two addresses', {
        expected: 'content that is in the file once',
        found: `${hex(last.paddr)} and ${hex(piece.paddr)}`,
        offset: piece.offset,
      })
    }
    last = piece
  }
}
