/**
 * A file of the reader's machine as a ByteSource: in a worker, a File can be read at any place without being copied.
 *
 * Source: https://w3c.github.io/FileAPI/#FileReaderSync
 * Gotcha: only a worker has FileReaderSync. A file that changed after it was chosen cannot be read any more.
 */
/// <reference lib="dom" />
import { DomainBuilderError } from '../errors.js'
import { type ByteSource, requireBytes } from '../snapshot/byte-source.js'

/** The reader that workers have. */
declare class FileReaderSync {
  readAsArrayBuffer(blob: Blob): ArrayBuffer
}

/** Returns a source over a file. Reads are refused as `cannot-read` once the file is gone or changed. */
export function fileSource(file: File): ByteSource {
  const reader = new FileReaderSync()
  return {
    size: file.size,
    readInto(offset, out) {
      requireBytes(file.size, offset, out.length)
      try {
        out.set(new Uint8Array(reader.readAsArrayBuffer(file.slice(offset, offset + out.length))))
      } catch (cause) {
        throw new DomainBuilderError('cannot-read', `${file.name}: the file is gone, or was changed`, { cause })
      }
    },
  }
}
