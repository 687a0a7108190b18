/**
 * ByteSource: a file to read from, at any location.
 *
 * Source: our own design. The library touches no file system; the command line gives it sources over file descriptors.
 * Gotcha: reads must be synchronous, so that GuestMemory can fetch a page on demand.
 */
import { DomainBuilderError } from '../errors.js'

/** A file of `size` bytes that can be read at any place. */
export interface ByteSource {
  /** In bytes. */
  readonly size: number
  /** Fills all of `out` from `offset` on. @throws DomainBuilderError `truncated` when there are fewer bytes. */
  readInto(offset: number, out: Uint8Array): void
}

/** Returns a source over bytes in memory. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    readInto(offset, out) {
      requireBytes(bytes.length, offset, out.length)
      out.set(bytes.subarray(offset, offset + out.length))
    },
  }
}

/** The bytes that readAhead() fetches at a time. */
const AHEAD_BYTES = 128 << 10

/** Returns the same source for a reader that goes from front to back in small steps: one read serves many of them. */
export function readAhead(source: ByteSource): ByteSource {
  const window = new Uint8Array(AHEAD_BYTES)
  let start = 0
  let end = 0
  return {
    size: source.size,
    readInto(offset, out) {
      if (out.length > AHEAD_BYTES / 2 || offset + out.length > source.size) return source.readInto(offset, out)
      if (offset < start || offset + out.length > end) {
        end = start
        const length = Math.min(AHEAD_BYTES, source.size - offset)
        source.readInto(offset, window.subarray(0, length))
        start = offset
        end = offset + length
      }
      out.set(window.subarray(offset - start, offset - start + out.length))
    },
  }
}

/** @throws DomainBuilderError `truncated` unless [offset, offset + length) lies within `size`. */
export function requireBytes(size: number, offset: number, length: number): void {
  if (offset < 0 || offset + length > size) {
    throw new DomainBuilderError('truncated', 'the file ends too early', {
      expected: `${length} bytes`,
      found: `${Math.max(0, size - offset)}`,
      offset,
    })
  }
}
