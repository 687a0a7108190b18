/**
 * Scratch: room for the bytes of a compressed snapshot, since compressed data has no random access.
 *
 * Source: our own design. The library touches no file system: it has memory; a caller with a disk provides a file.
 * Gotcha: blocks of zeros take no room, so bytes that were never written must read as zero.
 */
import { isZero } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { type ByteSource, requireBytes } from './byte-source.js'

/** Bytes that can be written and read at any place; unwritten bytes are zero. */
export interface Scratch {
  /** Keeps a copy of `bytes` from `offset` (bytes) on. */
  writeAt(bytes: Uint8Array, offset: number): void
  /**
   * Like writeAt, for a caller who gives the bytes away: returns whether they are kept themselves, without a copy. The
   * caller does not change them then.
   */
  keepAt?(bytes: Uint8Array, offset: number): boolean
  /** Fills all of `out` from `offset` (bytes) on. */
  readInto(offset: number, out: Uint8Array): void
}

/** Returns the written bytes, `size` of them, as a source. */
export const scratchSource = (scratch: Scratch, size: number): ByteSource => ({
  size,
  readInto(offset, out) {
    requireBytes(size, offset, out.length)
    scratch.readInto(offset, out)
  },
})

/** The most bytes that a compressed snapshot may take in memory. */
const MEMORY_MAX = 2 ** 31
/** The bytes that are kept, or not kept, together. */
const BLOCK = 2 ** 16

/** Keeps bytes in memory, except blocks of zero. @throws DomainBuilderError `payload-too-large` above `limit` bytes. */
export function memoryScratch(limit = MEMORY_MAX): Scratch {
  const blocks = new Map<number, Uint8Array>()
  const checkLimit = (): void => {
    if (blocks.size * BLOCK <= limit) return
    throw new DomainBuilderError('payload-too-large', "the guest's content is too large for memory", {
      expected: `at most ${limit} bytes that are not zero`,
      found: 'more',
    })
  }
  const write = (part: Uint8Array, block: number, at: number): void => {
    const held = blocks.get(block)
    if (held) held.set(part, at)
    else if (!isZero(part)) blocks.set(block, filled(part, at))
    checkLimit()
  }
  return {
    writeAt(bytes, offset) {
      for (const { part, block, at } of inBlocks(bytes, offset)) write(part, block, at)
    },
    keepAt(bytes, offset) {
      const all = [...inBlocks(bytes, offset)]
      const full = all.filter(({ part }) => part.length === BLOCK && !isZero(part))
      // Few blocks would hold the memory of all the others.
      const isKept = 2 * full.length >= all.length
      for (const { part, block, at } of isKept ? all.filter((one) => !full.includes(one)) : all) write(part, block, at)
      if (isKept) for (const { part, block } of full) blocks.set(block, part)
      checkLimit()
      return isKept
    },
    readInto(offset, out) {
      for (const { part, block, at } of inBlocks(out, offset)) {
        const held = blocks.get(block)
        if (held) part.set(held.subarray(at, at + part.length))
        else part.fill(0)
      }
    },
  }
}

function filled(part: Uint8Array, at: number): Uint8Array {
  const block = new Uint8Array(BLOCK)
  block.set(part, at)
  return block
}

interface InBlock {
  readonly part: Uint8Array
  readonly block: number
  /** The start of `part` in the block. */
  readonly at: number
}

/** Yields the bytes that lie at `offset`, cut where blocks end. */
export function* inBlocks(bytes: Uint8Array, offset: number): Generator<InBlock> {
  for (let done = 0; done < bytes.length; ) {
    const at = (offset + done) % BLOCK
    const part = bytes.subarray(done, done + BLOCK - at)
    yield { part, block: (offset + done - at) / BLOCK, at }
    done += part.length
  }
}
