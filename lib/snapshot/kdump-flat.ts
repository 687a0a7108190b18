/**
 * The flattened form of a kdump file, as `makedumpfile -F` and QEMU write it: pieces with their places, seen as the
 * file that they make.
 *
 * Source: ../abi/kdump.ts.
 * Gotcha: a later piece replaces an earlier one: the headers are written again at the end. The end of a piece is only a
 * claim, so the file may not be much larger than its pieces.
 */
import {
  FLAT_END,
  FLAT_HEADER_BYTES,
  FLAT_MAGIC,
  FLAT_PIECE_HEADER_BYTES,
  FLAT_TYPE,
  FLAT_VERSION,
} from '../abi/kdump.js'
import { PFINFO_NOTAB } from '../abi/save-stream.js'
import { decodeLatin1 } from '../bytes.js'
import { DomainBuilderError } from '../errors.js'
import { type ByteSource, readAhead, requireBytes } from './byte-source.js'
import { startOf } from './format.js'
import { PageIndex } from './page-index.js'
import { readBytes } from './records.js'

/** Bytes of the index's unit: pieces have any length. */
const BYTE = 1
/** The most bytes that no piece has: the ends of blocks. */
const GAPS_MAX = 1 << 20

export const isFlattened = (source: ByteSource): boolean =>
  decodeLatin1(startOf(source, FLAT_MAGIC.length)) === FLAT_MAGIC

/**
 * Returns the file that a flattened one makes. It is read through once.
 * @throws DomainBuilderError `bad-snapshot` or `truncated` with an offset in the flattened file.
 */
export function unflattened(source: ByteSource): ByteSource {
  const ahead = readAhead(source)
  const view = new DataView(readBytes(ahead, 0, FLAT_HEADER_BYTES, 'flattened header').buffer)
  const [type, version] = [view.getBigInt64(FLAT_MAGIC.length), view.getBigInt64(FLAT_MAGIC.length + 8)]
  if (type !== FLAT_TYPE || version !== FLAT_VERSION) {
    refuse('the version is unknown', `${FLAT_TYPE}.${FLAT_VERSION}`, `${type}.${version}`, FLAT_MAGIC.length)
  }
  const pieces = new PageIndex(BYTE)
  let size = 0
  let content = 0
  for (let at = FLAT_HEADER_BYTES; ; ) {
    const header = new DataView(readBytes(ahead, at, FLAT_PIECE_HEADER_BYTES, 'piece of the flattened file').buffer)
    const [offset, length] = [header.getBigInt64(0), header.getBigInt64(8)]
    if (offset === FLAT_END && length === FLAT_END) break
    const left = BigInt(source.size - at - FLAT_PIECE_HEADER_BYTES)
    if (length <= 0n || length > left) refuse('the length of a piece is invalid', `1 to ${left}`, `${length}`, at)
    const most = BigInt(content + GAPS_MAX)
    if (offset < 0n || offset > BigInt(2 * source.size) + most) {
      refuse('the offset of a piece is invalid', `at most ${2 * source.size}`, `${offset}`, at)
    }
    pieces.add(Number(offset), Number(length), PFINFO_NOTAB, at + FLAT_PIECE_HEADER_BYTES)
    size = Math.max(size, Number(offset + length))
    content += Number(length)
    at += FLAT_PIECE_HEADER_BYTES + Number(length)
  }
  if (size > content + GAPS_MAX) refuse('the pieces are too few', `${size} bytes`, `${content}`, FLAT_HEADER_BYTES)
  pieces.finish()
  return {
    size,
    readInto(offset, out) {
      requireBytes(size, offset, out.length)
      for (let done = 0; done < out.length; ) {
        const run = pieces.find(offset + done)
        if (run?.offset === undefined) {
          out[done++] = 0
          continue
        }
        const skipped = offset + done - run.pfn
        const length = Math.min(out.length - done, run.pages - skipped)
        source.readInto(run.offset + skipped, out.subarray(done, done + length))
        done += length
      }
    },
  }
}

function refuse(what: string, expected: string, found: string, offset: number): never {
  throw new DomainBuilderError('bad-snapshot', `flattened kdump: ${what}`, { expected, found, offset })
}
